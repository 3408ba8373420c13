package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// Backup writes a copy of the state to w: a state file as [ReadBackup] takes it, of a
// few MB at most for 64 groups on 128 MDTs. The copy is what was last written, as
// one moment. It is taken into memory first, so that a slow w holds up nothing but
// the caller, and read again: what the disk has spoilt is no backup.
func (s *Store) Backup(w io.Writer) error {
	if s.lock == nil {
		return ErrClosed
	}
	if s.doubtful {
		return fmt.Errorf("back up the state %s: the last write failed; try again after one that succeeds", s.dir)
	}
	var copied bytes.Buffer
	err := s.bolt.copyTo(&copied)
	if err == nil {
		_, err = readState(bytes.NewReader(copied.Bytes()), int64(copied.Len()), thisSchema())
	}
	if err == nil {
		_, err = copied.WriteTo(w)
	}
	if err != nil {
		return fmt.Errorf("back up the state %s: %w", s.dir, err)
	}
	return nil
}

// Copy is a whole backup that was read.
type Copy struct {
	Snapshot Snapshot // what it holds
	content  content
}

// ReadBackup reads what [Store.Backup] wrote, or a state file of a stopped lcapd. It fails
// with [ErrForeign], [ErrDamaged] or [ErrVersion] if it is no whole one.
func ReadBackup(r io.Reader) (*Copy, error) {
	file, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	found, err := readState(bytes.NewReader(file), int64(len(file)), thisSchema())
	if err != nil {
		return nil, fmt.Errorf("the backup is no good: %w; take another one", err)
	}
	all, err := decode(found.content)
	return &Copy{Snapshot: all, content: found.content}, err
}

// Restore makes the copy the state in dir, which is made if it is missing, and returns
// what it replaced: nil if nothing was there that could be read. The file that was there
// is kept as state.db.old; if it can be read, and is that of another installation, it is left
// alone, with [ErrForeign]. Restore also fails with [ErrLocked] while lcapd runs.
//
// A backup is older than what lcapd did since: groups made since are gone, those deleted
// since are back, and all get again what they acknowledged since, unless it was cleared. What
// was cleared is taken over from the state that is replaced: an MDT must not be told again
// to clear less than it has (ABI 9.2). Where that state is lost, what was cleared since is
// reported to groups as gone.
func (c *Copy) Restore(dir string) (replaced *Snapshot, err error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	l, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	replaced, err = c.replace(dir)
	if err := errors.Join(err, l.release()); err != nil {
		return nil, fmt.Errorf("restore the state %s: %w", dir, err)
	}
	return replaced, nil
}

func (c *Copy) replace(dir string) (replaced *Snapshot, err error) {
	path := filepath.Join(dir, fileName)
	next := newDraft(c.content)
	if present, err := readFile(path, thisSchema()); err == nil { // else it may be replaced
		if a, b := present.identity, c.Snapshot.Identity; a.ID != b.ID {
			return nil, fmt.Errorf("%w: %s belongs to the installation %s of file system %s, the backup to %s of %s; "+
				"move the file away first", ErrForeign, path, a.ID, a.FileSystem, b.ID, b.FileSystem)
		}
		all, err := decode(present.content)
		if err != nil {
			return nil, err
		}
		replaced = &all
		if err := next.keepClears(all); err != nil {
			return nil, err
		}
	}
	if err := keepFile(path, filepath.Join(dir, oldName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keep the old one: %w", err)
	}
	b, err := putFile(dir, c.content.with(next.changes()))
	if b != nil {
		err = errors.Join(err, b.close())
	}
	return replaced, err
}

// keepClears takes over how far MDTs were cleared, and puts no group behind that.
func (d *draft) keepClears(from Snapshot) error {
	for _, is := range from.MDTs {
		m, exists, err := d.mdt(is.Name)
		if err != nil {
			return err
		}
		if !exists || m.Epoch != is.Epoch || m.Cleared >= is.Cleared {
			continue // another epoch is recognised by its records
		}
		m.Cleared, m.Read = is.Cleared, max(m.Read, is.Cleared)
		d.put(place{bucketMDTs, m.Name}, encodeMDT(m))
		for _, group := range d.keys(bucketGroups, "") {
			t, exists, err := d.track(group, m.Name)
			if err != nil {
				return err
			}
			if exists && t.Epoch == m.Epoch && t.Mark < m.Cleared {
				t.Mark, t.Ceiling = m.Cleared, max(t.Ceiling, m.Cleared)
				d.put(trackKey(group, m.Name), encodeTrack(t))
			}
		}
	}
	return nil
}

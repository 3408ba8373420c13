package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup writes a copy of the state to w: a state file as [Restore] takes it, of a
// few MB at most for 64 groups on 128 MDTs. The copy is what was last written, as
// one moment. It is taken into memory first, so that a slow w holds up nothing but
// the caller.
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
		_, err = copied.WriteTo(w)
	}
	if err != nil {
		return fmt.Errorf("back up the state %s: %w", s.dir, err)
	}
	return nil
}

// Restore makes what [Store.Backup] wrote the state in dir, which is made if it is
// missing. A state file that is there already is kept as state.db.old; if it can be
// read, and is that of another installation, it is left alone, with [ErrForeign].
// Restore also fails with [ErrLocked] while lcapd runs, and, if r is no whole
// backup, as [Open] does.
//
// A backup is older than what lcapd did since: groups made since are gone, and the
// others get again what they acknowledged since, unless it was cleared.
func Restore(dir string, r io.Reader) error {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	l, err := takeLock(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(restore(dir, r), l.release()); err != nil {
		return fmt.Errorf("restore the state %s: %w", dir, err)
	}
	return nil
}

func restore(dir string, r io.Reader) error {
	path, tmp := filepath.Join(dir, fileName), filepath.Join(dir, tmpName)
	err := receive(tmp, r)
	if err == nil {
		err = replace(path, tmp)
	}
	if err != nil {
		return errors.Join(err, removeFile(tmp))
	}
	return nil
}

// receive puts what r has into a file at path, durably.
func receive(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// replace makes the file at tmp the state file at path, if it is one.
func replace(path, tmp string) error {
	backup, err := readFile(tmp, thisSchema())
	if err != nil {
		return fmt.Errorf("the backup is no good: %w; take another one", err)
	}
	if err := refuseOther(path, backup.identity); err != nil {
		return err
	}
	if err := keepFile(path, filepath.Join(filepath.Dir(path), oldName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the old one: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// refuseOther refuses a backup that belongs to another installation than the file.
func refuseOther(path string, backup Identity) error {
	present, err := readFile(path, thisSchema())
	if err != nil {
		return nil // what cannot be used may be replaced
	}
	if a, b := present.identity, backup; a.ID != b.ID {
		return fmt.Errorf("%w: %s belongs to the installation %s of file system %s, the backup to %s of %s; "+
			"move the file away first", ErrForeign, path, a.ID, a.FileSystem, b.ID, b.FileSystem)
	}
	return nil
}

package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The files of a state directory.
const (
	fileName = "state.db"
	lockName = "state.lock"
	tmpName  = fileName + ".tmp" // a file that is not whole yet
	oldName  = fileName + ".old"

	dirMode  = 0o750
	fileMode = 0o640
)

// Store is an open state directory. It belongs to one goroutine; its calls block
// while the disk is at work. Nobody else can open the directory until it is closed.
type Store struct {
	dir  string
	lock *lock
	// content is what is known to be on disk, and sum its sum.
	content content
	sum     sum
	// bolt is state.db.
	bolt *boltFile
	// doubtful: bolt may hold more than content, or has failed. It is left as it is,
	// good for what was there before or after, until a new file takes its place: the
	// next Write makes one.
	doubtful bool
}

// Init makes a state in dir, which may be missing, and may hold files of others. It
// fails with [ErrExists] if there is one, and with [ErrLocked] while one is being
// made. The parent of dir must exist.
func Init(dir string, id Identity) error {
	if err := checkIdentity(id); err != nil {
		return err
	}
	if id.ID == "" {
		id.ID = newID()
	}
	if id.Created.IsZero() {
		id.Created = time.Now()
	}
	first, err := firstContent(id)
	if err != nil {
		return err
	}
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	if err := refuseExisting(dir); err != nil { // before there is a lock file
		return err
	}
	l, err := takeLock(dir)
	if err != nil {
		return err
	}
	if err = refuseExisting(dir); err == nil {
		err = create(dir, first)
	}
	return errors.Join(err, l.release())
}

func refuseExisting(dir string) error {
	path := filepath.Join(dir, fileName)
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w; lcapd can be started, or, to begin anew and forget all groups, move it away first", path, ErrExists)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// firstContent is what a new state holds.
func firstContent(id Identity) (content, error) {
	body, err := encodeIdentity(id)
	if err != nil {
		return nil, fmt.Errorf("%w: identity: %w", ErrInvalid, err)
	}
	d := newDraft(content{})
	d.put(atVersion, encodeVersion(schemaVersion))
	d.put(atIdentity, body)
	if err := d.apply(Update{Upstream: id.Upstream}); err != nil {
		return nil, err
	}
	return content{}.with(d.changes()), nil
}

// create makes a new state.db.
func create(dir string, c content) error {
	path := filepath.Join(dir, fileName)
	b, err := putFile(dir, c)
	if err != nil && b != nil {
		err = errors.Join(err, os.Remove(path))
	}
	if b != nil {
		err = errors.Join(err, b.close())
	}
	if err != nil {
		return fmt.Errorf("make %s: %w; make room or make it writable, then try again", path, err)
	}
	return nil
}

// Open opens the state in dir for the life of the Store. It fails with
// [ErrNotInitialised], [ErrForeign], [ErrDamaged], [ErrVersion] or [ErrLocked], or
// with what the system says. A state of an older version is upgraded; the file as it
// was stays beside it.
func Open(dir string) (*Store, error) { return open(dir, thisSchema()) }

// Look returns what [Open] and [Store.Load] would, with the same errors, and leaves the file as it is: it
// is neither upgraded nor repaired, so that an older lcapd can go on with it.
func Look(dir string) (Snapshot, error) {
	if err := lookAt(dir); err != nil {
		return Snapshot{}, err
	}
	l, err := takeLock(dir)
	if err != nil {
		return Snapshot{}, err
	}
	found, err := readFile(filepath.Join(dir, fileName), thisSchema())
	if err != nil {
		return Snapshot{}, errors.Join(fmt.Errorf("open the state: %w%s", err, remedy(err)), l.release())
	}
	all, err := decode(found.content)
	return all, errors.Join(err, l.release())
}

func open(dir string, want schema) (*Store, error) {
	if err := lookAt(dir); err != nil {
		return nil, err
	}
	l, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: l}
	if err := s.load(want); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return s, nil
}

// lookAt tells whether there is anything to open, without leaving a lock file where
// there is not.
func lookAt(dir string) error {
	const hint = "if this is the right directory, 'lcapd init -c FILE' makes a state in it"
	path := filepath.Join(dir, fileName)
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: %w: it is not a regular file; check the key 'state' of the configuration", path, ErrForeign)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) && !isNotDir(dir) {
		return fmt.Errorf("open the state: %w; lcapd must own %s", err, dir)
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w: it does not exist; %s", dir, ErrNotInitialised, hint)
	case isNotDir(dir):
		return fmt.Errorf("%s: %w: it is not a directory; check the key 'state' of the configuration", dir, ErrForeign)
	case err != nil:
		return fmt.Errorf("open the state: %w; lcapd must own %s", err, dir)
	}
	for _, e := range entries {
		if name := e.Name(); name != lockName && name != tmpName && name != "lost+found" {
			return fmt.Errorf("%s: %w: it has other files, as %s, but no %s; %s", dir, ErrForeign, name, fileName, hint)
		}
	}
	return fmt.Errorf("%s: %w: it is empty; %s", dir, ErrNotInitialised, hint)
}

func isNotDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// load reads the file, and opens it with bolt once nothing in it can surprise bolt.
func (s *Store) load(want schema) error {
	path := filepath.Join(s.dir, fileName)
	found, err := readFile(path, want)
	if err != nil {
		return fmt.Errorf("open the state: %w%s", err, remedy(err))
	}
	s.content, s.sum = found.content, found.content.sum()
	if found.version != want.version {
		return s.rewrite(found.version)
	}
	if found.stray {
		if err := s.putAnew(); err != nil {
			return fmt.Errorf("%s is damaged where that changes nothing, and is to be written anew: %w; make room or make it writable, then start again", path, err)
		}
		return nil
	}
	if s.bolt, err = openBolt(path); err != nil {
		return fmt.Errorf("open %s: %w", path, asLocked(s.dir, err))
	}
	return nil
}

// remedy says what to do about a file that cannot be used.
func remedy(err error) string {
	switch {
	case errors.Is(err, ErrDamaged):
		return "; restore a backup, or move the file away and run 'lcapd init -c FILE': " +
			"groups that start at earliest then get again what was not cleared"
	case errors.Is(err, ErrForeign):
		return "; check the key 'state' of the configuration or, if the file was ours, restore a backup"
	}
	return ""
}

// rewrite puts the content, which was upgraded from the given version of the file,
// into a new one.
func (s *Store) rewrite(from uint32) error {
	path := filepath.Join(s.dir, fileName)
	err := keepFile(path, fmt.Sprintf("%s.v%d", path, from))
	if err == nil {
		err = s.putAnew()
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("upgrade %s from version %d: %w; make room or make it writable, then start again", path, from, err)
}

// putAnew puts the content into a new file, in the place of the one that is there.
func (s *Store) putAnew() (err error) {
	if s.bolt, err = putFile(s.dir, s.content); err != nil && s.bolt != nil {
		err = errors.Join(err, s.bolt.close())
	}
	return err
}

// Load returns all that is stored.
func (s *Store) Load() (Snapshot, error) {
	if s.lock == nil {
		return Snapshot{}, ErrClosed
	}
	return decode(s.content)
}

// Close gives the directory back. The Store cannot be used any more.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	err := errors.Join(s.bolt.close(), s.lock.release())
	s.lock = nil
	if err != nil {
		return fmt.Errorf("close the state %s: %w", s.dir, err)
	}
	return nil
}

// decode reads the values of a verified content.
func decode(c content) (Snapshot, error) {
	var all Snapshot
	for p, value := range c {
		if err := all.add(p, bodyOf(value)); err != nil {
			return Snapshot{}, fmt.Errorf("%v: %w", p, err)
		}
	}
	slices.SortFunc(all.Identity.Upstream, func(a, b Upstream) int { return cmp.Compare(a.MDT, b.MDT) })
	slices.SortFunc(all.MDTs, func(a, b MDT) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(all.Recent, func(a, b Recent) int { return cmp.Compare(a.MDT, b.MDT) })
	slices.SortFunc(all.Groups, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(all.Tracks, func(a, b Track) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.MDT, b.MDT))
	})
	return all, nil
}

// add puts the value of one place into the snapshot.
func (all *Snapshot) add(p place, body []byte) error {
	switch p.bucket {
	case bucketLcapd:
		return all.addIdentity(p, body)
	case bucketUpstream:
		all.Identity.Upstream = append(all.Identity.Upstream, Upstream{p.key, string(body)})
		return nil
	case bucketMDTs:
		m, err := decodeMDT(p.key, body)
		all.MDTs = append(all.MDTs, m)
		return err
	case bucketRecent:
		r, err := decodeRecent(p.key, body)
		all.Recent = append(all.Recent, r)
		return err
	case bucketGroups:
		g, err := decodeGroup(p.key, body)
		all.Groups = append(all.Groups, g)
		return err
	case bucketTracks:
		group, mdt := cutTrackKey(p.key)
		t, err := decodeTrack(group, mdt, body)
		all.Tracks = append(all.Tracks, t)
		return err
	}
	return errors.New("unknown bucket")
}

func (all *Snapshot) addIdentity(p place, body []byte) error {
	switch p {
	case atIdentity:
		id, err := decodeIdentity(body)
		id.Upstream = all.Identity.Upstream
		all.Identity = id
		return err
	case atVersion:
		return nil
	}
	return errors.New("unknown key")
}

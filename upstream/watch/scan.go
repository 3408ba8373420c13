package watch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

// job is a directory to be read and compared with what is known of it.
type job struct {
	fid  changelog.FID
	deep bool // all that is below, too
	// What changed at this time or later, ns since 1970, gets a record even if its name
	// did not change; 0 for nothing.
	since int64
}

// clockSlack is by how much the times that file systems write may lag behind the clock.
const clockSlack = int64(100 * time.Millisecond)

// scanLater has a directory read. The last one is read first, so that a tree is read
// branch by branch, and few directories wait.
func (s *session) scanLater(fid changelog.FID, deep bool, since int64) {
	s.work = append(s.work, job{fid, deep, since})
}

// rescan has the whole tree read, once more if it is being read already: what was read
// may have changed since.
func (s *session) rescan() {
	if s.rescanning {
		s.again = true
		return
	}
	s.rescanning = true
	s.stats.Rescans++
	s.scanLater(s.store.meta.root, true, s.quiet)
}

// overflowed takes note that the kernel's queue was full: it has dropped changes, of any
// file.
func (s *session) overflowed() {
	s.stats.Overflows++
	if !s.rescanning || !s.again {
		s.log.Warn().Int("overflows", s.stats.Overflows).
			Msg("the kernel's queue of changes was full and some were dropped: the tree is read again; the state of its files will be recorded, not all that happened (fs.fanotify.max_queued_events)")
	}
	s.rescan()
}

// scanNext reads one directory.
func (s *session) scanNext() {
	j := s.work[len(s.work)-1]
	s.work = s.work[:len(s.work)-1]
	s.book.now = time.Now()
	if err := s.scan(j); err != nil {
		s.stats.Unread++
		s.log.Error().Err(err).Msg("a directory of the tree cannot be read: what it has now stays unknown")
	}
	if len(s.work) == 0 {
		s.ask()
	}
}

// scan reads a directory, and makes known what is there.
func (s *session) scan(j job) error {
	d := s.known.dirs[j.fid]
	if d == nil {
		return nil // it has left the tree
	}
	h, ok := s.handleOf(d.fid)
	if !ok {
		return nil // above it something has changed: it is found, with its handle, from there
	}
	fd, err := s.volume.open(h, unix.O_RDONLY|unix.O_DIRECTORY)
	if isGone(err) {
		if d.parent != nil {
			s.touch(d.place())
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %q: %w", d.path(), err)
	}
	f := os.NewFile(uintptr(fd), d.path())
	defer f.Close()
	return s.compare(j, d, f)
}

// compare compares an open directory with what is known of it. Names that are gone are
// seen before those that are new, so that a rename is one.
func (s *session) compare(j job, d *dir, f *os.File) error {
	rest := s.known.list(d.fid)
	isNew := len(rest) == 0
	var come []place
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			at := place{d.fid, name}
			a, ok := s.lookIn(d, f, name)
			if !ok {
				continue
			}
			is := rest[name]
			switch {
			case is.fid == a.fid:
				delete(rest, name)
				s.stays(j, f, at, a, is)
			case isNew:
				s.see(at, a)
			default:
				come = append(come, at)
				delete(rest, name)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %q: %w", d.path(), err)
		}
	}
	for name := range rest { // looked at once more: who reads a directory may miss a name
		come = append(come, place{d.fid, name})
	}
	s.seeAll(come)
	return nil
}

// lookIn returns what a name in an open directory leads to; false if it is not to be
// seen.
func (s *session) lookIn(d *dir, f *os.File, name string) (actual, bool) {
	if s.exclude.has(d, name) || len(name) > changelog.MaxName {
		return actual{}, false
	}
	h, err := handleAt(int(f.Fd()), name)
	if isGone(err) {
		return actual{}, false
	}
	if err != nil {
		s.fail(fmt.Errorf("look at %q in %q: %w", name, d.path(), err))
		return actual{}, false
	}
	fid := s.ids.fid(h)
	return actual{fid: fid, handle: h}, !s.hidden[fid]
}

// stays looks at something that is where it was known to be.
func (s *session) stays(j job, f *os.File, at place, a actual, is entry) {
	if is.isDir {
		if _, fits := s.ids.handle(a.fid); !fits {
			s.known.learnHandle(s.known.dirs[a.fid], a.handle.bytes)
		}
		if j.deep {
			s.scanLater(a.fid, true, j.since)
		}
	}
	if j.since == 0 || s.book.silent {
		return
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(f.Fd()), at.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return // it is gone again, which an event tells
	}
	since := j.since - clockSlack
	switch {
	case st.Ctim.Nano() < since, is.isDir && st.Mtim.Nano() >= since: // a directory's names have changed
	case st.Mtim.Nano() >= since:
		s.book.change(changelog.TypeMtime, a.fid, changelog.Flags(changelog.AttrSize|changelog.AttrMtime|changelog.AttrCtime), actor{})
	default:
		s.book.change(changelog.TypeSattr, a.fid, changelog.Flags(changelog.AttrCtime), actor{})
	}
}

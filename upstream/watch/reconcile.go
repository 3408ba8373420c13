package watch

import (
	"fmt"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

// This file brings what is known to what is there, one name at a time, by records that
// can follow one by one. Whoever finds that a name leads elsewhere than is known calls
// see.
//
// What is found missing may only have moved, to a name that is looked at later. So as
// long as it lives on it is lost, not removed: under its old name, or, if something
// else has that now, parked under a name that nothing else has. Found again, it is
// renamed. What stays lost until everything has been looked at has left the tree.

// actual is what a name leads to in the file system.
type actual struct {
	fid    changelog.FID
	handle handle
	who    actor          // who made it so, if that can be told
	made   changelog.Type // what it is if it is gone already; 0: then there is no record
	isNew  bool           // it was just made: if it is a directory, it was empty
}

// loss is something that is not where it was.
type loss struct {
	at    place // where it is to who reads the records
	tried bool  // it is in the tree, so where it is now has been read once more
}

// removal says what becomes of what is below a directory that goes.
type removal int

const (
	moved removal = iota // it went with the directory
	dead                 // what is not dead must have been moved before
)

// see makes a name known to lead to what it leads to; to nothing if a has no FID.
func (s *session) see(at place, a actual) {
	is, taken := s.known.entry(at)
	if is.fid == a.fid {
		return
	}
	exists := a.fid != changelog.FID{}
	if taken {
		s.depart(at, is, exists)
	}
	if exists {
		s.arrive(at, a)
	}
}

// depart notes that something is not where it was known to be. isTaken says that
// something else is there.
func (s *session) depart(at place, e entry, isTaken bool) {
	if l := s.lost[e.fid]; l != nil && l.at == at && !isTaken {
		return // that is known
	}
	if !e.isDir && s.known.links(e.fid) > 1 {
		s.remove(at, e, actor{}, moved)
		return
	}
	if !s.isAlive(e.fid) {
		s.remove(at, e, actor{}, dead)
		return
	}
	if isTaken {
		to := s.parking(e.fid)
		s.book.rename(at, to, e, entry{}, actor{})
		at = to
	}
	s.lost[e.fid] = &loss{at: at}
}

// parking returns a place in the root of the tree that nothing has.
func (s *session) parking(fid changelog.FID) place {
	return place{s.store.meta.root, fmt.Sprintf(".lcapd-parked-%x-%x-%x", fid.Seq, fid.Oid, fid.Ver)}
}

// arrive records that something is at a place where nothing is known to be.
func (s *session) arrive(at place, a actual) {
	if d := s.known.dirs[a.fid]; d != nil {
		if !s.unloop(d, at) {
			s.touch(at)
			return
		}
		delete(s.lost, a.fid)
		s.book.rename(d.place(), at, entry{a.fid, true}, entry{}, a.who)
		s.followed(a.fid)
		return
	}
	if l := s.lost[a.fid]; l != nil {
		delete(s.lost, a.fid)
		if is, _ := s.known.entry(l.at); is.fid == a.fid && !is.isDir {
			s.book.rename(l.at, at, is, entry{}, a.who)
			return
		}
	}
	f, ok, err := s.volume.stat(a.handle)
	if err != nil {
		s.fail(err)
		return
	}
	if !ok { // gone again
		f.made = a.made
	} else if !a.who.isKnown {
		a.who.uid, a.who.gid, a.who.isKnown = uint64(f.uid), uint64(f.gid), true
	}
	switch {
	case f.made == 0:
	case f.made == changelog.TypeMkdir:
		s.arriveDir(at, a, ok)
	case s.known.links(a.fid) > 0:
		s.book.create(changelog.TypeHlink, at, a.fid, "", a.who)
	default:
		s.book.create(f.made, at, a.fid, "", a.who)
	}
}

// followed has a directory read that has moved, if need be: while the whole tree is being read, it
// may have left a directory that was to be read for one that has been; and where paths are
// excluded, others are now below it.
func (s *session) followed(fid changelog.FID) {
	switch {
	case s.rescanning:
		s.scanLater(fid, true, s.quiet)
	case len(s.exclude.paths) > 0:
		s.scanLater(fid, true, 0)
	}
}

// arriveDir records a directory that is new in the tree. One that was just made is
// empty, and what is made in it comes as events of its own; any other is read.
func (s *session) arriveDir(at place, a actual, alive bool) {
	h := ""
	if _, fits := s.ids.handle(a.fid); !fits {
		h = a.handle.bytes
	}
	s.book.create(changelog.TypeMkdir, at, a.fid, h, a.who)
	if alive && !a.isNew {
		s.scanLater(a.fid, true, 0)
	}
}

// unloop makes it possible to move a directory to a place: as long as that is known to
// be below the directory itself, one of those between is not where it is known to be,
// and is parked. It returns false if the file system has changed meanwhile.
func (s *session) unloop(d *dir, at place) bool {
	below := s.known.dirs[at.dir]
	for below != nil && below.within(d.fid) {
		wrong := s.firstWrong(below, d)
		if wrong == nil {
			return false
		}
		s.depart(wrong.place(), entry{wrong.fid, true}, true)
	}
	return below != nil
}

// firstWrong returns the first directory from below up to top, which is not looked at,
// that is not where it is known to be.
func (s *session) firstWrong(below, top *dir) *dir {
	for ; below != nil && below.fid != top.fid; below = below.parent {
		if a, ok := s.look(below.place()); ok && a.fid != below.fid {
			return below
		}
	}
	return nil
}

// remove records that a name went, and before it, if it was a directory's, all that is
// known below.
func (s *session) remove(at place, e entry, who actor, how removal) {
	if l := s.lost[e.fid]; l != nil && l.at == at {
		delete(s.lost, e.fid)
	}
	if e.isDir {
		for name, child := range s.known.list(e.fid) {
			in := place{e.fid, name}
			if how == dead {
				s.depart(in, child, true)
			} else {
				s.remove(in, child, who, how)
			}
		}
	}
	s.book.unlink(at, e, who)
}

// look returns what a name leads to now, nothing if it is not to be seen. ok is false if
// that could not be found out.
func (s *session) look(p place) (a actual, ok bool) {
	d := s.known.dirs[p.dir]
	if d == nil || s.exclude.has(d, p.name) {
		return a, true
	}
	h, ok := s.handleOf(d.fid)
	if !ok {
		return a, false // its FID is a hash, and it has not been seen since the start
	}
	found, there, err := s.volume.lookup(h, p.name)
	if err != nil {
		s.fail(err)
		return a, false
	}
	if !there {
		return a, true
	}
	if fid := s.ids.fid(found); !s.hidden[fid] {
		a.fid, a.handle = fid, found
	}
	return a, true
}

// handleOf returns the handle of something in the tree; false if it cannot be told.
func (s *session) handleOf(fid changelog.FID) (handle, bool) {
	if h, ok := s.ids.handle(fid); ok {
		return h, true
	}
	kind, ok := s.ids.kind(fid)
	if d := s.known.dirs[fid]; ok && d != nil && d.handle != "" {
		return handle{kind, d.handle}, true
	}
	return handle{}, false
}

// isAlive tells whether something still exists, in the tree or not. What cannot be
// looked at is taken for dead: if it is found again it is made anew.
func (s *session) isAlive(fid changelog.FID) bool {
	h, ok := s.handleOf(fid)
	if !ok {
		return false
	}
	_, alive, err := s.volume.stat(h)
	if err != nil {
		s.fail(err)
	}
	return alive
}

// parentInTree returns the directory of the tree that a directory is in now; false if it
// is in none, or in one that is not known.
func (s *session) parentInTree(fid changelog.FID) (changelog.FID, bool) {
	h, ok := s.handleOf(fid)
	if !ok {
		return fid, false
	}
	up, err := s.volume.ancestors(h)
	if err != nil {
		s.fail(err)
		return fid, false
	}
	for _, a := range up {
		is := s.ids.fid(a)
		if s.known.dirs[is] == nil {
			return fid, false
		}
		if is == s.store.meta.root {
			return s.ids.fid(up[0]), true
		}
	}
	return fid, false
}

// top is where the root of the tree is to who reads the records: under the MDT's name in
// the root of the file system.
func (s *session) top() place { return place{upstream.RootFID, s.options.MDT} }

package watch

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

// take records what a batch of events reports.
func (s *session) take(b batch) {
	if b.err != nil {
		s.fail(b.err)
		return
	}
	s.book.now = b.at
	s.stats.Stalls = s.Watch.stats.Stalls + b.stalls
	for rest := b.events; len(rest) > 0; {
		var e event
		var err error
		if e, rest, err = nextEvent(rest); err != nil {
			s.fail(err)
			return
		}
		s.stats.Events++
		s.event(&e)
	}
	if len(s.touched) >= settleAt {
		s.settle()
	}
	if b.empty {
		s.emptied(b)
	}
}

// event records one event. What it says is taken for a hint where to look: it becomes
// records only as far as they can follow on those before, and the names that it is about
// are compared with the file system later.
func (s *session) event(e *event) {
	switch {
	case e.mask&unix.FAN_Q_OVERFLOW != 0:
		s.overflowed()
	case e.mask&unix.FAN_RENAME != 0:
		s.renamed(e)
	case e.name == "":
		// The number of links of a file has changed; the event of the name tells why.
	case e.name == ".":
		s.changed(e.mask, s.ids.fid(e.dir), e.pid)
	case e.child.bytes == "":
		s.touch(place{s.ids.fid(e.dir), e.name}) // the kernel could not say what it is about
	default:
		s.named(e)
	}
}

// named records what happened to a name and to the file that it leads to. When several
// things were merged their order is lost: it is guessed, and settled later.
func (s *session) named(e *event) {
	at, fid := place{s.ids.fid(e.dir), e.name}, s.ids.fid(e.child)
	visible := s.isVisible(at) && !s.hidden[fid]
	if !visible {
		s.changed(e.mask, fid, e.pid) // a file of the tree, by a name outside of it
		return
	}
	gone := e.mask&unix.FAN_DELETE != 0
	is, _ := s.known.entry(at)
	if gone && is.fid == fid { // removed, and perhaps linked again under the same name
		s.changed(e.mask, fid, e.pid)
		s.remove(at, is, s.actors.of(e.pid, s.book.now), dead)
		gone = false
	}
	if e.mask&unix.FAN_CREATE != 0 {
		s.created(at, actual{fid: fid, handle: e.child}, e)
	}
	s.changed(e.mask, fid, e.pid)
	if is, _ := s.known.entry(at); gone && is.fid == fid {
		s.remove(at, is, s.actors.of(e.pid, s.book.now), dead)
	}
	if e.mask&(unix.FAN_CREATE|unix.FAN_DELETE) != 0 {
		s.touch(at)
	}
}

// created records that a name was made. What is gone again by now was a directory if
// the event says so, and else is taken for a regular file.
func (s *session) created(at place, a actual, e *event) {
	a.who = s.actors.of(e.pid, s.book.now)
	a.made, a.isNew = e.made(), true
	s.see(at, a)
}

// made returns which record makes what an event is about, as far as the event tells.
func (e *event) made() changelog.Type {
	if e.mask&unix.FAN_ONDIR != 0 {
		return changelog.TypeMkdir
	}
	return changelog.TypeCreat
}

// changed records what happened to a file itself, if it is in the tree.
func (s *session) changed(mask uint64, fid changelog.FID, pid int32) {
	const any = unix.FAN_ATTRIB | unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE
	if mask&any == 0 || !s.known.has(fid) || s.book.silent {
		return
	}
	if mask&unix.FAN_ATTRIB != 0 {
		s.book.change(changelog.TypeSattr, fid, changelog.Flags(changelog.AttrCtime), s.actors.of(pid, s.book.now))
	}
	switch {
	case mask&unix.FAN_CLOSE_WRITE != 0:
		delete(s.modified, fid)
		s.book.change(changelog.TypeClose, fid, changelog.Flags(changelog.OpenWrite), s.actors.of(pid, s.book.now))
	case mask&unix.FAN_MODIFY != 0:
		if _, waits := s.modified[fid]; !waits {
			s.modified[fid] = modification{s.book.now, s.actors.of(pid, s.book.now)}
		}
	}
}

// modification is a file that was written or truncated, and not closed since. The close
// tells of it, if it comes: a truncation by path has none.
type modification struct {
	first time.Time
	who   actor
}

// modifiedAfter is after how long a modification is recorded without a close, and how
// often at most for a file that stays open; modifiedMost is how many wait at most.
const (
	modifiedAfter = 2 * time.Second
	modifiedMost  = 1 << 16
)

// tellModified records the modifications that no close has told of.
func (s *session) tellModified(now time.Time) {
	s.book.now = now
	for fid, m := range s.modified {
		if now.Sub(m.first) < modifiedAfter && len(s.modified) < modifiedMost {
			continue
		}
		delete(s.modified, fid)
		if s.known.has(fid) {
			attrs := changelog.AttrSize | changelog.AttrMtime | changelog.AttrCtime
			s.book.change(changelog.TypeMtime, fid, changelog.Flags(attrs), m.who)
		}
	}
}

// renamed records a rename: within the tree, into it or out of it.
func (s *session) renamed(e *event) {
	from, to := place{s.ids.fid(e.dir), e.name}, place{s.ids.fid(e.toDir), e.to}
	fid := s.ids.fid(e.child)
	fromIn, toIn := s.isVisible(from), s.isVisible(to)
	if !fromIn && !toIn || s.hidden[fid] {
		return
	}
	who := s.actors.of(e.pid, s.book.now)
	is, _ := s.known.entry(from)
	moves := fromIn && is.fid == fid
	switch {
	case moves && toIn:
		s.move(from, to, is, who)
	case moves:
		s.remove(from, is, who, moved)
	case toIn:
		s.see(to, actual{fid: fid, handle: e.child, who: who, made: e.made()})
	}
	for _, p := range []struct {
		place place
		in    bool
	}{{from, fromIn}, {to, toIn}} {
		if p.in {
			s.touch(p.place)
		}
	}
}

// move records a rename within the tree, if it can follow on what is known.
func (s *session) move(from, to place, e entry, who actor) {
	over, taken := s.known.entry(to)
	if from == to || over.fid == e.fid || e.isDir && s.known.dirs[to.dir].within(e.fid) {
		return // the comparison will show what it was
	}
	if taken && (over.isDir != e.isDir || over.isDir && len(s.known.list(over.fid)) > 0) {
		s.depart(to, over, true) // an exchange: this one lives on
		over = entry{}
	}
	delete(s.lost, e.fid)
	s.book.rename(from, to, e, over, who)
	if e.isDir {
		s.followed(e.fid)
	}
}

// isVisible tells whether a name is in the tree and not excluded.
func (s *session) isVisible(p place) bool {
	d := s.known.dirs[p.dir]
	return d != nil && !s.exclude.has(d, p.name) && len(p.name) <= changelog.MaxName
}

package watch

import "github.com/lcapd/lcapd/changelog"

// The kernel merges events, and so loses their order where a name is touched again and
// again. So every name that an event was about is compared with the file system when the
// queue has run empty. What differs then is compared once more when the queue is known
// to have been empty after that: else the event that tells of it had only not been read
// yet, and would be the better record.

// settleAt is how many names wait at most, even if the queue never runs empty.
const settleAt = 1 << 16

// touch has a name compared later.
func (s *session) touch(p place) { s.touched[p] = struct{}{} }

// ask asks for a batch that is read after now.
func (s *session) ask() {
	s.probe++
	s.reader.ask(s.probe)
}

// settle compares at once.
func (s *session) settle() {
	differ := s.differing()
	for p := range s.suspects {
		differ = append(differ, p)
	}
	clear(s.suspects)
	s.correct(differ)
}

// emptied is called when the queue was empty after what was recorded.
func (s *session) emptied(b batch) {
	if b.probe < s.probe {
		return // the answer is on its way
	}
	var differ []place
	for p := range s.suspects {
		if _, again := s.touched[p]; !again {
			differ = append(differ, p)
		}
	}
	clear(s.suspects)
	s.correct(differ)
	for _, p := range s.differing() {
		s.suspects[p] = struct{}{}
	}
	switch {
	case len(s.suspects) > 0 || len(s.touched) > 0:
		s.ask()
	case len(s.work) > 0:
	case len(s.lost) > 0:
		s.findLost(b)
	case s.again:
		s.again, s.rescanning = false, false
		s.rescan()
	default:
		s.settled(b)
	}
}

// differing returns the touched names that do not lead to what is known, and forgets all
// that were touched.
func (s *session) differing() (differ []place) {
	for p := range s.touched {
		if a, ok := s.look(p); ok && s.differs(p, a) {
			differ = append(differ, p)
		}
	}
	clear(s.touched)
	return differ
}

func (s *session) differs(p place, a actual) bool {
	is, _ := s.known.entry(p)
	return s.known.dirs[p.dir] != nil && is.fid != a.fid
}

// correct makes names known to lead to what they lead to now.
func (s *session) correct(places []place) {
	before := s.book.wrote + s.book.packed
	s.seeAll(places)
	s.stats.Corrections += s.book.wrote + s.book.packed - before
}

// seeAll sees what names lead to, those first that lead to nothing, so that what moved
// from one to another is renamed.
func (s *session) seeAll(places []place) {
	var come []place
	for _, p := range places {
		a, ok := s.look(p)
		switch {
		case !ok:
		case a.fid != changelog.FID{}:
			come = append(come, p)
		case s.known.dirs[p.dir] != nil:
			s.see(p, a)
		}
	}
	for _, p := range come {
		if a, ok := s.look(p); ok && s.known.dirs[p.dir] != nil {
			s.see(p, a)
		}
	}
}

// findLost removes what was lost for good. It waits for a batch that was read after all
// has been looked at.
func (s *session) findLost(b batch) {
	if s.lostProbe != b.probe || b.probe == 0 {
		s.ask()
		s.lostProbe = s.probe
		return
	}
	s.book.now = b.at
	for fid, l := range s.lost {
		is, _ := s.known.entry(l.at)
		if is.fid != fid {
			delete(s.lost, fid)
			continue
		}
		if a, ok := s.look(l.at); ok && a.fid == fid {
			delete(s.lost, fid)
			continue
		}
		if parent, ok := s.parentInTree(fid); is.isDir && ok && !l.tried {
			l.tried = true
			s.scanLater(parent, false, 0)
			continue
		}
		s.remove(l.at, is, actor{}, moved)
	}
	s.ask()
}

// settled is called when what is known was what is there, when b was read.
func (s *session) settled(b batch) {
	s.quiet = b.at.UnixNano()
	for _, m := range s.modified {
		s.quiet = min(s.quiet, m.first.UnixNano())
	}
	if s.rescanning {
		s.rescanning = false
		s.log.Info().Int("directories", len(s.known.dirs)).Msg("the tree was read")
	}
	s.isSettled = true
	if s.book.silent {
		s.completed()
	}
}

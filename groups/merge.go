package groups

import "slices"

// split takes keys out of lane s for a new owner. What s has in flight of them must
// be acknowledged first.
func (t *Track) split(s *Stream, keys Slots, owner MemberID) {
	own := *s.keys // leases in flight keep the set that they were made with
	own.remove(&keys)
	s.keys = &own
	child := &Stream{track: t, keys: &keys, owner: owner, cursor: s.cursor, tries: slices.Clone(s.tries), notBefore: s.notBefore, poisoned: s.poisoned}
	if len(s.leases) > 0 {
		child.after, child.afterAt = s, s.cursor
	} else {
		child.after, child.afterAt = s.after, s.afterAt
	}
	s.wakeWaiters() // who waits at a barrier, be it s or for s, may have to wait for the child
	s.wake()
	if child.after != nil {
		child.after.waiters = append(child.after.waiters, waiter{child, child.afterAt})
	}
	t.add(child)
	t.stir(s.owner)
}

// meet sees to it that the lanes of one owner become one again: else every member
// that comes or goes would leave more of them behind, each with a smaller part of
// every batch. A lane waits for one of the same owner that is behind it. At the same
// place they merge, when neither has anything in flight: the mark of a key must never
// fall, and one lane has one mark. meet tells whether s may go on.
//
// Nobody can wait for ever in this way: a lane waits, here and at barriers, only for
// what is behind it.
func (s *Stream) meet() bool {
	for !s.isAlone() && s.isSettled() {
		peer := s.peer()
		switch {
		case peer == nil:
			return true
		case peer.cursor < s.cursor, len(s.leases) > 0, len(peer.leases) > 0:
			s.waitsOn = peer
			return false
		}
		s.merge(peer)
	}
	return true
}

// isAlone tells whether s is the only lane of its owner. As a rule it is.
func (s *Stream) isAlone() bool { return len(s.track.lanes[s.owner]) == 1 }

// peer returns the lane of the same owner to merge with, at the place of s or behind
// it: the hindmost, of several one that has drained; nil if there is none.
func (s *Stream) peer() (peer *Stream) {
	for _, x := range s.track.lanes[s.owner] {
		if x == s || x.cursor > s.cursor || !x.isSettled() {
			continue
		}
		if peer == nil || x.cursor < peer.cursor || x.cursor == peer.cursor && len(x.leases) == 0 {
			peer = x
		}
	}
	return peer
}

// merge puts the keys of other, at the same place and drained like s, into s.
func (s *Stream) merge(other *Stream) {
	keys := *s.keys // deliveries keep the sets that they were made with
	keys.Union(other.keys)
	s.keys = &keys
	s.wakeWaiters() // at barriers, nobody else is left: they have to ask again
	other.wakeWaiters()
	s.waiters = nil
	s.track.drop(other)
	s.markMoved()
	s.track.stir(s.owner)
}

// untilMeeting cuts the way from the cursor to to at the next lane that waits there
// to merge with s.
func (s *Stream) untilMeeting(to uint64) uint64 {
	if s.isAlone() || !s.isSettled() {
		return to
	}
	for _, x := range s.track.lanes[s.owner] {
		if x.cursor > s.cursor && x.isSettled() {
			to = min(to, x.cursor)
		}
	}
	return to
}

// isSettled tells whether nothing but its place and what it has in flight
// distinguishes the lane from another one of its owner.
func (s *Stream) isSettled() bool {
	return s.owner != 0 && s.moveTo == 0 && s.after == nil && !s.poisoned &&
		len(s.tries) == 0 && s.notBefore.IsZero() && !s.isAwaited()
}

// isAwaited tells whether a lane that was split from s waits for it.
func (s *Stream) isAwaited() bool {
	return slices.ContainsFunc(s.waiters, func(w waiter) bool { return w.stream.after == s })
}

// stir wakes the lanes of an owner: one may have waited to merge with another, which
// is not to be any more.
func (t *Track) stir(owner MemberID) {
	if owner == 0 {
		return
	}
	for _, s := range t.lanes[owner] {
		s.wake()
	}
}

// moveAtOnce makes id, or nobody, the owner of the lane.
func (s *Stream) moveAtOnce(id MemberID) {
	t, from := s.track, s.owner
	s.moveTo = 0
	s.wake()
	if from == id {
		return
	}
	t.lanes[from] = slices.DeleteFunc(t.lanes[from], func(x *Stream) bool { return x == s })
	if len(t.lanes[from]) == 0 {
		delete(t.lanes, from)
	}
	t.lanes[id] = append(t.lanes[id], s)
	s.owner = id
	s.leaveLines()
	t.late.wake() // what waited for the old owner waits for the new one
	t.stir(from)
	t.stir(id)
}

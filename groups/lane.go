package groups

import (
	"slices"
	"time"
)

// lease is what was handed out and is not fully acknowledged, or is so above one
// that is not. Invariant: from <= acked <= to.
type lease struct {
	id       LeaseID
	member   MemberID
	stream   *Stream
	from, to uint64
	acked    uint64
	count    int       // which delivery of the range this is
	moved    time.Time // of the last progress, or of the hand-out
}

func (l *lease) done() bool { return l.acked == l.to }

// Stream is a place of a track from which records are handed out: a lane, or one
// end of a pool. The track owns it.
//
// Invariants: leases are in the order of their ranges, and the first one is not
// done. Those of a lane follow each other, the last one ends at or below cursor, and
// all belong to owner; the range behind cursor comes next; tries tells how often that
// was delivered before.
type Stream struct {
	track *Track
	// Tag is for the broker: what it keeps about the stream.
	Tag any

	keys   *Slots // of a lane of fid; nil stands for all keys
	owner  MemberID
	cursor uint64
	leases []*lease
	tries  tries

	moveTo    MemberID  // draining: the owner to be
	after     *Stream   // split off from it, waits for it up to afterAt
	afterAt   uint64    // the place up to which it waits
	partner   *Stream   // to merge with, when both have drained
	waiters   []waiter  // streams that wait for this one's mark
	notBefore time.Time // a nack's delay
	poisoned  bool
	blocked   Blocked // what it was last seen to wait for
	heapAt    int     // in track.marks
	returns   *pool   // set for the returns end of a pool
	gone      bool    // merged into another, or its track ended
}

// waiter is a stream that waits for another one's mark.
type waiter struct {
	stream *Stream
	mark   uint64
}

// Track returns the track that the stream belongs to.
func (s *Stream) Track() *Track { return s.track }

// Blocked returns what the stream waited for when it was last asked.
func (s *Stream) Blocked() Blocked { return s.blocked }

// Gone tells whether the stream has ended: drop it.
func (s *Stream) Gone() bool { return s.gone }

// ownMark is the acked index of the first lease, which is never one that is done,
// or the cursor.
func (s *Stream) ownMark() uint64 {
	if len(s.leases) > 0 {
		return s.leases[0].acked
	}
	return s.cursor
}

// mark is the lane's mark: nothing of its keys at or below it is unacknowledged.
// While it waits for the lane that it was split from, that one's mark counts too.
func (s *Stream) mark() uint64 {
	m := s.ownMark()
	if s.after != nil {
		m = min(m, s.after.mark())
	}
	return m
}

// Need returns the place behind which the stream could hand out now. If it cannot,
// it says why, and will be in [Group.Woken] when that may have changed.
func (s *Stream) Need(now time.Time) (from uint64, why Blocked) {
	if s.returns != nil {
		return s.returns.need(s, now)
	}
	s.blocked = s.whyNot(now)
	return s.cursor, s.blocked
}

// whyNot checks all that does not depend on the records.
func (s *Stream) whyNot(now time.Time) Blocked {
	g := s.track.group
	switch {
	case s.gone:
		return Empty
	case g.paused:
		return Paused
	case s.track.pool != nil:
		return g.whyNoTurn(s)
	case s.moveTo != 0:
		return Draining
	case s.owner == 0:
		return NoMember
	case s.poisoned:
		return Poisoned
	case now.Before(s.notBefore):
		g.delayed = append(g.delayed, s)
		return Delayed
	case s.after != nil, s.partner != nil:
		return Draining
	}
	s.notBefore = time.Time{} // it is over
	m := g.members[s.owner]
	if !m.hasCredit() {
		m.wait(s)
		return NoCredit
	}
	return Ready
}

// Take hands out what the stream may of the batch that covers the place behind
// its cursor. ceiling is the hand-out ceiling on disk. With Ready and no lease in
// the delivery the cursor moved over a range that has nothing for the lane.
func (s *Stream) Take(p Piece, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	if s.returns != nil {
		return s.returns.take(s, p, ceiling, now)
	}
	if _, why := s.Need(now); why != Ready {
		return d, why
	}
	d, s.blocked = s.take(p, ceiling, now)
	return d, s.blocked
}

func (s *Stream) take(p Piece, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	t := s.track
	if t.skipped(s.cursor + 1) {
		s.advance(s.cursor + 1)
		return d, Ready
	}
	to := t.untilSkip(s.cursor, p.To)
	to, why = s.untilBarrier(p, to)
	if why != Ready || to == s.cursor {
		return d, why
	}
	if s.keys != nil && p.Slots != nil && !s.keys.Meets(p.Slots) {
		s.advance(to)
		return d, Ready
	}
	count, end := s.tries.at(s.cursor)
	to = min(to, end)
	if limit := t.group.Config.MaxDeliveries; limit > 0 && count >= limit {
		s.poisoned = true
		return d, Poisoned
	}
	if to, why = t.mayReach(s, s.cursor, to, ceiling); why != Ready {
		return d, why
	}
	member := s.owner
	if t.pool != nil {
		member = t.group.turn(t.MDT)
		t.group.took(member)
	}
	return s.handOut(p, to, count+1, member, now), Ready
}

// handOut makes the lease for (cursor, to] and moves the cursor.
func (s *Stream) handOut(p Piece, to uint64, count int, member MemberID, now time.Time) Delivery {
	t, g := s.track, s.track.group
	g.lastLease++
	l := &lease{id: g.lastLease, member: member, stream: s, from: s.cursor, to: to, acked: s.cursor, count: count, moved: now}
	g.leases[l.id] = l
	s.leases = append(s.leases, l)
	t.reach(s.cursor, to, p.share(s.cursor, to))
	g.charge(member, p.share(s.cursor, to))
	d := Delivery{Member: member, Lease: l.id, MDT: t.MDT, From: l.from, To: to, Slots: s.keys, Count: count}
	s.advance(to) // may merge the lane, and change its keys
	return d
}

// share estimates the bytes of a part of the batch.
func (p Piece) share(from, to uint64) int64 {
	if from <= p.From && to >= p.To {
		return p.Bytes
	}
	return max(1, int64(float64(p.Bytes)*float64(to-from)/float64(p.To-p.From)))
}

// advance moves the cursor, and what follows from that.
func (s *Stream) advance(to uint64) {
	s.cursor = to
	s.tries = s.tries.after(to)
	s.markMoved()
	s.track.mergeAt(s)
}

// untilBarrier cuts the range (cursor, to] before the next record whose keys lie
// in this lane and in another one. At such a record it says whether its turn has
// come: home delivers it alone once the other lane is through up to it, the other
// lane steps over it once home has it acknowledged (rule 6).
func (s *Stream) untilBarrier(p Piece, to uint64) (uint64, Blocked) {
	if s.keys == nil {
		return to, Ready
	}
	i, _ := slices.BinarySearchFunc(p.Pairs, s.cursor+1, func(x Pair, index uint64) int {
		switch {
		case x.Index < index:
			return -1
		case x.Index > index:
			return 1
		}
		return 0
	})
	for _, pair := range p.Pairs[i:] {
		if pair.Index > to {
			break
		}
		home, other := s.keys.Has(pair.Home), s.keys.Has(pair.Other)
		if home == other {
			continue // both here, or none
		}
		if pair.Index > s.cursor+1 {
			return pair.Index - 1, Ready
		}
		return s.atBarrier(pair, home)
	}
	return to, Ready
}

// atBarrier decides at a barrier record right behind the cursor.
func (s *Stream) atBarrier(pair Pair, home bool) (uint64, Blocked) {
	if home {
		if s.track.laneOf(pair.Other).reached(pair.Index-1, s) {
			return pair.Index, Ready
		}
		return 0, Barrier
	}
	if s.track.laneOf(pair.Home).reached(pair.Index, s) {
		s.advance(pair.Index)
		return s.cursor, Ready
	}
	return 0, Barrier
}

// reached tells whether the lane's mark is at least mark; if not, who will be
// woken when it is.
func (s *Stream) reached(mark uint64, who *Stream) bool {
	if s.mark() >= mark {
		return true
	}
	s.waiters = append(s.waiters, waiter{who, mark})
	return false
}

// ack raises the acked index of a lease of this stream and drops what is done.
func (s *Stream) ack(l *lease, upTo uint64, now time.Time) {
	upTo = min(upTo, l.to)
	if upTo <= l.acked {
		return
	}
	l.acked, l.moved = upTo, now
	for len(s.leases) > 0 && s.leases[0].done() {
		delete(s.track.group.leases, s.leases[0].id)
		s.leases = s.leases[1:]
	}
	s.markMoved()
}

// markMoved passes on that the mark may have risen: to who waits for it, to the
// lane itself if it drains, and to the track.
func (s *Stream) markMoved() {
	s.track.streamMoved(s)
	mark := s.mark()
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		switch {
		case w.mark > mark:
			kept = append(kept, w)
		case w.stream.after == s:
			w.stream.after = nil
			w.stream.markMoved()
			w.stream.wake()
		default:
			w.stream.wake()
		}
	}
	s.waiters = kept
	if s.moveTo != 0 && len(s.leases) == 0 {
		s.owner, s.moveTo = s.moveTo, 0
		s.wake()
	}
	if s.partner != nil {
		s.track.mergeDrained(s)
	}
}

// wake lists the stream in [Group.Woken].
func (s *Stream) wake() {
	g := s.track.group
	g.woken = append(g.woken, s)
}

// fallBack gives back everything unacknowledged of a lane: its leases end and its
// cursor falls to its mark. Lanes that wait for it fall with it, and need not wait
// any more.
func (s *Stream) fallBack() {
	s.part()
	mark := s.ownMark()
	if mark < s.cursor {
		s.tries = s.redo()
		s.cursor = mark
	}
	for _, l := range s.leases {
		delete(s.track.group.leases, l.id)
	}
	s.leases = nil
	children := s.waiters[:0:0]
	for _, w := range s.waiters {
		if w.stream.after == s {
			children = append(children, w)
		}
	}
	for _, w := range children {
		child := w.stream
		child.after = nil
		if mark < child.cursor {
			child.tries = append(s.tries.before(child.cursor), child.tries...)
			child.cursor = mark
		}
		child.markMoved()
		child.wake()
	}
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool { return slices.Contains(children, w) })
	s.markMoved()
	s.wake()
}

// redo computes the tries ahead of a cursor that falls to its mark, from the leases
// that end and from what lay ahead of the cursor already. What was stepped over
// between leases has nothing for the lane: it may count as either side.
func (s *Stream) redo() tries {
	var t tries
	for _, l := range s.leases {
		t = t.push(l.to, l.count)
	}
	t = t.push(s.cursor, 0)
	for _, x := range s.tries {
		t = t.push(x.to, x.n)
	}
	return t
}

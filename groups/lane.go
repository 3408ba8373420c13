package groups

import (
	"slices"
	"time"
)

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

	id     int    // in its track, for operators
	keys   *Slots // of a lane of fid; nil stands for all keys
	owner  MemberID
	cursor uint64
	leases []*lease
	tries  tries

	moveTo    MemberID  // draining: the owner to be
	after     *Stream   // split off from it, waits for it up to afterAt
	afterAt   uint64    // the place up to which it waits
	waiters   []waiter  // streams that wait for this one's mark
	notBefore time.Time // a nack's delay
	poisoned  bool      // what comes next was delivered max_deliveries times
	returns   *pool     // set for the returns end of a pool
	gone      bool      // merged into another, or its track ended

	blocked Blocked   // what it was last seen to wait for
	waitsOn *Stream   // of Barrier and Merging: on whom
	due     time.Time // of Delayed: until when
	lines   []*line   // in which it stands
	woken   bool      // in Group.woken
	heapAt  int       // in Track.marks
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
// it says why, and will be in [Group.Woken] when that may have changed. [NeedsCeiling]
// aside, the broker need not ask it before; if there is no batch yet that covers the
// place, that is the broker's to wait for.
func (s *Stream) Need(now time.Time) (from uint64, why Blocked) {
	switch {
	case s.gone:
		why = Empty
	case s.IsLate():
		from, why = s.track.late.need(now)
	case s.returns != nil:
		from, why = s.returns.needBack(now)
	case s.track.pool != nil:
		from, why = s.cursor, s.track.pool.needHead()
	default:
		from, why = s.cursor, s.whyNot(now)
	}
	s.blocked = why
	return from, why
}

// whyNot checks all that does not depend on the records, for a lane.
func (s *Stream) whyNot(now time.Time) Blocked {
	g := s.track.group
	switch {
	case g.paused:
		return Paused
	case s.moveTo != 0:
		return Draining
	case s.owner == 0:
		return NoMember
	case s.poisoned:
		return Poisoned
	case now.Before(s.notBefore):
		return g.delay(s, s.notBefore)
	case s.after != nil:
		return Draining
	}
	s.notBefore = time.Time{} // it is over
	if !s.meet() {
		return Merging
	}
	if m := g.members[s.owner]; !m.hasCredit() {
		s.wait(&m.line)
		return NoCredit
	}
	return Ready
}

// Take hands out what the stream may of the batch that covers the place behind
// its cursor. ceiling is the hand-out ceiling on disk. With Ready and no lease in
// the delivery the cursor moved over a range that has nothing for the stream.
func (s *Stream) Take(p Piece, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	place, why := s.Need(now)
	switch {
	case why != Ready:
		return d, why
	case s.IsLate():
		d, why = s.track.late.take(p, place, ceiling, now)
	case s.returns != nil:
		d, why = s.returns.takeBack(p, ceiling, now)
	case !p.covers(place):
		why = Elsewhere
	case s.track.pool != nil:
		d, why = s.track.pool.takeHead(p, ceiling, now)
	default:
		d, why = s.take(p, ceiling, now)
	}
	s.blocked = why
	if why == Elsewhere {
		s.wake()
	}
	return d, why
}

// take hands out from a lane.
func (s *Stream) take(p Piece, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	t, g := s.track, s.track.group
	to, why := s.reach(p)
	if why != Ready || to == s.cursor {
		return d, why // it stepped over one record, or has to wait
	}
	if to, why = t.mayReach(s, to); why != Ready {
		return d, why
	}
	if !p.holdsFor(s.keys) {
		s.advance(p, to, 0)
		return d, Ready
	}
	x := s.tries.at(s.cursor)
	to = min(to, x.to)
	if x.spent(g.Config.MaxDeliveries) {
		s.poisoned = true
		t.stir(s.owner) // who waits to merge with it need not any more
		return d, Poisoned
	}
	if to > ceiling {
		s.wait(&t.low)
		return d, NeedsCeiling
	}
	l := s.lend(g.members[s.owner], p, s.cursor, to, x, now)
	s.leases = append(s.leases, l)
	d = l.delivery()
	s.advance(p, to, 1)
	return d, Ready
}

// reach returns up to where the lane could go in the batch: to before the next
// record to pass over, the next one whose keys lie in this lane and in another one,
// and the place where a lane waits to merge with it. If one of the two records comes
// next, it is dealt with: the lane steps over it, delivers it alone, or waits.
func (s *Stream) reach(p Piece) (to uint64, why Blocked) {
	next := s.cursor + 1
	pair, _ := p.pairAt(next)
	home, other := s.sides(pair)
	switch {
	case other && !s.track.laneOf(pair.Home).reached(next, s):
		return s.cursor, Barrier // even if it is to be passed over: it may be in flight
	case other, s.track.skipped(next):
		s.advance(p, next, 0)
		return s.cursor, Ready
	case home && !s.track.laneOf(pair.Other).reached(s.cursor, s):
		return s.cursor, Barrier
	case home:
		return next, Ready
	}
	to = s.untilMeeting(s.track.untilSkip(s.cursor, p.To))
	for _, pair := range p.Pairs[p.pairsFrom(next):] {
		if pair.Index > to {
			break
		}
		if home, other := s.sides(pair); home || other {
			return pair.Index - 1, Ready
		}
	}
	return to, Ready
}

// sides tells on which side of a barrier record the lane is: it has the home key and
// another lane the other one, the reverse, or neither because nobody has to wait.
func (s *Stream) sides(pair Pair) (home, other bool) {
	if s.keys == nil || pair.Index == 0 {
		return false, false
	}
	home, other = s.keys.Has(pair.Home), s.keys.Has(pair.Other)
	return home && !other, other && !home
}

// advance moves the cursor of a lane or of a pool's head within the batch, and what
// follows from that. handOuts is how many leases cover the way: 1 or 0.
func (s *Stream) advance(p Piece, to uint64, handOuts int64) {
	s.track.look(to, p.share(s.cursor, to), handOuts)
	s.cursor = to
	s.tries = s.tries.after(to)
	s.markMoved()
}

// reached tells whether the lane's mark is at least mark; if not, who will be
// woken when it is.
func (s *Stream) reached(mark uint64, who *Stream) bool {
	if s.mark() >= mark {
		return true
	}
	if s.ownMark() >= mark {
		s = s.after // it is that one's mark that is too low
	}
	who.waitsOn = s
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool { return w.stream == who })
	s.waiters = append(s.waiters, waiter{who, mark})
	return false
}

// markMoved passes on that the mark may have risen: to who waits for it, to the
// lane itself if it drains, and to the track.
func (s *Stream) markMoved() {
	s.track.streamMoved(s)
	mark := s.mark()
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		switch {
		case w.stream.gone:
		case w.mark > mark:
			kept = append(kept, w)
		case w.stream.after == s:
			w.stream.after = nil
			w.stream.markMoved()
			w.stream.wake()
			s.track.stir(s.owner) // it may merge now
		default:
			w.stream.wake()
		}
	}
	clear(s.waiters[len(kept):])
	s.waiters = kept
	switch {
	case len(s.leases) > 0:
	case s.moveTo != 0:
		s.moveAtOnce(s.moveTo)
	case !s.isAlone():
		s.track.stir(s.owner) // who waited for this to merge with it
	}
}

// wake lists the stream in [Group.Woken].
func (s *Stream) wake() {
	if !s.woken {
		s.woken = true
		s.track.group.woken = append(s.track.group.woken, s)
	}
}

// fallBack gives back everything unacknowledged of a lane: its leases end and its
// cursor falls to its mark. Lanes that wait for it fall with it, and need not wait
// any more.
func (s *Stream) fallBack() {
	mark := s.ownMark()
	if mark < s.cursor {
		s.tries = s.redo()
		s.cursor = mark
		s.poisoned = false // what comes next is something else now
	}
	for _, l := range slices.Backward(s.leases) { // who waits for the end of one has heard of those behind it
		s.track.group.endLease(l)
	}
	s.leases = nil
	for _, child := range s.children() {
		s.takeDown(child)
	}
	s.markMoved()
	s.wake()
	s.track.stir(s.owner)
}

// wakeWaiters has all who wait for the mark of s look again for whom they wait.
func (s *Stream) wakeWaiters() {
	for _, w := range s.waiters {
		w.stream.wake()
	}
}

// children returns the lanes that were split from s and wait for it.
func (s *Stream) children() (list []*Stream) {
	for _, w := range s.waiters {
		if w.stream.after == s {
			list = append(list, w.stream)
		}
	}
	return list
}

// takeDown has a lane that was split from s fall back to where s fell. Who waits at a
// barrier for the child was told to wait for s: it has to ask again.
func (s *Stream) takeDown(child *Stream) {
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool { return w.stream == child })
	s.wakeWaiters()
	child.after = nil
	if s.cursor < child.cursor {
		child.tries = append(s.tries.before(child.cursor), child.tries...)
		child.cursor, child.poisoned = s.cursor, false
	}
	if child.notBefore.Before(s.notBefore) {
		child.notBefore = s.notBefore // what was given back with a delay is partly the child's
	}
	child.markMoved()
	child.wake()
	child.track.stir(child.owner)
}

// redo computes the tries ahead of a cursor that falls to its mark, from the leases
// that end and from what lay ahead of the cursor already. What was stepped over
// between leases has nothing for the lane: it may count as either side.
func (s *Stream) redo() tries {
	var t tries
	for _, l := range s.leases {
		t = t.push(l.try)
	}
	t = t.push(try{to: s.cursor})
	for _, x := range s.tries {
		t = t.push(x)
	}
	return t
}

package groups

import (
	"fmt"
	"slices"
	"time"
)

// Tick lets time pass: delays end, and leases without progress are given back. Its
// cost grows with what is due only.
func (g *Group) Tick(now time.Time) {
	if len(g.delayed.streams) > 0 && !now.Before(g.nextDue) {
		g.endDelays(now)
	}
	if g.Config.AckTimeout > 0 {
		g.timeOut(now)
	}
}

// delay has a stream wait until due.
func (g *Group) delay(s *Stream, due time.Time) Blocked {
	if len(g.delayed.streams) == 0 || due.Before(g.nextDue) {
		g.nextDue = due
	}
	s.due = due
	s.wait(&g.delayed)
	return Delayed
}

// endDelays wakes the streams whose time has come.
func (g *Group) endDelays(now time.Time) {
	early := g.delayed.streams[:0:0]
	for len(g.delayed.streams) > 0 {
		if s := g.delayed.next(); now.Before(s.due) {
			early = append(early, s)
		} else {
			s.wake()
		}
	}
	for _, s := range early {
		g.delay(s, s.due)
	}
}

// timeOut gives back the leases that made no progress for too long.
func (g *Group) timeOut(now time.Time) {
	var late []*lease
	for e := g.open.Front(); e != nil; e = e.Next() {
		l := e.Value.(*lease)
		if now.Sub(l.moved) <= g.Config.AckTimeout {
			break
		}
		late = append(late, l)
	}
	ofPools := make(map[*pool][]*lease)
	for _, l := range late {
		if l.stream.IsLate() {
			l.stream.track.late.giveBack(l, time.Time{})
		} else if p := l.stream.track.pool; p != nil {
			ofPools[p] = append(ofPools[p], l)
		} else if g.leases[l.id] == l { // it did not go with an earlier one
			l.stream.moveAway()
		}
	}
	for _, t := range g.order {
		if t.pool != nil {
			t.pool.giveBack(time.Time{}, ofPools[t.pool]...)
		}
	}
}

// moveAway gives a lane to another member, if there is one, as if its owner was lost.
func (s *Stream) moveAway() {
	owner := s.owner
	s.fallBack() // if it was to move, it has
	if s.owner != owner {
		return
	}
	if other := s.track.anotherOwner(s); other != 0 {
		s.moveAtOnce(other)
	}
}

// Pause stops all hand-out of the group, or lets it go on. Leases go on.
func (g *Group) Pause(paused bool) {
	g.paused = paused
	if !paused {
		for _, t := range g.order {
			t.wakeStreams()
		}
	}
}

// Leases returns how many leases are not fully acknowledged.
func (g *Group) Leases() int { return g.open.Len() }

// Resume lets poisoned keys of an MDT go on: what was delivered max_deliveries times
// is delivered as often again. [ErrUnknownMDT] if the group has no track there.
func (g *Group) Resume(mdt MDT) error {
	t, err := g.trackOf(mdt)
	if err != nil {
		return err
	}
	t.forgive(0, ^uint64(0))
	return nil
}

// forgive lets poisoned ranges go on that overlap (from, to]: of a lane all of what
// it has to deliver again, of a pool only those.
func (t *Track) forgive(from, to uint64) {
	most := t.group.Config.MaxDeliveries
	t.late.forgive(from, to, most)
	for _, s := range t.streams {
		if s.returns == nil && s.cursor < to && s.tries.end() > from {
			s.tries.forgive(most)
			s.poisoned = false
			s.wake()
		}
	}
	if t.pool == nil {
		return
	}
	for i := range t.pool.returned {
		if r := &t.pool.returned[i]; r.from < to && r.try.to > from && r.try.spent(most) {
			r.try.pardon = r.try.n
			t.pool.back.wake()
		}
	}
}

// Skip passes over the record at index of an MDT: it will not be handed out any
// more. The group forgets that when its mark is past it, or when the MDT is removed.
// Leases that hold it go on; it is passed over when they come back. Poisoned ranges
// that it is in are resumed, see [Group.Resume]. Errors: [ErrUnknownMDT],
// [ErrAcknowledged].
func (g *Group) Skip(mdt MDT, index uint64) error {
	t, err := g.trackOf(mdt)
	if err != nil {
		return err
	}
	if t.late.skip(index) {
		return nil
	}
	if index <= t.mark {
		return fmt.Errorf("group %s: index %d: %w: the mark is %d", g.Config.Name, index, ErrAcknowledged, t.mark)
	}
	at, found := slices.BinarySearch(t.skips, index)
	if !found {
		t.skips = slices.Insert(t.skips, at, index)
	}
	t.forgive(index-1, index)
	t.wakeStreams() // who waits at that record need not any more
	return nil
}

// Seek sets cursor and mark of an MDT; all leases there end, the streams are gone, and
// the track is another one: see [Group.Track]. Delivery counts start anew. The caller
// sees to it that index is not below what was cleared. [ErrUnknownMDT] if the group
// has no track there.
func (g *Group) Seek(mdt MDT, index uint64) error {
	old, err := g.trackOf(mdt)
	if err != nil {
		return err
	}
	old.end()
	t := newTrack(g, mdt, index)
	t.skips = slices.DeleteFunc(old.skips, func(i uint64) bool { return i <= index })
	g.tracks[mdt] = t
	g.order[slices.Index(g.order, old)] = t
	g.rebalance()
	g.markMoved(t)
	return nil
}

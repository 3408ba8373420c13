package groups

import (
	"fmt"
	"slices"
	"time"
)

// Nack gives back what of a lease lies at or above from. Its keys, in a pool the
// range, wait for the delay. Everything below from counts as acknowledged no more
// than before.
func (g *Group) Nack(id MemberID, lease LeaseID, from uint64, delay time.Duration, now time.Time) error {
	l, err := g.leaseOf(id, lease, now)
	if err != nil {
		return err
	}
	s := l.stream
	due := now.Add(delay)
	if s.track.pool != nil {
		s.track.pool.giveBack(l, due)
		return nil
	}
	s.notBefore = due
	s.fallBack()
	return nil
}

// Expired returns the members that gave no sign of life for the group's lease.
// They are still members: the broker ends their connections and calls Leave.
func (g *Group) Expired(now time.Time) []MemberID {
	var ids []MemberID
	for id, m := range g.members {
		if g.Config.Lease > 0 && now.Sub(m.heard) > g.Config.Lease {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Tick lets time pass: delays end, and leases without progress are given back.
func (g *Group) Tick(now time.Time) {
	g.wakeAll(&g.delayed) // who is still too early comes back
	if g.Config.AckTimeout > 0 {
		g.timeOut(now)
	}
}

// timeOut takes the lanes of leases that made no progress from their owners.
func (g *Group) timeOut(now time.Time) {
	var late []*lease
	for _, l := range g.leases {
		if !l.done() && now.Sub(l.moved) > g.Config.AckTimeout {
			late = append(late, l)
		}
	}
	slices.SortFunc(late, func(a, b *lease) int { return int(a.id) - int(b.id) })
	for _, l := range late {
		s := l.stream
		switch {
		case g.leases[l.id] != l: // fell back with an earlier one
		case s.track.pool != nil:
			s.track.pool.giveBack(l, time.Time{})
		default:
			s.fallBack()
			if other := g.anotherOwner(s); other != 0 {
				s.owner, s.moveTo = other, 0
			}
		}
	}
}

// anotherOwner returns a member that could own the lane instead of its owner.
func (g *Group) anotherOwner(s *Stream) MemberID {
	var best MemberID
	for id, m := range g.members {
		if id != s.owner && m.servesMDT(s.track.MDT) && (best == 0 || id < best) {
			best = id
		}
	}
	return best
}

// Pause stops all hand-out of the group, or lets it go on. Leases go on.
func (g *Group) Pause(paused bool) {
	g.paused = paused
	if !paused {
		g.wakeStreams()
	}
}

func (g *Group) wakeStreams() {
	for _, t := range g.order {
		for _, s := range t.streams {
			s.wake()
		}
	}
}

// Resume lets poisoned keys of an MDT go on: their records are delivered again.
func (g *Group) Resume(mdt MDT) error {
	t := g.tracks[mdt]
	if t == nil {
		return fmt.Errorf("group %s: %w %d", g.Config.Name, ErrUnknownMDT, mdt)
	}
	for _, s := range t.streams {
		if s.poisoned {
			s.poisoned, s.tries = false, nil
		}
		s.wake()
	}
	if t.pool != nil {
		for i := range t.pool.returned {
			r := &t.pool.returned[i]
			if r.poisoned {
				r.poisoned, r.count = false, 0
			}
		}
	}
	return nil
}

// Skip passes over the record at index of an MDT: it will not be handed out any
// more. Leases that hold it go on; it is skipped when they come back.
func (g *Group) Skip(mdt MDT, index uint64) error {
	t := g.tracks[mdt]
	if t == nil {
		return fmt.Errorf("group %s: %w %d", g.Config.Name, ErrUnknownMDT, mdt)
	}
	if index <= t.mark {
		return fmt.Errorf("group %s: index %d is acknowledged already: the mark is %d", g.Config.Name, index, t.mark)
	}
	at, found := slices.BinarySearch(t.skips, index)
	if !found {
		t.skips = slices.Insert(t.skips, at, index)
	}
	return g.Resume(mdt)
}

// Seek sets cursor and mark of an MDT; all leases there end. The caller sees to it
// that index is not below what was cleared.
func (g *Group) Seek(mdt MDT, index uint64) error {
	old := g.tracks[mdt]
	if old == nil {
		return fmt.Errorf("group %s: %w %d", g.Config.Name, ErrUnknownMDT, mdt)
	}
	old.end()
	t := newTrack(g, mdt, index)
	g.tracks[mdt] = t
	g.order[slices.Index(g.order, old)] = t
	g.rebalance()
	g.markMoved(t)
	return nil
}

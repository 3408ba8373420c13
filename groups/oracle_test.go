package groups

import (
	"errors"
	"fmt"
	"slices"
)

// checkDelivery checks what must hold for a delivery as a whole.
func (s *sim) checkDelivery(l *simLease) {
	d, m := l.d, l.member
	switch {
	case !m.hasCredit():
		s.fail("member %d got more than it had credit for", m.id)
	case !m.servesMDT(d.MDT):
		s.fail("member %d does not serve MDT %d", m.id, d.MDT)
	case d.To > l.mdt.ceiling:
		s.fail("delivery up to %d, the ceiling on disk is %d", d.To, l.mdt.ceiling)
	case d.From < s.g.Track(d.MDT).Mark() || d.From >= d.To:
		s.fail("delivery (%d,%d] with the mark at %d", d.From, d.To, s.g.Track(d.MDT).Mark())
	case s.g.paused:
		s.fail("delivery while the group is paused")
	}
	l.mdt.frontier = max(l.mdt.frontier, d.To)
	if got := s.g.Track(d.MDT).Frontier(); got != l.mdt.frontier {
		s.fail("the frontier is %d, deliveries went up to %d", got, l.mdt.frontier)
	}
	if s.g.Config.Distribution == RoundRobin {
		s.checkTurn(l)
	}
}

// checkTurn checks that members take turns, and that who gave something back does not
// get it again while another could.
func (s *sim) checkTurn(l *simLease) {
	var giver *simMember
	if l.d.Count > 1 && len(l.records) > 0 {
		giver = l.records[0].last
	}
	for _, x := range s.members {
		switch {
		case x == l.member || !x.hasCredit() || !x.servesMDT(l.d.MDT):
		case x.turn < l.member.turn && x != giver && len(l.records) > 0:
			s.fail("member %d gets %v, it was the turn of %d", l.member.id, l.indexes(), x.id)
		case l.member == giver:
			s.fail("member %d gets %v again, member %d could have", l.member.id, l.indexes(), x.id)
		}
	}
}

// checkRecord checks rules 3 to 6 for one record about to be delivered.
func (s *sim) checkRecord(l *simLease, r *simRecord) {
	to := l.member
	switch {
	case r.holder != nil:
		s.fail("record %d goes to member %d while in flight at %d", r.index, to.id, r.holder.id)
	case r.skipped:
		s.fail("record %d was skipped", r.index)
	case l.d.Count != r.delivered+1:
		s.fail("record %d was delivered %d times before, the delivery counts %d", r.index, r.delivered, l.d.Count)
	case r.most > 0 && r.delivered >= r.most:
		s.fail("record %d is delivered for the %dth time, %d are allowed", r.index, r.delivered+1, r.most)
	}
	if s.g.Config.Distribution == RoundRobin {
		return
	}
	s.each(l.mdt, r, func(other *simRecord) {
		switch older := other.index < r.index; {
		case !older && other.holder != nil:
			s.fail("record %d goes to member %d while %d, newer and of the same key, is in flight at %d", r.index, to.id, other.index, other.holder.id)
		case older && other.holder != nil && other.holder != to:
			s.fail("record %d goes to member %d while %d, older and of the same key, is in flight at %d", r.index, to.id, other.index, other.holder.id)
		case older && other.holder == nil && !other.done():
			s.fail("record %d goes to member %d before %d, older and of the same key", r.index, to.id, other.index)
		case older && other.stale && !other.done():
			s.fail("record %d goes to member %d, the replay left out %d, older and of the same key", r.index, to.id, other.index)
		case older && other.stale && !other.skipped:
			s.fail("record %d goes to member %d, the replay left out %d, acknowledged, older and of the same key", r.index, to.id, other.index)
		}
	})
	if r.delivered > 0 {
		s.outdate(l.mdt, r)
	}
}

// outdate notes that all records newer than r, with a key of it, that were delivered
// already must be delivered again: r comes again (rule 5).
func (s *sim) outdate(mdt *simMDT, r *simRecord) {
	if s.g.Config.Distribution == RoundRobin {
		return
	}
	s.each(mdt, r, func(other *simRecord) {
		if other.index > r.index && other.delivered > 0 {
			other.stale = true
		}
	})
}

// each calls do for all records above the mark that share a key with r, r aside.
func (s *sim) each(mdt *simMDT, r *simRecord, do func(other *simRecord)) {
	lists := [][]*simRecord{mdt.records}
	if s.g.Config.Distribution == ByFID {
		lists = lists[:0]
		for _, k := range r.keys {
			lists = append(lists, mdt.byKey[k])
		}
	}
	for _, list := range lists {
		for _, other := range between(list, mdt.mark, mdt.last) {
			if other != r && !other.filtered {
				do(other)
			}
		}
	}
}

// check checks rules 1, 2 and 7.
func (s *sim) check() {
	moved := s.g.Moved()
	for _, mdt := range s.mdts {
		t := s.g.Track(mdt.id)
		if mdt.removed {
			if t != nil {
				s.fail("MDT %d is still there", mdt.id)
			}
			continue
		}
		switch mark := t.Mark(); {
		case mark < mdt.mark:
			s.fail("MDT %d: the mark fell from %d to %d", mdt.id, mdt.mark, mark)
		case mark > mdt.mark && !slices.Contains(moved, t):
			s.fail("MDT %d: the mark went from %d to %d and was not reported", mdt.id, mdt.mark, mark)
		case mark > mdt.mark:
			for _, r := range between(mdt.records, mdt.mark, mark) {
				if !r.done() {
					s.fail("MDT %d: the mark is %d, but record %d is not acknowledged", mdt.id, mark, r.index)
				}
			}
			mdt.mark = mark
		}
		var ahead int64
		for _, r := range between(mdt.records, mdt.mark, t.Frontier()) {
			if !r.filtered {
				ahead += r.bytes
			}
		}
		// Parts of batches are weighed by estimate.
		if limit := s.g.Config.InFlight + 3*longest/2; ahead > limit && s.g.Config.InFlight > 0 {
			s.fail("MDT %d: %d bytes are ahead of the mark, %d allowed", mdt.id, ahead, limit)
		}
	}
}

// checkQuiet is called when no stream wants to be asked: then none may be able to
// hand out.
func (s *sim) checkQuiet() {
	s.checkInside()
	if !s.oneIn(4) {
		return // to ask may cover up that nobody would have
	}
	for again := true; again; again = len(s.g.Woken()) > 0 { // to ask may merge lanes
		for _, mdt := range s.mdts {
			if !mdt.removed {
				s.checkAsleep(mdt)
			}
		}
	}
}

// checkAsleep asks all streams of an MDT, which have all said that they cannot.
func (s *sim) checkAsleep(mdt *simMDT) {
	for _, x := range slices.Clone(s.g.Track(mdt.id).Streams()) {
		was := x.Blocked()
		if was == NeedsCeiling && mdt.ceiling < x.Cursor()+longest {
			continue // a shorter batch could do with it
		}
		from, why := x.Need(s.now)
		p, ok := s.piece(mdt, from)
		if why != Ready || !ok {
			continue
		}
		if d, why := x.Take(p, mdt.ceiling, s.now); why == Ready {
			s.describe()
			s.fail("MDT %d: stream %d said %q and was not woken, but it could hand out (%d,%d]", mdt.id, x.id, was, from, d.To)
		}
	}
}

// reap tells the oracle which leases the group has ended by itself, and checks that
// the step gave it reason to.
func (s *sim) reap() {
	for _, m := range s.members {
		for _, l := range slices.Clone(m.open) {
			if _, open := s.g.leases[l.d.Lease]; open {
				continue
			}
			if !s.mayEnd(l) {
				s.fail("lease %d of member %d ended for no reason", l.d.Lease, m.id)
			}
			s.lost(l)
		}
	}
}

// timedOut tells whether a lease may end because time passed: it made no progress, or
// one did not that may be of the same lane.
func (s *sim) timedOut(l *simLease) bool {
	late := func(x *simLease) bool {
		return s.g.Config.AckTimeout > 0 && s.now.Sub(x.progress) > s.g.Config.AckTimeout
	}
	if s.g.Config.Distribution == RoundRobin {
		return late(l)
	}
	return slices.ContainsFunc(append(l.member.open, l.member.ended...), func(x *simLease) bool { return x.mdt == l.mdt && late(x) })
}

// checkTimeouts checks that no lease goes on that should have ended.
func (s *sim) checkTimeouts() {
	for _, m := range s.members {
		for _, l := range m.open {
			if s.g.Config.AckTimeout > 0 && s.now.Sub(l.progress) > s.g.Config.AckTimeout {
				s.fail("lease %d makes no progress for %s and goes on", l.d.Lease, s.now.Sub(l.progress))
			}
		}
	}
}

// checkShares checks after a member came or went that the shares are even.
func (s *sim) checkShares() {
	if len(s.members) == 0 || s.g.Config.Distribution == RoundRobin ||
		slices.ContainsFunc(s.members, func(m *simMember) bool { return m.serves != nil }) {
		return
	}
	share := make(map[MemberID]int)
	even := func() {
		low, high := 1<<30, 0
		for _, m := range s.members {
			low, high = min(low, share[m.id]), max(high, share[m.id])
		}
		if high > low+1 {
			s.fail("the shares are not even: %v", share)
		}
	}
	for _, t := range s.g.order {
		for _, x := range t.streams {
			share[x.target()] += x.size()
		}
		if s.g.Config.Distribution == ByFID {
			even()
			clear(share)
		}
	}
	even()
}

// checkEnd checks what is left when everything is acknowledged: nothing.
func (s *sim) checkEnd() {
	for _, mdt := range s.mdts {
		for _, r := range mdt.records {
			if !r.done() && r.index > 0 {
				s.fail("MDT %d: record %d is not acknowledged", mdt.id, r.index)
			}
		}
		t := s.g.Track(mdt.id)
		if t.ahead != 0 || len(t.flight)+len(t.skips) != 0 {
			s.fail("MDT %d: %d bytes ahead, %d parts, skips %v", mdt.id, t.ahead, len(t.flight), t.skips)
		}
		for owner, lanes := range t.lanes {
			if len(lanes) > 1 && t.pool == nil {
				s.describe()
				s.fail("MDT %d: member %d has %d lanes, they never merged", mdt.id, owner, len(lanes))
			}
		}
	}
	if len(s.g.leases)+s.g.open.Len() > 0 {
		s.fail("%d leases are left, %d open", len(s.g.leases), s.g.open.Len())
	}
}

// checkInside checks the invariants that the types state.
func (s *sim) checkInside() {
	err := s.g.invalid()
	if err == nil && s.oneIn(8) {
		err = s.g.Snapshot(s.now).invalid()
	}
	if err != nil {
		s.describe()
		s.fail("%v", err)
	}
}

// invalid returns what of who waits for whom cannot be.
func (snap Snapshot) invalid() error {
	for _, t := range snap.Tracks {
		byID := make(map[int]StreamState)
		for _, x := range t.Streams {
			byID[x.ID] = x
		}
		for _, x := range t.Streams {
			named := x.WaitsFor.Stream != 0
			switch x.Blocked {
			case Draining, Barrier, Merging, InFlight:
				if !named || byID[x.WaitsFor.Stream].ID == 0 {
					return fmt.Errorf("stream %d says %q and not for whom", x.ID, x.Blocked)
				}
			case NoCredit:
				if snap.Distribution != RoundRobin && x.WaitsFor.Member != x.Owner {
					return fmt.Errorf("stream %d waits for the credit of %d", x.ID, x.WaitsFor.Member)
				}
			}
			// Follow those who must go on themselves, not only have something acknowledged.
			for steps, at := 0, x; at.WaitsFor.Stream != 0 && at.Blocked != InFlight && byID[at.WaitsFor.Stream].Cursor < at.WaitsFor.Mark; steps++ {
				if at = byID[at.WaitsFor.Stream]; steps > len(t.Streams) {
					return fmt.Errorf("stream %d waits for itself", x.ID)
				}
			}
		}
	}
	return nil
}

// invalid returns what is wrong with a group in which no stream wants to be asked.
func (g *Group) invalid() error {
	open, leases := 0, 0
	for _, t := range g.order {
		low := ^uint64(0)
		var all Slots
		for i, x := range t.streams {
			low = min(low, x.ownMark())
			switch {
			case x.gone, x.woken:
				return errors.New("a stream is gone or woken")
			case t.marks[x.heapAt] != x, !slices.Contains(t.lanes[x.owner], x):
				return errors.New("a stream is not where it says")
			case len(x.leases) > 0 && x.leases[0].done():
				return errors.New("the first lease of a stream is done")
			case x.keys != nil && all.Meets(x.keys):
				return errors.New("a slot is in two lanes")
			case len(x.lines) > 4+len(t.crews):
				return errors.New("a stream waits in too many lines")
			case i > 0 && t.pool == nil && x.keys == nil:
				return errors.New("a second lane for all keys")
			}
			if x.keys != nil {
				all.Union(x.keys)
			}
			waiting := make(map[*Stream]bool)
			for _, w := range x.waiters {
				if waiting[w.stream] {
					return errors.New("a stream waits twice for a lane")
				}
				waiting[w.stream] = true
			}
			for _, line := range x.lines {
				if !slices.Contains(line.streams, x) {
					return errors.New("a stream is not in its line")
				}
			}
			for _, l := range x.leases {
				leases++
				if g.leases[l.id] != l || l.stream != x || l.from > l.acked || l.acked > l.to || l.to > t.frontier {
					return errors.New("a lease is broken")
				}
				if !l.done() {
					open++
				}
				if t.pool == nil && l.member.id != x.owner {
					return errors.New("a lease is not of the lane's owner")
				}
			}
		}
		if g.Config.Distribution == ByFID && all != AllSlots {
			return errors.New("a slot is in no lane")
		}
		if low != t.mark {
			return errors.New("the mark is not the smallest of all")
		}
		if err := t.invalidFlight(); err != nil {
			return err
		}
	}
	if open != g.open.Len() || leases != len(g.leases) || g.heard.Len() != len(g.members) {
		return errors.New("a list is not complete")
	}
	return g.invalidLines()
}

// invalidFlight checks what a track remembers of the way ahead.
func (t *Track) invalidFlight() error {
	var sum int64
	for _, f := range t.flight {
		sum += f.bytes
	}
	if sum != t.ahead || len(t.flight) > 3*fineness {
		return errors.New("the way ahead of the mark is not remembered rightly")
	}
	return nil
}

// invalidLines checks that nobody waits who need not.
func (g *Group) invalidLines() error {
	check := func(l *line) error {
		for _, x := range l.streams {
			if x.gone || !slices.Contains(x.lines, l) {
				return errors.New("a line holds a stream that is not there")
			}
		}
		if len(l.streams) > 0 && l.credit != nil && l.credit() > 0 {
			return errors.New("a stream waits for credit and there is some")
		}
		return nil
	}
	lines := []*line{&g.delayed}
	for _, m := range g.members {
		lines = append(lines, &m.line)
	}
	ready := 0
	for _, c := range g.crews {
		lines = append(lines, &c.line)
		ready += len(c.ready)
	}
	for _, m := range g.members {
		if m.crew != nil && m.isReady != m.hasCredit() {
			return errors.New("a member with credit has no turn")
		} else if m.isReady {
			ready--
		}
	}
	for _, t := range g.order {
		lines = append(lines, &t.held, &t.low)
	}
	var errs []error
	for _, l := range lines {
		errs = append(errs, check(l))
	}
	if ready != 0 {
		errs = append(errs, errors.New("somebody is in the row who is no member"))
	}
	return errors.Join(errs...)
}

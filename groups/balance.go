package groups

import "slices"

// rebalance gives every lane an owner, and moves as few keys as make the shares
// of the members even. It is sticky: what is fair stays where it is.
func (g *Group) rebalance() {
	switch g.Config.Distribution {
	case ByMDT:
		g.balanceMDTs()
	case ByFID:
		for _, t := range g.order {
			t.balanceSlots()
		}
	default:
		g.wakeAll(&g.waiting)
	}
}

// ids returns the members that serve an MDT, in the order in which they joined.
func (g *Group) ids(mdt MDT) []MemberID {
	var ids []MemberID
	for id, m := range g.members {
		if m.servesMDT(mdt) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// target is who owns the lane, or will when it is drained.
func (s *Stream) target() MemberID {
	if s.moveTo != 0 {
		return s.moveTo
	}
	return s.owner
}

// give makes member the owner of the lane, at once or when it is drained.
func (s *Stream) give(member MemberID) {
	s.part()
	switch {
	case s.owner == member:
		s.moveTo = 0
	case len(s.leases) == 0:
		s.owner, s.moveTo = member, 0
	default:
		s.moveTo = member
	}
	s.wake()
}

// balanceMDTs shares out whole MDTs.
func (g *Group) balanceMDTs() {
	load := make(map[MemberID]int)
	for _, t := range g.order {
		load[t.streams[0].target()]++
	}
	lightest := func(t *Track) MemberID {
		var best MemberID
		for _, id := range g.ids(t.MDT) {
			if best == 0 || load[id] < load[best] {
				best = id
			}
		}
		return best
	}
	for _, t := range g.order {
		s := t.streams[0]
		from, to := s.target(), lightest(t)
		if to != 0 && (from == 0 || load[to]+1 < load[from]) {
			load[from]--
			load[to]++
			s.give(to)
		}
	}
}

// balanceSlots shares out the slots of one track: those without an owner go to who
// has too few, then who has too many gives some away.
func (t *Track) balanceSlots() {
	ids := t.group.ids(t.MDT)
	if len(ids) == 0 {
		return
	}
	missing := make(map[MemberID]int, len(ids)) // slots below the fair share
	for i, id := range ids {
		missing[id] = SlotCount / len(ids)
		if i < SlotCount%len(ids) {
			missing[id]++
		}
	}
	for _, s := range t.streams {
		if owner := s.target(); owner != 0 {
			missing[owner] -= s.keys.Count()
		}
	}
	for _, s := range slices.Clone(t.streams) {
		surplus := -missing[s.target()]
		if s.target() == 0 {
			surplus = s.keys.Count()
		}
		if surplus > 0 {
			t.giveAway(s, min(surplus, s.keys.Count()), ids, missing)
		}
	}
}

// giveAway moves n slots of a lane to members that have too few.
func (t *Track) giveAway(s *Stream, n int, ids []MemberID, missing map[MemberID]int) {
	from := s.target()
	for _, id := range ids {
		part := min(n, missing[id])
		if part <= 0 {
			continue
		}
		n -= part
		missing[id] -= part
		if from != 0 {
			missing[from] += part
		}
		if part == s.keys.Count() {
			s.give(id)
			return
		}
		keys := *s.keys
		t.split(s, keys.take(part), id)
	}
}

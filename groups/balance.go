package groups

import (
	"cmp"
	"slices"
)

// rebalance gives every lane an owner, and moves as few keys as make the shares
// of the members even. It is sticky: what is fair stays where it is. Its cost grows
// with members and MDTs: it is for when either of them changes.
func (g *Group) rebalance() {
	for _, t := range g.order {
		t.late.wake()
	}
	switch g.Config.Distribution {
	case ByMDT:
		g.balanceMDTs()
	case ByFID:
		for _, t := range g.order {
			t.balanceSlots()
		}
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
	if s.owner == member || len(s.leases) == 0 {
		s.moveAtOnce(member)
		return
	}
	s.moveTo = member
	s.wake()
	s.track.stir(s.owner)
}

// balanceMDTs shares out whole MDTs: those without an owner first, then from who has
// most to who has least, until no single move makes the shares more even.
func (g *Group) balanceMDTs() {
	load := make(map[MemberID]int)
	servers := make(map[*Track][]MemberID, len(g.order))
	for _, t := range g.order {
		load[t.streams[0].target()]++
		servers[t] = g.ids(t.MDT)
	}
	lightest := func(t *Track) MemberID {
		ids := servers[t]
		if len(ids) == 0 {
			return 0
		}
		return slices.MinFunc(ids, func(a, b MemberID) int { return cmp.Compare(load[a], load[b]) })
	}
	move := func(t *Track, to MemberID) {
		load[t.streams[0].target()]--
		load[to]++
		t.streams[0].give(to)
	}
	for _, t := range g.order {
		if to := lightest(t); to != 0 && t.streams[0].target() == 0 {
			move(t, to)
		}
	}
	for {
		var heaviest *Track
		gain := 1 // of a move that changes nothing but who has more
		for _, t := range g.order {
			if from := t.streams[0].target(); from != 0 && load[from]-load[lightest(t)] > gain {
				heaviest, gain = t, load[from]-load[lightest(t)]
			}
		}
		if heaviest == nil {
			return
		}
		move(heaviest, lightest(heaviest))
	}
}

// balanceSlots shares out the slots of one track: those without an owner go to who
// has too few, then who has too many gives some away, small lanes first, so that
// fewer have to be split.
func (t *Track) balanceSlots() {
	ids := t.group.ids(t.MDT)
	if len(ids) == 0 {
		return
	}
	missing := t.missing(ids)
	streams := slices.Clone(t.streams)
	slices.SortStableFunc(streams, func(a, b *Stream) int { return cmp.Compare(a.keys.Count(), b.keys.Count()) })
	for _, s := range streams {
		if s.target() == 0 {
			t.giveAway(s, s.keys.Count(), ids, missing)
		}
	}
	for _, s := range streams {
		if surplus := -missing[s.target()]; surplus > 0 {
			t.giveAway(s, min(surplus, s.keys.Count()), ids, missing)
		}
	}
}

// missing returns how many slots each member is below its share. Shares differ by
// one if they must: who has one more keeps it, who has fewest gets one.
func (t *Track) missing(ids []MemberID) map[MemberID]int {
	has := make(map[MemberID]int, len(ids))
	for _, s := range t.streams {
		has[s.target()] += s.keys.Count()
	}
	fair, extra := SlotCount/len(ids), SlotCount%len(ids)
	order := slices.Clone(ids)
	slices.SortStableFunc(order, func(a, b MemberID) int {
		return cmp.Or(-compareBool(has[a] > fair, has[b] > fair), cmp.Compare(has[a], has[b]))
	})
	missing := make(map[MemberID]int, len(ids))
	for i, id := range order {
		missing[id] = fair - has[id]
		if i < extra {
			missing[id]++
		}
	}
	return missing
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
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

// anotherOwner returns the member with the smallest share that could own the lane
// instead of its owner; 0 if there is none.
func (t *Track) anotherOwner(s *Stream) MemberID {
	load := make(map[MemberID]int)
	tracks := t.group.order
	if s.keys != nil {
		tracks = []*Track{t}
	}
	for _, t := range tracks {
		for _, s := range t.streams {
			load[s.target()] += s.size()
		}
	}
	var best MemberID
	for _, id := range t.group.ids(t.MDT) {
		if id != s.owner && (best == 0 || load[id] < load[best]) {
			best = id
		}
	}
	return best
}

// size is what the lane counts for in a share: its slots, of mdt 1.
func (s *Stream) size() int {
	if s.keys == nil {
		return 1
	}
	return s.keys.Count()
}

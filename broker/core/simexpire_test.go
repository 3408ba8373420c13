package core

import (
	"fmt"
	"slices"
	"time"
)

// limit has an operator say when a group counts as abandoned.
func (w *world) limit() {
	name := fmt.Sprintf("g%d", w.rng.IntN(3))
	l := Limits{Backlog: uint64(w.rng.IntN(2) * w.rng.IntN(60)), Idle: time.Duration(w.rng.IntN(2)*w.rng.IntN(20)) * time.Second, Expire: w.rng.IntN(3) != 0}
	g, inCore := w.groups[name], w.core.groups[name]
	if g == nil || inCore == nil || !inCore.onDisk {
		return
	}
	g.expires = g.expires || l.Expire
	w.note("limit %s: %+v", name, l)
	w.do(SetLimits{Group: name, Limits: l})
}

// lost hears what a group is told to have lost. What it gave up must be its to give up, and
// above what it has.
func (w *world) lost(o Lost) {
	if !o.Expired {
		return
	}
	w.note("%s gives up (%d,%d] of MDT %d, told to %d", o.Group, o.Range.From, o.Range.To, o.MDT, o.Peer)
	if o.Peer != 0 {
		i := slices.IndexFunc(w.owed[o.Peer], func(x Lost) bool { return x == o })
		if i < 0 {
			w.fail("member %d is told that %+v is missing, and that is not so", o.Peer, o)
		}
		w.owed[o.Peer] = slices.Delete(w.owed[o.Peer], i, i+1)
		return
	}
	g := w.groups[o.Group]
	if g == nil || !g.expires {
		w.fail("%s gives something up, and is not to expire", o.Group)
	}
	w.checkGivesUp(g, o)
	g.moved = true
	g.passed[o.MDT] = make(map[uint64]bool)
	x := Missed{Epoch: o.Epoch, Range: o.Range}
	g.gaveUp[o.MDT], g.ever[o.MDT] = append(g.gaveUp[o.MDT], x), append(g.ever[o.MDT], x)
}

// checkGivesUp demands that a group is abandoned that gives something up, and that this is
// not kept for another one.
func (w *world) checkGivesUp(g *worldGroup, o Lost) {
	limits, lag := w.core.groups[o.Group].limits, w.core.mdts[o.MDT].lastRead-o.Range.From
	here := slices.ContainsFunc(w.members, func(m *worldMember) bool { return m.ready && m.group == o.Group })
	owes := slices.ContainsFunc(g.gaveUp[o.MDT], func(x Missed) bool { return !x.Told })
	switch {
	case !limits.Expire:
		w.fail("%s gives something up, and is not to", o.Group)
	case limits.Backlog > 0 && lag > limits.Backlog, limits.Idle > 0 && w.now.Sub(g.heard) >= limits.Idle, owes && !here:
	default:
		w.fail("%s gives something up, with limits %+v, lag %d, and heard %s ago", o.Group, limits, lag, w.now.Sub(g.heard))
	}
	for name, other := range w.disk.groups {
		mark := w.disk.marks[markKey(name, o.MDT)]
		x := w.core.groups[name]
		if x != nil && !x.limits.Expire && w.isFor(name, o.MDT) && x.Config == other.Config && mark.Epoch == o.Epoch && mark.Mark < o.Range.To && x.onDisk {
			w.fail("%s gives up (%d,%d], and %s holds back what is above %d", o.Group, o.Range.From, o.Range.To, name, mark.Mark)
		}
	}
}

// owe notes what a member that joins is to be told: what its group gave up, and nobody who
// was told has acknowledged anything since.
func (w *world) owe(m *worldMember) {
	if w.owed == nil {
		w.owed = make(map[Peer][]Lost)
	}
	for _, x := range w.mdts {
		for _, gap := range merged(w.groups[m.group].gaveUp[x.id]) {
			if !gap.Told {
				w.owed[m.id] = append(w.owed[m.id], Lost{Peer: m.id, Group: m.group, MDT: x.id, Epoch: gap.Epoch, Range: gap.Range, Expired: true})
			}
		}
	}
}

// merged makes one range of those that follow each other.
func merged(list []Missed) (short []Missed) {
	for _, x := range list {
		if n := len(short); n > 0 && short[n-1].Epoch == x.Epoch && short[n-1].To == x.From && !short[n-1].Told && !x.Told {
			short[n-1].To = x.To
		} else {
			short = append(short, x)
		}
	}
	return short
}

// known notes that a group has acknowledged something: it knows what it missed.
func (g *worldGroup) known(now time.Time) {
	g.heard = now
	for _, list := range g.gaveUp {
		for i := range list {
			list[i].Told = true
		}
	}
}

// checkMissed demands of what is written of a track that exactly that is missing which the
// group was told, and that nothing of it is ever forgotten.
func (w *world) checkMissed(old, s MarkState) {
	g := w.groups[s.Group]
	if g == nil {
		return // it is being deleted
	}
	for _, x := range old.Missed {
		if !slices.ContainsFunc(s.Missed, func(y Missed) bool { return y.Epoch == x.Epoch && y.From <= x.From && y.To >= x.To }) {
			w.fail("%s forgets that it has missed %v", s.Group, x)
		}
	}
	told := merged(g.ever[s.MDT])
	for _, x := range s.Missed {
		if !slices.ContainsFunc(told, func(y Missed) bool { return y.Epoch == x.Epoch && y.From <= x.From && y.To >= x.To }) {
			w.fail("%s has missed %v on disk, and was told %v", s.Group, x, told)
		}
		if x.Epoch == w.mdts[s.MDT].epoch {
			g.pardon(w.mdts[s.MDT], x.To)
		}
	}
}

// missedOnDisk tells whether the state says that a group gave up a record.
func (w *world) missedOnDisk(name string, m *worldMDT, index uint64) bool {
	return slices.ContainsFunc(w.disk.marks[markKey(name, m.id)].Missed, func(x Missed) bool {
		return x.Epoch == m.epoch && index > x.From && index <= x.To
	})
}

// recall has the oracle remember, at a start, what the state says that each group gave up:
// what was not on disk was not given up.
func (w *world) recall(g *worldGroup) {
	for id := range g.gaveUp {
		delete(g.gaveUp, id)
	}
	for _, m := range w.mdts {
		if list := w.disk.marks[markKey(g.name, m.id)].Missed; len(list) > 0 {
			g.gaveUp[m.id] = slices.Clone(list)
			g.ever[m.id] = append(g.ever[m.id], list...)
		}
	}
	g.expires = g.expires || w.disk.groups[g.name].Limits.Expire
	g.heard = time.Time{}
}

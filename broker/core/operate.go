package core

import (
	"fmt"
	"slices"
)

// apply makes a group. It counts for every clear from now on, and members may join
// when it is on disk.
func (ev CreateGroup) apply(c *Core) {
	if c.groups[ev.Config.Name] != nil {
		return
	}
	g := c.addGroup(GroupState(ev), false)
	for _, m := range c.order {
		start := m.clear.reserved
		if ev.Start == Latest {
			start = max(start, m.lastRead)
		}
		c.addTrack(g, m, MarkState{Mark: start, Ceiling: start})
		c.touch(g.tracks[len(g.tracks)-1])
	}
	c.persist.created = append(c.persist.created, g)
}

// apply ends a group: its members are sent away, its hold on the changelogs ends.
func (ev DeleteGroup) apply(c *Core) {
	g := c.groups[ev.Group]
	if g == nil {
		return
	}
	for _, name := range sortedNames(g.members) {
		id := g.members[name]
		c.leave(id)
		c.emit(Disconnect{Peer: id, Reason: fmt.Sprintf("group %s was deleted", ev.Group)})
	}
	for _, j := range g.joins {
		c.emit(Refuse{j.Peer, fmt.Errorf("%w %q: it was deleted", ErrUnknownGroup, ev.Group)})
	}
	g.joins = nil
	for _, t := range g.tracks {
		c.dropTrack(t)
	}
	delete(c.groups, ev.Group)
	c.names = slices.DeleteFunc(c.names, func(n string) bool { return n == ev.Group })
	c.persist.created = slices.DeleteFunc(c.persist.created, func(x *group) bool { return x == g })
	c.persist.deleted = append(c.persist.deleted, g)
}

// dropTrack takes a track out of its MDT, and its streams out of all lists.
func (c *Core) dropTrack(t *track) {
	streams := slices.Clone(t.Streams())
	for _, s := range streams {
		c.leaveFeed(s)
	}
	delete(c.tracks, t.Track)
	m := t.mdt
	m.live.waiters = slices.DeleteFunc(m.live.waiters, t.owns)
	m.queue = slices.DeleteFunc(m.queue, t.owns)
	m.tracks = slices.DeleteFunc(m.tracks, func(x *track) bool { return x == t })
	if m.foremost == t {
		m.foremost = nil
	}
}

func sortedNames(members map[string]Peer) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (ev PauseGroup) apply(c *Core) {
	if g := c.groups[ev.Group]; g != nil {
		g.Pause(ev.Paused)
		c.collect(g)
	}
}

// apply sets where a group goes on. All its leases there end.
func (ev Seek) apply(c *Core) {
	t := c.trackNamed(ev.Group, ev.MDT)
	if t == nil {
		return
	}
	index := max(ev.Index, t.mdt.clear.reserved)
	c.startAt(t, index)
	t.durable = min(t.durable, index) // from now on it holds the clear back
	c.collect(t.group)
}

func (ev AddMDT) apply(c *Core) {
	if c.mdts[ev.State.MDT] != nil {
		return
	}
	m := c.addMDT(ev.State, nil)
	c.touchMDT(m)
	for _, t := range m.tracks {
		c.touch(t)
	}
}

// apply stops serving an MDT: its readings end, and every group's way through it.
func (ev RemoveMDT) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil {
		return
	}
	for _, t := range slices.Clone(m.tracks) {
		c.dropTrack(t)
		t.group.tracks = slices.DeleteFunc(t.group.tracks, func(x *track) bool { return x == t })
		if err := t.group.RemoveMDT(m.id); err != nil {
			panic(err) // the group has a track there, or t would not exist
		}
		c.collect(t.group)
	}
	c.closeFeeds(m)
	delete(c.mdts, m.id)
	c.order = slices.DeleteFunc(c.order, func(x *mdt) bool { return x == m })
	c.persist.removed = append(c.persist.removed, m.id)
}

func (ev Skip) apply(c *Core) {
	t := c.trackNamed(ev.Group, ev.MDT)
	if t == nil {
		return
	}
	if err := t.group.Skip(ev.MDT, ev.Index); err != nil {
		c.emit(Alarm{MDT: ev.MDT, Text: err.Error()})
	}
	c.collect(t.group)
}

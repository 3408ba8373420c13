package core

import (
	"fmt"
	"slices"

	"github.com/lcapd/lcapd/groups"
)

func (r CreateGroup) do(c *Core) error {
	name := r.Config.Name
	if c.groups[name] != nil {
		return fmt.Errorf("%w: %s", ErrGroupExists, name)
	}
	for _, id := range r.MDTs {
		if c.mdts[id] == nil {
			return fmt.Errorf("%w %d", ErrUnknownMDT, id)
		}
	}
	g := c.addGroup(r.GroupState, false)
	for _, m := range c.order {
		if !g.isFor(m.id) {
			continue
		}
		start := m.start(r.Start)
		c.addTrack(g, m, MarkState{Mark: start, Ceiling: start})
		c.touch(g.tracks[len(g.tracks)-1])
	}
	c.touchGroup(g)
	return nil
}

// start is the mark of a group that begins now. It is not above a hole that was not
// looked at twice: as if no mark on disk ever is.
func (m *mdt) start(s Start) uint64 {
	if s == Latest {
		return max(m.clear.reserved, m.seen())
	}
	return m.clear.reserved
}

// do ends a group: its members are sent away, its hold on the changelogs ends.
func (r DeleteGroup) do(c *Core) error {
	g, err := c.groupNamed(r.Group)
	if err != nil {
		return err
	}
	for _, name := range sortedNames(g.members) {
		id := g.members[name]
		c.leave(id)
		c.emit(Disconnect{Peer: id, Reason: fmt.Sprintf("group %s was deleted", r.Group)})
	}
	for _, j := range g.joins {
		c.emit(Refuse{Peer: j.Peer, Err: fmt.Errorf("%w %q: it was deleted", ErrUnknownGroup, r.Group)})
	}
	g.joins = nil
	for _, t := range g.tracks {
		c.dropTrack(t)
	}
	delete(c.groups, r.Group)
	c.names = slices.DeleteFunc(c.names, func(n string) bool { return n == r.Group })
	c.persist.groups = slices.DeleteFunc(c.persist.groups, func(x *group) bool { return x == g })
	if g.onDisk || c.persist.isWriting(g) {
		c.persist.deleted = append(c.persist.deleted, g)
	}
	return nil
}

// dropTrack takes a track out of its MDT, and its streams out of all lists.
func (c *Core) dropTrack(t *track) {
	streams := slices.Clone(t.Streams())
	for _, s := range streams {
		c.leaveFeed(consumerOf(s))
	}
	c.endChain(t)
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

// groupNamed returns a group, or [ErrUnknownGroup].
func (c *Core) groupNamed(name string) (*group, error) {
	g := c.groups[name]
	if g == nil {
		return nil, fmt.Errorf("%w %q", ErrUnknownGroup, name)
	}
	return g, nil
}

// trackNamed returns a group's way through an MDT, or [ErrUnknownGroup] or [ErrUnknownMDT].
func (c *Core) trackNamed(name string, id groups.MDT) (*track, error) {
	g, err := c.groupNamed(name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(g.tracks, func(t *track) bool { return t.mdt.id == id })
	if i < 0 {
		return nil, fmt.Errorf("group %s: %w %d", name, ErrUnknownMDT, id)
	}
	return g.tracks[i], nil
}

func (r PauseGroup) do(c *Core) error {
	g, err := c.groupNamed(r.Group)
	if err != nil {
		return err
	}
	g.paused = r.Paused
	g.Pause(r.Paused)
	for _, t := range g.tracks {
		if !r.Paused {
			_ = g.Resume(t.mdt.id) // it has a track there
		}
	}
	c.touchGroup(g)
	c.collect(g)
	return nil
}

// do sets where a group goes on. All its leases there end.
func (r Seek) do(c *Core) error {
	t, err := c.trackNamed(r.Group, r.MDT)
	if err != nil {
		return err
	}
	if cleared := t.mdt.clear.reserved; r.Index < cleared {
		return fmt.Errorf("group %s, index %d: %w: %d", r.Group, r.Index, ErrBelowClear, cleared)
	}
	t.group.acked = c.now // somebody cares for it
	c.startAt(t, r.Index)
	t.durable = min(t.durable, r.Index) // from now on it holds the clear back
	c.collect(t.group)
	return nil
}

func (r AddMDT) do(c *Core) error {
	if c.mdts[r.State.MDT] != nil {
		return fmt.Errorf("%w: %d", ErrMDTExists, r.State.MDT)
	}
	m := c.addMDT(r.State, nil)
	c.touchMDT(m)
	for _, t := range m.tracks {
		c.touch(t)
	}
	return nil
}

// do stops serving an MDT: its readings end, and every group's way through it.
func (r RemoveMDT) do(c *Core) error {
	m := c.mdts[r.MDT]
	if m == nil {
		return fmt.Errorf("%w %d", ErrUnknownMDT, r.MDT)
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
	c.dropLate(m)
	delete(c.mdts, m.id)
	c.order = slices.DeleteFunc(c.order, func(x *mdt) bool { return x == m })
	c.persist.removed = append(c.persist.removed, m.id)
	return nil
}

// do has an MDT read again that was stopped, and chains begin again that failed.
func (r Restart) do(c *Core) error {
	m := c.mdts[r.MDT]
	if m == nil {
		return fmt.Errorf("%w %d", ErrUnknownMDT, r.MDT)
	}
	for _, t := range m.tracks {
		if x := t.chain; x != nil && !x.retryAt.IsZero() {
			c.failing = slices.DeleteFunc(c.failing, func(f *chain) bool { return f == x })
			c.retryChain(x)
		}
	}
	if m.stopped {
		m.stopped = false
		c.enqueueAll(&m.queue)
		c.tickMDT(m)
	}
	return nil
}

func (r Skip) do(c *Core) error {
	t, err := c.trackNamed(r.Group, r.MDT)
	if err != nil {
		return err
	}
	err = t.group.Skip(r.MDT, r.Index)
	c.collect(t.group)
	return err
}

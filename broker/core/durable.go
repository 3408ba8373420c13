package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

// persist is what is to be written to the state, and what is being written.
type persist struct {
	seq      uint64
	underway *writing
	begun    time.Time // when it began
	last     time.Time // of the last write that ended
	failed   bool      // the last one did: wait before the next
	urgent   bool      // somebody waits for it
	ended    bool      // nothing is handed out any more
	trouble  trouble   // with writing
	groups   []*group  // created or changed
	deleted  []*group
	dirty    []*track
	removed  []groups.MDT
	mdts     []*mdt
}

// writing is what is on its way to the disk. It names groups and tracks by what they
// are: another group may have taken a name meanwhile.
type writing struct {
	ended   bool // see persist
	groups  []*group
	saved   []GroupState // of groups
	deleted []*group
	tracks  []*track
	ways    []*groups.Track // of tracks: a seek or a reset gives a track another one
	marks   []MarkState     // of tracks
	removed []groups.MDT
	mdts    []*mdt
	states  []MDTState // of mdts
}

func (w *writing) update() Update {
	u := Update{Ended: w.ended, Groups: w.saved, Marks: w.marks, Removed: w.removed, MDTs: w.states}
	for _, g := range w.deleted {
		u.Deleted = append(u.Deleted, g.Config.Name)
	}
	return u
}

// touch notes that something durable of a track has changed.
func (c *Core) touch(t *track) {
	if !t.dirty {
		t.dirty = true
		c.persist.dirty = append(c.persist.dirty, t)
	}
}

// touchMDT notes that something durable of an MDT has changed.
func (c *Core) touchMDT(m *mdt) {
	if !m.dirty {
		m.dirty = true
		c.persist.mdts = append(c.persist.mdts, m)
	}
}

// touchGroup notes that something durable of a group has changed.
func (c *Core) touchGroup(g *group) {
	if !g.dirty {
		g.dirty = true
		c.persist.groups = append(c.persist.groups, g)
	}
}

// isWriting tells whether the group is on its way to the disk.
func (p *persist) isWriting(g *group) bool {
	return p.underway != nil && slices.Contains(p.underway.groups, g)
}

// idle tells whether there is nothing to write.
func (p *persist) idle() bool {
	return len(p.groups)+len(p.deleted)+len(p.dirty)+len(p.removed)+len(p.mdts) == 0
}

// writeState starts a write when something waits for it: at once if somebody does,
// else after a while.
func (c *Core) writeState(urgent bool) {
	p := &c.persist
	p.urgent = p.urgent || urgent
	if p.underway != nil || p.idle() {
		return
	}
	wait := c.cfg.PersistEvery
	switch {
	case p.failed:
		wait = c.cfg.RetryAfter
	case p.urgent || len(p.groups)+len(p.deleted) > 0:
		wait = 0
	}
	if c.now.Sub(p.last) < wait {
		return
	}
	p.urgent = false
	p.seq++
	w := &writing{ended: p.ended, groups: p.groups, deleted: p.deleted, removed: p.removed}
	for _, g := range p.groups {
		g.dirty = false
		w.saved = append(w.saved, g.state())
	}
	for _, m := range p.mdts {
		m.dirty = false
		if c.mdts[m.id] == m {
			w.mdts, w.states = append(w.mdts, m), append(w.states, m.state())
		}
	}
	for _, t := range p.dirty {
		t.dirty = false
		if c.exists(t) {
			w.tracks, w.ways, w.marks = append(w.tracks, t), append(w.ways, t.Track), append(w.marks, t.state())
		}
	}
	*p = persist{ended: p.ended, seq: p.seq, last: p.last, failed: p.failed, trouble: p.trouble, underway: w, begun: c.now}
	c.emit(Persist{Seq: p.seq, Update: w.update()})
}

// seen is up to where everything was read that there is: a hole that was not looked
// at twice may still show something.
func (m *mdt) seen() uint64 { return min(m.lastRead, m.floor()) }

// state is what of an MDT is to be durable now.
func (m *mdt) state() MDTState {
	m.forgetUpTo(m.clear.reserved)
	return MDTState{MDT: m.id, Epoch: m.epoch, Cleared: m.clear.reserved, Read: m.seen(), Recent: slices.Concat(m.ladder, m.recent)}
}

// exists tells whether the track is still one of an existing group.
func (c *Core) exists(t *track) bool {
	return c.groups[t.group.Config.Name] == t.group && slices.Contains(t.group.tracks, t)
}

// state is what of a track is to be durable now.
func (t *track) state() MarkState {
	least := t.durable
	if t.seek {
		least = t.sought
	}
	mark := min(t.Mark(), max(t.mdt.floor(), least))
	return MarkState{
		Group: t.group.Config.Name, MDT: t.mdt.id, Epoch: t.mdt.epoch,
		Mark: mark, Ceiling: t.wanted, Seek: t.seek, Since: t.idleSince(), Missed: t.missed,
	}
}

// apply takes over what is on disk now, or puts back what is not.
func (ev Persisted) apply(c *Core) {
	p := &c.persist
	if p.underway == nil || ev.Seq != p.seq {
		return
	}
	w := p.underway
	p.underway, p.last, p.failed = nil, c.now, ev.Err != nil
	p.trouble.note(ev.Err, c.now)
	if ev.Err != nil {
		c.emit(Alarm{Kind: wire.StateUnwritable, General: true, Err: ev.Err, Text: fmt.Sprintf("the state could not be written, so nothing is cleared: %v", ev.Err)})
		c.putBack(w)
		return
	}
	for _, g := range w.groups {
		g.onDisk = true
		if c.groups[g.Config.Name] != g {
			continue // it was deleted meanwhile, and another one may have its name
		}
		if !g.dirty { // else it has changed since, and is written again
			c.emit(GroupStored{Group: g.Config.Name})
		}
		for _, j := range g.joins {
			j.apply(c)
		}
		g.joins = nil
	}
	for i, t := range w.tracks {
		s := w.marks[i]
		if t.Track != w.ways[i] {
			continue // it was moved meanwhile, and that mark is no longer its own
		}
		t.durable, t.ceiling = s.Mark, max(t.ceiling, min(s.Ceiling, t.wanted))
		t.seek = t.seek && !s.Seek
		t.CeilingRaised()
		c.collect(t.group)
	}
	for i, m := range w.mdts {
		if w.states[i].Epoch == m.epoch {
			m.clear.onDisk = w.states[i].Cleared
		}
	}
	for _, m := range c.order {
		c.clear(m)
	}
}

// putBack has what could not be written written again, before anything newer.
func (c *Core) putBack(w *writing) {
	p := &c.persist
	for _, g := range w.groups {
		if c.groups[g.Config.Name] == g {
			c.touchGroup(g)
		} else if !g.onDisk { // it never was, so it need not be deleted
			p.deleted = slices.DeleteFunc(p.deleted, func(x *group) bool { return x == g })
		}
	}
	p.deleted = append(w.deleted, p.deleted...)
	p.removed = append(w.removed, p.removed...)
	for _, m := range w.mdts {
		c.touchMDT(m)
	}
	for _, t := range w.tracks {
		c.touch(t)
	}
}

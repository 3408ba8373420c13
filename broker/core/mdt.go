package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// mdt is one MDT: how it is read, and what of it is cleared.
type mdt struct {
	id       groups.MDT
	epoch    Epoch
	tracks   []*track
	live     *feed
	reopenAt time.Time // when the live reading starts again; zero while it runs
	stopped  bool      // what it shows are no records: nothing is read until Restart
	catchUps []*feed
	queue    []*groups.Stream // that wait for a catch-up to be free
	lastRead uint64
	foremost *track // that was found to be far enough ahead last time
	dirty    bool   // what is durable of it is to be written
	holes    []hole // not yet known to be empty, by index: the live reading finds them so
	clear    clearing
}

// hole is a range without records that the clear stays below, until a second
// reading shows that it is empty.
type hole struct {
	Range
	seen     time.Time
	checking bool
}

// clearing is how far an MDT is cleared.
//
// Invariant: sent <= onDisk <= reserved, and none of them falls within an epoch. So
// a start after a crash knows what may have been cleared.
type clearing struct {
	reserved uint64 // what may be cleared, by the marks on disk
	onDisk   uint64 // what of it the state says
	sent     uint64 // the last clear that was sent, whatever came of it
	at       time.Time
	underway bool
	again    bool   // the last one failed in a way that may pass: send it again
	refused  uint64 // the MDT refused it: only a higher one is tried
}

// openLive starts the live reading: where the foremost group goes on, or behind
// what was read last.
func (c *Core) openLive(m *mdt) {
	from := m.clear.reserved
	if len(m.tracks) == 0 {
		from = max(from, m.lastRead)
	}
	for _, t := range m.tracks {
		from = max(from, t.Mark())
	}
	m.lastRead = max(m.lastRead, from) // a mark is never above what was read
	m.live = c.openFeed(m, from, 0)
}

// tickMDT does what is due.
func (c *Core) tickMDT(m *mdt) {
	if !m.stopped && !m.reopenAt.IsZero() && !c.now.Before(m.reopenAt) {
		m.reopenAt = time.Time{}
		c.reopen(m)
	}
	c.checkHoles(m)
	for _, f := range slices.Clone(m.catchUps) {
		if len(f.users) == 0 && c.now.Sub(f.left) >= c.cfg.Linger {
			c.closeFeed(f)
		}
	}
	c.clear(m)
}

// apply has an MDT read again that was stopped.
func (ev Restart) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil || !m.stopped {
		return
	}
	m.stopped = false
	c.enqueueAll(&m.queue)
	c.tickMDT(m)
}

// reopen lets the live reading go on, with the window that it has.
func (c *Core) reopen(m *mdt) {
	f := m.live
	c.lastReader++
	f.id = c.lastReader
	c.feeds[f.id] = f
	c.emit(OpenReader{Reader: f.id, MDT: m.id, From: f.end})
	c.grant(f)
}

// noteHoles remembers the holes of a batch of the live reading, which sees each once.
// Catch-ups read what lies below the marks on disk, and no mark is above a hole that
// was not looked at twice.
func (c *Core) noteHoles(m *mdt, b *Batch) {
	for _, r := range b.Holes {
		if r.To > m.clear.reserved {
			m.holes = append(m.holes, hole{Range: r, seen: c.now})
		}
	}
}

// floor is what no mark on disk, and so no clear, may be above: the start of the
// first hole that is not known to be empty.
func (m *mdt) floor() uint64 {
	if len(m.holes) == 0 {
		return ^uint64(0)
	}
	return m.holes[0].From
}

// checkHoles asks for a second look at the holes that are due.
func (c *Core) checkHoles(m *mdt) {
	for i := range m.holes {
		h := &m.holes[i]
		if c.now.Sub(h.seen) < c.cfg.HoleDelay {
			continue
		}
		if !h.checking {
			h.checking = true
			c.emit(CheckHole{MDT: m.id, Epoch: m.epoch, Hole: h.Range})
		}
	}
}

// apply ends the wait for a hole: an empty one is forgotten. Records that were
// found in it are late.
func (ev HoleChecked) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil {
		return
	}
	i := slices.IndexFunc(m.holes, func(h hole) bool { return h.Range == ev.Hole })
	if i < 0 {
		return
	}
	if ev.Err != nil || len(ev.Found) > 0 {
		m.holes[i].checking, m.holes[i].seen = false, c.now
		c.emit(Alarm{MDT: m.id, Text: fmt.Sprintf("hole (%d,%d]: %d late batches, %v", ev.Hole.From, ev.Hole.To, len(ev.Found), ev.Err)})
		return
	}
	m.holes = slices.Delete(m.holes, i, i+1)
	for _, t := range m.tracks {
		c.touch(t)
	}
}

// clear acknowledges to the MDT what every group has on disk as acknowledged, after
// the state says that this is going to be cleared.
func (c *Core) clear(m *mdt) {
	k := &m.clear
	if target := m.clearable(); target > k.reserved {
		k.reserved = target
		c.touchMDT(m)
	}
	since := c.now.Sub(k.at)
	switch {
	case k.underway, k.onDisk == 0, k.onDisk <= k.refused, since < c.cfg.ClearEvery:
		return
	case k.again && since < c.cfg.RetryAfter:
		return
	case k.onDisk == k.sent && !k.again && since < c.cfg.ClearAgain:
		return
	}
	k.sent, k.at, k.underway, k.again = k.onDisk, c.now, true, false
	c.emit(Clear{MDT: m.id, Epoch: m.epoch, Index: k.sent})
}

// clearable is the smallest durable mark of all groups; 0 without groups. A group
// that is being deleted does not count: what is cleared without it is reserved on disk
// in the write that deletes it, or later.
func (m *mdt) clearable() uint64 {
	if len(m.tracks) == 0 {
		return 0
	}
	target := min(m.floor(), m.lastRead)
	for _, t := range m.tracks {
		target = min(target, t.durable)
	}
	return target
}

// apply hears what came of a clear. One that the MDT refused is never simply
// repeated: some Lustre versions destroy users then (ABI 9.2).
func (ev Cleared) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil || m.epoch != ev.Epoch {
		return
	}
	k := &m.clear
	k.underway = false
	switch {
	case ev.Err == nil:
		return
	case ev.Refused:
		k.refused = ev.Index
		c.emit(Alarm{MDT: m.id, Text: fmt.Sprintf("the MDT refused to clear %d: %v; check that the changelog user is still registered", ev.Index, ev.Err)})
	default:
		k.again = true
		c.emit(Alarm{MDT: m.id, Text: fmt.Sprintf("could not clear %d: %v", ev.Index, ev.Err)})
	}
}

// apply tells every group what it lost. Its way goes over the purged range like
// over any other that has no records.
func (ev Purged) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil {
		return
	}
	for _, t := range m.tracks {
		c.tellLost(t, ev.To)
	}
}

// tellLost reports, once, that what a track has not acknowledged up to to is gone.
func (c *Core) tellLost(t *track, to uint64) {
	from := max(t.Mark(), t.lost)
	if from >= to {
		return
	}
	t.lost = to
	c.emit(Lost{Group: t.group.Config.Name, MDT: t.mdt.id, Epoch: t.mdt.epoch, Range: Range{from, to}})
}

// apply begins a new epoch: every group's way through the MDT starts at 0, and so
// does the clear. What was on its way for the old epoch is ignored when it comes.
func (ev Reset) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil || ev.Epoch <= m.epoch {
		return
	}
	for _, t := range m.tracks {
		c.tellLost(t, m.lastRead)
	}
	c.closeFeeds(m)
	m.epoch, m.lastRead, m.holes = ev.Epoch, 0, nil
	m.clear = clearing{at: c.now}
	for _, t := range m.tracks {
		c.startAt(t, 0)
		t.durable, t.ceiling, t.before, t.wanted, t.lost = 0, 0, 0, 0, 0
	}
	c.touchMDT(m)
	c.writeState(true)
	c.openLive(m)
	for _, t := range m.tracks {
		c.collect(t.group)
	}
}

// startAt lets a group go on elsewhere: its leases in the MDT end.
func (c *Core) startAt(t *track, index uint64) {
	for _, s := range slices.Clone(t.Streams()) {
		c.leaveFeed(s)
	}
	if err := t.group.Seek(t.mdt.id, index); err != nil {
		panic(err) // the group has a track there, or t would not exist
	}
	delete(c.tracks, t.Track)
	t.Track = t.group.Track(t.mdt.id)
	c.tracks[t.Track] = t
	t.seek = true
	c.touch(t)
}

// closeFeeds ends all readings of the MDT.
func (c *Core) closeFeeds(m *mdt) {
	for _, f := range slices.Clone(m.catchUps) {
		c.closeFeed(f)
	}
	m.reopenAt, m.stopped = time.Time{}, false
	c.closeFeed(m.live)
}

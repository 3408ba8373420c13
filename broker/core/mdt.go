package core

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// mdt is one MDT: how it is read, and what of it is cleared.
type mdt struct {
	id       groups.MDT
	epoch    Epoch
	tracks   []*track
	leaving  []*track // of groups whose deletion is not on disk yet: they still count for the clear
	live     *feed
	reopenAt time.Time // when the live reading starts again; zero while it runs
	catchUps []*feed
	queue    []*groups.Stream // that wait for a catch-up to be free
	lastRead uint64
	foremost *track // that was found to be far enough ahead last time
	holes    []hole // not yet known to be empty, by index
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
// Invariant: sent never falls within an epoch.
type clearing struct {
	sent     uint64 // the last clear that was sent, whatever came of it
	at       time.Time
	underway bool
	again    bool   // the last one failed in a way that may pass: send it again
	refused  uint64 // the MDT refused it: only a higher one is tried
}

// openLive starts the live reading: where the foremost group goes on, or behind
// what was read last.
func (c *Core) openLive(m *mdt) {
	from := m.clear.sent
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
	if !m.reopenAt.IsZero() && !c.now.Before(m.reopenAt) {
		m.reopenAt = time.Time{}
		c.reopen(m)
	}
	for i := range m.holes {
		h := &m.holes[i]
		if !h.checking && c.now.Sub(h.seen) >= c.cfg.HoleDelay {
			h.checking = true
			c.emit(CheckHole{MDT: m.id, Hole: h.Range})
		}
	}
	for _, f := range slices.Clone(m.catchUps) {
		if len(f.users) == 0 && len(f.waiters) == 0 {
			c.closeFeed(f)
		}
	}
	c.clear(m)
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

// noteHoles remembers the holes of a batch, once.
func (c *Core) noteHoles(m *mdt, b *Batch) {
	for _, r := range b.Holes {
		known := slices.ContainsFunc(m.holes, func(h hole) bool { return h.From <= r.From && r.To <= h.To })
		if known || r.To <= m.clear.sent || b != m.newest() {
			continue
		}
		m.holes = append(m.holes, hole{Range: r, seen: c.now})
	}
}

// newest returns the newest batch of the live reading.
func (m *mdt) newest() *Batch {
	if m.live == nil || len(m.live.batches) == 0 {
		return nil
	}
	return m.live.batches[len(m.live.batches)-1]
}

// floor is what no mark on disk, and so no clear, may be above: the start of the
// first hole that is not known to be empty.
func (m *mdt) floor() uint64 {
	low := ^uint64(0)
	for _, h := range m.holes {
		low = min(low, h.From)
	}
	return low
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

// clear acknowledges to the MDT what every group has on disk as acknowledged.
func (c *Core) clear(m *mdt) {
	k := &m.clear
	if k.underway || len(m.tracks) == 0 || c.now.Sub(k.at) < c.cfg.ClearEvery {
		return
	}
	target := m.floor()
	for _, t := range slices.Concat(m.tracks, m.leaving) {
		target = min(target, t.durable)
	}
	target = min(target, m.lastRead)
	switch {
	case target == 0 || target < k.sent || target <= k.refused:
		return
	case target == k.sent && !k.again && c.now.Sub(k.at) < c.cfg.ClearAgain:
		return
	case k.again && c.now.Sub(k.at) < c.cfg.RetryAfter:
		return
	}
	k.sent, k.at, k.underway, k.again = target, c.now, true, false
	c.emit(Clear{MDT: m.id, Index: target})
}

// apply hears what came of a clear. EINVAL and ENOENT are never simply repeated:
// some Lustre versions destroy users then (ABI 9.2).
func (ev Cleared) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil {
		return
	}
	k := &m.clear
	k.underway = false
	switch {
	case ev.Err == nil:
		return
	case errors.Is(ev.Err, syscall.EINVAL), errors.Is(ev.Err, syscall.ENOENT):
		k.refused = ev.Index
		c.emit(Alarm{MDT: m.id, Text: fmt.Sprintf("the MDT refused to clear %d: %v; check that the changelog user is still registered", ev.Index, ev.Err)})
	default:
		k.again = true
		c.emit(Alarm{MDT: m.id, Text: fmt.Sprintf("could not clear %d: %v", ev.Index, ev.Err)})
	}
}

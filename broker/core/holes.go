package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// hole is a range without records that the clear stays below, until a second
// reading shows that it is empty.
type hole struct {
	Range
	seen     time.Time
	checking bool
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
		if !h.checking && c.now.Sub(h.seen) >= c.cfg.HoleDelay {
			h.checking = true
			c.emit(CheckHole{MDT: m.id, Epoch: m.epoch, Hole: h.Range})
		}
	}
}

// apply ends the wait for a hole: an empty one is forgotten. Records that were found
// in it are late.
func (ev HoleChecked) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil || m.epoch != ev.Epoch {
		return
	}
	i := slices.IndexFunc(m.holes, func(h hole) bool { return h.Range == ev.Hole })
	if i < 0 {
		return
	}
	if ev.Err != nil {
		m.holes[i].checking, m.holes[i].seen = false, c.now
		c.emit(Alarm{Kind: wire.HolePending, MDT: m.id, Err: ev.Err, Text: fmt.Sprintf("could not look again whether (%d,%d] is empty, so nothing above is cleared: %v", ev.Hole.From, ev.Hole.To, ev.Err)})
		return
	}
	m.holes = slices.Replace(m.holes, i, i+1, c.remaining(ev)...)
	if len(ev.Late) > 0 {
		c.late(m, ev)
	}
	for _, t := range m.tracks {
		c.touch(t)
		c.collect(t.group)
	}
}

// remaining are the holes that are left when records were found in one, and be it that
// modules have dropped them: they are looked at once more, as the MDT is not as quiet there
// as it seemed.
func (c *Core) remaining(ev HoleChecked) (holes []hole) {
	if len(ev.Found) == 0 {
		return nil
	}
	end := ev.Hole.From
	for _, b := range ev.Found {
		for _, r := range b.Holes {
			holes = append(holes, hole{Range: r, seen: c.now})
		}
		end = b.To
	}
	if end < ev.Hole.To {
		holes = append(holes, hole{Range: Range{end, ev.Hole.To}, seen: c.now})
	}
	return holes
}

// late has every group that is past them get the records that were found. Who is not
// past them reads them in their place: no batch is kept that does not show them, and
// no reading goes on that was opened before.
func (c *Core) late(m *mdt, ev HoleChecked) {
	for _, b := range ev.Found {
		if b.Count > 0 {
			m.late = append(m.late, b)
			c.keep(b)
			c.emit(Publish{Batch: b, Late: true})
		}
	}
	for m.live.start < ev.Hole.To && len(m.live.batches) > 0 {
		c.dropOldest(&m.live.window)
	}
	for _, f := range slices.Clone(m.catchUps) {
		c.closeFeed(f)
	}
	for _, t := range m.tracks {
		if x := t.chain; x != nil && x.intake.at > ev.Hole.From {
			c.closeChain(x)
		}
		if err := t.group.Late(m.id, ev.Late); err != nil {
			panic(err) // the group has a track there, or t would not exist
		}
	}
	c.emit(Alarm{Kind: wire.LateRecords, MDT: m.id, Text: fmt.Sprintf("%d records in (%d,%d] appeared after later ones; they are delivered late", len(ev.Late), ev.Hole.From, ev.Hole.To)})
}

// lateBatch returns the batch of what was found late that has the record behind from.
// It is the newest one that covers it: what an older one left open was looked at again.
func (m *mdt) lateBatch(from uint64) *Batch {
	for _, b := range slices.Backward(m.late) {
		if b.From <= from && from < b.To {
			return b
		}
	}
	return nil
}

// dropLate forgets what was found late: every group has acknowledged it.
func (c *Core) dropLate(m *mdt) {
	for _, b := range m.late {
		c.drop(b)
	}
	m.late = nil
}

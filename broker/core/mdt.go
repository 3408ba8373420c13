package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

// mdt is one MDT: how it is read, and what of it is cleared.
type mdt struct {
	id       groups.MDT
	epoch    Epoch
	tracks   []*track
	live     *feed
	reopenAt time.Time // when the live reading starts again; zero while it runs
	failures int       // of the live reading, since it had a batch
	stopped  bool      // what it shows are no records: nothing is read until Restart
	catchUps []*feed
	queue    []*consumer // that wait for a catch-up to be free
	lastRead uint64
	looked   time.Time  // when abandoned groups were looked for last
	foremost *track     // that was found to be far enough ahead last time
	dirty    bool       // what is durable of it is to be written
	holes    []hole     // not yet known to be empty, by index: the live reading finds them so
	late     []*Batch   // what was found in them, while some group has not acknowledged it
	recent   []RecordID // of the last records read, by index
	ladder   []RecordID // of some records before those, by index, which are not cleared
	clear    clearing
	reading  trouble // with the live reading
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
	trouble  trouble // with clearing
	again    bool    // the last one failed in a way that may pass: send it again
	refused  uint64  // the MDT refused it: only a higher one is tried
}

// openLive starts the live reading: where the foremost group goes on, but not above
// what was read last. Only a seek puts a mark there, and nobody has looked at the holes.
func (c *Core) openLive(m *mdt) {
	foremost := m.lastRead
	if len(m.tracks) > 0 {
		foremost = 0
	}
	for _, t := range m.tracks {
		foremost = max(foremost, t.Mark())
	}
	from := max(m.clear.reserved, min(foremost, m.lastRead))
	m.lastRead = max(m.lastRead, from)
	m.live = c.openFeed(m, from, 0)
}

// tickMDT does what is due.
func (c *Core) tickMDT(m *mdt) {
	if !m.stopped && !m.reopenAt.IsZero() && !c.now.Before(m.reopenAt) {
		m.reopenAt = time.Time{}
		c.reopen(m)
	}
	c.checkHoles(m)
	if len(m.late) > 0 && !slices.ContainsFunc(m.tracks, func(t *track) bool { return t.HasLate() }) {
		c.dropLate(m)
	}
	for _, f := range slices.Clone(m.catchUps) {
		if len(f.users) == 0 && c.now.Sub(f.left) >= c.cfg.Linger {
			c.closeFeed(f)
		}
	}
	c.expire(m)
	c.clear(m)
}

// reopen lets the live reading go on, with the window that it has.
func (c *Core) reopen(m *mdt) {
	f := m.live
	c.lastReader++
	f.id = c.lastReader
	c.feeds[f.id] = f
	c.openReader(f, f.end)
	c.grant(f)
}

// mostRecent is how many records an MDT is recognised by.
const mostRecent = 8

// noteRecent remembers the last record of a batch.
func (m *mdt) noteRecent(id RecordID) {
	if id == (RecordID{}) {
		return
	}
	isEarlier := func(x RecordID) bool { return x.Index >= id.Index } // of an earlier run
	m.recent, m.ladder = slices.DeleteFunc(m.recent, isEarlier), slices.DeleteFunc(m.ladder, isEarlier)
	if len(m.recent) == mostRecent {
		m.step(m.recent[0])
		m.recent = slices.Delete(m.recent, 0, 1)
	}
	m.recent = append(m.recent, id)
}

// clear acknowledges to the MDT what every group has on disk as acknowledged, after
// the state says that this is going to be cleared.
func (c *Core) clear(m *mdt) {
	k := &m.clear
	c.reserve(m)
	since := c.now.Sub(k.at)
	switch {
	case k.underway, k.onDisk == 0, k.onDisk <= k.refused, since < c.cfg.ClearEvery:
		return
	case k.again && since < c.cfg.RetryAfter:
		return
	case k.onDisk == k.sent && !k.again && since < c.cfg.ClearAgain:
		return
	}
	c.sendClear(m)
}

// reserve notes what may be cleared, for the state to say so first.
func (c *Core) reserve(m *mdt) {
	if target := m.clearable(c.cfg.ClearWithoutGroups); target > m.clear.reserved {
		m.clear.reserved = target
		c.touchMDT(m)
	}
}

func (c *Core) sendClear(m *mdt) {
	k := &m.clear
	k.sent, k.at, k.underway, k.again = k.onDisk, c.now, true, false
	c.emit(Clear{MDT: m.id, Epoch: m.epoch, Index: k.sent})
}

// clearable is the smallest durable mark of all groups; without groups 0, or what was
// read. A group
// that is being deleted does not count: what is cleared without it is reserved on disk
// in the write that deletes it, or later.
func (m *mdt) clearable(withoutGroups bool) uint64 {
	if len(m.tracks) == 0 && !withoutGroups {
		return 0
	}
	target := m.seen()
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
	k.trouble.note(ev.Err, c.now)
	switch {
	case ev.Err == nil:
		return
	case ev.Refused:
		k.refused = ev.Index
		c.emit(Alarm{Kind: wire.ClearFailing, MDT: m.id, Err: ev.Err, Text: fmt.Sprintf("the MDT refused to clear %d: %v; check that the changelog user is still registered", ev.Index, ev.Err)})
	default:
		k.again = true
		c.emit(Alarm{Kind: wire.ClearFailing, MDT: m.id, Err: ev.Err, Text: fmt.Sprintf("could not clear %d: %v", ev.Index, ev.Err)})
	}
}

// apply tells every group what it lost. Its way goes over the purged range like
// over any other that has no records.
func (ev Purged) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil || m.epoch != ev.Epoch || m.clear.sent > ev.Cleared {
		return
	}
	m.holes = slices.DeleteFunc(m.holes, func(h hole) bool { return h.To <= ev.To }) // nothing will appear there
	m.forgetUpTo(ev.To)
	for _, t := range m.tracks {
		c.tellLost(t, ev.To)
		c.touch(t)
	}
}

// apply remembers the oldest record. What was older is gone.
func (ev Oldest) apply(c *Core) {
	m := c.mdts[ev.MDT]
	if m == nil || m.epoch != ev.Epoch || len(m.recent) == 0 || ev.Record.Index >= m.recent[0].Index || ev.Record.Index <= m.clear.reserved {
		return
	}
	if len(m.ladder) == 0 || m.ladder[0] != ev.Record {
		m.forgetUpTo(ev.Record.Index)
		m.ladder = slices.Insert(m.ladder, 0, ev.Record)
		c.touchMDT(m)
	}
}

// mostSteps is how many records there are in a ladder. With those of [mostRecent] the state has room for them.
const mostSteps = 32

// step remembers a record that is none of the last ones any more: an MDT may drop its oldest records, which only groups
// far behind miss, and keep the last ones. Of too many every second one will do.
func (m *mdt) step(id RecordID) {
	m.ladder = append(m.ladder, id)
	if m.forgetUpTo(m.clear.reserved); len(m.ladder) <= mostSteps {
		return
	}
	for i := range m.ladder[:len(m.ladder)/2] {
		m.ladder[i] = m.ladder[2*i]
	}
	m.ladder = m.ladder[:len(m.ladder)/2]
}

// forgetUpTo takes records off the ladder that are gone, or may be.
func (m *mdt) forgetUpTo(index uint64) {
	m.ladder = slices.DeleteFunc(m.ladder, func(id RecordID) bool { return id.Index <= index })
}

// known lists what the MDT is to be recognised by, by index: the last records, and the first on the ladder.
func (m *mdt) known() []RecordID {
	m.forgetUpTo(m.clear.reserved)
	return slices.Concat(m.ladder[:min(1, len(m.ladder))], m.recent)
}

// tellLost reports, once, that what a track has not acknowledged up to to is gone.
func (c *Core) tellLost(t *track, to uint64) {
	from := max(t.Mark(), t.lost)
	if from >= to {
		return
	}
	t.lost, t.group.owes = to, true
	t.noteGone(Missed{Epoch: t.mdt.epoch, Range: Range{from, to}, At: c.now})
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
	c.dropLate(m)
	m.epoch, m.lastRead, m.holes, m.recent, m.ladder = ev.Epoch, 0, nil, nil, nil
	m.clear = clearing{at: c.now}
	for _, t := range m.tracks {
		c.endTrack(t)
		t.group.AddMDT(m.id, 0) // and no seek: what was to be skipped is another record now
		c.beginTrack(t, 0)
		t.durable, t.ceiling, t.before, t.wanted, t.lost, t.highest, t.behind = 0, 0, 0, 0, 0, 0, time.Time{}
	}
	c.emit(Restarted{MDT: m.id, Epoch: m.epoch})
	c.touchMDT(m)
	c.writeState(true)
	c.openLive(m)
	for _, t := range m.tracks {
		c.collect(t.group)
	}
}

// startAt lets a group go on elsewhere: its leases in the MDT end.
func (c *Core) startAt(t *track, index uint64) {
	c.endTrack(t)
	if err := t.group.Seek(t.mdt.id, index); err != nil {
		panic(err) // the group has a track there, or t would not exist
	}
	c.beginTrack(t, index)
}

// endTrack lets go of a way through an MDT that will be another one.
func (c *Core) endTrack(t *track) {
	c.endChain(t)
	t.highest = max(t.highest, t.Looked())
	for _, s := range slices.Clone(t.Streams()) {
		c.leaveFeed(consumerOf(s))
	}
	delete(c.tracks, t.Track)
}

// beginTrack takes over that other one. Its mark may be lower.
func (c *Core) beginTrack(t *track, index uint64) {
	t.Track = t.group.Track(t.mdt.id)
	c.tracks[t.Track] = t
	t.setChain()
	t.seek, t.sought = true, index
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

package core

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

// window is a run of batches that are kept.
//
// Invariants: batches follow each other without a gap and cover (start, end].
type window struct {
	batches []*Batch
	start   uint64
	end     uint64
	bytes   int64
}

// feed is one reading of an MDT, with the window of its batches.
type feed struct {
	window
	id       ReaderID
	mdt      *mdt
	until    uint64      // a catch-up ends there; 0 for the live reading
	granted  int64       // that the reader may still deliver; below 0 if it overdrew
	waiters  []*consumer // for what comes behind end
	users    []*consumer // of a catch-up: who reads here
	left     time.Time   // when the last user of a catch-up left it
	done     bool        // a catch-up that has read all it was to read
	isHungry bool        // in Core.starved
}

// consumer is who takes batches of an MDT, one behind the other: a stream, or the intake
// of a chain. A stream has it in its Tag.
type consumer struct {
	stream *groups.Stream
	chain  *chain // whose intake it is; nil for a stream
	queued bool
	feed   *feed  // the catch-up that it reads, if any
	at     uint64 // what it needs follows that; a stream's cursor may be lower, at what is not due
}

func consumerOf(s *groups.Stream) *consumer {
	p, ok := s.Tag.(*consumer)
	if !ok {
		p = &consumer{stream: s}
		s.Tag = p
	}
	return p
}

// openFeed starts a reading of m behind from.
func (c *Core) openFeed(m *mdt, from, until uint64) *feed {
	c.lastReader++
	f := &feed{window: window{start: from, end: from}, id: c.lastReader, mdt: m, until: until}
	c.feeds[f.id] = f
	c.openReader(f, from)
	c.grant(f)
	return f
}

// openReader has the reading of a feed started behind from. The live one looks first
// whether the MDT is still the one that it was.
func (c *Core) openReader(f *feed, from uint64) {
	o := OpenReader{Reader: f.id, MDT: f.mdt.id, Epoch: f.mdt.epoch, From: from, Until: f.until}
	if f.until == 0 {
		o.Known, o.Cleared = f.mdt.state().Recent, f.mdt.clear.onDisk // all: the state may have doubted some
	}
	c.emit(o)
}

// apply notes that a reading goes on.
func (ev ReaderStarted) apply(c *Core) {
	if f := c.feeds[ev.Reader]; f != nil && f == f.mdt.live {
		f.mdt.reading = trouble{}
	}
}

// closeFeed ends a catch-up and gives up its window. Who read or waited there looks
// again, and so does who waits for a reader to be free.
func (c *Core) closeFeed(f *feed) {
	m := f.mdt
	delete(c.feeds, f.id)
	c.dropAll(&f.window)
	c.setGranted(f, 0)
	c.emit(CloseReader{Reader: f.id})
	m.catchUps = slices.DeleteFunc(m.catchUps, func(x *feed) bool { return x == f })
	for _, p := range f.users {
		p.feed = nil
		c.enqueue(p)
	}
	f.users = nil
	c.enqueueAll(&f.waiters)
	c.enqueueAll(&m.queue)
}

// batchAt returns the batch of the window that covers what follows from.
func (w *window) batchAt(from uint64) *Batch {
	if from < w.start || from >= w.end {
		return nil
	}
	i := sort.Search(len(w.batches), func(i int) bool { return w.batches[i].To > from })
	return w.batches[i]
}

// takeIn puts a batch into a window: it follows the last one.
func (c *Core) takeIn(w *window, b *Batch) {
	w.batches = append(w.batches, b)
	w.end = b.To
	w.bytes += b.Weight()
	c.keep(b)
}

// dropAll gives up what is in a window.
func (c *Core) dropAll(w *window) {
	for _, b := range w.batches {
		c.drop(b)
	}
	w.bytes, w.batches, w.start = 0, nil, w.end
}

// apply takes a batch into its window.
func (ev BatchRead) apply(c *Core) {
	f, b := c.feeds[ev.Reader], ev.Batch
	if f == nil || b.Epoch != f.mdt.epoch {
		return // of a reading that was closed meanwhile
	}
	c.setGranted(f, f.granted-b.Weight())
	if b.From != f.end || b.To < b.From {
		c.emit(Alarm{Kind: wire.MDTUnreachable, MDT: f.mdt.id, Text: fmt.Sprintf("reader %d delivered (%d,%d] behind %d", f.id, b.From, b.To, f.end)})
		c.restart(f)
		return
	}
	c.takeIn(&f.window, b)
	if f == f.mdt.live {
		f.mdt.failures = 0
		f.mdt.lastRead = max(f.mdt.lastRead, b.To)
		f.mdt.noteRecent(b.Newest)
		c.touchMDT(f.mdt)
		c.noteHoles(f.mdt, b)
		c.emit(Publish{Batch: b})
	}
	c.enqueueAll(&f.waiters)
	c.evict(f)
	c.grant(f)
}

// apply follows the end of a reading: a catch-up is done or failed, its streams
// look again where to read; the live reading starts again where it was.
func (ev ReaderEnded) apply(c *Core) {
	f := c.feeds[ev.Reader]
	if f == nil {
		return
	}
	if ev.Stopped {
		f.mdt.stopped = true
	}
	if ev.Err != nil {
		f.mdt.reading.note(ev.Err, c.now)
		c.emit(Alarm{Kind: wire.MDTUnreachable, MDT: f.mdt.id, Stopped: ev.Stopped, Err: ev.Err, Text: fmt.Sprintf("reading failed at %d: %v", f.end, ev.Err)})
		c.restart(f)
		return
	}
	if f.until == 0 || f.end < f.until {
		c.restart(f)
		return
	}
	c.setGranted(f, 0)
	f.done = true
	c.enqueueAll(&f.waiters)
}

// restart replaces a reading that broke. The live one goes on where it was after a
// pause, which grows, or when an operator says so if the MDT is stopped; a catch-up is opened again
// by who still needs it.
func (c *Core) restart(f *feed) {
	m := f.mdt
	if f != m.live {
		c.closeFeed(f)
		return
	}
	delete(c.feeds, f.id)
	c.setGranted(f, 0)
	c.emit(CloseReader{Reader: f.id})
	m.failures++
	m.reopenAt = c.now.Add(c.cfg.RetryAfter >> max(0, soonest-m.failures))
}

// soonest says how soon a reading that broke is tried again for the first time: each time
// that follows without a batch waits twice as long, the fifth and later ones
// [Config.RetryAfter].
const soonest = 5

// evict drops batches that need not be kept: of a catch-up, those that all of its
// users have passed; of the live reading, while there is no room for a grant, those
// that the foremost group has passed. Groups behind it read them again by a catch-up.
func (c *Core) evict(f *feed) {
	if f != f.mdt.live {
		low := uint64(0)
		if len(f.users) > 0 {
			low = f.users[0].at
			for _, p := range f.users[1:] {
				low = min(low, p.at)
			}
		}
		for len(f.batches) > 0 && f.batches[0].To <= low {
			c.dropOldest(&f.window)
		}
		return
	}
	for !c.hasRoom() && len(f.batches) > 0 && f.mdt.passed(f.batches[0].To) {
		c.dropOldest(&f.window)
	}
}

func (c *Core) dropOldest(w *window) {
	b := w.batches[0]
	w.batches[0] = nil
	w.batches = w.batches[1:]
	w.start = b.To
	w.bytes -= b.Weight()
	c.drop(b)
}

// passed tells whether some group has handed out everything up to index, or its chain has
// taken it in, or there is no group.
func (m *mdt) passed(index uint64) bool {
	if len(m.tracks) == 0 {
		return true
	}
	if m.foremost != nil && m.foremost.low() >= index {
		return true
	}
	for _, t := range m.tracks {
		if t.low() >= index {
			m.foremost = t
			return true
		}
	}
	return false
}

// grant lets the reader go on, if there is room. Each reading may have one batch
// whatever the limit is, or nothing would ever move.
func (c *Core) grant(f *feed) {
	if f.granted > 0 || f.done || c.feeds[f.id] != f {
		return
	}
	bytes := c.cfg.Grant
	room := c.hasRoom()
	if f != f.mdt.live {
		room = room && f.bytes+bytes <= 4*c.cfg.Grant
	} else {
		room = room && !c.farAhead(f)
	}
	switch {
	case room:
	case len(f.batches) == 0:
		bytes = 1 // the next batch, however large
	default:
		if !f.isHungry {
			f.isHungry = true
			c.starved = append(c.starved, f)
		}
		return
	}
	c.emit(Grant{Reader: f.id, Bytes: bytes - f.granted})
	c.setGranted(f, bytes)
}

// farAhead tells whether the live reading has read so much that no group has got yet that
// it would leave no memory to groups which are a little behind the foremost one: each of
// them would read on its own. Half of an MDT's share is theirs.
func (c *Core) farAhead(f *feed) bool {
	if len(f.mdt.tracks) < 2 || len(f.batches) == 0 {
		return false
	}
	foremost := uint64(0)
	for _, t := range f.mdt.tracks {
		foremost = max(foremost, t.low())
	}
	i := sort.Search(len(f.batches), func(i int) bool { return f.batches[i].To > foremost })
	ahead := f.bytes / int64(len(f.batches)) * int64(len(f.batches)-i)
	return ahead+c.cfg.Grant > max(4*c.cfg.Grant, c.cfg.Memory/2/int64(len(c.order)))
}

// setGranted sets what a reader may still deliver, and keeps the sum.
func (c *Core) setGranted(f *feed, bytes int64) {
	c.granted += max(bytes, 0) - max(f.granted, 0)
	f.granted = bytes
}

// feedStarved looks after one reader that waits for memory, making room first.
func (c *Core) feedStarved() {
	if len(c.starved) == 0 {
		return
	}
	f := c.starved[0]
	c.starved = c.starved[1:]
	f.isHungry = false
	if c.feeds[f.id] != f {
		return
	}
	c.evict(f)
	if f.granted <= 0 && !c.hasRoom() && len(c.order) > 0 {
		c.rotate = (c.rotate + 1) % len(c.order)
		if live := c.order[c.rotate].live; live != nil {
			c.evict(live)
		}
		for _, t := range c.order[c.rotate].tracks {
			if t.chain != nil {
				c.trim(t.chain)
			}
		}
	}
	c.grant(f)
}

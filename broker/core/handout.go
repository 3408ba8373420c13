package core

import (
	"slices"

	"github.com/lcapd/lcapd/groups"
)

// enqueue has Work look at a stream.
func (c *Core) enqueue(s *groups.Stream) {
	p := placeOf(s)
	if !p.queued {
		p.queued = true
		c.runnable = append(c.runnable, s)
	}
}

func (c *Core) enqueueAll(list *[]*groups.Stream) {
	for _, s := range *list {
		c.enqueue(s)
	}
	*list = nil
}

// Work lets up to n streams hand out once, and tells whether more want to.
func (c *Core) Work(n int) (more bool) {
	for range n {
		if len(c.runnable) == 0 {
			break
		}
		s := c.runnable[0]
		c.runnable[0] = nil
		c.runnable = c.runnable[1:]
		placeOf(s).queued = false
		c.work(s)
	}
	c.cutWorst()
	c.feedStarved()
	return len(c.runnable) > 0
}

// work lets one stream hand out from one batch.
func (c *Core) work(s *groups.Stream) {
	t := c.tracks[s.Track()]
	if t == nil || s.Gone() {
		c.leaveFeed(s)
		return
	}
	defer c.collect(t.group)
	from, why := s.Need(c.now)
	if why != groups.Ready {
		c.leaveFeed(s)
		return
	}
	p := placeOf(s)
	if p.at = from; p.feed != nil { // it may not need what it has passed
		c.evict(p.feed)
		c.grant(p.feed)
	}
	b := c.batchFor(t.mdt, s, from)
	if b == nil {
		c.waitFor(t.mdt, s, from)
		return
	}
	c.take(t, s, b)
}

// take hands out what the stream may of a batch.
func (c *Core) take(t *track, s *groups.Stream, b *Batch) {
	d, why := s.Take(groups.Piece{From: b.From, To: b.To, Bytes: b.Bytes(), Slots: b.Slots, Pairs: b.Pairs}, t.mayReach(), c.now)
	switch why {
	case groups.Ready:
		if d.Lease != 0 {
			c.deliver(t, d, b)
		}
		c.reserveAhead(t, d.To)
		c.enqueue(s)
	case groups.NeedsCeiling:
		t.wanted = max(t.wanted, b.To+c.cfg.CeilingStep)
		c.touch(t)
		c.writeState(true)
		c.leaveFeed(s)
	default:
		c.leaveFeed(s) // who cannot go on must not keep a reader from who can
	}
}

// reserveAhead has the ceiling raised long before it is reached: so hand-out does not wait
// for the disk, and goes on for a while when that fails.
func (c *Core) reserveAhead(t *track, to uint64) {
	if to+c.cfg.CeilingStep/2 > t.wanted {
		t.wanted = to + c.cfg.CeilingStep
		c.touch(t)
	}
}

// mayReach is up to where the track may hand out: the ceiling on disk, but nothing while
// a seek is not. A replay that a crash ends would else not be gone on with.
func (t *track) mayReach() uint64 {
	if t.seek {
		return 0
	}
	return t.ceiling
}

func (c *Core) deliver(t *track, d groups.Delivery, b *Batch) {
	p := c.peers[d.Member]
	c.pin(p, b)
	out := Deliver{Delivery: d, Epoch: b.Epoch, Batch: b, Repacked: p.repack, MaybeRedelivered: d.From < t.before}
	if out.Whole() {
		t.group.Measured(d, b.Bytes(), b.lastRecord(), c.now)
	}
	c.emit(out)
}

// batchFor finds the batch that covers what follows from: in the live window, else
// in a catch-up, which the stream then uses.
func (c *Core) batchFor(m *mdt, s *groups.Stream, from uint64) *Batch {
	if s.IsLate() {
		return m.lateBatch(from)
	}
	if b := m.live.batchAt(from); b != nil {
		c.leaveFeed(s)
		return b
	}
	if b := placeOf(s).feed.batchAt(from); b != nil {
		return b
	}
	for _, f := range m.catchUps {
		if b := f.batchAt(from); b != nil {
			c.useFeed(s, f)
			return b
		}
	}
	return nil
}

// waitFor has the stream looked at again when what follows from has been read.
func (c *Core) waitFor(m *mdt, s *groups.Stream, from uint64) {
	if from >= m.live.end {
		c.leaveFeed(s)
		m.live.waiters = append(m.live.waiters, s)
		return
	}
	for _, f := range m.catchUps {
		if from == f.end && !f.done {
			c.useFeed(s, f)
			f.waiters = append(f.waiters, s)
			return
		}
	}
	c.leaveFeed(s)
	if m.stopped || len(m.catchUps) >= c.cfg.CatchUps && !c.closeUnused(m) {
		m.queue = append(m.queue, s)
		return
	}
	f := c.openFeed(m, from, m.live.start)
	m.catchUps = append(m.catchUps, f)
	c.useFeed(s, f)
	f.waiters = append(f.waiters, s)
}

// closeUnused closes a catch-up that nobody uses, if there is one.
func (c *Core) closeUnused(m *mdt) bool {
	for _, f := range m.catchUps {
		if len(f.users) == 0 {
			c.closeFeed(f)
			return true
		}
	}
	return false
}

// useFeed notes that the stream reads from a catch-up.
func (c *Core) useFeed(s *groups.Stream, f *feed) {
	p := placeOf(s)
	if p.feed == f {
		return
	}
	c.leaveFeed(s)
	p.feed = f
	f.users = append(f.users, s)
}

// leaveFeed notes that the stream needs its catch-up no more.
func (c *Core) leaveFeed(s *groups.Stream) {
	p := placeOf(s)
	f := p.feed
	if f == nil {
		return
	}
	p.feed = nil
	f.users = slices.DeleteFunc(f.users, func(x *groups.Stream) bool { return x == s })
	f.waiters = slices.DeleteFunc(f.waiters, func(x *groups.Stream) bool { return x == s })
	f.left = c.now
	if len(f.users) > 0 {
		c.evict(f)
		c.grant(f)
	} else if len(f.mdt.queue) > 0 {
		c.closeFeed(f)
	}
}

// owns tells whether the stream is one of the track's.
func (t *track) owns(s *groups.Stream) bool { return s.Track() == t.Track }

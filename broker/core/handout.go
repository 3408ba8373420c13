package core

import (
	"slices"

	"github.com/lcapd/lcapd/groups"
)

// enqueue has Work look at a consumer.
func (c *Core) enqueue(p *consumer) {
	if !p.queued {
		p.queued = true
		c.runnable = append(c.runnable, p)
	}
}

func (c *Core) enqueueAll(list *[]*consumer) {
	for _, p := range *list {
		c.enqueue(p)
	}
	*list = nil
}

// Work lets up to n streams hand out once, or chains take in a batch, and tells whether
// more want to.
func (c *Core) Work(n int) (more bool) {
	for range n {
		if len(c.runnable) == 0 {
			break
		}
		p := c.runnable[0]
		c.runnable[0] = nil
		c.runnable = c.runnable[1:]
		p.queued = false
		if p.chain != nil {
			c.feedChain(p.chain)
		} else {
			c.work(p)
		}
	}
	c.cutWorst()
	c.feedStarved()
	return len(c.runnable) > 0
}

// work lets one stream hand out from one batch.
func (c *Core) work(p *consumer) {
	s := p.stream
	t := c.tracks[s.Track()]
	if t == nil || s.Gone() {
		c.leaveFeed(p)
		return
	}
	defer c.collect(t.group)
	from, why := s.Need(c.now)
	if why != groups.Ready {
		c.leaveFeed(p)
		return
	}
	p.at = from
	switch {
	case s.IsLate():
		if b := t.mdt.lateBatch(from); b != nil {
			c.take(t, p, b)
		} else {
			c.waitFor(t.mdt, p)
		}
	case t.chain != nil:
		c.workChained(t, p)
	default:
		if b := c.nextBatch(t.mdt, p); b != nil {
			c.take(t, p, b)
		}
	}
}

// nextBatch returns the batch that covers what a consumer needs next. If there is none yet it
// is looked at again when that has been read.
func (c *Core) nextBatch(m *mdt, p *consumer) *Batch {
	if p.feed != nil { // it may not need what it has passed
		c.evict(p.feed)
		c.grant(p.feed)
	}
	b := c.batchFor(m, p)
	if b == nil {
		c.waitFor(m, p)
	}
	return b
}

// take hands out what the stream may of a batch.
func (c *Core) take(t *track, p *consumer, b *Batch) {
	d, why := p.stream.Take(groups.Piece{From: b.From, To: b.To, Bytes: b.Bytes(), Slots: b.Slots, Pairs: b.Pairs}, t.mayReach(), c.now)
	switch why {
	case groups.Ready:
		if d.Lease != 0 {
			c.deliver(t, d, b)
		}
		c.reserveAhead(t, d.To)
		c.enqueue(p)
	case groups.NeedsCeiling:
		t.wanted = max(t.wanted, b.To+c.cfg.CeilingStep)
		c.touch(t)
		c.writeState(true)
		c.leaveFeed(p)
	default:
		c.leaveFeed(p) // who cannot go on must not keep a reader from who can
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
		t.group.Measured(d, b.Bytes(), b.LastRecord(), c.now)
		out.Bytes = b.Bytes()
	}
	c.emit(out)
}

// batchFor finds the batch that covers what a consumer needs next: in the live window,
// else in a catch-up, which it then uses.
func (c *Core) batchFor(m *mdt, p *consumer) *Batch {
	if b := m.live.batchAt(p.at); b != nil {
		c.leaveFeed(p)
		return b
	}
	if p.feed != nil {
		if b := p.feed.batchAt(p.at); b != nil {
			return b
		}
	}
	for _, f := range m.catchUps {
		if b := f.batchAt(p.at); b != nil {
			c.useFeed(p, f)
			return b
		}
	}
	return nil
}

// waitFor has a consumer looked at again when what it needs next has been read.
func (c *Core) waitFor(m *mdt, p *consumer) {
	if p.at >= m.live.end {
		c.leaveFeed(p)
		m.live.waiters = append(m.live.waiters, p)
		return
	}
	for _, f := range m.catchUps {
		if p.at == f.end && !f.done {
			c.useFeed(p, f)
			f.waiters = append(f.waiters, p)
			return
		}
	}
	c.leaveFeed(p)
	if m.stopped || len(m.catchUps) >= c.cfg.CatchUps && !c.closeUnused(m) {
		m.queue = append(m.queue, p)
		return
	}
	f := c.openFeed(m, p.at, m.live.start)
	m.catchUps = append(m.catchUps, f)
	c.useFeed(p, f)
	f.waiters = append(f.waiters, p)
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

// useFeed notes that the consumer reads from a catch-up.
func (c *Core) useFeed(p *consumer, f *feed) {
	if p.feed == f {
		return
	}
	c.leaveFeed(p)
	p.feed = f
	f.users = append(f.users, p)
}

// leaveFeed notes that the consumer needs its catch-up no more.
func (c *Core) leaveFeed(p *consumer) {
	f := p.feed
	if f == nil {
		return
	}
	p.feed = nil
	f.users = slices.DeleteFunc(f.users, func(x *consumer) bool { return x == p })
	f.waiters = slices.DeleteFunc(f.waiters, func(x *consumer) bool { return x == p })
	f.left = c.now
	if len(f.users) > 0 {
		c.evict(f)
		c.grant(f)
	} else if len(f.mdt.queue) > 0 {
		c.closeFeed(f)
	}
}

// owns tells whether the consumer is one of the track's streams, or its chain's intake.
func (t *track) owns(p *consumer) bool {
	if p.chain != nil {
		return p.chain == t.chain
	}
	return p.stream.Track() == t.Track
}

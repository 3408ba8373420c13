package core

import "fmt"

// pin counts the deliveries of a batch that writers have not let go of.
type pin struct {
	deliveries int
	dropped    bool // out of its window: only writers hold it
	copied     bool // never in a window, see Copied; whose memory it is the core does not know
}

// hasRoom tells whether one more grant is within the limit. What was granted counts:
// it may come at any time.
func (c *Core) hasRoom() bool {
	return c.memory+c.pinned+c.granted+c.chained+c.cfg.Grant <= c.cfg.Memory
}

// keep counts a batch that is kept.
func (c *Core) keep(b *Batch) { c.memory += b.Weight() }

// drop counts a batch that is no longer kept, but by writers.
func (c *Core) drop(b *Batch) {
	c.memory -= b.Weight()
	if p := c.pins[b]; p != nil {
		p.dropped = true
		c.pinned += b.Weight()
		return
	}
	c.emit(Free{b})
}

// pin notes that a peer's writer has a delivery of the batch.
func (c *Core) pin(p *peer, b *Batch) {
	p.unsent += b.Weight()
	p.sends++
	if c.pins[b] == nil {
		c.pins[b] = new(pin)
	}
	c.pins[b].deliveries++
}

// apply notes that a writer has let go of a delivery.
func (ev Sent) apply(c *Core) {
	if p := c.peers[ev.Peer]; p != nil {
		p.unsent -= ev.Batch.Weight()
		p.sends--
	} else {
		c.leaving -= ev.Batch.Weight()
	}
	x := c.pins[ev.Batch]
	if x.deliveries--; x.deliveries > 0 {
		return
	}
	delete(c.pins, ev.Batch)
	if x.dropped {
		c.pinned -= ev.Batch.Weight()
	}
	if x.dropped && !x.copied {
		c.emit(Free{ev.Batch})
	}
}

// apply lets go of the batch that a delivery was cut out of, and counts the copy that its
// writer holds instead: once, however many writers share it.
func (ev Copied) apply(c *Core) {
	if p := c.peers[ev.Peer]; p != nil {
		p.unsent += ev.Copy.Weight()
		p.sends++
	} else {
		c.leaving += ev.Copy.Weight()
	}
	if c.pins[ev.Copy] == nil {
		c.pins[ev.Copy] = &pin{dropped: true, copied: true}
		c.pinned += ev.Copy.Weight()
	}
	c.pins[ev.Copy].deliveries++
	Sent{ev.Peer, ev.Batch}.apply(c)
}

// cutWorst sends away the member that has most to read of what it was sent, when that
// keeps too much in memory. What it was handed out goes to others, and once its writer
// has let go the memory is free: until then that counts as free, or others would be cut
// for it. Everybody may have one delivery.
func (c *Core) cutWorst() {
	if c.pinned-c.leaving <= c.cfg.Pinned {
		return
	}
	var worst *peer
	for _, p := range c.peers {
		if p.sends > 1 && (worst == nil || p.unsent > worst.unsent || p.unsent == worst.unsent && p.id < worst.id) {
			worst = p
		}
	}
	if worst == nil {
		return // those who hold it are cut already
	}
	c.emit(Disconnect{Peer: worst.id, Reason: fmt.Sprintf("%d bytes wait to be read: read faster, or give less credit", worst.unsent)})
	c.leave(worst.id)
}

// forget drops a peer. What its writer holds it lets go of soon.
func (c *Core) forget(p *peer) {
	delete(c.peers, p.id)
	c.leaving += p.unsent
}

package core

import (
	"fmt"

	"github.com/lcapd/lcapd/groups"
)

// apply makes a peer a member, or has it wait until its group is on disk.
func (ev Join) apply(c *Core) {
	g := c.groups[ev.Group]
	switch {
	case g == nil:
		c.emit(Refuse{Peer: ev.Peer, Err: fmt.Errorf("%w %q", ErrUnknownGroup, ev.Group)})
		return
	case c.peers[ev.Peer] != nil:
		c.emit(Refuse{Peer: ev.Peer, Err: fmt.Errorf("%w of group %q", ErrAlreadyMember, c.peers[ev.Peer].group.Config.Name)})
		return
	case !g.onDisk:
		g.joins = append(g.joins, ev)
		return
	}
	if err := g.Join(ev.Peer, ev.Name, ev.Session, ev.Serves, c.now); err != nil {
		c.emit(Refuse{Peer: ev.Peer, Err: err})
		return
	}
	if old, taken := g.members[ev.Name]; taken {
		c.forget(c.peers[old])
		c.emit(Disconnect{Peer: old, Reason: "the same session has connected again"})
	}
	g.members[ev.Name] = ev.Peer
	c.peers[ev.Peer] = &peer{id: ev.Peer, group: g, name: ev.Name, repack: ev.Repacked}
	w := Welcome{Peer: ev.Peer, Marks: make(map[groups.MDT]uint64, len(g.tracks))}
	for _, t := range g.tracks {
		w.Marks[t.mdt.id] = t.Mark()
	}
	c.emit(w)
	c.tellMissed(g, ev.Peer)
	c.collect(g)
}

// member runs do for a member's group, and answers for it. lease is what it is about,
// if anything.
func (c *Core) member(id Peer, lease groups.LeaseID, do func(g *group) error) {
	p := c.peers[id]
	if p == nil {
		c.emit(Refuse{Peer: id, Lease: lease, Err: ErrNotMember})
		return
	}
	if err := do(p.group); err != nil {
		c.emit(Refuse{Peer: id, Lease: lease, Err: err})
	}
	c.collect(p.group)
}

func (ev Credit) apply(c *Core) {
	c.member(ev.Peer, 0, func(g *group) error { return g.Credit(ev.Peer, ev.Batches, ev.Bytes, c.now) })
}

func (ev Ack) apply(c *Core) {
	c.member(ev.Peer, ev.Lease, func(g *group) error {
		err := g.Ack(ev.Peer, ev.Lease, ev.UpTo, c.now)
		if err == nil {
			c.acknowledged(g)
		}
		return err
	})
}

func (ev Nack) apply(c *Core) {
	c.member(ev.Peer, ev.Lease, func(g *group) error { return g.Nack(ev.Peer, ev.Lease, ev.From, ev.Delay, c.now) })
}

func (ev Heartbeat) apply(c *Core) {
	c.member(ev.Peer, 0, func(g *group) error { return g.Heartbeat(ev.Peer, c.now) })
}

func (ev Measured) apply(c *Core) {
	if p := c.peers[ev.Delivery.Member]; p != nil { // else its leases are gone
		p.group.Measured(ev.Delivery, ev.Bytes, ev.Last, c.now)
		c.collect(p.group)
	}
}

// apply forgets a peer whose connection ended: what it held goes back at once.
func (ev Down) apply(c *Core) { c.leave(ev.Peer) }

func (c *Core) leave(id Peer) {
	for _, name := range c.names {
		c.groups[name].forgetJoin(id)
	}
	p := c.peers[id]
	if p == nil {
		return
	}
	c.forget(p)
	delete(p.group.members, p.name)
	_ = p.group.Leave(id) // it is a member: peers says so
	c.collect(p.group)
}

// forgetJoin drops a join that waits for the group to be on disk.
func (g *group) forgetJoin(id Peer) {
	kept := g.joins[:0]
	for _, j := range g.joins {
		if j.Peer != id {
			kept = append(kept, j)
		}
	}
	g.joins = kept
}

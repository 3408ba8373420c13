package core

import "github.com/lcapd/lcapd/groups"

// Save has everything durable written now, and what that allows cleared, for an
// orderly end. It returns false when nothing is left to do. Call it again after each
// Persisted and Cleared, and let nothing be handed out any more. A clear that fails is not
// tried again.
func (c *Core) Save() (more bool) {
	for _, m := range c.order {
		for _, t := range m.tracks {
			t.lowerCeiling(c)
			if t.state().Mark > t.durable {
				c.touch(t)
			}
		}
		more = c.clearLast(m) || more
	}
	c.persist.failed, c.persist.ended = false, true
	c.writeState(true)
	return more || c.persist.underway != nil || !c.persist.idle()
}

// lowerCeiling gives up what is reserved and will not be handed out: or the next life would
// take a million records for such as somebody may have seen.
func (t *track) lowerCeiling(c *Core) {
	if reached := t.reached(); reached < t.wanted {
		t.wanted = reached
		t.ceiling = min(t.ceiling, reached)
		c.touch(t)
	}
}

// clearLast clears at once what may be, and tells whether a clear is under way.
func (c *Core) clearLast(m *mdt) bool {
	k := &m.clear
	c.reserve(m)
	if !k.underway && k.onDisk > k.sent && k.onDisk > k.refused {
		c.sendClear(m)
	}
	return k.underway
}

// Drain stops all hand-out, for an orderly end, and returns how many leases are not
// acknowledged.
func (c *Core) Drain() (leases int) {
	for _, name := range c.names {
		g := c.groups[name]
		g.Pause(true)
		leases += g.Leases()
	}
	return leases
}

// Epoch returns the epoch of an MDT.
func (c *Core) Epoch(id groups.MDT) Epoch { return c.mdts[id].epoch }

// Holds tells whether a member has a lease: a delivery on its way may have been overtaken by
// its end.
func (c *Core) Holds(id Peer, lease groups.LeaseID) bool {
	p := c.peers[id]
	return p != nil && p.group.Holds(id, lease)
}

// Known returns what is durable of an MDT, or will be, with those of its records that it is to be recognised by.
func (c *Core) Known(id groups.MDT) MDTState {
	s := c.mdts[id].state()
	s.Recent = c.mdts[id].known()
	return s
}

// StartOf returns where a group that starts now would go on.
func (c *Core) StartOf(id groups.MDT, s Start) uint64 { return c.mdts[id].start(s) }

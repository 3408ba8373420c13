package core

import "github.com/lcapd/lcapd/groups"

// Save has everything durable written now, for an orderly end. It returns false when
// nothing is left to write. Call it again after each Persisted.
func (c *Core) Save() (more bool) {
	for _, m := range c.order {
		for _, t := range m.tracks {
			if t.state().Mark > t.durable {
				c.touch(t)
			}
		}
	}
	c.persist.failed = false
	c.writeState(true)
	return c.persist.underway != nil || !c.persist.idle()
}

// Epoch returns the epoch of an MDT.
func (c *Core) Epoch(id groups.MDT) Epoch { return c.mdts[id].epoch }

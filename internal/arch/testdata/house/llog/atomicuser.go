package llog

func (c *counter) add() { c.n.Add(1) } // without importing sync/atomic

package llog

import "sync/atomic"

type counter struct{ n atomic.Int64 }

func (c *counter) read() int64 { return c.n.Load() }

package transport

import "sync/atomic"

// The numbers in this file are the only state with more than one owner. They are atomics because those
// who change them must wait for nobody: senders, readers of many connections, and who looks at metrics.

// room is the space in a peer's queue, in one word so that both limits and the end are decided at once:
// bit 63 closed, bits 40-62 messages, bits 0-39 bytes. Senders take; the writer gives back and closes.
type room struct {
	used        atomic.Uint64
	maxMessages uint64
	maxBytes    uint64
}

const (
	roomClosed  = 1 << 63
	roomMessage = 1 << 40
	roomBytes   = roomMessage - 1
	roomCount   = 1<<23 - 1
)

// take takes the room for a message, or says why not: ErrFull or ErrClosed. A message larger than the
// limit is let into an empty queue: it would never fit otherwise.
func (r *room) take(size int) error {
	for {
		used := r.used.Load()
		count, bytes := used/roomMessage&roomCount, used&roomBytes
		switch {
		case used&roomClosed != 0:
			return ErrClosed
		case count >= r.maxMessages, count > 0 && bytes+uint64(size) > r.maxBytes, size >= roomMessage:
			return ErrFull
		}
		if r.used.CompareAndSwap(used, used+roomMessage+uint64(size)) {
			return nil
		}
	}
}

// give returns the room of a message.
func (r *room) give(size int) { r.used.Add(-(roomMessage + uint64(size))) }

// close ends all taking. It returns how many messages have room now: no more come.
func (r *room) close() int {
	return int(r.used.Or(roomClosed) / roomMessage & roomCount)
}

// load returns the messages and bytes that are queued or being written.
func (r *room) load() (messages int, bytes int64) {
	used := r.used.Load()
	return int(used / roomMessage & roomCount), int64(used & roomBytes)
}

// budget is what the receive buffers of all connections may grow to together, in bytes.
type budget struct {
	used atomic.Int64
	max  int64
}

// take takes n bytes, if there are so many left. A nil budget has no end.
func (b *budget) take(n int) bool {
	if b == nil {
		return true
	}
	if b.used.Add(int64(n)) > b.max {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// give returns n bytes.
func (b *budget) give(n int) {
	if b != nil {
		b.used.Add(int64(-n))
	}
}

// counters count what happened to connections since the start.
type counters struct {
	open     atomic.Int64
	accepted atomic.Uint64
	ended    [reasons]atomic.Uint64
}

// come counts a connection that was let in, leave its end.
func (c *counters) come() {
	c.accepted.Add(1)
	c.open.Add(1)
}

func (c *counters) leave() { c.open.Add(-1) }

// end counts a connection that was refused or cut.
func (c *counters) end(r Reason) { c.ended[r].Add(1) }

// Stats is a snapshot of a server's counters.
type Stats struct {
	Open     int    // connections at this moment, those in their handshake included
	Accepted uint64 // connections since the start, those refused at once left out
	// Inbound is how many bytes the large receive buffers hold at this moment.
	Inbound int64
	// Ended counts the connections that were refused or cut, by the reason's name. Every reason is there.
	Ended map[string]uint64
}

// snapshot returns the counters as they are.
func (c *counters) snapshot(b *budget) Stats {
	s := Stats{Open: int(c.open.Load()), Accepted: c.accepted.Load(), Inbound: b.used.Load(), Ended: map[string]uint64{}}
	for r := range reasons {
		s.Ended[r.String()] = c.ended[r].Load()
	}
	return s
}

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// A Batch is some records of one MDT, in ascending order of their indexes. It belongs to one
// goroutine at a time, and is valid until Release, Ack or Nack.
type Batch struct {
	Addr        string // the broker that it came from
	MDT         string
	Epoch       uint32 // how often the MDT began to count anew
	From, To    uint64 // the range (From, To] of indexes that it covers
	First, Last uint64 // the indexes of its first and last record
	Count       int    // its records, at least one
	// Delivery is how often the broker delivered these records since it started, this time counted.
	Delivery int
	// MaybeRedelivered: an earlier run of the broker may have delivered them.
	MaybeRedelivered bool
	// Late: the records appeared behind others of higher indexes that were delivered before.
	Late bool

	lease  uint64
	packed []byte
	ends   []uint32 // where each record ends in packed
	mem    *memory  // what both are in, from pool
	pool   *sync.Pool
	link   *link  // nil for a listener's
	gen    uint64 // the link's connection that it came over
}

// memory is what a batch is in; when it is released another one gets it.
type memory struct {
	packed []byte
	ends   []uint32
}

// Lease is the number under which the batch is this member's; 0 for a listener's.
func (b *Batch) Lease() uint64 { return b.lease }

// Packed returns the records as Lustre packs them, one behind the other.
func (b *Batch) Packed() []byte { return b.packed }

// Records goes through the records. None is there after Release, Ack or Nack.
func (b *Batch) Records() iter.Seq[changelog.Record] {
	return func(yield func(changelog.Record) bool) {
		packed, at := b.packed, uint32(0)
		for _, end := range b.ends { // they were found when the batch came
			if !yield(changelog.Framed(packed[at:end:end])) {
				return
			}
			at = end
		}
	}
}

// Release gives the memory of the batch back; its lease stays. It may be called again.
func (b *Batch) Release() {
	if b.mem != nil {
		b.pool.Put(b.mem)
	}
	b.mem, b.packed, b.ends = nil, nil, nil
}

// Clone returns a copy with memory of its own. It stands for the same lease.
func (b *Batch) Clone() *Batch {
	c := *b
	c.mem, c.packed, c.ends = nil, slices.Clone(b.packed), slices.Clone(b.ends)
	return &c
}

// A Record is one record and the batch that it is in.
type Record struct {
	changelog.Record
	Batch *Batch
}

// Ack acknowledges this record, and those before it in its batch. See [Member.AckUpTo].
func (r Record) Ack() error { return r.Batch.ackUpTo(r.Index()) }

// A Gap says that records (From, To] of an MDT did not reach a listener.
type Gap struct {
	Addr     string
	MDT      string
	Epoch    uint32
	From, To uint64
	Count    uint64 // records that the broker read and did not send
	Unknown  bool   // nobody knows how many there were
	Why      string // for humans
}

// Error makes a gap an error, for [Listener.Records].
func (g *Gap) Error() string {
	n := fmt.Sprint(g.Count)
	if g.Unknown {
		n = "an unknown number of"
	}
	return fmt.Sprintf("%s: %s: gap: %s records in (%d, %d] not received: %s", g.Addr, g.MDT, n, g.From, g.To, g.Why)
}

// newBatch makes a batch of a message that conn received last and of its payload. It checks that the payload is what the message says. The records stay where they
// were received: conn gets another buffer for that.
func newBatch(conn *transport.Conn, addr string, m *wire.Batch, payload []byte, wanted wire.Form, pool *sync.Pool) (*Batch, error) {
	mem, ok := pool.Get().(*memory)
	if !ok {
		mem = new(memory)
	}
	var err error
	if mem.ends, err = checkPayload(mem.ends[:0], m, payload); err != nil {
		return nil, err
	}
	if m.Form != wanted {
		return nil, fmt.Errorf("%w: batch of %s: its records have the blocks %s, not %s", ErrProtocol, m.MDT, m.Form.Names(), wanted.Names())
	}
	mem.packed = conn.Trade(mem.packed)
	return &Batch{Addr: addr, MDT: m.MDT, Epoch: uint32(m.Epoch), From: m.From, To: m.To, First: m.First, Last: m.Last,
		Count: int(m.N), Delivery: int(min(m.Delivery, 1<<31-1)), MaybeRedelivered: m.Flags&wire.MaybeRedelivered != 0,
		Late: m.Flags&wire.Late != 0, lease: m.Lease, packed: payload, ends: mem.ends, mem: mem, pool: pool}, nil
}

// checkPayload checks that the payload is what the message says, and appends to ends where its
// records end.
func checkPayload(ends []uint32, m *wire.Batch, payload []byte) ([]uint32, error) {
	ends = changelog.AppendEnds(ends, payload, 0)
	n := len(ends)
	if n == 0 || int(ends[n-1]) != len(payload) {
		return nil, fmt.Errorf("%w: batch of %s: %w", ErrProtocol, m.MDT, badPayload(payload))
	}
	begin := uint32(0)
	if n > 1 {
		begin = ends[n-2]
	}
	first, last := changelog.Framed(payload[:ends[0]]).Index(), changelog.Framed(payload[begin:]).Index()
	if uint64(n) != m.N || first != m.First || last != m.Last {
		return nil, fmt.Errorf("%w: batch of %s: %d records from %d to %d, announced as %d from %d to %d",
			ErrProtocol, m.MDT, n, first, last, m.N, m.First, m.Last)
	}
	return ends, nil
}

// badPayload says what is wrong with a payload that is not all records.
func badPayload(payload []byte) error {
	s := changelog.NewScanner(payload)
	s.Ordered = true
	for s.Scan() {
	}
	return cmp.Or(s.Err(), errors.New("there is no record"))
}

// ackUpTo acknowledges the records up to and with an index.
func (b *Batch) ackUpTo(index uint64) error {
	if index < b.First {
		return nil // none of it
	}
	return b.call(call{upTo: min(index, b.Last)})
}

func (b *Batch) nack(from uint64, delay time.Duration) error {
	from = min(max(from, b.First), b.Last) // beyond that it would give back nothing, and not be answered
	return b.call(call{nack: true, from: from, delay: delay})
}

// call has the link do something with the batch's lease.
func (b *Batch) call(c call) error {
	if b.link == nil {
		return fmt.Errorf("client: the batch of %s is a listener's: it has no lease", b.MDT)
	}
	c.lease, c.gen, c.last = b.lease, b.gen, b.Last
	c.reply = make(chan error, 1)
	select {
	case b.link.calls <- c:
	case <-b.link.gone:
		return context.Cause(b.link.stream.life)
	}
	err := <-c.reply
	if err == ErrLeaseLost {
		return &LeaseError{b.Addr, b.MDT, b.lease}
	}
	return err
}

package client

import (
	"slices"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// outgoing is what is to be said to a server while its writer is busy: acknowledgements by lease and
// credit as a sum, so that it does not grow with the caller's diligence.
type outgoing struct {
	acks      []wire.Ack
	nacks     []wire.Nack
	credit    wire.Credit
	pressing  bool // the credit is worth a message
	heartbeat bool
	leave     bool // when all else is said
}

// ack notes that a lease is done up to an index.
func (o *outgoing) ack(lease, upTo uint64) {
	for i := len(o.acks) - 1; i >= 0; i-- {
		if o.acks[i].Lease == lease {
			o.acks[i].UpTo = max(o.acks[i].UpTo, upTo)
			return
		}
	}
	o.acks = append(o.acks, wire.Ack{Lease: lease, UpTo: upTo})
}

// nack notes that a lease is given back, which happens once.
func (o *outgoing) nack(lease, from uint64, delay time.Duration) {
	ms := uint64(max(delay.Milliseconds(), 0))
	o.nacks = append(o.nacks, wire.Nack{Lease: lease, From: from, DelayMS: min(ms, 1<<31-1)})
}

// grant adds credit. It is sent when a quarter of the window has come together, or of what a server keeps:
// it has no more to send by, however large the window is.
func (o *outgoing) grant(batches, bytes int, s *settings) {
	o.credit.Batches += uint64(batches)
	o.credit.Bytes += uint64(bytes)
	o.pressing = 4*o.credit.Batches >= uint64(min(s.batches, wire.MaxCreditBatches)) ||
		4*o.credit.Bytes >= uint64(min(s.bytes, wire.MaxCreditBytes))
}

// next returns what to say next, nil for nothing. It is valid whatever happens to o.
func (o *outgoing) next() wire.Message {
	switch {
	case len(o.acks) > 0: // before the nacks: what is acknowledged of a lease must be so before it ends
		ack := o.acks[0]
		return &ack
	case len(o.nacks) > 0:
		nack := o.nacks[0]
		return &nack
	case o.leave:
		return &wire.Leave{}
	case o.pressing:
		credit := o.credit
		return &credit
	case o.heartbeat:
		return &wire.Heartbeat{}
	}
	return nil
}

// said takes what next returned off: the writer has it.
func (o *outgoing) said(m wire.Message) {
	switch m.(type) {
	case *wire.Ack:
		o.acks = slices.Delete(o.acks, 0, 1)
	case *wire.Nack:
		o.nacks = slices.Delete(o.nacks, 0, 1)
	case *wire.Credit:
		o.credit, o.pressing = wire.Credit{}, false
	case *wire.Leave:
		o.leave = false
	}
	o.heartbeat = false // anything said is a sign of life
}

package broker

import (
	"context"
	"errors"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/scatter"
	"github.com/lcapd/lcapd/groups"
)

// Delivery is what a member was handed out.
type Delivery struct {
	MDT   string
	Epoch core.Epoch
	Lease groups.LeaseID
	// From and To are the range (From, To] that it covers: acknowledging To, or Last,
	// acknowledges all of it.
	From, To uint64
	// Records are packed, at least one, in ascending order of their indexes. They are
	// shared: nobody may change them, nor read them after [Broker.Done].
	Records     []byte
	Count       int
	First, Last uint64 // indexes of the first and the last record
	// Attempt is which delivery of the range this is, from 1, since the broker started.
	Attempt int
	// MaybeRedelivered tells that an earlier run of the broker may have delivered it.
	MaybeRedelivered bool
	// Late tells that the record appeared after later ones: order does not hold for it.
	Late bool

	member core.Peer
	batch  *core.Batch
	own    bool // Records are not the batch's
}

// newDelivery describes a part of a batch that was handed out.
func (l *loop) newDelivery(d core.Deliver, p scatter.Part) *Delivery {
	return &Delivery{
		MDT: l.mdts[d.MDT].Name, Epoch: d.Epoch, Lease: d.Lease, From: d.From, To: d.To,
		Records: p.Records, Count: p.Count, First: p.First, Last: p.Last,
		Attempt: d.Count, MaybeRedelivered: d.MaybeRedelivered, Late: d.Late,
		member: d.Member, batch: d.Batch, own: !p.Shared,
	}
}

// Done tells the broker that the records are no longer held: they were written to a
// socket, copied, or never will be. It must be called exactly once for each delivery
// that a [Peer] took, from any goroutine. It waits while the loop is busy.
func (b *Broker) Done(ctx context.Context, d *Delivery) error {
	if d.own {
		b.giveBack(d.Records)
	}
	return b.send(ctx, core.Sent{Peer: d.member, Batch: d.batch})
}

// cutter cuts deliveries out of their batches, beside the loop, and the fields out of
// them that the member does not want. What a group hands out
// of an MDT passes one cutter, so it keeps its order. It has one job at a time: all that
// was handed out together, and what came during the job before, which credit bounds. So
// one walk over a batch serves many members.
type cutter struct {
	jobs  chan []order
	queue []order
	busy  bool
}

// order is a delivery that is to be cut out of its batch.
type order struct {
	core.Deliver
	view *view                       // of the batch, for a member that wants less; else nil
	see  func() (*core.Batch, error) // returns it
}

// piece is what an order came to: a part of the batch, or of the view.
type piece struct {
	scatter.Part
	of *core.Batch
}

// cutters is how many there are.
const cutters = 4

// deliver has a delivery cut out and passed on. All of a batch needs no cutting, nor all
// of a view that was made before, but must not overtake what does. A member may have been
// sent away since the core decided.
func (l *loop) deliver(d core.Deliver) {
	p := l.peers[d.Member]
	if p == nil {
		l.core.Step(core.Sent{Peer: d.Member, Batch: d.Batch})
		return
	}
	o, all := order{Deliver: d}, d.Batch
	if d.Repacked {
		o.view = l.views.of(d.Batch, sight{fields: p.fields})
		o.see, all = o.view.see(), o.view.made
	}
	c := l.cutterOf(p.group, d.MDT)
	if d.All() && all != nil && !c.busy && len(c.queue) == 0 {
		l.handOver(o, piece{scatter.Cut(all, []scatter.Want{{From: d.From, To: d.To}})[0], all})
		return
	}
	c.queue = append(c.queue, o)
}

// cutQueued gives cutters that have nothing to do what waits for them.
func (l *loop) cutQueued() {
	for _, c := range l.cutters {
		if !c.busy && len(c.queue) > 0 {
			c.busy = true
			c.jobs <- c.queue // there is room: it is idle
			c.queue = nil
		}
	}
}

func (l *loop) cutterOf(group string, mdt groups.MDT) *cutter {
	n := uint32(mdt)
	for _, c := range group {
		n = n*31 + uint32(c)
	}
	return l.cutters[n%cutters]
}

// cut is the goroutine of a cutter.
func (l *loop) cut(c *cutter) {
	cut := &scatter.Cutter{Spare: l.b.parts}
	for {
		select {
		case <-l.ctx.Done():
			return
		case job := <-c.jobs:
			pieces := cutAll(cut, job)
			if l.b.call(l.ctx, func(l *loop) { l.cutDone(c, job, pieces) }) != nil {
				return
			}
		}
	}
}

// cutAll cuts the deliveries, all of one batch and one view of it at once.
func cutAll(cut *scatter.Cutter, job []order) []piece {
	pieces := make([]piece, len(job))
	done := make([]bool, len(job))
	var wants []scatter.Want
	var which []int
	for i, first := range job {
		if done[i] {
			continue
		}
		wants, which = wants[:0], which[:0]
		for j, o := range job[i:] {
			if o.Batch == first.Batch && o.view == first.view {
				wants = append(wants, scatter.Want{From: o.From, To: o.To, Slots: o.Slots})
				which = append(which, i+j)
				done[i+j] = true
			}
		}
		seen := first.Batch
		if first.view != nil {
			seen, _ = first.see() // a sight of fields alone does not fail
		}
		for n, part := range cut.CutForm(first.Batch, seen, wants) {
			pieces[which[n]] = piece{part, seen}
		}
	}
	return pieces
}

// cutDone passes on what was cut, and gives the cutter what came meanwhile.
func (l *loop) cutDone(c *cutter, job []order, pieces []piece) {
	for i, o := range job {
		l.handOver(o, pieces[i])
	}
	c.busy = false // what waits for it is given to it soon: see carryOut
}

// handOver tells the core what a delivery came to, and passes it on. One that was taken back
// meanwhile comes to nothing: its member does not get it, and so could not give the credit for it anew.
func (l *loop) handOver(o order, p piece) {
	held := l.core.Holds(o.Member, o.Lease)
	if !held {
		p.Part = scatter.Part{}
	}
	if !o.Whole() || !held {
		l.core.Step(core.Measured{Delivery: o.Delivery, Bytes: p.Bytes(), Last: p.Last})
	}
	if o.view != nil {
		o.view.made = p.of
	}
	if p.of != o.Batch {
		l.core.Step(core.Copied{Peer: o.Member, Batch: o.Batch, Copy: p.of})
		o.Batch = p.of
	}
	l.pass(o.Deliver, p.Part)
}

// errNoRoom ends the membership of who gave more credit than it has room for.
var errNoRoom = errors.New("no room: more credit than is allowed")

// pass gives a delivery to its member's peer. A peer that has no room took more credit
// than it may, and is sent away.
func (l *loop) pass(d core.Deliver, part scatter.Part) {
	p := l.peers[d.Member]
	switch {
	case p == nil, part.Count == 0:
	case p.Deliver(l.newDelivery(d, part)):
		p.delivered(part)
		return // it tells when it is done with it
	default:
		l.disconnect(d.Member, errNoRoom)
	}
	l.core.Step(core.Sent{Peer: d.Member, Batch: d.Batch})
}

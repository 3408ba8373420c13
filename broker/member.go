package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/scatter"
	"github.com/lcapd/lcapd/groups"
)

// ErrDisconnected: the broker has ended the membership. What was not acknowledged
// goes to others.
var ErrDisconnected = errors.New("disconnected")

// MaxCredit is how many hand-outs a member may allow beyond what it took from its inbox.
const MaxCredit = 256

// Member is a member in the same process. What is sent to it waits in its inbox,
// which its credit keeps from being full. It has one owner.
type Member struct {
	b     *Broker
	id    core.Peer
	inbox chan any // *Delivery, core.Welcome, core.Refuse, or the reason of a disconnect
}

// Join makes a member of a group. It waits until the group is on disk.
func (b *Broker) Join(ctx context.Context, group, name, session string) (*Member, error) {
	m := &Member{b: b, inbox: make(chan any, 2*MaxCredit)}
	err := b.call(ctx, func(l *loop) {
		l.lastPeer++
		m.id = l.lastPeer
		l.members[m.id] = m
		l.core.Step(core.Join{Peer: m.id, Group: group, Name: name, Session: session})
	})
	if err != nil {
		return nil, err
	}
	if _, err := m.next(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("join group %s: %w", group, err), m.Close())
	}
	return m, nil
}

// next returns the next message that is not an error: a Welcome or a Delivery.
func (m *Member) next(ctx context.Context) (any, error) {
	select {
	case msg := <-m.inbox:
		switch msg := msg.(type) {
		case core.Refuse:
			return nil, msg.Err
		case string:
			return nil, fmt.Errorf("%w: %s", ErrDisconnected, msg)
		}
		return msg, nil
	case <-m.b.done:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Next returns the next delivery. An error of an earlier request, such as
// [groups.ErrLeaseLost], comes here too; the member goes on after it.
func (m *Member) Next(ctx context.Context) (*Delivery, error) {
	msg, err := m.next(ctx)
	if err != nil {
		return nil, err
	}
	d := msg.(*Delivery) // a Welcome came with Join
	d.part = scatter.Cut(d.d.Batch, []scatter.Want{{From: d.d.From, To: d.d.To, Slots: d.d.Slots}})[0]
	bytes := d.d.Batch.Bytes()
	d.d.Batch = nil
	return d, m.b.send(ctx, core.Sent{Peer: m.id, Bytes: bytes})
}

// Credit lets the member take more hand-outs, and bytes.
func (m *Member) Credit(ctx context.Context, batches int, bytes int64) error {
	return m.b.send(ctx, core.Credit{Peer: m.id, Batches: batches, Bytes: bytes})
}

// Ack acknowledges a delivery up to and with an index.
func (m *Member) Ack(ctx context.Context, d *Delivery, upTo uint64) error {
	return m.b.send(ctx, core.Ack{Peer: m.id, Lease: d.d.Lease, UpTo: upTo})
}

// Nack gives back a delivery from an index on.
func (m *Member) Nack(ctx context.Context, d *Delivery, from uint64, delay time.Duration) error {
	return m.b.send(ctx, core.Nack{Peer: m.id, Lease: d.d.Lease, From: from, Delay: delay})
}

// Close ends the membership; what was not acknowledged goes back at once.
func (m *Member) Close() error {
	err := m.b.call(context.Background(), func(l *loop) {
		delete(l.members, m.id)
		l.core.Step(core.Down{Peer: m.id})
	})
	if errors.Is(err, ErrStopped) {
		return nil
	}
	return err
}

// tell puts a message into a member's inbox. A member whose inbox is full took more
// credit than it may, and is sent away.
func (l *loop) tell(id core.Peer, msg any) {
	m := l.members[id]
	if m == nil {
		return
	}
	select {
	case m.inbox <- msg:
	default:
		l.disconnect(id, "the inbox is full: more credit than is allowed")
	}
}

// disconnect ends a membership, and says why if there is room to say it.
func (l *loop) disconnect(id core.Peer, reason string) {
	m := l.members[id]
	if m == nil {
		return
	}
	delete(l.members, id)
	select {
	case m.inbox <- reason:
	default:
	}
	l.core.Step(core.Down{Peer: id})
}

// Delivery is what a member was handed out.
type Delivery struct {
	d    core.Deliver
	mdt  string
	part scatter.Part
}

// MDT returns the name of the MDT.
func (d *Delivery) MDT() string { return d.mdt }

// Range returns what the delivery covers; acknowledging To acknowledges all of it.
func (d *Delivery) Range() core.Range { return core.Range{From: d.d.From, To: d.d.To} }

// Records returns the packed records, maybe none. They must not be changed.
func (d *Delivery) Records() []byte { return d.part.Records }

// Count returns how many records there are.
func (d *Delivery) Count() int { return d.part.Count }

// Attempt returns which delivery of the range this is, from 1, since the broker started.
func (d *Delivery) Attempt() int { return d.d.Count }

// MaybeRedelivered tells that an earlier run of the broker may have delivered it.
func (d *Delivery) MaybeRedelivered() bool { return d.d.MaybeRedelivered }

// Lease returns the lease that the delivery is under.
func (d *Delivery) Lease() groups.LeaseID { return d.d.Lease }

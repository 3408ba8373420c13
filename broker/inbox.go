package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lcapd/lcapd/groups"
)

// ErrDisconnected: the broker has ended the membership. What was not acknowledged goes
// to others.
var ErrDisconnected = errors.New("disconnected")

// Inbox is a [Peer] in the same process: what comes waits in a queue, which the
// member's credit keeps from being full.
type Inbox struct {
	b        *Broker
	messages chan any // Joined, *Delivery, error, Lost; a string ends it
}

// NewInbox returns an empty inbox.
func (b *Broker) NewInbox() *Inbox {
	return &Inbox{b: b, messages: make(chan any, 2*MaxCredit)}
}

// put takes a message if there is room.
func (i *Inbox) put(msg any) bool {
	select {
	case i.messages <- msg:
		return true
	default:
		return false
	}
}

// Joined implements [Peer].
func (i *Inbox) Joined(j Joined) { i.put(j) }

// Deliver implements [Peer].
func (i *Inbox) Deliver(d *Delivery) bool { return i.put(d) }

// Refused implements [Peer].
func (i *Inbox) Refused(_ groups.LeaseID, err error) { i.put(err) }

// Lost implements [Peer].
func (i *Inbox) Lost(x Lost) { i.put(x) }

// Ended implements [Peer].
func (i *Inbox) Ended(reason error) { i.put(reason.Error()) }

// Next returns the next delivery. What is no delivery comes as an error, after which
// the member goes on: a refusal, such as [groups.ErrLeaseLost]. [ErrDisconnected] and
// [ErrStopped] are the end.
func (i *Inbox) Next(ctx context.Context) (*Delivery, error) {
	for {
		select {
		case msg := <-i.messages:
			switch msg := msg.(type) {
			case *Delivery:
				own := *msg // for as long as the member likes
				own.Records = slices.Clone(msg.Records)
				return &own, i.b.Done(ctx, msg)
			case error:
				return nil, msg
			case string:
				return nil, fmt.Errorf("%w: %s", ErrDisconnected, msg)
			}
		case <-i.b.done:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

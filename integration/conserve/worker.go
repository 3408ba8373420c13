package main

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/lcapd/lcapd/broker"
)

// worker is a member of a group that is killed now and then, and comes back.
type worker struct {
	b       *broker.Broker
	group   string
	number  int // of the group
	name    string
	account *ledger
	rng     *rand.Rand
	kills   int
	total   int // records that the group will get
}

// run lives several lives, the last one until ctx ends.
func (w *worker) run(ctx context.Context) {
	for life := 0; ctx.Err() == nil; life++ {
		deliveries := -1 // for ever
		if life < w.kills {
			deliveries = w.rng.IntN(100) + 1
		}
		w.live(ctx, deliveries)
	}
}

// live joins, takes so many deliveries, and dies with what it has in its hands.
func (w *worker) live(ctx context.Context, deliveries int) {
	const credit, bytes = 32, 4 << 20
	inbox := w.b.NewInbox()
	m, err := w.b.Join(ctx, broker.JoinOptions{Group: w.group, Name: w.name, Session: w.name}, inbox)
	if err != nil {
		return
	}
	defer w.account.killed(m)
	if m.Credit(ctx, credit, bytes) != nil {
		return
	}
	for n := 0; n != deliveries; n++ {
		d, err := inbox.Next(ctx)
		if errors.Is(err, broker.ErrDisconnected) || errors.Is(err, broker.ErrStopped) || ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // lease-lost: it comes again
		}
		w.account.took(w.number, d)
		// The last record is as good as the end of the range, and credit for what came
		// as good as what was given: the broker knows what each delivery held.
		if m.Ack(ctx, d.Lease, d.Last) != nil || m.Credit(ctx, 1, int64(len(d.Records))) != nil {
			return
		}
	}
}

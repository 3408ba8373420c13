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
	const credit = 32
	m, err := w.b.Join(ctx, w.group, w.name, w.name)
	if err != nil {
		return
	}
	defer w.account.killed(m)
	if m.Credit(ctx, credit, 1<<40) != nil {
		return
	}
	for n := 0; n != deliveries; n++ {
		d, err := m.Next(ctx)
		if errors.Is(err, broker.ErrDisconnected) || errors.Is(err, broker.ErrStopped) || ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // lease-lost: it comes again
		}
		w.account.took(w.number, d)
		if m.Ack(ctx, d, d.Range().To) != nil || m.Credit(ctx, 1, 0) != nil {
			return
		}
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
)

// newMember joins a group.
func newMember(ctx context.Context, spec peerSpec) (*peer, error) {
	m, err := client.Join(ctx, []string{spec.Addr}, spec.Group, client.Name(spec.Name))
	if err != nil {
		return nil, err
	}
	work := func(ctx context.Context, t *tally) error {
		for ctx.Err() == nil {
			b, err := m.Next(ctx)
			if err != nil {
				return err
			}
			t.take(b, spec.Latency)
			if err := m.Ack(b); err != nil && !errors.Is(err, client.ErrLeaseLost) {
				return err
			}
		}
		return nil
	}
	return &peer{workers: []worker{work}, close: func() { _ = m.Close() }}, nil
}

// newListeners makes listeners.
func newListeners(ctx context.Context, spec peerSpec) (*peer, error) {
	p := new(peer)
	var open []*client.Listener
	p.close = func() {
		for _, l := range open {
			_ = l.Close()
		}
	}
	for i := range spec.Conns {
		l, err := client.Listen(ctx, []string{spec.Addr}, client.Name(fmt.Sprintf("%s-%d", spec.Name, i)))
		if err != nil {
			p.close()
			return nil, err
		}
		open = append(open, l)
		p.workers = append(p.workers, func(ctx context.Context, t *tally) error {
			for ctx.Err() == nil {
				b, gap, err := l.Next(ctx)
				switch {
				case err != nil:
					return err
				case gap != nil:
					t.Gaps++
				default:
					t.take(b, spec.Latency)
					b.Release()
				}
			}
			return nil
		})
	}
	return p, nil
}

// take does what a user does with a batch: it looks at each record.
func (t *tally) take(b *client.Batch, latency bool) {
	t.At = time.Now()
	var of changelog.Time
	run := uint64(0) // records in a row that were shown at the same time
	for r := range b.Records() {
		t.look(r)
		if !latency {
			continue
		}
		if r.Time() != of && run > 0 {
			t.Latency.add(t.At.Sub(of.Time()), run)
			run = 0
		}
		of = r.Time()
		run++
	}
	if run > 0 {
		t.Latency.add(t.At.Sub(of.Time()), run)
	}
	t.Batches++
}

// look is the least that a user does with a record: where it ends, and its index.
func (t *tally) look(r changelog.Record) {
	if r.Index() == 0 {
		panic("a record without index")
	}
	t.Records++
	t.Bytes += uint64(r.Size())
}

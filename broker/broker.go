package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/groups"
)

// ErrStopped: the broker has stopped, or was told to.
var ErrStopped = errors.New("the broker has stopped")

// MDT is one MDT that the broker serves.
type MDT struct {
	Name   string
	Source Source
}

// Options are what a broker is made of.
type Options struct {
	Limits core.Config
	// MDTs are numbered in the order in which they stand here.
	MDTs []MDT
	// Groups holds what is the same for all groups that the state knows: InFlight,
	// Lease, AckTimeout, MaxDeliveries.
	Groups groups.Config
	// Store is the open state. The broker is its only user while it runs.
	Store *state.Store
	Log   zerolog.Logger
}

// Broker serves groups of members with the changelogs of some MDTs. One goroutine,
// the loop, owns all that is decided; see loop.go. Everybody else talks to it through
// two channels, whose senders wait while the loop is busy: it never waits for them.
type Broker struct {
	opts   Options
	events chan core.Event
	calls  chan func(*loop)
	done   chan struct{} // closed when Run returns
}

// New returns a broker that Run starts.
func New(o Options) *Broker {
	const waiting = 64 // a few events, so that senders and loop need not meet each time
	return &Broker{
		opts:   o,
		events: make(chan core.Event, waiting),
		calls:  make(chan func(*loop)),
		done:   make(chan struct{}),
	}
}

// Run serves until ctx ends. Then it ends all readings, writes the marks that members
// have reached, and returns. It may be called once.
func (b *Broker) Run(ctx context.Context) error {
	defer close(b.done)
	l, err := newLoop(b)
	if err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	l.run(ctx)
	return l.finish()
}

// send gives an event to the loop. It waits while the loop is busy.
func (b *Broker) send(ctx context.Context, ev core.Event) error {
	select {
	case b.events <- ev:
		return nil
	case <-b.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// call runs f in the loop, and returns when it has run.
func (b *Broker) call(ctx context.Context, f func(*loop)) error {
	ran := make(chan struct{})
	select {
	case b.calls <- func(l *loop) { f(l); close(ran) }:
	case <-b.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-ran
	return nil
}

// CreateGroup makes a group, unless there is one of that name. Who joins it waits
// until it is on disk.
func (b *Broker) CreateGroup(ctx context.Context, cfg groups.Config, start core.Start) error {
	return b.send(ctx, core.CreateGroup{Config: cfg, Start: start})
}

// tickEvery is how often the core is told the time.
const tickEvery = 50 * time.Millisecond

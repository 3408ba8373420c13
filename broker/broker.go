package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// ErrStopped: the broker has stopped, or was told to.
var ErrStopped = errors.New("the broker has stopped")

// MDT is one MDT that the broker serves.
type MDT struct {
	Name   string
	User   string // the changelog user that lcapd is there: cl1
	Source Source
	// Registered tells whether the MDT still knows User, false without an error if it does not. Nil
	// where that can only be told by clearing.
	Registered func(context.Context) (bool, error)
}

// Options are what a broker is made of.
type Options struct {
	Limits core.Config
	// MDTs are numbered in the order in which they stand here.
	MDTs []MDT
	// Groups holds what is the same for all groups: InFlight, Lease, AckTimeout,
	// MaxDeliveries. Own are those that have other ones, by name; 0 is none of its own.
	Groups groups.Config
	Own    map[string]groups.Config
	// GroupLimits are those of the groups that the configuration names: what the state says of
	// them does not count. Other groups have those that they were made with.
	GroupLimits map[string]core.Limits
	// GroupChains are the filters and modules of the groups that the configuration names: what
	// the state says of them does not count either.
	GroupChains map[string]Chain
	// Everybody is what is done with records before anybody is given them: groups and listeners
	// get what it leaves. It is not to hold records back.
	Everybody Chain
	// Memory is what all of this may take, as the administrator says it: the windows of modules may
	// hold half of it. 0 stands for Limits.Memory.
	Memory int64
	// History is how many bytes of batches are kept for listeners that do not keep up;
	// 0 stands for an eighth of Limits.Memory, which is in addition.
	History int64
	// Views is how many bytes of batches are kept that were filtered or cut for those who
	// want less than all; 0 stands for a sixteenth of Limits.Memory, which is in addition.
	Views int64
	// CreateGroups says whether a join may make a group, at first: see AllowCreation.
	CreateGroups bool
	// Modules are the kinds of modules that groups may have; none stands for those that are
	// built in. OneMDT says that the file system has one MDT and does not get another.
	Modules []modules.Kind
	OneMDT  bool
	// BatchBytes is how many bytes of records a batch holds at most; 0 stands for what the function
	// of that name says. Each reading needs three times as much for itself at most.
	BatchBytes int
	// AssumeEmpty takes unknown extra flags of records to add no bytes.
	AssumeEmpty bool
	// RecogniseEvery is how often an MDT is looked at, whether it is still the one
	// that was read; 0 stands for a minute.
	RecogniseEvery time.Duration
	// StuckAfter is after how long a member that acknowledges nothing of what it has is
	// shown as a problem; 0 stands for five seconds.
	StuckAfter time.Duration
	// Store is the open state. The broker is its only user while it runs.
	Store *state.Store
	Log   zerolog.Logger
}

func (o Options) withDefaults() Options {
	if o.Memory == 0 {
		o.Memory = o.Limits.Memory
	}
	if o.History == 0 {
		o.History = o.Limits.Memory / 8
	}
	if o.Views == 0 {
		o.Views = o.Limits.Memory / 16
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = BatchBytes(o.Limits.Memory, len(o.MDTs))
	}
	if o.RecogniseEvery == 0 {
		o.RecogniseEvery = time.Minute
	}
	if o.Modules == nil {
		o.Modules = modules.Builtin()
	}
	if o.StuckAfter == 0 {
		o.StuckAfter = 5 * time.Second
	}
	return o
}

// BatchBytes returns how large batches should get, by how much memory and how many MDTs there are. Large
// ones cost less, but each reading fills one of its own, and listeners who lag behind miss whole ones.
func BatchBytes(memory int64, mdts int) int {
	const least = 128 << 10
	return int(min(max(memory/64/int64(max(mdts, 1)), least), ingest.DefaultBatchBytes))
}

// Broker serves groups of members, and listeners, with the changelogs of some MDTs.
// One goroutine, the loop, owns all that is decided; see loop.go. Everybody else talks
// to it through two channels, whose senders wait while the loop is busy: it never waits
// for them.
type Broker struct {
	opts   Options
	events chan core.Event
	calls  chan func(*loop)
	copies chan copyOrder // of the state
	spare  chan []byte    // memory of batches that nobody has any more, for readers
	parts  chan []byte    // memory of what was cut out of batches, likewise, for cutters
	done   chan struct{}  // closed when Run returns

	viewCounts viewCounts // counted by whoever makes a view
}

// New returns a broker that Run starts.
func New(o Options) *Broker {
	const waiting = 64 // a few events, so that senders and loop need not meet each time
	return &Broker{
		opts:   o.withDefaults(),
		events: make(chan core.Event, waiting),
		calls:  make(chan func(*loop)),
		copies: make(chan copyOrder),
		spare:  make(chan []byte, sparePages),
		parts:  make(chan []byte, spareParts),
		done:   make(chan struct{}),
	}
}

// Run serves until ctx ends. Then it ends all readings, writes the marks that members
// have reached, clears what is due, and returns. It may be called once.
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
	case <-b.done: // there may be room all the same
		return ErrStopped
	default:
	}
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

// tickEvery is how often the core is told the time.
const tickEvery = 50 * time.Millisecond

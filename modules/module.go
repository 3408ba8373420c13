package modules

import (
	"fmt"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// A Module transforms the stream of one MDT. It has one owner, its [Chain], which calls
// its methods one after the other.
//
// For each record that it is given, a module calls exactly one of [Out.Keep], [Out.Change] and
// [Out.Drop] once: at once, or later if it holds the record. What it keeps must be below
// everything that it still holds, in the order of indexes; a module that holds everything and
// lets it go at a time in another order (reorder) is fine too, as it holds nothing then. It never
// makes up an index.
//
// What a module does may depend on the records, on [Start], and on the time at which each
// record came ([Out.Now]); never on where one batch ends and the next begins, nor on anything
// outside.
//
// Package moduletest checks all of that.
type Module interface {
	// Push takes the next record. The record is valid until Push returns; a module that
	// holds it copies it.
	Push(r changelog.Record, out *Out)
	// Tick lets go what is held too long at out.Now(). It is called before the records of each batch, which
	// all come at one time; a quiet stream gets nothing else.
	Tick(out *Out)
	// Flush lets go everything that is held: the stream ends, or pauses.
	Flush(out *Out)
	// Held tells what is held. It is called after each batch.
	Held() Held
}

// Held is what a module holds back: records that it neither kept nor dropped yet.
type Held struct {
	Records int
	// Bytes is what they take in memory, with everything around them.
	Bytes int64
	// Oldest is the lowest index held; 0 if nothing is.
	Oldest uint64
	// Since is when that one came, Due when the module wants a Tick to let something go.
	Since, Due time.Time
}

// A Gatherer decides about many records at once. It holds what it is pushed, and Gathered, which
// is called at the end of every batch, decides about all of it. It must decide about each record
// by itself: where batches end means nothing.
type Gatherer interface {
	Module
	Gathered(out *Out)
}

// A Doctor can fail and go on, such as a module that somebody else wrote. Health returns why it
// does not do its work any more, or nil.
type Doctor interface{ Health() error }

// A Closer has something outside of the chain that is to be given back. Close is called once, by
// [Chain.Close]; nothing is called after it.
type Closer interface{ Close() error }

// Stateless is embedded by modules that hold nothing.
type Stateless struct{}

// Tick implements [Module].
func (Stateless) Tick(*Out) {}

// Flush implements [Module].
func (Stateless) Flush(*Out) {}

// Held implements [Module].
func (Stateless) Held() Held { return Held{} }

// A Rule is a reason for which a module drops records: an index into Kind.Rules.
type Rule int

// A Kind is a sort of module, as configurations name it.
type Kind struct {
	// Name is what configurations call it: lower case.
	Name string
	// Summary is a line for users.
	Summary string
	// Rules are the reasons for which it drops records, for counters and explanations.
	Rules []string
	// Holds: it may hold records beyond a batch. Permutes: it lets them go in another order than
	// that of their indexes; nothing that holds may come behind it.
	Holds, Permutes bool
	// Paced: what it does with a record depends on when records come.
	Paced bool
	// UsesCeiling: what it does depends on Start.Ceiling, so a chain with it serves one group only,
	// and is made anew when the group falls back ([Plan.UsesCeiling]).
	UsesCeiling bool
	// Parse reads the options, and refuses a use for which the module is not safe. The
	// [Factory] is called once for each stream.
	Parse func(o *Options, use Use) (Factory, error)
}

// A Factory makes the module for one stream.
type Factory func(Start) Module

// Start is where a stream begins.
type Start struct {
	// After: the first record has an index above it.
	After uint64
	// Ceiling: somebody may have been handed records up to and with it. Above it nobody was
	// handed any before this chain.
	Ceiling uint64
}

// Out takes what a module decides.
type Out struct {
	chain *Chain
	stage *stage
}

// Now returns the time.
func (o *Out) Now() time.Time { return o.chain.now }

// Keep passes a record on as it is.
func (o *Out) Keep(r changelog.Record) {
	s := o.stage
	s.kept++
	if s.chain.trace != nil {
		s.report(Event{Index: r.Index(), Verdict: Kept})
	}
	if s.next != nil {
		s.next.push(r)
		return
	}
	s.chain.emit(r)
}

// Change passes on packed instead of a record. It must be one record with the same index.
func (o *Out) Change(r changelog.Record, packed []byte) {
	changed, rest, err := changelog.Next(packed)
	switch {
	case err != nil:
		o.Fail(fmt.Errorf("%w: record %d was changed into what is no record: %v", ErrModule, r.Index(), err))
		return
	case len(rest) > 0 || changed.Index() != r.Index():
		o.Fail(fmt.Errorf("%w: record %d was changed into one with index %d and %d bytes more", ErrModule, r.Index(), changed.Index(), len(rest)))
		return
	}
	s := o.stage
	s.kept++
	s.changed++
	if s.chain.trace != nil {
		s.report(Event{Index: r.Index(), Verdict: Changed})
	}
	if s.next != nil {
		s.next.push(changed)
		return
	}
	s.chain.emit(changed)
}

// Drop drops the record with the index, for the rule, because of the record with the index because;
// 0 if none is the cause.
func (o *Out) Drop(index uint64, rule Rule, because uint64) {
	s := o.stage
	s.dropped[rule]++
	if s.chain.trace != nil {
		s.report(Event{Index: index, Verdict: Dropped, Rule: s.kind.Rules[rule], Because: because})
	}
}

// Fail ends the chain: nothing comes out of it any more, what is held is read again
// by another one. A module that can still tell what to do with its records has no need of it.
func (o *Out) Fail(err error) {
	if o.chain.failure == nil {
		o.chain.failure = o.stage.wrap(err)
	}
}

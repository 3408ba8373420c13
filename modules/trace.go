package modules

import "github.com/lcapd/lcapd/changelog"

// A Verdict is what a module did with a record.
type Verdict int

// The verdicts. A record that was held is kept, changed or dropped later.
const (
	Kept Verdict = iota
	Changed
	Dropped
	Holding
)

// String returns the verdict as a word.
func (v Verdict) String() string {
	return names([]string{"kept", "changed", "dropped", "held"}, int(v))
}

// An Event is what a module did with one record.
type Event struct {
	// Module is the position of the module in the chain, Name its kind.
	Module int
	Name   string
	// Index is the record.
	Index   uint64
	Verdict Verdict
	// Rule and Because are those of [Out.Drop].
	Rule    string
	Because uint64
}

// Trace has every decision told to f, until f is nil. It makes the chain slow: it is for tests and for
// explanations.
func (c *Chain) Trace(f func(Event)) { c.trace = f }

// pushTraced gives a record to the module and tells if nothing was decided about it.
func (s *stage) pushTraced(r changelog.Record) {
	index := r.Index()
	s.touched = 0
	s.module.Push(r, &s.out)
	if s.touched != index {
		s.chain.trace(Event{Module: s.position, Name: s.kind.Name, Index: index, Verdict: Holding})
	}
}

// report tells the trace what was decided.
func (s *stage) report(e Event) {
	e.Module, e.Name = s.position, s.kind.Name
	s.touched = max(s.touched, e.Index)
	s.chain.trace(e)
}

// Stats are the counters of a module.
type Stats struct {
	// Module is its position, Name its kind.
	Module int
	Name   string
	// In are the records that it was given: Kept + the Dropped + Held.Records. Changed ones are among the kept.
	In, Kept, Changed uint64
	Dropped           []RuleCount
	Held              Held
	// Health is why it does not do its work any more, if it is a [Doctor].
	Health error
}

// RuleCount is how many records a rule dropped.
type RuleCount struct {
	Rule    string
	Records uint64
}

// Stats returns the counters of all modules, since the chain was made.
func (c *Chain) Stats() []Stats {
	all := make([]Stats, len(c.stages))
	for i, s := range c.stages {
		all[i] = Stats{Module: i, Name: s.kind.Name, In: s.in, Kept: s.kept, Changed: s.changed, Held: s.module.Held()}
		for rule, n := range s.dropped {
			all[i].Dropped = append(all[i].Dropped, RuleCount{s.kind.Rules[rule], n})
		}
		if d, ok := s.module.(Doctor); ok {
			all[i].Health = d.Health()
		}
	}
	return all
}

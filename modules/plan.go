package modules

import (
	"errors"
	"fmt"
	"slices"
)

// MaxModules is how many modules a chain may have, MaxConnection those of one from a connection.
const (
	MaxModules    = 16
	MaxConnection = 4
)

// ErrChain: the chain of modules is not one that can run.
var ErrChain = errors.New("chain of modules")

// A Plan is a chain that was checked. It is immutable and makes any number of chains.
type Plan struct {
	steps   []step
	text    string
	windows int64
}

type step struct {
	kind Kind
	make Factory
}

// Parse checks a chain against the modules that there are and against its use, and compiles it. The error
// tells everything that is wrong, each with its place, and is an [ErrChain]. What is not safe is an
// [ErrUnsafe], too.
func Parse(specs []Spec, kinds []Kind, use Use) (*Plan, error) {
	text, err := FormatSpecs(specs)
	if err != nil {
		return nil, err
	}
	p := &Plan{text: text}
	var wrong []error
	if most := use.most(); len(specs) > most {
		wrong = append(wrong, fmt.Errorf("%d modules, at most %d are allowed", len(specs), most))
	}
	permuted := ""
	for i, spec := range specs {
		at := func(err error) { wrong = append(wrong, fmt.Errorf("modules[%d] (%s): %w", i, spec.Name, err)) }
		kind, err := kindNamed(spec.Name, kinds, use)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("modules[%d]: %w", i, err))
			continue
		}
		if permuted != "" && kind.Holds {
			at(unsafeFor("it holds records, and %s before it takes them out of order; put %s last", permuted, permuted))
		}
		if err := use.mayRun(kind); err != nil {
			at(err)
			continue
		}
		if kind.Permutes {
			permuted = kind.Name
		}
		options := &Options{values: spec.Options}
		factory, err := kind.Parse(options, use)
		for _, err := range options.finish() {
			at(err)
		}
		if err != nil {
			at(err)
		}
		p.steps = append(p.steps, step{kind, factory})
		p.windows += options.windows
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrChain, errors.Join(wrong...))
	}
	return p, nil
}

// kindNamed finds a module by its name.
func kindNamed(name string, kinds []Kind, use Use) (Kind, error) {
	var known []string
	for _, k := range kinds {
		if k.Name == name {
			return k, nil
		}
		if use.mayRun(k) == nil {
			known = append(known, k.Name)
		}
	}
	return Kind{}, use.unknown(name, known)
}

// String returns the text of the chain, as [FormatSpecs] does: equal texts do the same.
func (p *Plan) String() string { return p.text }

// Empty tells that there is no module: batches pass as they are.
func (p *Plan) Empty() bool { return len(p.steps) == 0 }

// Windows returns how many bytes the windows of one chain may hold at most: the sum of [Held.Bytes]. A record more may
// be in each until it is decided which one goes.
func (p *Plan) Windows() int64 { return p.windows }

// Permutes tells that batches may come out with records that are not in the order of their indexes.
func (p *Plan) Permutes() bool {
	return slices.ContainsFunc(p.steps, func(s step) bool { return s.kind.Permutes })
}

// UsesCeiling tells that what a chain drops depends on what was handed out before it began. Such a chain serves one
// group only, and all that the group is handed of the MDT comes from one chain, or from the next one,
// made with a ceiling at or above everything that was handed out before: two chains that went different
// ways must not be joined.
func (p *Plan) UsesCeiling() bool {
	return slices.ContainsFunc(p.steps, func(s step) bool { return s.kind.UsesCeiling })
}

// Pure tells that what comes of a record depends on the record alone: then it does not matter where a
// stream begins, and batches may pass chains of their own, in any order.
func (p *Plan) Pure() bool {
	return !slices.ContainsFunc(p.steps, func(s step) bool { return s.kind.Holds || s.kind.Paced || s.kind.UsesCeiling })
}

// New makes a chain for one stream.
func (p *Plan) New(start Start) *Chain {
	c := &Chain{stages: make([]*stage, len(p.steps)), covered: start.After, read: start.After}
	for i := len(p.steps) - 1; i >= 0; i-- {
		s := &stage{chain: c, position: i, kind: p.steps[i].kind, module: p.steps[i].make(start)}
		s.out = Out{chain: c, stage: s}
		s.gatherer, _ = s.module.(Gatherer)
		s.dropped = make([]uint64, len(s.kind.Rules))
		if i+1 < len(p.steps) {
			s.next = c.stages[i+1]
		}
		c.stages[i] = s
	}
	return c
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// The chain of a group runs in a stage of its own for each MDT, a goroutine that owns a
// [modules.Chain]. The loop gives it batches through a channel that has room for all that the
// core lets be unanswered, so the loop never waits for a stage, however long a module takes.
// The stage waits for the loop when it answers, as readers and cutters do. When a stage is
// closed nobody waits for it: what it still makes is ignored.

// stage is an instance of a chain, as the loop knows it.
type stage struct {
	stop   context.CancelFunc
	orders chan core.Process
	key    chainKey
	stats  []modules.Stats // what it told last
}

// chainKey names a chain, whichever instance is at work.
type chainKey struct {
	group string
	mdt   groups.MDT
}

// Chain is what is done with records before a group is handed them.
type Chain struct {
	// Filter is an expression that records must match; empty for all.
	Filter string
	// Modules is a list of modules behind it, as [modules.ParseSpecs] reads it; empty for none.
	Modules string
	// Consumers is the most that any consumer of the group needs, as [modules.ParseConsumers]
	// reads it; empty for every record.
	Consumers string
}

// Canonical returns the chain as it is stored: equal chains have equal texts. Errors say where
// in which text the mistake is.
func (c Chain) Canonical() (Chain, error) {
	specs, err := modules.ParseSpecs(c.Modules)
	if err != nil {
		return c, err
	}
	if c.Modules, err = modules.FormatSpecs(specs); err != nil {
		return c, err
	}
	if c.Consumers == modules.EveryRecord.String() {
		c.Consumers = ""
	}
	return c, nil
}

// Plan checks a chain for a group with the distribution, and compiles it. The filter stands
// before the modules: as modules[0] in errors about them it would be misleading, so it is
// checked by itself.
func (o Options) Plan(c Chain, d groups.Distribution) (*modules.Plan, error) {
	return o.plan(c, modules.Use{Scope: modules.ForGroup, OneMDT: o.OneMDT, Again: againOf(d)})
}

// PlanEverybody checks a chain for everybody, and compiles it; nil if it is empty.
func (o Options) PlanEverybody(c Chain) (*modules.Plan, error) {
	plan, err := o.plan(c, modules.Use{Scope: modules.ForAll, OneMDT: o.OneMDT})
	if err != nil || plan.Empty() {
		return nil, err
	}
	return plan, nil
}

func (o Options) plan(c Chain, use modules.Use) (*modules.Plan, error) {
	if c.Consumers != "" {
		var err error
		if use.Consumers, err = modules.ParseConsumers(c.Consumers); err != nil {
			return nil, err
		}
	}
	specs, err := modules.ParseSpecs(c.Modules)
	if err != nil {
		return nil, err
	}
	plan, err := modules.Parse(specs, o.Modules, use)
	if c.Filter == "" {
		return plan, err
	}
	filter := modules.Spec{Name: "filter", Options: map[string]any{"where": c.Filter}}
	if _, wrong := modules.Parse([]modules.Spec{filter}, modules.Builtin(), use); wrong != nil {
		err = errors.Join(fmt.Errorf("filter %q: %w", c.Filter, wrong), err)
	}
	if err != nil {
		return nil, err
	}
	return modules.Parse(append([]modules.Spec{filter}, specs...), append([]modules.Kind{modules.Filter()}, o.Modules...), use)
}

func againOf(d groups.Distribution) modules.Again {
	switch d {
	case groups.ByMDT:
		return modules.AgainAll
	case groups.ByFID:
		return modules.AgainObjects
	}
	return modules.AgainAlone
}

// chainOf returns the chain of a group.
func chainOf(g core.GroupState) Chain {
	return Chain{Filter: g.Filter, Modules: g.Modules, Consumers: g.Consumers}
}

// openChain starts a stage.
func (l *loop) openChain(o core.OpenChain) {
	ctx, stop := context.WithCancel(l.ctx)
	g, _ := l.core.Group(o.Group)
	s := &stage{stop: stop, orders: make(chan core.Process, core.MostUnanswered), key: chainKey{o.Group, o.MDT}}
	l.stages[o.Chain] = s
	t := &transformer{b: l.b, o: o, slots: g.Config.Distribution == groups.ByFID, most: min(derivedBytes, l.b.opts.BatchBytes)}
	l.started.Go(func() { t.run(ctx, chainOf(g), g.Config.Distribution, s.orders) })
}

// closeChain ends a stage. What it counted is kept.
func (l *loop) closeChain(id core.ChainID) {
	s := l.stages[id]
	s.stop()
	delete(l.stages, id)
	if len(s.stats) > 0 {
		l.tallies[s.key] = addStats(l.tallies[s.key], s.stats)
	}
}

// transformer is the goroutine of a stage.
type transformer struct {
	b     *Broker
	o     core.OpenChain
	slots bool // the group needs the ordering keys of the records
	most  int  // bytes of a derived batch, but for one of one record
	chain *modules.Chain
}

// run takes batches in their order, and time, and answers with what the chain makes of them,
// until it is told to stop or the chain fails.
func (t *transformer) run(ctx context.Context, c Chain, d groups.Distribution, orders <-chan core.Process) {
	plan, err := t.b.opts.Plan(c, d)
	if err != nil { // it was checked once, but files may have changed since
		_ = t.answer(ctx, modules.Batch{}, false, err)
		return
	}
	t.chain = plan.New(modules.Start{After: t.o.After, Ceiling: t.o.Ceiling})
	defer func() {
		if err := t.chain.Close(); err != nil {
			t.b.opts.Log.Warn().Str("group", t.o.Group).Err(err).Msg("a chain of modules did not end well")
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for err == nil {
		var due <-chan time.Time
		if at, ok := t.chain.Due(); ok {
			timer.Reset(max(shortest, time.Until(at)))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case o := <-orders:
			out, failed := t.chain.Push(time.Now(), t.input(o))
			err = t.answer(ctx, out, true, failed)
		case <-due:
			out, failed := t.chain.Tick(time.Now())
			err = t.answer(ctx, out, false, failed)
		}
	}
}

// shortest is how long a stage waits at least until it tells the chain the time.
const shortest = 5 * time.Millisecond

// input is what of a batch lies behind where the one before ended.
func (t *transformer) input(o core.Process) modules.Batch {
	in := modules.Batch{From: o.After, To: o.Batch.To, Records: o.Batch.Records, Count: o.Batch.Count}
	if o.After == o.Batch.From {
		return in
	}
	for scan := changelog.NewScanner(o.Batch.Records); scan.Scan() && scan.Last <= o.After; {
		in.Records = o.Batch.Records[scan.Offset():]
		in.Count--
	}
	return in
}

// errFailed ends a stage whose failure was told.
var errFailed = errors.New("the chain has failed")

// answer tells the loop what came out.
func (t *transformer) answer(ctx context.Context, out modules.Batch, taken bool, failed error) error {
	ev := core.Processed{Chain: t.o.Chain, Taken: taken, Err: failed}
	var stats []modules.Stats
	if t.chain != nil {
		stats = t.chain.Stats()
		ev.Held = heldOf(stats)
	}
	if failed == nil {
		ev.Batches = t.derive(out)
	}
	err := t.b.call(ctx, func(l *loop) { l.processed(ev, stats) })
	if err == nil && failed != nil {
		err = errFailed
	}
	return err
}

// heldOf adds up what modules hold.
func heldOf(stats []modules.Stats) (h core.Held) {
	for _, s := range stats {
		h.Records += s.Held.Records
		h.Bytes += s.Held.Bytes
		if s.Held.Records > 0 && (h.Oldest == 0 || s.Held.Oldest < h.Oldest) {
			h.Oldest, h.Since = s.Held.Oldest, s.Held.Since
		}
	}
	return h
}

// derivedBytes is how large a derived batch is at most, but for one of one record: a module
// may let go much at once. It is less than a page, whose memory would go round (spare.go).
const derivedBytes = ingest.DefaultReadBytes / 2

// derive makes derived batches of what came out.
func (t *transformer) derive(out modules.Batch) (list []*core.Batch) {
	rest, count, start, last := out.Records, 0, 0, out.From
	from := out.From
	seal := func(to uint64, end int) {
		b := &core.Batch{MDT: t.o.MDT, Epoch: t.o.Epoch, From: from, To: to, Records: rest[start:end:end], Count: count}
		if count > 0 {
			b.Last = last // who acknowledges it acknowledges all of the batch
		}
		if t.slots {
			b = ingest.WithSlots(b)
		}
		list, from, start, count = append(list, b), to, end, 0
	}
	for scan := changelog.NewScanner(rest); scan.Scan(); {
		if end := int(scan.Offset()); count > 0 && end-start > t.most {
			seal(last, end-scan.Record().Size())
		}
		last = scan.Last
		count++
	}
	if from < out.To {
		seal(out.To, len(rest))
	}
	return list
}

// processed takes in what a stage tells.
func (l *loop) processed(ev core.Processed, stats []modules.Stats) {
	if s := l.stages[ev.Chain]; s != nil {
		s.stats = stats
	}
	l.core.Step(ev)
}

// addStats adds the counters of an instance of a chain to those of earlier ones. What it held
// is held no more.
func addStats(sum, more []modules.Stats) []modules.Stats {
	if len(sum) != len(more) { // another chain
		sum = make([]modules.Stats, len(more))
	}
	for i, s := range more {
		x := &sum[i]
		if x.Name != s.Name || len(x.Dropped) != len(s.Dropped) {
			*x = modules.Stats{Module: i, Name: s.Name, Dropped: make([]modules.RuleCount, len(s.Dropped))}
		}
		x.In, x.Kept, x.Changed = x.In+s.In, x.Kept+s.Kept, x.Changed+s.Changed
		for n, d := range s.Dropped {
			x.Dropped[n].Rule = d.Rule
			x.Dropped[n].Records += d.Records
		}
		x.Held, x.Health = s.Held, s.Health
	}
	return sum
}

package broker

import (
	"context"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/wire"
)

// What all records pass, before groups and listeners are given them, is a chain in each
// reading, live or not: it works where batches are sealed, in the goroutine that reads. It
// decides about each record by itself, so all readings of a range leave the same of it.

// withModules gives a reading that begins behind an index the chain for everybody, if there
// is one. Who reads owns it, and calls done at the end.
func (b *Broker) withModules(o ingest.Options, plan *modules.Plan, after uint64) (_ ingest.Options, done func()) {
	if plan == nil {
		return o, func() {}
	}
	o.Modules = plan.New(modules.Start{After: after})
	return o, func() {
		if err := o.Modules.Close(); err != nil {
			b.opts.Log.Warn().Str("mdt", b.opts.MDTs[o.MDT].Name).Err(err).Msg("the modules of a reading did not end well")
		}
	}
}

// deliverRead gives a batch to the loop, and tells what modules have done so far if there are
// some.
func (b *Broker) deliverRead(ctx context.Context, ev core.BatchRead, chain *modules.Chain) error {
	if chain == nil {
		return b.send(ctx, ev)
	}
	stats := chain.Stats()
	return b.call(ctx, func(l *loop) {
		if r := l.readings[ev.Reader]; r != nil {
			r.stats = stats
		}
		l.core.Step(ev)
	})
}

// statsOf returns what the modules of a reading have done; nil if it has none.
func statsOf(chain *modules.Chain) []modules.Stats {
	if chain == nil {
		return nil
	}
	return chain.Stats()
}

// count adds what the modules of a reading did that is over.
func (l *loop) count(mdt groups.MDT, stats []modules.Stats) {
	if len(stats) > 0 {
		key := chainKey{wire.Everybody, mdt}
		l.tallies[key] = addStats(l.tallies[key], stats)
	}
}

// everybodyStatus tells what the modules for everybody have done in each MDT.
func (l *loop) everybodyStatus(snap core.Snapshot) (list []wire.ModuleStatus) {
	if l.everybody == nil {
		return nil
	}
	for _, m := range snap.MDTs {
		state, failure := "running", ""
		if m.Stopped {
			state, failure = "failing", m.Error
		}
		for _, s := range l.everybodyStats(m.MDT) {
			list = append(list, moduleOf(wire.Everybody, l.mdts[m.MDT].Name, state, failure, s))
		}
	}
	return list
}

// everybodyStats adds up what the modules of all readings of an MDT have done. One is not well
// if it is not in some reading that goes on.
func (l *loop) everybodyStats(mdt groups.MDT) []modules.Stats {
	stats := cloneStats(l.tallies[chainKey{wire.Everybody, mdt}])
	sick := make(map[int]error)
	for _, r := range l.readings {
		if r.mdt != mdt || len(r.stats) == 0 {
			continue
		}
		stats = addStats(stats, r.stats)
		for i, s := range r.stats {
			if s.Health != nil {
				sick[i] = s.Health
			}
		}
	}
	if len(stats) == 0 {
		stats = namesOf(l.b.opts.Everybody)
	}
	for i := range stats {
		stats[i].Health = sick[i]
	}
	return stats
}

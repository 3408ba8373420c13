package broker

import (
	"maps"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/wire"
)

// moduleStatus tells what the modules of a group did and do, MDT by MDT.
func (l *loop) moduleStatus(g core.GroupSnapshot, now time.Time) (list []wire.ModuleStatus) {
	for _, m := range g.Marks {
		if m.Chain == nil {
			continue
		}
		key := chainKey{g.Name, m.MDT}
		stats, state := l.tallies[key], "resting"
		if s := l.stages[m.Chain.ID]; s != nil {
			state = "running"
			stats = addStats(cloneStats(stats), s.stats)
		}
		if !m.Chain.Failing.IsZero() {
			state = "failing"
		}
		if len(stats) == 0 {
			stats = namesOf(chainOf(core.GroupState{Filter: g.Filter, Modules: g.Modules}))
		}
		for _, s := range stats {
			x := moduleOf(g.Name, l.mdts[m.MDT].Name, state, m.Chain.Error, s)
			if state == "running" && s.Held.Records > 0 {
				x.Held, x.Bytes, x.Oldest, x.Age = s.Held.Records, s.Held.Bytes, s.Held.Oldest, now.Sub(s.Held.Since)
			}
			list = append(list, x)
		}
	}
	return list
}

// moduleOf tells what a module did that is in a state.
func moduleOf(group, mdt, state, failure string, s modules.Stats) wire.ModuleStatus {
	x := wire.ModuleStatus{
		Group: group, MDT: mdt, Position: s.Module, Module: s.Name, In: s.In, Kept: s.Kept, Changed: s.Changed,
		Dropped: []wire.RuleCount{}, State: state, Error: failure,
	}
	if state == "running" && s.Health != nil {
		x.State, x.Error = "disabled", s.Health.Error()
	}
	for _, d := range s.Dropped {
		x.Dropped = append(x.Dropped, wire.RuleCount(d))
	}
	return x
}

// forgetTallies has the modules of a group counted anew: it ends, or gets others.
func (l *loop) forgetTallies(group string) {
	maps.DeleteFunc(l.tallies, func(key chainKey, _ []modules.Stats) bool { return key.group == group })
	for _, s := range l.stages {
		if s.key.group == group {
			s.stats = nil
		}
	}
}

func cloneStats(stats []modules.Stats) []modules.Stats {
	stats = slices.Clone(stats)
	for i := range stats {
		stats[i].Dropped = slices.Clone(stats[i].Dropped)
	}
	return stats
}

// namesOf lists the modules of a chain that has not run yet.
func namesOf(c Chain) (stats []modules.Stats) {
	if c.Filter != "" {
		stats = append(stats, modules.Stats{Name: "filter"})
	}
	specs, _ := modules.ParseSpecs(c.Modules) // else a problem says what is wrong
	for _, s := range specs {
		stats = append(stats, modules.Stats{Module: len(stats), Name: s.Name})
	}
	return stats
}

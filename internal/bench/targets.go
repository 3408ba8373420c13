package bench

import (
	"fmt"
	"math"
)

// Target is a demand on what is measured.
type Target struct {
	Name string
	// value is that of one run of all scenarios, by their names. It is NaN for a scenario that was not run then.
	value func(run map[string]map[Metric]float64) float64
	Bound float64
	// AtLeast: less than Bound misses the target; else more does.
	AtLeast bool
}

// TargetValue is what was measured of a target.
type TargetValue struct {
	Name    string  `json:"name"`
	Bound   float64 `json:"bound"`
	AtLeast bool    `json:"at_least"`
	Value   Value   `json:"value"`
	Met     bool    `json:"met"`
}

// text is the demand, as >= 0.80.
func (t *TargetValue) text() string {
	if t.AtLeast {
		return fmt.Sprintf(">= %.2f", t.Bound)
	}
	return fmt.Sprintf("<= %.2f", t.Bound)
}

// Preset is scenarios and what is demanded of them.
type Preset struct {
	Scenarios []Scenario
	Targets   []Target
}

// of is a metric of a scenario.
func of(scenario string, m Metric) func(map[string]map[Metric]float64) float64 {
	return func(run map[string]map[Metric]float64) float64 {
		if run[scenario] == nil {
			return math.NaN()
		}
		return run[scenario][m]
	}
}

// more is how many goroutines and descriptors lcapd has more after a scenario than before.
func more(scenario string) func(map[string]map[Metric]float64) float64 {
	goroutines, descriptors := of(scenario, GoroutineGrowth), of(scenario, DescriptorGrowth)
	return func(run map[string]map[Metric]float64) float64 { return goroutines(run) + descriptors(run) }
}

// furtherGroup is what each group but the first costs lcapd, by what the plain sender takes
// to send as much.
func furtherGroup(run map[string]map[Metric]float64) float64 {
	one, four := run["one"], run["four-groups"]
	return (4*four[DaemonCPU] - one[DaemonCPU]) / 3 / one[SenderCPU]
}

// busyLatency is the 99th percentile of the latency under load, by the median when idle.
func busyLatency(run map[string]map[Metric]float64) float64 {
	return run["rate-100000"][LatencyP99] / run["idle"][LatencyP50]
}

// recordSize is that of the records of presets: one with job, owner, NID and a short name.
const recordSize = 148

// newLoad is a scenario of the presets.
func newLoad(name string, mdts, groups, members int) Scenario {
	return Scenario{Name: name, Upstream: "memory", MDTs: mdts, Groups: groups, Members: members, Size: recordSize}
}

func (s Scenario) with(change func(*Scenario)) Scenario {
	change(&s)
	return s
}

// dayBatches is what lcapd delivers to a group in a day at 100,000 records a second, which come every 5 ms.
const dayBatches = 24 * 60 * 60 * 200

// Targets is the preset of what lcapd is built for.
func Targets() Preset {
	return Preset{
		Scenarios: []Scenario{
			newLoad("one", 1, 1, 1),
			newLoad("four-members", 1, 1, 4),
			newLoad("four-mdts", 4, 4, 1),
			newLoad("four-groups", 1, 4, 1),
			newLoad("fid", 1, 1, 4).with(func(s *Scenario) { s.Distribution = "fid" }),
			newLoad("llog", 1, 1, 1).with(func(s *Scenario) { s.Upstream = "llog" }),
			newLoad("retained", 1, 1, 1).with(func(s *Scenario) { s.Retained = true }),
			newLoad("idle", 1, 1, 1).with(func(s *Scenario) { s.Rate, s.Longer = 150, 4 }),
			newLoad("rate-100000", 1, 1, 1).with(func(s *Scenario) { s.Rate, s.Longer = 100_000, 2 }),
			newLoad("half", 1, 1, 1).with(func(s *Scenario) { s.Rate, s.Longer = -50, 2 }),
			newLoad("listeners", 1, 0, 0).with(func(s *Scenario) { s.Rate, s.Listeners = 20_000, 1000 }),
			newLoad("loop", 128, 64, 16).with(func(s *Scenario) { s.Steps = true }),
			newLoad("day", 1, 1, 1).with(func(s *Scenario) {
				s.Batches, s.Connections, s.Batch, s.Once = dayBatches, 10_000, 16<<10, true
			}),
		},
		Targets: []Target{
			{"1 MDT, 1 group, 1 member: rate / limit", of("one", Ratio), 0.80, true},
			{"1 MDT, 1 group, 4 members, round-robin: rate / limit", of("four-members", Ratio), 0.80, true},
			{"4 MDTs, 4 groups of 1 member: rate / limit", of("four-mdts", Ratio), 0.85, true},
			{"1 MDT, 1 group, 4 members, fid: rate / limit", of("fid", Ratio), 0.60, true},
			{"llog on disk, 1 group, 1 member: rate / limit", of("llog", Ratio), 0.60, true},
			{"CPU of lcapd for one group / plain sender", of("one", DaemonRatio), 1.5, false},
			{"CPU of lcapd for each further group / plain sender", furtherGroup, 1.1, false},
			{"memory for buffered records / their bytes", of("retained", Retained), 1.10, false},
			{"latency when idle, p50 / p50 of a socket round trip", of("idle", TripsP50), 4, false},
			{"latency when idle, p99 / p99 of a socket round trip", of("idle", TripsP99), 10, false},
			{"latency at 100,000 records/s, p99 / p50 when idle", busyLatency, 20, false},
			{"1,000 listeners, 20,000 records/s: CPU of lcapd / plain sender", of("listeners", DaemonRatio), 1.5, false},
			{"a step of the loop, 64 groups, 128 MDTs, 1,024 members / one of each", of("loop", StepRatio), 2, false},
			{"a day of batches and 10,000 connections: memory late / early", of("day", MemoryGrowth), 1.05, false},
			{"a day of batches and 10,000 connections: goroutines, descriptors more", more("day"), 0, false},
		},
	}
}

// Quick is a preset for every change: it takes less than a minute, and misses its targets only
// when something is very wrong, however busy the machine is.
func Quick() Preset {
	return Preset{
		Scenarios: []Scenario{
			newLoad("one", 1, 1, 1),
			newLoad("fid", 1, 1, 2).with(func(s *Scenario) { s.Distribution = "fid" }),
			newLoad("retained", 1, 1, 1).with(func(s *Scenario) { s.Retained = true }),
			newLoad("idle", 1, 1, 1).with(func(s *Scenario) { s.Rate = 150 }),
			newLoad("loop", 16, 8, 4).with(func(s *Scenario) { s.Steps = true }),
			newLoad("day", 1, 1, 1).with(func(s *Scenario) {
				s.Batches, s.Connections, s.Batch, s.Once = dayBatches/400, 100, 16<<10, true
			}),
		},
		Targets: []Target{
			{"1 MDT, 1 group, 1 member: rate / limit", of("one", Ratio), 0.05, true},
			{"1 MDT, 1 group, 2 members, fid: rate / limit", of("fid", Ratio), 0.03, true},
			{"CPU of lcapd for one group / plain sender", of("one", DaemonRatio), 20, false},
			{"memory for buffered records / their bytes", of("retained", Retained), 1.5, false},
			{"latency when idle, p50 / p50 of a socket round trip", of("idle", TripsP50), 100, false},
			{"a step of the loop, 8 groups, 16 MDTs, 32 members / one of each", of("loop", StepRatio), 5, false},
			{"43,200 batches and 100 connections: memory late / early", of("day", MemoryGrowth), 2, false},
			{"43,200 batches and 100 connections: goroutines, descriptors more", more("day"), 20, false},
		},
	}
}

// Judge holds the report against targets, and tells whether all are met.
func (r *Report) Judge(targets []Target) bool {
	all := true
	for _, t := range targets {
		v := TargetValue{Name: t.Name, Bound: t.Bound, AtLeast: t.AtLeast}
		var runs []float64
		for n := range r.Results[0].runs {
			run := map[string]map[Metric]float64{}
			for _, result := range r.Results {
				if n < len(result.runs) {
					run[result.Name] = result.runs[n]
				}
			}
			if value := t.value(run); !math.IsNaN(value) {
				runs = append(runs, value)
			}
		}
		v.Value = valueOf(runs)
		v.Met = v.Value.Median <= t.Bound
		if t.AtLeast {
			v.Met = v.Value.Median >= t.Bound
		}
		all = all && v.Met
		r.Targets = append(r.Targets, v)
	}
	return all
}

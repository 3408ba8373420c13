package main

import (
	"context"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lcapd/lcapd/wire"
)

// collector makes metrics of what operators are shown: one question to the broker for
// each scrape. There is one series for each MDT, group, and pair of them, not for each
// member or listener, which come and go.
type collector struct{ d *daemon }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lcapd_"+name, help, labels, nil)
}

// The metrics.
var (
	descUp        = desc("up", "1 while the broker answers.")
	descProblems  = desc("problems", "Conditions that endanger a promise; lcapcli status names them.")
	descProblem   = desc("problem", "1 while a condition endangers a promise, by its kind and the MDT, group or part of lcapd that it is about; 0 while it does not.", "kind", "about")
	descMissed    = desc("group_missed_index", "Up to where the group gave records up, as it was abandoned; 0 for never.", "group", "mdt")
	descExpires   = desc("group_expires", "1 if an abandoned group gives up its hold on the clear.", "group")
	descMemory    = desc("memory_bytes", "Bytes of records that are kept, by what for.", "for")
	descLimit     = desc("memory_limit_bytes", "The limit of memory_bytes.")
	descRead      = desc("mdt_read_index", "The last index read of an MDT.", "mdt")
	descCleared   = desc("mdt_cleared_index", "The last index acknowledged to an MDT.", "mdt")
	descEpoch     = desc("mdt_epoch", "How often an MDT counted its indexes anew.", "mdt")
	descReading   = desc("mdt_reading", "1 while an MDT can be read.", "mdt")
	descHoles     = desc("mdt_holes", "Holes that hold the clear back until they are looked at again.", "mdt")
	descCatchUps  = desc("mdt_catch_ups", "Readings for groups that are behind.", "mdt")
	descMark      = desc("group_mark_index", "Everything up to it is acknowledged by the group, and on disk.", "group", "mdt")
	descLag       = desc("group_lag", "Indexes read and not acknowledged by the group.", "group", "mdt")
	descMembers   = desc("group_members", "Members of a group.", "group")
	descInFlight  = desc("group_in_flight_bytes", "Bytes handed out and not acknowledged.", "group")
	descPaused    = desc("group_paused", "1 while an operator has paused the group.", "group")
	descModIn     = desc("module_records_in_total", "Records that a module was given; those read again count again.", "group", "mdt", "position", "module")
	descModKept   = desc("module_records_kept_total", "Records that a module passed on.", "group", "mdt", "position", "module")
	descModDrop   = desc("module_records_dropped_total", "Records that a module dropped, by rule.", "group", "mdt", "position", "module", "rule")
	descModHeld   = desc("module_held_records", "Records that a module holds back.", "group", "mdt", "position", "module")
	descModBytes  = desc("module_held_bytes", "Bytes of memory of them.", "group", "mdt", "position", "module")
	descModAge    = desc("module_held_seconds", "Age of the oldest of them.", "group", "mdt", "position", "module")
	descListeners = desc("listeners", "Connected listeners.")
	descGaps      = desc("listener_gaps", "Gaps told to the listeners that are connected.")
	descGapsTold  = desc("listener_gaps_total", "Gaps told to listeners.")
	descFiltered  = desc("listener_filtered_records_total", "Records that listeners' filters and modules left out.")
	descViews     = desc("view_batches_total", "Batches that were filtered or cut for those who want less, each once for all who want the same.")
	descViewed    = desc("view_records_total", "Records of these batches, before.")
	descConns     = desc("connections", "Open connections.")
	descAccepted  = desc("connections_accepted_total", "Connections accepted.")
	descEnded     = desc("connections_cut_total", "Connections refused or cut, by reason.", "reason")
)

// newRefusals counts what peers are refused: a series for each code, from the start.
func newRefusals() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lcapd_refusals_total", Help: "Errors that peers were told, by code; sent-away: members whose membership was ended.",
	}, []string{"code"})
	for _, code := range wire.Codes {
		c.WithLabelValues(string(code))
	}
	c.WithLabelValues("sent-away")
	return c
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, to) }

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	stats := c.d.server.Stats()
	gauge(descConns, float64(stats.Open))
	count(descAccepted, stats.Accepted)
	for reason, n := range stats.Ended {
		count(descEnded, n, reason)
	}
	c.d.collectWatches(gauge, count)
	s, err := c.d.status(context.Background())
	gauge(descUp, one(err == nil))
	if err != nil {
		return
	}
	gauge(descProblems, float64(len(s.Problems)))
	collectProblems(s, gauge)
	count(descGapsTold, s.ListenerGaps)
	gauge(descLimit, float64(s.Memory.Limit))
	gauge(descMemory, float64(s.Memory.Batches), "batches")
	gauge(descMemory, float64(s.Memory.Pinned), "writers")
	gauge(descMemory, float64(s.Memory.Granted), "readers")
	gauge(descMemory, float64(s.Memory.Listened), "listeners")
	gauge(descMemory, float64(s.Memory.Views), "views")
	count(descFiltered, s.ListenerFiltered)
	count(descViews, s.Views.Batches)
	count(descViewed, s.Views.Records)
	collectMDTs(s, gauge)
	gauge(descMemory, float64(s.Memory.Chained), "modules")
	collectGroups(s, gauge)
	collectModules(s, gauge, count)
}

func collectModules(s wire.Status, gauge func(*prometheus.Desc, float64, ...string), count func(*prometheus.Desc, uint64, ...string)) {
	for _, m := range s.Modules {
		labels := []string{m.Group, m.MDT, strconv.Itoa(m.Position), m.Module}
		count(descModIn, m.In, labels...)
		count(descModKept, m.Kept, labels...)
		for _, d := range m.Dropped {
			count(descModDrop, d.Records, append(slices.Clip(labels), d.Rule)...)
		}
		gauge(descModHeld, float64(m.Held), labels...)
		gauge(descModBytes, float64(m.Bytes), labels...)
		gauge(descModAge, m.Age.Seconds(), labels...)
	}
}

// collectProblems makes a series for each kind of problem and what it can be about, so that
// those who alert see it from the start.
func collectProblems(s wire.Status, gauge func(*prometheus.Desc, float64, ...string)) {
	type series struct{ kind, about string }
	is := make(map[series]bool)
	for _, p := range s.Problems {
		is[series{string(p.Kind), p.About}] = true
	}
	show := func(kind wire.ProblemKind, about string) {
		gauge(descProblem, one(is[series{string(kind), about}]), string(kind), about)
	}
	for kind, about := range wire.ProblemKinds.Whole {
		show(kind, about)
	}
	for _, m := range s.MDTs {
		for _, kind := range wire.ProblemKinds.MDT {
			show(kind, m.MDT)
		}
	}
	for _, g := range s.Groups {
		for _, kind := range wire.ProblemKinds.Group {
			show(kind, g.Group)
		}
	}
}

func collectMDTs(s wire.Status, gauge func(*prometheus.Desc, float64, ...string)) {
	for _, m := range s.MDTs {
		gauge(descRead, float64(m.Read), m.MDT)
		gauge(descCleared, float64(m.Cleared), m.MDT)
		gauge(descEpoch, float64(m.Epoch), m.MDT)
		gauge(descReading, one(m.State == "reading"), m.MDT)
		gauge(descHoles, float64(m.Holes), m.MDT)
		gauge(descCatchUps, float64(len(m.CatchUps)), m.MDT)
	}
}

func collectGroups(s wire.Status, gauge func(*prometheus.Desc, float64, ...string)) {
	for _, g := range s.Groups {
		gauge(descMembers, float64(len(g.Members)), g.Group)
		gauge(descInFlight, float64(g.InFlight), g.Group)
		gauge(descPaused, one(g.Paused), g.Group)
		gauge(descExpires, one(g.Expire), g.Group)
		for _, t := range g.Tracks {
			gauge(descMark, float64(t.Durable), g.Group, t.MDT)
			gauge(descLag, float64(t.Lag), g.Group, t.MDT)
			missed := uint64(0)
			for _, x := range t.Missed {
				if x.Epoch == t.Epoch {
					missed = max(missed, x.To)
				}
			}
			gauge(descMissed, float64(missed), g.Group, t.MDT)
		}
	}
	gaps := uint64(0)
	for _, l := range s.Listeners {
		gaps += l.Gaps
	}
	gauge(descListeners, float64(len(s.Listeners)))
	gauge(descGaps, float64(gaps))
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

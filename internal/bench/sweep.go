package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/lcapd/lcapd/internal/chart"
)

// Sweep is scenarios that differ in one thing.
type Sweep struct {
	Of     SweptBy      `json:"of"`
	Points []SweepPoint `json:"points"`
}

// SweepPoint is a scenario, by its name, and how much of the thing it has.
type SweepPoint struct {
	At       int64  `json:"at"`
	Scenario string `json:"scenario"`
}

// SweptBy is what scenarios differ in; it is its name in JSON.
type SweptBy string

// What is swept: members of one group, groups of one member, bytes of a batch at most, and
// records that a group is behind.
const (
	ByMembers SweptBy = "members"
	ByGroups  SweptBy = "groups"
	ByBatch   SweptBy = "batch"
	ByBehind  SweptBy = "behind"
)

// sweptBy are all of them, with what humans are told, in the order of pictures.
var sweptBy = []struct {
	SweptBy
	title, axis string
	tick        func(int64) string
}{
	{ByMembers, "Members of one group", "members", plain},
	{ByGroups, "Groups of one member", "groups", plain},
	{ByBatch, "Largest batch", "bytes of records in a batch, at most", bytesText},
	{ByBehind, "Backlog on disk (llog)", "records that the group is behind when its member comes", rounded},
}

func plain(n int64) string { return fmt.Sprint(n) }

// rounded is a large number with a word for its zeros.
func rounded(n int64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.3g million", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.3g,000", float64(n)/1e3)
	}
	return plain(n)
}

// Sweeps returns one sweep by each thing, and their scenarios, which have everything else of
// base. The largest backlog is so many records.
func Sweeps(base Scenario, records int) (sweeps []Sweep, scenarios []Scenario) {
	base.Upstream, base.MDTs, base.Groups, base.Members = "memory", 1, 1, 1
	r := int64(records)
	for _, by := range []struct {
		SweptBy
		at     []int64
		change func(s *Scenario, at int64)
	}{
		{ByMembers, []int64{1, 2, 4, 8}, func(s *Scenario, at int64) { s.Members = int(at) }},
		{ByGroups, []int64{1, 2, 4, 8}, func(s *Scenario, at int64) { s.Groups = int(at) }},
		{ByBatch, []int64{16 << 10, 64 << 10, 256 << 10, 1 << 20}, func(s *Scenario, at int64) { s.Batch = at }},
		{ByBehind, []int64{max(r*3/100, 1), max(r/10, 2), max(r*3/10, 3), max(r, 4)}, func(s *Scenario, at int64) { s.Upstream, s.Behind = "llog", int(at) }},
	} {
		sweep := Sweep{Of: by.SweptBy}
		for _, at := range by.at {
			s := base.with(func(s *Scenario) { by.change(s, at) })
			s.Name = fmt.Sprintf("%s-%d", by.SweptBy, at)
			if by.SweptBy == ByGroups && at == 1 {
				s.Name = scenarios[0].Name // one group of one member was the first
			} else {
				scenarios = append(scenarios, s)
			}
			sweep.Points = append(sweep.Points, SweepPoint{at, s.Name})
		}
		sweeps = append(sweeps, sweep)
	}
	return sweeps, scenarios
}

// Takes says about how long [Run] takes, on a machine that is not busy.
func (o *Options) Takes(scenarios []Scenario) time.Duration {
	const start, perRecord = 500 * time.Millisecond, 300 * time.Nanosecond
	each, once := time.Duration(0), time.Duration(0)
	for _, s := range scenarios {
		each += 2*start + 2*o.WarmUp + 2*o.Duration*time.Duration(max(s.Longer, 1)) // lcapd, and the limit
		if s.Behind > 0 {
			each += time.Duration(s.Behind)*perRecord - o.WarmUp - o.Duration
			once += time.Duration(s.Behind) * perRecord
		}
	}
	return once + time.Duration(o.Repeat)*each
}

// Plot draws the rates of all sweeps, each beside the limit.
func (r *Report) Plot(w io.Writer) error {
	const millions = 1e6
	var charts []chart.Lines
	for _, by := range sweptBy {
		for _, sweep := range r.Sweeps {
			if sweep.Of != by.SweptBy {
				continue
			}
			c := chart.Lines{Title: by.title, XTitle: by.axis, YTitle: "million records/s, all together",
				Names: []string{"lcapd", "limit"}, Points: make([][]chart.Point, 2), Tick: func(x float64) string { return by.tick(int64(x)) }}
			for _, p := range sweep.Points {
				values := r.find(p.Scenario).Values
				for i, m := range []Metric{RecordsPerSecond, LimitRecords} {
					v := values[m]
					c.Points[i] = append(c.Points[i], chart.Point{X: float64(p.At), Y: v.Median / millions, Least: v.Least / millions, Most: v.Most / millions})
				}
			}
			charts = append(charts, c)
		}
	}
	first := r.Results[0]
	return chart.WriteLines(w, fmt.Sprintf("Records delivered by lcapd, and the limit of the machine: %s, %s, %s", first.sizes(), first.Distribution, r.Network),
		fmt.Sprintf("runs of each: %d, with their median, least and most; %d CPUs, %s; the limit: a plain sender and as many plain receivers, in the same run",
			len(first.Values[RecordsPerSecond].Runs), r.CPUs, r.Go), charts)
}

// writeSweeps writes the points of all sweeps for humans, with the change against an earlier report.
func (r *Report) writeSweeps(w io.Writer, earlier *Report) error {
	for i, by := range sweptBy {
		for _, sweep := range r.Sweeps {
			if sweep.Of != by.SweptBy {
				continue
			}
			if i > 0 {
				fmt.Fprintln(w)
			}
			if err := r.writeSweep(w, by.title, by.tick, sweep, earlier); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Report) writeSweep(w io.Writer, title string, tick func(int64) string, sweep Sweep, earlier *Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\trecords/s\tleast .. most\tlimit\trate / limit\tCPU / plain sender\t\t\n", padded(title))
	for _, p := range sweep.Points {
		result := r.find(p.Scenario)
		v := result.Values
		rate := v[RecordsPerSecond]
		fmt.Fprintf(t, "%s\t%s\t%s .. %s\t%s\t%.2f\t%.2f\t%s\t\n", padded("  "+tick(p.At)), number(rate.Median), number(rate.Least), number(rate.Most),
			number(v[LimitRecords].Median), v[Ratio].Median, v[DaemonRatio].Median, change(v[Ratio], earlier.find(p.Scenario), Ratio, false))
	}
	return t.Flush()
}

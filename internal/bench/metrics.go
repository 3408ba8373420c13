package bench

import (
	"slices"
	"time"
)

// Metric is something that is measured in each run; it is its name in JSON.
type Metric string

// The metrics.
const (
	RecordsPerSecond Metric = "records_per_s"       // delivered to all members and listeners
	MBPerSecond      Metric = "mb_per_s"            // 10^6 bytes of them
	GroupRecords     Metric = "group_records_per_s" // on average of the groups
	GroupMB          Metric = "group_mb_per_s"
	SlowestGroup     Metric = "slowest_group_records_per_s"
	LimitRecords     Metric = "limit_records_per_s"
	Ratio            Metric = "ratio" // of the rate to that of the limit
	// CPU seconds for a million records that are delivered, of lcapd, all members
	// together, and of the sender and the receivers of the limit.
	DaemonCPU   Metric = "lcapd_cpu_s_per_million"
	SenderCPU   Metric = "sender_cpu_s_per_million"
	DaemonRatio Metric = "lcapd_cpu_ratio"
	MemberCPU   Metric = "member_cpu_s_per_million"
	ReceiverCPU Metric = "receiver_cpu_s_per_million"
	MemberRatio Metric = "member_cpu_ratio"
	PeakMemory  Metric = "peak_mib"        // of lcapd, resident
	HeldMemory  Metric = "held_mib"        // records that lcapd had buffered at the end
	Retained    Metric = "retained_ratio"  // bytes in use for a byte of buffered records
	GCShare     Metric = "gc_share"        // of the CPU time of lcapd
	Calls       Metric = "calls_per_batch" // of lcapd: read and write
	BatchSize   Metric = "records_per_batch"
	Gaps        Metric = "gaps" // told to listeners
	// CatchUps is how many readings there were in the end for groups that had fallen behind
	// what lcapd holds: each reads again for itself.
	CatchUps Metric = "catch_ups"
	// From when the source showed a record until a member had it, in microseconds.
	LatencyP50  Metric = "latency_p50_us"
	LatencyP99  Metric = "latency_p99_us"
	LatencyP999 Metric = "latency_p999_us"
	// Round trips over a socket of the same kind meanwhile.
	TripP50  Metric = "round_trip_p50_us"
	TripP99  Metric = "round_trip_p99_us"
	TripsP50 Metric = "latency_p50_in_round_trips"
	TripsP99 Metric = "latency_p99_in_round_trips"
	// What was done while it was looked whether lcapd grows, and what it has in the last quarter of that
	// against the second: by how much anonymous memory has grown, goroutines and descriptors more.
	BatchesDelivered Metric = "batches"
	ConnectionsMade  Metric = "connections"
	MemoryGrowth     Metric = "memory_growth"
	GoroutineGrowth  Metric = "goroutines_more"
	DescriptorGrowth Metric = "descriptors_more"
	// One step of the loop, in nanoseconds.
	StepOne   Metric = "step_one_ns"
	StepMany  Metric = "step_many_ns"
	StepRatio Metric = "step_ratio"
)

// metrics are all of them, with what humans are told, in the order of tables.
var metrics = []struct {
	Metric
	title, unit string
	lessIsGood  bool
}{
	{RecordsPerSecond, "rate, all together", "records/s", false},
	{MBPerSecond, "", "MB/s", false},
	{GroupRecords, "rate of a group", "records/s", false},
	{GroupMB, "", "MB/s", false},
	{SlowestGroup, "rate of the slowest group", "records/s", false},
	{LimitRecords, "limit, all together", "records/s", false},
	{Ratio, "rate / limit", "", false},
	{DaemonCPU, "CPU of lcapd", "s/10^6 records", true},
	{SenderCPU, "CPU of the plain sender", "s/10^6 records", true},
	{DaemonRatio, "lcapd / plain sender", "", true},
	{MemberCPU, "CPU of the members", "s/10^6 records", true},
	{ReceiverCPU, "CPU of the plain receivers", "s/10^6 records", true},
	{MemberRatio, "members / plain receivers", "", true},
	{LatencyP50, "latency p50", "µs", true},
	{LatencyP99, "latency p99", "µs", true},
	{LatencyP999, "latency p99.9", "µs", true},
	{TripP50, "socket round trip p50", "µs", true},
	{TripP99, "socket round trip p99", "µs", true},
	{TripsP50, "latency / round trip p50", "", true},
	{TripsP99, "latency / round trip p99", "", true},
	{PeakMemory, "resident memory of lcapd, peak", "MiB", true},
	{HeldMemory, "records buffered in the end", "MiB", true},
	{Retained, "memory / bytes buffered", "", true},
	{GCShare, "garbage collector's share of CPU", "", true},
	{BatchSize, "records in a batch", "", false},
	{Calls, "reads and writes of lcapd for a batch", "", true},
	{CatchUps, "groups that catch up in the end", "", true},
	{Gaps, "gaps told", "", true},
	{BatchesDelivered, "batches delivered", "", false},
	{ConnectionsMade, "connections that came and went", "", false},
	{MemoryGrowth, "memory of lcapd, late / early", "", true},
	{GoroutineGrowth, "more goroutines late than early", "", true},
	{DescriptorGrowth, "more descriptors late than early", "", true},
	{StepOne, "step of the loop, one of each", "ns", true},
	{StepMany, "step of the loop, with so many", "ns", true},
	{StepRatio, "step with many / with one", "", true},
}

// summarise makes values of runs.
func (r *Result) summarise() {
	for _, m := range metrics {
		var runs []float64
		for _, run := range r.runs {
			if v, ok := run[m.Metric]; ok {
				runs = append(runs, v)
			}
		}
		if len(runs) > 0 {
			r.Values[m.Metric] = valueOf(runs)
		}
	}
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// sum is what all processes counted together.
func (w *window) sum() (all part, perSecond, bytesPerSecond float64) {
	for _, p := range w.sinks {
		all.Records += p.Records
		all.Bytes += p.Bytes
		all.Batches += p.Batches
		all.Gaps += p.Gaps
		all.cpu += p.cpu
		all.Latency.merge(p.Latency)
		if p.seconds > 0 {
			perSecond += float64(p.Records) / p.seconds
			bytesPerSecond += float64(p.Bytes) / p.seconds
		}
	}
	return all, perSecond, bytesPerSecond
}

// perMillion is CPU seconds for a million records.
func perMillion(cpu time.Duration, records uint64) float64 {
	return cpu.Seconds() * 1e6 / float64(max(records, 1))
}

// note makes metrics of what was counted of lcapd.
func (x *run) note(w *window) {
	all, rate, bytes := w.sum()
	x.m[RecordsPerSecond], x.m[MBPerSecond] = rate, bytes/1e6
	if x.Groups > 0 && x.Listeners == 0 {
		x.m[GroupRecords], x.m[GroupMB] = rate/float64(x.Groups), bytes/1e6/float64(x.Groups)
	}
	if x.Groups > 1 {
		var each []float64
		for g := range x.Groups {
			of := window{sinks: w.sinks[g*x.Members : (g+1)*x.Members]}
			_, rate, _ := of.sum()
			each = append(each, rate)
		}
		x.m[SlowestGroup] = slices.Min(each)
	}
	x.m[MemberCPU] = perMillion(all.cpu, all.Records)
	x.m[BatchSize] = float64(all.Records) / float64(max(all.Batches, 1))
	if x.Rate > 0 {
		x.m[LatencyP50], x.m[LatencyP99], x.m[LatencyP999] = micros(all.Latency.quantile(0.5)), micros(all.Latency.quantile(0.99)), micros(all.Latency.quantile(0.999))
	}
	if x.Listeners > 0 {
		x.m[Gaps] = float64(all.Gaps)
	}
	if x.Server != "" {
		return
	}
	x.held[x.Name] = w.held
	if x.Groups > 1 {
		x.m[CatchUps] = w.catchUps
	}
	x.m[DaemonCPU] = perMillion(w.source.cpu, all.Records)
	x.m[PeakMemory], x.m[HeldMemory] = float64(w.source.peak)/(1<<20), float64(w.held)/(1<<20)
	x.m[GCShare] = w.gc / w.source.cpu.Seconds()
	if calls := w.source.reads + w.source.writes; calls > 0 {
		x.m[Calls] = float64(calls) / float64(max(all.Batches, 1))
	}
}

// noteLimit makes metrics of what was counted of the limit.
func (x *run) noteLimit(w *window) {
	all, rate, bytes := w.sum()
	if all.Records == 0 { // it was sent at a rate, and nothing was framed
		all.Records, rate = all.Bytes/uint64(x.size), bytes/float64(x.size)
	}
	x.m[LimitRecords] = rate
	x.m[SenderCPU], x.m[ReceiverCPU] = perMillion(w.source.cpu, all.Records), perMillion(all.cpu, all.Records)
}

// compare makes ratios of what was measured.
func (x *run) compare() {
	for _, r := range []struct{ what, of, by Metric }{
		{Ratio, RecordsPerSecond, LimitRecords},
		{DaemonRatio, DaemonCPU, SenderCPU},
		{MemberRatio, MemberCPU, ReceiverCPU},
		{TripsP50, LatencyP50, TripP50},
		{TripsP99, LatencyP99, TripP99},
		{StepRatio, StepMany, StepOne},
	} {
		of, there := x.m[r.of]
		if by := x.m[r.by]; there && by > 0 {
			x.m[r.what] = of / by
		}
	}
}

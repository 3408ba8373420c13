package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Report is what a benchmark has measured.
type Report struct {
	Time    time.Time `json:"time"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Network string    `json:"network"`
	Memory  int64     `json:"memory"`           // the limit of lcapd, in bytes
	Server  string    `json:"server,omitempty"` // the address of an lcapd that ran before; Memory is not its limit then
	Results []*Result `json:"results"`
	// NoSyscalls is why system calls were not counted; empty if they were, or were not asked for.
	NoSyscalls string        `json:"no_syscalls,omitempty"`
	Sweeps     []Sweep       `json:"sweeps,omitempty"` // of results; see [Report.Plot]
	Targets    []TargetValue `json:"targets,omitempty"`
}

// Result is what was measured of a scenario.
type Result struct {
	Scenario
	Values map[Metric]Value `json:"values"`
	// Syscalls is nil where they were not counted.
	Syscalls *Syscalls `json:"syscalls,omitempty"`

	runs []map[Metric]float64
}

// runner runs scenarios.
type runner struct {
	Options
	report *Report
	// held is how many bytes lcapd held in the last run of each scenario: the limit is sent from as many.
	held map[string]int64
	logs map[string]*backlog // of each scenario with an upstream on disk
}

// Run runs each scenario once, then each again, so that what else the machine does
// meets all of them alike. It returns the results in the order of the scenarios.
func Run(ctx context.Context, o Options, scenarios []Scenario) (report *Report, err error) {
	r := &runner{Options: o, held: map[string]int64{}, logs: map[string]*backlog{},
		report: &Report{Time: time.Now(), CPUs: runtime.NumCPU(), Go: runtime.Version(), Network: o.Network, Memory: o.Memory, Server: o.Server}}
	for _, s := range scenarios {
		s.fix()
		if err := s.Check(); err != nil {
			return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		r.report.Results = append(r.report.Results, &Result{Scenario: s, Values: map[Metric]Value{}})
	}
	for n := range o.Repeat {
		for _, result := range r.report.Results {
			if n > 0 && result.Once {
				continue
			}
			r.progress("%d of %d: %s", n+1, o.Repeat, result.Name)
			m, err := r.once(ctx, result.Scenario, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", result.Name, err)
			}
			result.runs = append(result.runs, m)
		}
	}
	r.progress("")
	for _, result := range r.report.Results {
		result.summarise()
	}
	return r.report, nil
}

func (r *runner) progress(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

// once runs a scenario once: lcapd and the limit, in turn the one or the other first.
func (r *runner) once(ctx context.Context, s Scenario, n int) (m map[Metric]float64, err error) {
	dir, err := os.MkdirTemp(r.Dir, "run")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	records, err := template(s.Size)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "records"), records, 0o644); err != nil {
		return nil, err
	}
	if s.Rate < 0 {
		s.Rate = int(r.report.Results[0].runs[n][RecordsPerSecond]) * -s.Rate / 100
	}
	run := &run{runner: r, Scenario: s, n: n, dir: dir, m: map[Metric]float64{}, size: len(records) / templateRecords}
	switch {
	case s.Steps:
		err = run.step()
	case s.Batches > 0:
		err = run.endure(ctx)
	case s.Retained:
		err = run.retained(ctx)
	case s.Rate > 0 && s.Listeners == 0:
		err = run.lcapd(ctx)
	case n%2 == 0:
		err = inTurn(ctx, run.lcapd, run.limit)
	default:
		err = inTurn(ctx, run.limit, run.lcapd)
	}
	run.compare()
	if run.calls != nil {
		r.report.find(s.Name).Syscalls = run.calls
	}
	return run.m, err
}

func inTurn(ctx context.Context, do ...func(context.Context) error) error {
	for _, f := range do {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// run is one run of a scenario.
type run struct {
	*runner
	Scenario
	n    int
	dir  string
	size int // of a record, on average
	m    map[Metric]float64
	// calls are nil where they were not counted.
	calls *Syscalls
}

// stage is the processes of a run.
type stage struct {
	daemon *daemon // nil for the limit, or when it is not ours
	source *child  // the sender of the limit
	sinks  []*child
	closes []func() error
}

// end ends all processes, who was started last first.
func (x *stage) end() (err error) {
	for i := len(x.closes) - 1; i >= 0; i-- {
		err = errors.Join(err, x.closes[i]())
	}
	return err
}

// start starts a peer.
func (x *stage) start(ctx context.Context, spec peerSpec) (*child, error) {
	c, err := startPeer(ctx, spec)
	if err == nil {
		x.closes = append(x.closes, c.end)
	}
	return c, err
}

// lcapd measures lcapd.
func (x *run) lcapd(ctx context.Context) (err error) {
	st := new(stage)
	defer func() { err = errors.Join(err, st.end()) }()
	if err := x.startLCAPD(ctx, st, x.Rate, 0); err != nil {
		return err
	}
	trips, stopTrips, err := x.startEcho(ctx, st)
	if err != nil {
		return err
	}
	w, err := x.count(ctx, st)
	if err != nil {
		return err
	}
	if err := errors.Join(stopTrips(), x.drawProfiles()); err != nil {
		return err
	}
	if x.calls, err = x.syscalls(ctx, st); err != nil {
		return err
	}
	x.note(w)
	if trips != nil {
		x.m[TripP50], x.m[TripP99] = micros(trips.quantile(0.5)), micros(trips.quantile(0.99))
	}
	return nil
}

// count starts the readers, and counts what comes to them.
func (x *run) count(ctx context.Context, st *stage) (*window, error) {
	if x.Behind > 0 {
		return x.catchUp(ctx, st)
	}
	if err := x.startReaders(ctx, st); err != nil {
		return nil, err
	}
	return x.measure(ctx, st)
}

// startLCAPD starts an lcapd whose sources show records at a rate, so many in all.
func (x *run) startLCAPD(ctx context.Context, st *stage, rate, records int) error {
	if x.Server != "" {
		return nil
	}
	dir, err := os.MkdirTemp(x.dir, "lcapd")
	if err != nil {
		return err
	}
	up, err := x.upstream(ctx, st, rate/x.MDTs, records)
	if err != nil {
		return err
	}
	addr := "tcp://127.0.0.1:0"
	if x.Network == "ipc" {
		addr = "ipc://" + dir + "/sock"
	}
	var groups []string
	for g := range x.Groups {
		groups = append(groups, fmt.Sprintf("  - {name: g%d, distribution: %s, start: earliest}", g, x.Distribution))
	}
	devices := ""
	if x.Upstream == "device" {
		devices = fmt.Sprintf("device_dir: %s/dev\n", x.dir)
	}
	batch := ""
	if x.Batch > 0 {
		batch = fmt.Sprintf("batch: %d\n", x.Batch)
	}
	config := fmt.Sprintf("listen: [{addr: %q, allow: [listen, consume]}]\nhttp: 127.0.0.1:0\nprofile: true\nstate: %s/state\nmemory: %d\n"+
		"%s%slog: {level: info, format: json}\nshutdown: 0s\nlimits: {connections: 8192, per_address: 8192}\nupstream:\n%s\ngroups:\n%s\n",
		addr, dir, x.Memory, batch, devices, strings.Join(up, "\n"), strings.Join(groups, "\n"))
	if st.daemon, err = startDaemon(ctx, x.LCAPD, dir, config); err == nil {
		st.closes = append(st.closes, st.daemon.end)
	}
	return err
}

// startReaders starts members and listeners.
func (x *run) startReaders(ctx context.Context, st *stage) error {
	addr := x.Server
	if st.daemon != nil {
		addr = st.daemon.addr
	}
	for g := range x.Groups {
		group := fmt.Sprintf("g%d", g)
		if x.Server != "" {
			group = x.GroupNames[g]
		}
		for i := range x.Members {
			spec := peerSpec{Role: roleMember, Addr: addr, Group: group, Name: fmt.Sprintf("bench-%d-%d", os.Getpid(), i), Latency: x.Rate > 0}
			if x.Profile != "" && g == 0 && i == 0 {
				spec.Profile = x.profileFile("member", "pprof")
			}
			c, err := st.start(ctx, spec)
			if err != nil {
				return err
			}
			st.sinks = append(st.sinks, c)
		}
	}
	if x.Listeners == 0 {
		return nil
	}
	c, err := st.start(ctx, peerSpec{Role: roleListener, Addr: addr, Name: "bench", Conns: x.Listeners, Latency: true})
	st.sinks = append(st.sinks, c)
	return err
}

// idleRate is up to how many records a second lcapd counts as idle.
const idleRate = 200

// startEcho measures round trips beside a run in which lcapd is idle. The function ends that.
func (x *run) startEcho(ctx context.Context, st *stage) (*histogram, func() error, error) {
	if x.Rate == 0 || x.Rate > idleRate {
		return nil, func() error { return nil }, nil
	}
	c, err := st.start(ctx, peerSpec{Role: roleEcho, Addr: x.address("echo")})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	trips, failed := new(histogram), make(chan error, 1)
	go func() {
		h, err := roundTrips(ctx, c.addr, x.size, time.Second/time.Duration(x.Rate))
		*trips = h
		failed <- err
	}()
	return trips, func() error { cancel(); return <-failed }, nil
}

// address returns one to listen at.
func (x *run) address(name string) string {
	if x.Network == "ipc" {
		return "ipc://" + x.dir + "/" + name
	}
	return "tcp://127.0.0.1:0"
}

// limit measures the limit.
func (x *run) limit(ctx context.Context) (err error) {
	st := new(stage)
	defer func() { err = errors.Join(err, st.end()) }()
	held := x.held[x.Name]
	if held == 0 || x.Behind > 0 {
		held = x.Memory * 5 / 8 // what it comes to
	}
	if x.Behind > 0 {
		held = min(held, int64(x.Behind)*int64(x.size))
	}
	readers := x.Groups*x.Members + x.Listeners
	spec := peerSpec{Role: roleSender, Addr: x.address("limit"), Records: x.dir + "/records", Bytes: held,
		Rate: x.Rate, Conns: readers, Spread: x.Groups == 1}
	if st.source, err = st.start(ctx, spec); err != nil {
		return err
	}
	sink := peerSpec{Role: roleReceiver, Addr: st.source.addr, Conns: 1, Rate: x.Rate}
	processes := x.Groups * x.Members
	if x.Listeners > 0 {
		sink.Conns, processes = readers, 1
	}
	for range processes {
		c, err := st.start(ctx, sink)
		if err != nil {
			return err
		}
		st.sinks = append(st.sinks, c)
	}
	w, err := x.measure(ctx, st)
	if err == nil {
		x.noteLimit(w)
	}
	return err
}

// window is what was counted while it was measured.
type window struct {
	sinks  []part
	source usage // of lcapd, or of the sender
	gc     float64
	held   int64 // bytes that lcapd held at the end
	// catchUps is how many groups were catching up at the end.
	catchUps float64
}

// part is what one process counted.
type part struct {
	tally
	seconds float64
	usage
}

// measure waits for the load to be steady, and counts.
func (x *run) measure(ctx context.Context, st *stage) (*window, error) {
	if err := pause(ctx, x.WarmUp); err != nil {
		return nil, err
	}
	before, err := x.look(ctx, st)
	if err != nil {
		return nil, err
	}
	long := x.Duration * time.Duration(x.Longer)
	profiled := make(chan error, 1)
	go func() { profiled <- x.profile(ctx, st, long) }()
	if err := errors.Join(pause(ctx, long), <-profiled); err != nil {
		return nil, err
	}
	for end := time.Now().Add(x.patience()); ; {
		after, err := x.look(ctx, st)
		if err != nil {
			return nil, err
		}
		w := after.since(before)
		if x.Distribution == "mdt" || !slices.ContainsFunc(w.sinks, part.isEmpty) {
			return w, nil
		}
		if time.Now().After(end) {
			return nil, x.nothingCame()
		}
		if err := pause(ctx, long); err != nil {
			return nil, err
		}
	}
}

// patience is how much longer than asked for is measured if somebody has got nothing: on a busy
// machine it may only not have had its turn. What a running lcapd has to give is as it is.
func (x *run) patience() time.Duration {
	if x.Server != "" {
		return 0
	}
	return 30 * time.Second
}

// nothingCame is the error of a reader that had nothing to read.
func (x *run) nothingCame() error {
	if x.Server != "" {
		return fmt.Errorf("nothing came to one of the members from %s while it was measured: bench measures groups to which records come all the time; 'lcapcli groups' shows them", x.Server)
	}
	return errors.New("nothing came to one of the readers while it was measured; is --records too small?")
}

// look takes the tally of everybody.
func (x *run) look(ctx context.Context, st *stage) (*window, error) {
	for _, c := range st.sinks {
		if err := c.mark(); err != nil {
			return nil, err
		}
	}
	w := new(window)
	var err error
	switch {
	case st.source != nil:
		w.source, err = usageOf(st.source.cmd.Process.Pid)
	case st.daemon != nil:
		if w.source, err = usageOf(st.daemon.cmd.Process.Pid); err != nil {
			return nil, fmt.Errorf("lcapd has ended: %w: %s", err, st.daemon.said.String())
		}
	}
	if err != nil {
		return nil, err
	}
	for _, c := range st.sinks {
		t, err := c.answer()
		if err != nil {
			return nil, err
		}
		u, err := usageOf(c.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		w.sinks = append(w.sinks, part{tally: t, usage: u})
	}
	if st.daemon == nil {
		return w, nil
	}
	m, err := st.daemon.metrics(ctx)
	w.gc = m["go_cpu_classes_gc_total_cpu_seconds_total"] - m["go_cpu_classes_gc_mark_idle_cpu_seconds_total"] // what nobody else wanted
	w.held = int64(m[`lcapd_memory_bytes{for="batches"}`])
	for name, v := range m {
		if strings.HasPrefix(name, "lcapd_mdt_catch_ups{") {
			w.catchUps += v
		}
	}
	return w, err
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// since is what was counted after an earlier moment, by the readers that there were then.
func (w *window) since(before *window) *window {
	d := &window{source: w.source.since(before.source), gc: w.gc - before.gc, held: w.held, catchUps: w.catchUps}
	for i, b := range before.sinks {
		d.sinks = append(d.sinks, w.sinks[i].since(b))
	}
	return d
}

func (p part) since(b part) part {
	d := part{seconds: p.At.Sub(b.At).Seconds(), usage: p.usage.since(b.usage)}
	d.Records, d.Bytes, d.Batches, d.Gaps = p.Records-b.Records, p.Bytes-b.Bytes, p.Batches-b.Batches, p.Gaps-b.Gaps
	d.Latency = p.Latency.since(b.Latency)
	return d
}

func (p part) isEmpty() bool { return p.Records+p.Bytes == 0 }

func (u usage) since(before usage) usage {
	u.cpu -= before.cpu
	u.reads -= before.reads
	u.writes -= before.writes
	return u // the peak is one
}

// retained measures how much more lcapd holds for more buffered records.
func (x *run) retained(ctx context.Context) error {
	var live, raw [2]float64
	full := int(x.Memory/2) / x.size
	for i, records := range []int{full / 8, full} {
		st := new(stage)
		err := x.startLCAPD(ctx, st, 0, max(records/x.MDTs, 1))
		if err == nil {
			live[i], raw[i], err = buffered(ctx, st.daemon, uint64(max(records/x.MDTs, 1)))
		}
		if err := errors.Join(err, st.end()); err != nil {
			return err
		}
	}
	x.m[Retained] = (live[1] - live[0]) / (raw[1] - raw[0])
	return nil
}

// buffered waits until all MDTs are read, and returns what is in use, and how much of it are records.
func buffered(ctx context.Context, d *daemon, last uint64) (live, raw float64, err error) {
	if d == nil {
		return 0, 0, errors.New("what records take cannot be measured with --server")
	}
	for {
		s, err := d.status(ctx)
		if err != nil {
			return 0, 0, err
		}
		read := 0
		for _, m := range s.MDTs {
			if m.Read >= last {
				read++
			}
		}
		if read == len(s.MDTs) {
			break
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	m, err := d.metrics(ctx)
	if err != nil {
		return 0, 0, err
	}
	live, err = d.live(ctx)
	return live, m[`lcapd_memory_bytes{for="batches"}`], err
}

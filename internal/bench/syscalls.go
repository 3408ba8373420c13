package bench

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Syscalls is which system calls lcapd has made, and how many of each for a batch.
type Syscalls struct {
	By       string             `json:"by"` // perf or strace
	PerBatch map[string]float64 `json:"per_batch"`
}

// countFor is how long system calls are counted.
const countFor = 500 * time.Millisecond

// countPatience is how long a tool may take for it.
const countPatience = 20 * time.Second

// uncounted is why a tool could not count: it is not there, or may not look at another process.
type uncounted string

// Error implements error.
func (u uncounted) Error() string { return string(u) }

// whyNot is what keeps a tool from counting, from its error and what it has said itself.
func whyNot(err error, said string) uncounted {
	if errors.Is(err, exec.ErrNotFound) {
		return "it is not installed"
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(said), "\n"); line != "" {
		return uncounted(line)
	}
	return uncounted(err.Error())
}

// syscalls has the system calls of lcapd counted under the load of the run, after that was measured: to be
// watched makes a process slower. It does so once for each scenario. Where it cannot be done the
// report says why.
func (x *run) syscalls(ctx context.Context, st *stage) (*Syscalls, error) {
	if !x.Syscalls || x.n > 0 || st.daemon == nil || x.Behind > 0 || x.report.NoSyscalls != "" {
		return nil, nil
	}
	var why []string
	for _, by := range []counter{{"perf", x.byPerf}, {"strace", x.byStrace}} {
		calls, err := by.within(ctx, st)
		if err == nil {
			return &Syscalls{By: by.name, PerBatch: calls}, nil
		}
		if !errors.As(err, new(uncounted)) {
			return nil, err
		}
		why = append(why, fmt.Sprintf("%s: %v", by.name, err))
	}
	x.report.NoSyscalls = strings.Join(why, "; ")
	return nil, nil
}

// counter is a tool that counts.
type counter struct {
	name  string
	count func(context.Context, *stage) (map[string]float64, error)
}

// within has the tool count, for as long as that may take.
func (c counter) within(ctx context.Context, st *stage) (map[string]float64, error) {
	limited, cancel := context.WithTimeout(ctx, countPatience)
	defer cancel()
	calls, err := c.count(limited, st)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = uncounted("it took longer than " + countPatience.String())
	}
	return calls, err
}

// batches is how many have come to all readers since they began, and when that was so.
func (st *stage) batches() (n uint64, at time.Time, err error) {
	for _, c := range st.sinks {
		if err := c.mark(); err != nil {
			return 0, at, err
		}
	}
	at = time.Now()
	for _, c := range st.sinks {
		t, err := c.answer()
		if err != nil {
			return 0, at, err
		}
		n += t.Batches
	}
	return n, at, nil
}

// counted are the system calls that perf is asked for, one by one: of what a server in Go makes
// those that there may be many of.
var counted = []string{"read", "write", "writev", "pread64", "pwrite64", "fdatasync", "recvfrom", "recvmsg", "sendto", "sendmsg",
	"epoll_pwait", "epoll_ctl", "futex", "nanosleep", "sched_yield", "tgkill", "madvise", "mmap"}

// byPerf counts by tracepoints in the kernel, which hardly slows lcapd: what it makes in a second,
// against the batches of a second.
func (x *run) byPerf(ctx context.Context, st *stage) (map[string]float64, error) {
	events := "raw_syscalls:sys_enter"
	for _, name := range counted {
		events += ",syscalls:sys_enter_" + name
	}
	file := filepath.Join(x.dir, "perf")
	args := []string{"stat", "-x", ",", "-o", file, "-e", events, "-p", strconv.Itoa(st.daemon.cmd.Process.Pid), "--", "sleep", fmt.Sprint(countFor.Seconds())}
	before, began, err := st.batches()
	if err != nil {
		return nil, err
	}
	if said, err := exec.CommandContext(ctx, "perf", args...).CombinedOutput(); err != nil {
		return nil, whyNot(err, string(said))
	}
	after, ended, err := st.batches()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, whyNot(err, "")
	}
	rate := float64(after-before) / ended.Sub(began).Seconds()
	return perBatch(perfCounts(string(text)), rate*countFor.Seconds())
}

// perfCounts reads the lines count,unit,event,... of perf. The rest of all calls counts as other.
func perfCounts(text string) map[string]float64 {
	calls := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Split(line, ",")
		n, err := strconv.ParseFloat(fields[0], 64)
		if err != nil || len(fields) < 3 {
			continue
		}
		if name, one := strings.CutPrefix(fields[2], "syscalls:sys_enter_"); one {
			calls[name] += n
			calls["other"] -= n
		} else {
			calls["other"] += n
		}
	}
	calls["other"] = max(calls["other"], 0)
	return calls
}

// byStrace counts by stopping lcapd at each call.
func (x *run) byStrace(ctx context.Context, st *stage) (map[string]float64, error) {
	file := filepath.Join(x.dir, "strace")
	trace := exec.CommandContext(ctx, "strace", "-c", "-f", "-o", file, "-p", strconv.Itoa(st.daemon.cmd.Process.Pid))
	said, err := trace.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := trace.Start(); err != nil {
		return nil, whyNot(err, "")
	}
	lines := bufio.NewScanner(said)
	lines.Scan() // how it has attached itself, or why not
	first := lines.Text()
	var before, after uint64
	if strings.Contains(first, "attached") {
		before, _, err = st.batches()
		err = errors.Join(err, pause(ctx, countFor))
		var e error
		after, _, e = st.batches()
		err = errors.Join(err, e, trace.Process.Signal(os.Interrupt))
	}
	for lines.Scan() { // it also names each thread
	}
	_ = trace.Wait() // it ends by the signal
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if !strings.Contains(first, "attached") {
		return nil, whyNot(errors.New("it did not attach itself"), first)
	}
	if err != nil {
		return nil, whyNot(err, "")
	}
	return perBatch(straceCounts(string(text)), float64(after-before))
}

// straceCounts reads the table of strace: the calls stand in the fourth column, the name in the last.
func straceCounts(text string) map[string]float64 {
	calls := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[len(fields)-1] == "total" {
			continue
		}
		if n, err := strconv.ParseFloat(fields[3], 64); err == nil {
			calls[fields[len(fields)-1]] = n
		}
	}
	return calls
}

// perBatch divides calls by batches.
func perBatch(calls map[string]float64, batches float64) (map[string]float64, error) {
	if len(calls) == 0 || batches < 1 {
		return nil, uncounted(fmt.Sprintf("it counted %d kinds of calls in %.0f batches", len(calls), batches))
	}
	for name := range calls {
		calls[name] /= batches
	}
	return calls, nil
}

// text lists the calls, the most frequent first, without those that hardly matter.
func (s *Syscalls) text() string {
	sum := 0.0
	for _, n := range s.PerBatch {
		sum += n
	}
	names := slices.SortedFunc(maps.Keys(s.PerBatch), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.PerBatch[b], s.PerBatch[a]), strings.Compare(a, b))
	})
	var list []string
	for _, name := range names {
		if n := s.PerBatch[name]; n >= sum/100 {
			list = append(list, fmt.Sprintf("%s %s", name, number(n)))
		}
	}
	return fmt.Sprintf("system calls of lcapd for a batch, by %s beside the run: %s: %s", s.By, number(sum), strings.Join(list, ", "))
}

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processes are an lcapd and those around it, each known by its name: that of a member is
// its group's, a dash, and what it is; a Python one's ends in -python. Each can be killed and
// started again, and keeps a ledger for each of its lives.
type processes struct {
	t       *testing.T
	dir     string // with the programs, the configuration, the ledgers and the logs
	addr    string
	names   []string // lcapd is the first
	running map[string]*exec.Cmd
	lives   map[string]int // how often each was started
	peak    int64          // of lcapd's anonymous memory, in bytes
}

// newProcesses builds the programs.
func newProcesses(t *testing.T, names ...string) *processes {
	t.Helper()
	p := &processes{t: t, dir: t.TempDir(), names: names, running: make(map[string]*exec.Cmd), lives: make(map[string]int)}
	p.addr = "ipc://" + filepath.Join(p.dir, "sock")
	build := exec.Command("go", "build", "-o", p.dir+"/", "../cmd/...", "./member")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		for _, cmd := range p.running {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return p
}

func (p *processes) file() string { return filepath.Join(p.dir, "lcapd.yaml") }

// init writes the configuration and makes the state.
func (p *processes) init(configuration string) {
	p.t.Helper()
	writeFile(p.t, p.file(), configuration)
	if out, err := exec.Command(p.dir+"/lcapd", "init", "-c", p.file()).CombinedOutput(); err != nil {
		p.t.Fatalf("lcapd init: %v\n%s", err, out)
	}
}

func (p *processes) startAll() {
	for _, name := range p.names {
		p.start(name)
	}
}

// start starts a process by its name.
func (p *processes) start(name string) {
	p.t.Helper()
	group, _, _ := strings.Cut(name, "-")
	ledger := p.ledgerFile(name, p.lives[name])
	p.lives[name]++
	var cmd *exec.Cmd
	switch {
	case name == "lcapd":
		cmd = exec.Command(p.dir+"/lcapd", "-c", p.file())
	case name == "listener":
		cmd = exec.Command(p.dir+"/member", "-servers", p.addr, "-name", name, "-ledger", ledger)
	case strings.HasSuffix(name, "-python"):
		cmd = exec.Command(python(p.t), "../examples/python/member.py", "--server", p.addr, "--group", group, "--name", name)
		cmd.Stdout = p.open(ledger)
	default:
		cmd = exec.Command(p.dir+"/member", "-servers", p.addr, "-group", group, "-name", name, "-ledger", ledger)
	}
	cmd.Stderr = p.open(p.logFile(name))
	must(p.t, cmd.Start())
	p.running[name] = cmd
}

func (p *processes) ledgerFile(name string, life int) string {
	return fmt.Sprintf("%s/%s.%d.ledger", p.dir, name, life)
}

func (p *processes) logFile(name string) string { return filepath.Join(p.dir, name+".log") }

func (p *processes) open(file string) *os.File {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(p.t, err)
	p.t.Cleanup(func() { f.Close() })
	return f
}

func (p *processes) pid(name string) int { return p.running[name].Process.Pid }

func (p *processes) kill(name string) {
	p.look()
	_ = p.running[name].Process.Kill() // it may have ended by itself, which its log says
	_ = p.running[name].Wait()
}

// look notes how much anonymous memory lcapd has.
func (p *processes) look() {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid("lcapd")))
	if err != nil {
		return // it is gone
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			p.peak = max(p.peak, kib<<10)
		}
	}
}

// stop ends all processes in an orderly way; lcapd must say that all went well.
func (p *processes) stop() {
	p.t.Helper()
	for _, name := range slices.Backward(p.names) {
		if err := p.running[name].Process.Signal(syscall.SIGTERM); err != nil {
			p.describe()
			p.t.Fatalf("%s has ended: %v", name, err)
		}
		if err := p.running[name].Wait(); err != nil && name == "lcapd" {
			p.describe()
			p.t.Errorf("lcapd: %v", err)
		}
	}
}

// describe shows what the processes wrote, for failures, and what lcapd says or does now.
func (p *processes) describe() {
	p.examine()
	for _, name := range p.names {
		most := 6000
		if name == "lcapd" {
			most = 200_000 // with the goroutines
		}
		if text, err := os.ReadFile(p.logFile(name)); err == nil && len(text) > 0 {
			p.t.Logf("%s:\n%s", name, text[max(0, len(text)-most):])
		}
	}
}

// examine has lcapd say how it is, and where each of its goroutines is: with that it ends.
func (p *processes) examine() {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid("lcapd")))
	if err != nil {
		p.t.Logf("lcapd does not run: %v", err)
		return
	}
	p.t.Logf("lcapd:\n%s", state)
	for _, what := range []string{"status", "mdts", "groups", "members"} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		out, err := exec.CommandContext(ctx, p.dir+"/lcapcli", "-s", p.addr, what).CombinedOutput()
		cancel()
		p.t.Logf("lcapcli %s: %v\n%s", what, err, out)
	}
	_ = p.running["lcapd"].Process.Signal(syscall.SIGQUIT)
	_ = p.running["lcapd"].Process.Signal(syscall.SIGCONT)
	time.Sleep(time.Second) // it writes
}

// python returns Debian's Python, which has the modules that Debian installs.
func python(t *testing.T) string {
	const debian = "/usr/bin/python3"
	if err := exec.Command(debian, "-c", "import zmq, msgpack").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s has no zmq and msgpack: apt-get install python3-zmq python3-msgpack", debian)
		}
		t.Skipf("%s has no zmq and msgpack: apt-get install python3-zmq python3-msgpack", debian)
	}
	return debian
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entry is a line of a member's ledger.
type entry struct {
	MDT    string
	Epoch  int
	Index  uint64
	Type   int
	what   string // time, type and target; the Python member does not tell
	target string
	at     int64 // when it was written, in nanoseconds; likewise
	late   bool
}

// lines returns the lines of a ledger of a process. A last one without an end was torn by
// a kill: what it is about was not acknowledged.
func (p *processes) lines(name string, life int) iter.Seq[string] {
	return func(yield func(string) bool) {
		text, err := os.ReadFile(p.ledgerFile(name, life))
		if err != nil && !os.IsNotExist(err) {
			p.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasSuffix(line, "\n") && !yield(line) {
				return
			}
		}
	}
}

// entries returns what the members of a group did, in each ledger in its order.
func (p *processes) entries(group string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for _, name := range p.names {
			if !strings.HasPrefix(name, group+"-") {
				continue
			}
			for life := range p.lives[name] {
				for line := range p.lines(name, life) {
					if !yield(p.parse(line)) {
						return
					}
				}
			}
		}
	}
}

// parse reads a line of a ledger in Go's form or in Python's.
func (p *processes) parse(line string) (e entry) {
	p.t.Helper()
	if strings.HasPrefix(line, "{") {
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			p.t.Fatalf("ledger: %q: %v", line, err)
		}
		return e
	}
	f := strings.Fields(line) // much faster than Sscan, and there are millions
	if len(f) != 8 {
		p.t.Fatalf("ledger: %q: %d fields", line, len(f))
	}
	var errs [4]error
	e.MDT, e.target, e.what, e.late = f[0], f[5], strings.Join(f[3:6], " "), f[7] == "true"
	e.Epoch, errs[0] = strconv.Atoi(f[1])
	e.Index, errs[1] = strconv.ParseUint(f[2], 10, 64)
	e.Type, errs[2] = strconv.Atoi(f[4])
	e.at, errs[3] = strconv.ParseInt(f[6], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		p.t.Fatalf("ledger: %q: %v", line, err)
	}
	return e
}

// shown is a line of a listener's ledger: a range that it was shown, or missed.
type shown struct {
	isGap     bool
	mdt       string
	epoch     int
	from, to  uint64
	count     uint64
	isUnknown bool // the count of a gap is
	isLate    bool // what a range has
}

// shows returns what a listener was shown in one life.
func (p *processes) shows(name string, life int) iter.Seq[shown] {
	return func(yield func(shown) bool) {
		for line := range p.lines(name, life) {
			var kind string
			var x shown
			var flag bool
			if _, err := fmt.Sscan(line, &kind, &x.mdt, &x.epoch, &x.from, &x.to, &x.count, &flag); err != nil {
				p.t.Fatalf("ledger of the listener: %q: %v", line, err)
			}
			x.isGap = kind == "gap"
			x.isUnknown, x.isLate = x.isGap && flag, !x.isGap && flag
			if !yield(x) {
				return
			}
		}
	}
}

// checkListener demands that in each life of a listener nothing is missing silently: each
// range that it was shown, or told that it missed, begins where the one before ended, or
// below that, after a restart of lcapd. Of MDTs without holes, which it is told, every
// count must be exact as well; a range may have fewer where the listener has just come, as
// it is not shown what is older than that.
func (p *processes) checkListener(name string, whole []string) (ranges, gaps int) {
	p.t.Helper()
	for life := range p.lives[name] {
		ends := make(map[string]uint64)
		for x := range p.shows(name, life) {
			if x.isLate {
				continue // besides the ranges, and below them
			}
			end, begun := ends[x.mdt]
			if begun && x.from > end {
				p.t.Errorf("life %d of %s: after %d comes %+v", life, name, end, x)
			}
			if slices.Contains(whole, x.mdt) && (x.count > x.to-x.from || begun && !x.isUnknown && x.count < x.to-x.from) {
				p.t.Errorf("life %d of %s: %d records are counted in %+v", life, name, x.to-x.from, x)
			}
			ends[x.mdt] = max(end, x.to)
			ranges++
			if x.isGap {
				gaps++
			}
		}
	}
	return ranges, gaps
}

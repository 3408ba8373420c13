package integration

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

var (
	clusterRecords = flag.Int("cluster.records", 30_000, "records in each changelog of TestCluster")
	clusterKills   = flag.Int("cluster.kills", 30, "how many processes TestCluster kills")
	clusterSeed    = flag.Uint64("cluster.seed", uint64(time.Now().UnixNano()), "what TestCluster does when")
)

// clusterMDTs is how many changelogs TestCluster has.
const clusterMDTs = 4

// clusterMemory is the limit that lcapd is given there, in bytes.
const clusterMemory = 64 << 20

// TestCluster runs lcapd, members in Go and Python and a listener as processes over local
// changelogs, kills all of them at random, and compares ledgers: what each group did is
// what the changelogs held, and all of it is cleared in the end.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	c.start("lcapd")
	for _, name := range c.names()[1:] {
		c.start(name)
	}
	for range *clusterKills {
		time.Sleep(time.Duration(c.rng.IntN(200)) * time.Millisecond)
		name := c.names()[c.rng.IntN(len(c.names()))]
		c.kill(name)
		c.start(name)
	}
	c.growing.Wait()
	c.waitUntilCleared()
	c.stop()
	c.compareLedgers()
	c.compareListener()
	if limit := int64(clusterMemory + 64<<20); c.peak > limit {
		t.Errorf("lcapd had %d MiB of anonymous memory, the limit and what is granted besides are %d MiB", c.peak>>20, limit>>20)
	}
	t.Logf("%d kills; %d records twice; lcapd had %d MiB of anonymous memory at most", *clusterKills, c.twice, c.peak>>20)
}

// cluster is an lcapd with everything around it. Each process is known by its name.
type cluster struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	logs    []*llog.Log
	running map[string]*exec.Cmd
	lives   map[string]int // how often each was started: each life has a ledger of its own
	addr    string
	growing sync.WaitGroup // the changelogs, while lcapd reads them
	twice   int
	peak    int64 // of lcapd's anonymous memory
}

func newCluster(t *testing.T) *cluster {
	t.Logf("again with -cluster.seed %d, as far as real processes allow", *clusterSeed)
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(*clusterSeed, 1)), dir: t.TempDir(), running: make(map[string]*exec.Cmd), lives: make(map[string]int)}
	c.addr = "ipc://" + filepath.Join(c.dir, "lcapd.sock")
	build := exec.Command("go", "build", "-o", c.dir+"/", "../cmd/lcapd", "./member")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "listen: [{addr: %q, allow: [listen, consume, operate]}]\nhttp: ''\nstate: %s/state\nmemory: %d\nheartbeat: 1s\nlease: 5s\nlog: {level: warn}\n", c.addr, c.dir, clusterMemory)
	fmt.Fprintf(&conf, "groups: [{name: fid, distribution: fid}, {name: turns}]\nupstream:\n")
	for i := range clusterMDTs {
		name := fmt.Sprintf("local-MDT%04x", i)
		c.logs = append(c.logs, c.fill(name, i))
		fmt.Fprintf(&conf, "  - {mdt: %s, driver: llog, path: %s/%s, user: cl1}\n", name, c.dir, name)
	}
	if err := os.WriteFile(c.dir+"/lcapd.yaml", []byte(conf.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(c.dir+"/lcapd", "init", "-c", c.dir+"/lcapd.yaml").CombinedOutput(); err != nil {
		t.Fatalf("lcapd init: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		for _, p := range c.running {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return c
}

// fill makes a changelog with half of a workload's records; the others come while lcapd
// reads.
func (c *cluster) fill(name string, number int) *llog.Log {
	log, err := llog.Create(filepath.Join(c.dir, name), name)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := log.Register(context.Background(), "lcapd", 0); err != nil {
		c.t.Fatal(err)
	}
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		c.t.Fatal(err)
	}
	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1, MDT: uint16(number)})
	half := uint64(*clusterRecords) / 2
	if _, err := w.Produce(context.Background(), a, upstream.Pace{Records: half}); err != nil {
		c.t.Fatal(err)
	}
	c.growing.Go(func() {
		rest := uint64(*clusterRecords) - half
		_, err := w.Produce(c.t.Context(), a, upstream.Pace{Records: rest, Rate: int(rest)/4 + 1})
		if err := errors.Join(err, a.Close()); err != nil {
			c.t.Error(err)
		}
	})
	return log
}

// names are the processes: lcapd, three members of each group, the listener.
func (c *cluster) names() []string {
	return []string{"lcapd", "fid-go1", "fid-go2", "fid-python", "turns-go1", "turns-go2", "turns-python", "listener"}
}

// start starts a process by its name.
func (c *cluster) start(name string) {
	group, _, _ := strings.Cut(name, "-")
	ledger := fmt.Sprintf("%s/%s.%d.ledger", c.dir, name, c.lives[name])
	c.lives[name]++
	var p *exec.Cmd
	switch {
	case name == "lcapd":
		p = exec.Command(c.dir+"/lcapd", "-c", c.dir+"/lcapd.yaml")
	case name == "listener":
		p = exec.Command(c.dir+"/member", "-servers", c.addr, "-name", name, "-ledger", ledger)
	case strings.HasSuffix(name, "-python"):
		p = exec.Command(python(c.t), "../examples/python/member.py", "--server", c.addr, "--group", group, "--name", name)
		p.Stdout = c.open(ledger)
	default:
		p = exec.Command(c.dir+"/member", "-servers", c.addr, "-group", group, "-name", name, "-ledger", ledger)
	}
	p.Stderr = c.open(c.dir + "/" + name + ".log")
	if err := p.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.running[name] = p
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

func (c *cluster) open(file string) *os.File {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { f.Close() })
	return f
}

func (c *cluster) kill(name string) {
	p := c.running[name]
	c.look()
	_ = p.Process.Kill() // it may have ended by itself, which its log says
	_ = p.Wait()
}

// look notes how much anonymous memory lcapd has.
func (c *cluster) look() {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.running["lcapd"].Process.Pid))
	if err != nil {
		return // it is gone
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			c.peak = max(c.peak, kib<<10)
		}
	}
}

// waitUntilCleared waits until every changelog is cleared to its end.
func (c *cluster) waitUntilCleared() {
	const patience = 3 * time.Minute // a failure bound, not a measure
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		c.look()
		left := slices.DeleteFunc(slices.Clone(c.logs), func(log *llog.Log) bool {
			info, err := log.Info()
			return err == nil && info.Users[0].Cleared == info.Current
		})
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			c.describe()
			c.t.Fatalf("%d changelogs are not cleared", len(left))
		}
	}
}

// describe shows what the processes wrote, for failures.
func (c *cluster) describe() {
	for _, name := range c.names() {
		if text, err := os.ReadFile(c.dir + "/" + name + ".log"); err == nil && len(text) > 0 {
			c.t.Logf("%s:\n%s", name, text[max(0, len(text)-2000):])
		}
	}
	for _, log := range c.logs {
		info, err := log.Info()
		c.t.Logf("%s: last %d, users %+v, %v", info.MDT, info.Current, info.Users, err)
	}
}

// stop ends all processes in an orderly way; lcapd must say that all went well.
func (c *cluster) stop() {
	for _, name := range slices.Backward(c.names()) {
		p := c.running[name]
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			c.describe()
			c.t.Fatalf("%s has ended: %v", name, err)
		}
		if err := p.Wait(); err != nil && name == "lcapd" {
			c.describe()
			c.t.Errorf("lcapd: %v", err)
		}
	}
}

// done returns what a group did, by MDT.
func (c *cluster) done(group string) map[string][]bool {
	seen := make(map[string][]bool)
	for i := range clusterMDTs {
		seen[fmt.Sprintf("local-MDT%04x", i)] = make([]bool, *clusterRecords+1)
	}
	for _, name := range c.names() {
		if !strings.HasPrefix(name, group+"-") {
			continue
		}
		for life := range c.lives[name] {
			for line := range c.ledger(name, life) {
				mdt, index := c.ledgerLine(line)
				if seen[mdt][index] {
					c.twice++
				}
				seen[mdt][index] = true
			}
		}
	}
	return seen
}

// ledger returns the lines of a ledger. A last one without an end was torn by a kill:
// what it is about was not acknowledged.
func (c *cluster) ledger(name string, life int) iter.Seq[string] {
	return func(yield func(string) bool) {
		text, err := os.ReadFile(fmt.Sprintf("%s/%s.%d.ledger", c.dir, name, life))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			c.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasSuffix(line, "\n") && !yield(line) {
				return
			}
		}
	}
}

// ledgerLine reads a line of a ledger in Go's form or in Python's.
func (c *cluster) ledgerLine(line string) (mdt string, index uint64) {
	if strings.HasPrefix(line, "{") {
		var r struct {
			MDT   string
			Index uint64
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			c.t.Fatalf("ledger: %q: %v", line, err)
		}
		return r.MDT, r.Index
	}
	var epoch int
	if _, err := fmt.Sscanf(line, "%s %d %d", &mdt, &epoch, &index); err != nil {
		c.t.Fatalf("ledger: %q: %v", line, err)
	}
	return mdt, index
}

// compareLedgers demands that each group did everything.
func (c *cluster) compareLedgers() {
	for _, group := range []string{"fid", "turns"} {
		for mdt, seen := range c.done(group) {
			missing := 0
			for _, did := range seen[1:] {
				if !did {
					missing++
				}
			}
			if missing > 0 {
				c.describe()
				c.t.Errorf("group %s: %d of the %d records of %s are in no ledger, and they were cleared", group, missing, *clusterRecords, mdt)
			}
		}
	}
}

// compareListener demands that in each life of the listener nothing is missing silently:
// each range that it was shown, or told that it missed, begins where the one before
// ended, or below that, after a restart of lcapd.
func (c *cluster) compareListener() {
	ranges, gaps := 0, 0
	for life := range c.lives["listener"] {
		ends := make(map[string]uint64)
		for line := range c.ledger("listener", life) {
			var kind, mdt string
			var epoch int
			var from, to uint64
			if _, err := fmt.Sscanf(line, "%s %s %d %d %d", &kind, &mdt, &epoch, &from, &to); err != nil {
				c.t.Fatalf("ledger of the listener: %q: %v", line, err)
			}
			if end, begun := ends[mdt]; begun && from > end {
				c.t.Errorf("life %d of the listener: after %d of %s comes %q", life, end, mdt, line)
			}
			ends[mdt] = max(ends[mdt], to)
			ranges++
			if kind == "gap" {
				gaps++
			}
		}
	}
	if ranges == 0 {
		c.t.Error("the listener was shown nothing")
	}
	c.t.Logf("the listener had %d ranges, %d of them gaps", ranges, gaps)
}

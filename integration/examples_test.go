package integration

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

var (
	examplesRecords = flag.Int("examples.records", 6_000, "records in each changelog of TestExamples")
	examplesKills   = flag.Int("examples.kills", 16, "how many processes TestExamples kills")
	examplesSeed    = flag.Uint64("examples.seed", uint64(time.Now().UnixNano()), "what TestExamples does when")
)

const (
	examplesMDTs = 3
	// examplesMissed is how many records of each MDT come while the cache sleeps.
	examplesMissed = 300
	// examplesPatience is a failure bound, not a measure.
	examplesPatience = 3 * time.Minute
)

// TestExamples runs the policy engine and the cache of examples/ over local changelogs:
// instances of the engine and lcapd are killed at random, an instance sleeps for longer than its
// lease, and the cache sleeps until records are gone that it has not seen. In the end the engine's database has the
// names that the changelogs tell of, and what the cache holds is true.
func TestExamples(t *testing.T) {
	x := newExamples(t)
	x.start("lcapd")
	x.start("cache")
	for _, name := range x.policies() {
		x.start(name)
	}
	x.disturb()
	x.growing.Wait()
	x.sleepThroughRecords()
	for range examplesMissed / 10 { // the cache fills meanwhile: some look-ups are overtaken
		for _, mdt := range x.mdts {
			mdt.grow(t, 20)
		}
		time.Sleep(50 * time.Millisecond)
	}
	x.waitUntil("the cache has seen everything", x.cacheIsAtEnd)
	x.waitUntil("everything is cleared", x.isCleared)
	x.stop()
	x.compareNames()
	x.compareCache()
}

// examples is an lcapd with the examples around it.
type examples struct {
	cluster
	mdts []*exampleMDT
	bin  string
}

// exampleMDT is a made-up MDT: its changelog, and what is true of it in a folder as the cache reads it.
type exampleMDT struct {
	log      *llog.Log
	appender *llog.Appender
	workload *upstream.Workload
	truth    string
}

func newExamples(t *testing.T) *examples {
	t.Logf("again with -examples.seed %d, as far as real processes allow", *examplesSeed)
	x := &examples{cluster: cluster{
		processes: newProcesses(t, "lcapd", "policy-1", "policy-2", "policy-3", "cache"),
		rng:       rand.New(rand.NewPCG(*examplesSeed, 2)),
	}}
	x.bin = buildExamples(t)
	conf := fmt.Sprintf("listen: [{addr: %q, allow: [listen, consume, operate]}]\nhttp: ''\nstate: %s/state\nmemory: 64MiB\n"+
		"create_groups: true\nheartbeat: 250ms\nlease: 1s\nlog: {level: warn}\nupstream:\n", x.addr, x.dir)
	truth := filepath.Join(x.dir, "truth")
	for _, dir := range []string{"attr", "names"} {
		if err := os.MkdirAll(filepath.Join(truth, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range examplesMDTs {
		name := fmt.Sprintf("local-MDT%04x", i)
		conf += fmt.Sprintf("  - {mdt: %s, driver: llog, path: %s/%s, user: cl1}\n", name, x.dir, name)
		x.mdts = append(x.mdts, x.newMDT(name, i, truth))
	}
	x.init(conf)
	return x
}

// buildExamples builds lcapd and the examples, which are a module of their own.
func buildExamples(t *testing.T) string {
	list := exec.Command("go", "list", "-deps", "./...")
	list.Dir = "../examples"
	if out, err := list.CombinedOutput(); err != nil {
		outdated := strings.Contains(string(out), "go.mod") || strings.Contains(string(out), "go.sum")
		if os.Getenv("CI") == "true" || outdated {
			t.Fatalf("the modules of examples/: %v\n%s", err, out)
		}
		t.Skipf("the modules of examples/ are not to be had: %v\n%s", err, out)
	}
	bin := buildPrograms(t)
	build := exec.Command("go", "build", "-o", bin+"/", "./policy", "./cache")
	build.Dir = "../examples"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build in examples/: %v\n%s", err, out)
	}
	return bin
}

// newMDT makes a changelog with half of its records; the others come while lcapd reads.
func (x *examples) newMDT(name string, number int, truth string) *exampleMDT {
	log, err := llog.Create(filepath.Join(x.dir, name), name)
	if err != nil {
		x.t.Fatal(err)
	}
	if _, err := log.Register(context.Background(), "lcapd", 0); err != nil {
		x.t.Fatal(err)
	}
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		if err := a.Close(); err != nil {
			x.t.Error(err)
		}
	})
	m := &exampleMDT{log, a, upstream.NewWorkload(upstream.WorkloadOptions{Seed: *examplesSeed, MDT: uint16(number), Names: 1000}), truth}
	half := *examplesRecords / 2
	m.grow(x.t, half)
	x.growing.Go(func() {
		const some = 20
		for left := *examplesRecords - half; left > 0 && x.t.Context().Err() == nil; left -= some {
			m.grow(x.t, min(some, left))
			time.Sleep(5 * time.Second * some / time.Duration(*examplesRecords-half))
		}
	})
	return m
}

// grow makes records. As on Lustre a change is there before its record can be read.
func (m *exampleMDT) grow(t *testing.T, n int) {
	var packed []byte
	for range n {
		at := len(packed)
		packed = m.workload.Append(packed, time.Now())
		r, _, err := changelog.Next(packed[at:])
		if err == nil {
			err = m.become(r)
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
	if _, err := m.appender.AppendNew(context.Background(), packed); err != nil {
		t.Error(err)
	}
}

// become makes true what a record tells.
func (m *exampleMDT) become(r changelog.Record) error {
	target := r.Target()
	switch r.Type() {
	case changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeSlink, changelog.TypeMknod, changelog.TypeHlink:
		return errors.Join(m.put(r.Parent(), r.Name(), target), m.bump(target), m.bump(r.Parent()))
	case changelog.TypeUnlnk, changelog.TypeRmdir:
		last, _ := r.IsLastUnlink()
		return errors.Join(m.cut(r.Parent(), r.Name()), m.leave(target, last), m.bump(r.Parent()))
	case changelog.TypeRenme:
		source, _ := r.Source()
		parent, _ := r.SourceParent()
		name, _ := r.SourceName()
		last, _ := r.IsLastRename()
		err := errors.Join(m.cut(parent, name), m.put(r.Parent(), r.Name(), source), m.bump(source), m.bump(parent), m.bump(r.Parent()))
		if !target.IsZero() {
			err = errors.Join(err, m.leave(target, last))
		}
		return err
	}
	return m.bump(target)
}

func (m *exampleMDT) attr(fid changelog.FID) string {
	return filepath.Join(m.truth, "attr", fid.String())
}

func (m *exampleMDT) name(parent changelog.FID, name []byte) string {
	return filepath.Join(m.truth, "names", parent.String(), string(name))
}

// bump changes the size of an object, which makes it if it is not there.
func (m *exampleMDT) bump(fid changelog.FID) error {
	f, err := os.OpenFile(m.attr(fid), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte{'.'})
	return errors.Join(err, f.Close())
}

// leave takes a name from an object.
func (m *exampleMDT) leave(fid changelog.FID, last bool) error {
	if last {
		return os.Remove(m.attr(fid))
	}
	return m.bump(fid)
}

// put makes a name, over what is there.
func (m *exampleMDT) put(parent changelog.FID, name []byte, to changelog.FID) error {
	at := m.name(parent, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(to.String(), at)
}

func (m *exampleMDT) cut(parent changelog.FID, name []byte) error {
	return os.Remove(m.name(parent, name))
}

func (x *examples) policies() []string { return []string{"policy-1", "policy-2", "policy-3"} }

// start starts a process by its name.
func (x *examples) start(name string) {
	var p *exec.Cmd
	switch name {
	case "lcapd":
		p = exec.Command(x.bin+"/lcapd", "-c", x.dir+"/lcapd.yaml")
	case "cache":
		p = exec.Command(x.bin+"/cache", "-server", x.addr, "-files", x.dir+"/truth", "-dump", x.dir+"/cache.dump",
			"-every", "100ms", "-delay", "10ms", "-readers", "16")
		p.Stdout = x.open(x.dir + "/cache.stats")
	default:
		p = exec.Command(x.bin+"/policy", "run", "-server", x.addr, "-db", x.dir+"/policy.db", "-group", "policy")
		if name == "policy-3" {
			p.Args = append(p.Args, "-gather", "200ms") // it has much in hand when it falls asleep
		}
	}
	p.Stderr = x.open(x.dir + "/" + name + ".log")
	if err := p.Start(); err != nil {
		x.t.Fatal(err)
	}
	x.running[name] = p
	x.lives[name]++
}

func (x *examples) signal(name string, s syscall.Signal) {
	if err := x.running[name].Process.Signal(s); err != nil {
		x.describe()
		x.t.Fatalf("%s has ended: %v", name, err)
	}
}

// disturb kills lcapd and instances of the engine at random. Now and then the last
// instance sleeps, and awakes with records that others have long done.
func (x *examples) disturb() {
	time.Sleep(300 * time.Millisecond)
	asleep := false
	for i := range *examplesKills {
		victims := []string{"lcapd", "policy-1", "policy-2", "policy-3"}
		switch {
		case i%8 == 0:
			x.signal("policy-3", syscall.SIGSTOP)
			asleep = true
		case i%8 == 5:
			x.signal("policy-3", syscall.SIGCONT)
			asleep = false
		}
		if asleep {
			victims = victims[:3]
		}
		time.Sleep(time.Duration(x.rng.IntN(400)) * time.Millisecond)
		name := victims[x.rng.IntN(len(victims))]
		x.t.Logf("kill %s", name)
		x.kill(name)
		x.start(name)
	}
	x.signal("policy-3", syscall.SIGCONT)
}

// sleepThroughRecords has the cache sleep while records come, are done by the engine
// and cleared, and lcapd starts anew: it has to be told of a gap.
func (x *examples) sleepThroughRecords() {
	x.waitUntil("the cache has seen everything", x.cacheIsAtEnd)
	before := x.cacheStats().Gaps
	x.signal("cache", syscall.SIGSTOP)
	x.kill("lcapd")
	for _, m := range x.mdts {
		m.grow(x.t, examplesMissed)
	}
	x.start("lcapd")
	x.waitUntil("everything is cleared", x.isCleared)
	x.kill("lcapd")
	x.start("lcapd")
	x.signal("cache", syscall.SIGCONT)
	x.waitUntil("the cache is told of a gap in each changelog", func() bool {
		return x.cacheStats().Gaps >= before+examplesMDTs && x.cacheStats().Trusted
	})
}

// exampleStats is what the cache says of itself.
type exampleStats struct {
	Trusted                                bool
	Entries                                int
	Places                                 map[string]uint64
	Records, Dropped, Races, Gaps, Flushes int
	Hits, Misses, Bypassed                 int
}

// cacheStats returns what the cache said last.
func (x *examples) cacheStats() (s exampleStats) {
	text, err := os.ReadFile(x.dir + "/cache.stats")
	if err != nil {
		x.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		s = exampleStats{}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			x.t.Fatalf("the cache's statistics: %q: %v", line, err)
		}
	}
	return s
}

func (x *examples) cacheIsAtEnd() bool {
	s := x.cacheStats()
	for _, m := range x.mdts {
		info, err := m.log.Info()
		if err != nil || s.Places[m.log.MDT()] < info.Current {
			return false
		}
	}
	return s.Trusted
}

func (x *examples) isCleared() bool {
	for _, m := range x.mdts {
		info, err := m.log.Info()
		if err != nil || info.Users[0].Cleared != info.Current {
			return false
		}
	}
	return true
}

func (x *examples) waitUntil(what string, is func() bool) {
	for end := time.Now().Add(examplesPatience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			x.describe()
			x.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// describe shows what the processes wrote, for failures.
func (x *examples) describe() {
	for _, name := range append(x.policies(), "lcapd", "cache") {
		if text, err := os.ReadFile(x.dir + "/" + name + ".log"); err == nil && len(text) > 0 {
			x.t.Logf("%s:\n%s", name, text[max(0, len(text)-2000):])
		}
	}
	x.t.Logf("cache: %+v", x.cacheStats())
	for _, m := range x.mdts {
		info, err := m.log.Info()
		x.t.Logf("%s: last %d, users %+v, %v", info.MDT, info.Current, info.Users, err)
	}
}

// stop ends all processes in an orderly way, and all must say that all went well.
func (x *examples) stop() {
	for _, name := range append([]string{"cache"}, append(x.policies(), "lcapd")...) {
		x.signal(name, syscall.SIGTERM)
		if err := x.running[name].Wait(); err != nil {
			x.describe()
			x.t.Errorf("%s: %v", name, err)
		}
		delete(x.running, name)
	}
}

// compareNames demands that the engine's database has the names, types and link counts that
// the workloads know of.
func (x *examples) compareNames() {
	out, err := exec.Command(x.bin+"/policy", "names", "-db", x.dir+"/policy.db").Output()
	if err != nil {
		x.t.Fatalf("policy names: %v", err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		part := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		place := part[0] + " " + part[1]
		if was, twice := got[place]; twice {
			x.t.Errorf("%s is there twice: %s, %s", place, was, part[2])
		}
		got[place] = part[2]
	}
	want := map[string]string{}
	for _, m := range x.mdts {
		for at, node := range m.workload.Tree() {
			want[fmt.Sprintf("%s %q", at.Parent, at.Name)] = fmt.Sprintf("%s\t%s\t%d", node.FID, node.Made, node.Links)
		}
	}
	if !maps.Equal(got, want) {
		x.describe()
		x.t.Errorf("the database has %d names, the file system %d:%s", len(got), len(want), differences(got, want))
	}
	x.t.Logf("the database has all of %d names", len(want))
	for _, name := range x.policies() {
		text, err := os.ReadFile(x.dir + "/" + name + ".log")
		if err != nil {
			x.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "records/s") {
				x.t.Logf("%s, life %d: %s", name, x.lives[name], strings.TrimSpace(line))
			}
		}
	}
}

// differences describes the first differences of two maps.
func differences(got, want map[string]string) string {
	var b strings.Builder
	n := 0
	for place := range want {
		if got[place] != want[place] && n < 10 {
			fmt.Fprintf(&b, "\n%s: %q, want %q", place, got[place], want[place])
			n++
		}
	}
	for place := range got {
		if _, there := want[place]; !there && n < 20 {
			fmt.Fprintf(&b, "\n%s: %q, want nothing", place, got[place])
			n++
		}
	}
	return b.String()
}

// compareCache demands that everything that the cache held in the end is true, and that
// it had something to do.
func (x *examples) compareCache() {
	s := x.cacheStats()
	x.t.Logf("cache: %+v", s)
	if s.Hits == 0 || s.Dropped == 0 || s.Races == 0 || s.Gaps == 0 || s.Entries == 0 || !s.Trusted {
		x.t.Errorf("the cache was not tested: %+v", s)
	}
	text, err := os.ReadFile(x.dir + "/cache.dump")
	if err != nil {
		x.t.Fatal(err)
	}
	wrong, entries := 0, 0
	for line := range strings.Lines(string(text)) {
		entries++
		part := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		name, err := strconv.Unquote(part[1])
		if err != nil {
			x.t.Fatalf("%q: %v", line, err)
		}
		if is := x.truth(part[0], name); is != part[2] {
			if wrong++; wrong <= 10 {
				x.t.Errorf("the cache holds %q of %s %q, true is %q", part[2], part[0], name, is)
			}
		}
	}
	if wrong > 0 || entries != s.Entries {
		x.t.Errorf("%d of %d entries of the cache are wrong; it says that it has %d", wrong, entries, s.Entries)
	}
}

// truth is what the cache should hold of an object or name, if it does.
func (x *examples) truth(fid, name string) string {
	if name == "" {
		if info, err := os.Lstat(filepath.Join(x.dir, "truth", "attr", fid)); err == nil {
			return fmt.Sprintf("false\t%d\t%s", info.Size(), changelog.FID{})
		}
	} else if to, err := os.Readlink(filepath.Join(x.dir, "truth", "names", fid, name)); err == nil {
		return fmt.Sprintf("false\t0\t%s", to)
	}
	return fmt.Sprintf("true\t0\t%s", changelog.FID{})
}

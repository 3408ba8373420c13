package integration

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/wire"
)

var (
	faultsFor  = flag.Duration("faults.for", time.Minute, "how long TestFaults lets everything fail")
	faultsSeed = flag.Uint64("faults.seed", uint64(time.Now().UnixNano()), "what TestFaults does when")
)

// TestFaults is a site in which everything fails that can, side by side: the MDTs as in
// TestDevices; the state's disk is full, slow, gone, or cannot sync; lcapd runs out of
// descriptors; it and those around it are killed or stand still; strangers connect in
// numbers, members acknowledge what they were not given; operators pause, and make, move and
// delete groups of their own. In the end
//
//   - each group has done every record that was cleared, and everything that is left;
//   - for a group that keeps order, the first deliveries of a key are in order;
//   - a listener was shown, or told that it missed, every range, with exact counts;
//   - no clear was illegal, and lcapd kept to its memory.
func TestFaults(t *testing.T) {
	t.Parallel() // it waits more than it works
	t.Logf("again with -faults.seed %d, as far as real processes allow", *faultsSeed)
	s := newFaultSite(t)
	s.startAll()
	for end := time.Now().Add(*faultsFor); time.Now().Before(end); time.Sleep(time.Duration(s.rng.IntN(100)) * time.Millisecond) {
		s.growOrFail()
		for _, l := range s.locals {
			l.grow(1 + s.rng.IntN(500))
		}
		s.endDue(time.Now())
		s.failProcess()
		s.look()
		s.mustRun()
	}
	s.repair() // first: what is hidden may not be for long
	s.endDue(time.Now().Add(time.Hour))
	s.tidyUp()
	logs := s.logs()
	for _, l := range s.locals {
		logs = append(logs, l.log)
	}
	s.waitUntilCleared(logs...)
	s.stop()
	s.check()
}

// faultSite is a site of emulated MDTs and local changelogs, and what fails there besides.
type faultSite struct {
	*deviceSite
	disk    string // the file system of the state
	locals  []*localMDT
	lasting []lasting
	own     map[string]bool // groups that an operator has made, and perhaps deleted
	made    int
}

// localMDT is a local changelog, without holes.
type localMDT struct {
	site     *faultSite
	name     string
	log      *llog.Log
	appender *llog.Appender
	work     *upstream.Workload
}

// lasting is a fault that ends. Those of lcapd as a whole exclude each other.
type lasting struct {
	what string // of whom it is
	at   time.Time
	end  func()
}

func newFaultSite(t *testing.T) *faultSite {
	s := &faultSite{
		deviceSite: newDeviceSite(t, *faultsSeed, "lcapd", "fid-1", "fid-2", "mdt-1", "mdt-2", "turns-1", "turns-2", "local-go", "local-python", "listener"),
		own:        make(map[string]bool),
	}
	s.disk = mountMemory(t, "4m")
	var upstreams strings.Builder
	var names []string
	for i := range 2 {
		l := s.newLocal(i)
		s.locals = append(s.locals, l)
		names = append(names, l.name)
		fmt.Fprintf(&upstreams, "  - {mdt: %s, driver: llog, path: %s, user: cl1}\n", l.name, l.log.Dir())
	}
	s.init(s.disk+"/state", "{name: fid, distribution: fid}, {name: mdt, distribution: mdt}, {name: turns}, {name: local, mdts: ["+strings.Join(names, ", ")+"]}", upstreams.String())
	return s
}

// mountMemory mounts a file system in memory, until the test ends.
func mountMemory(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a tmpfs: %v", err)
		}
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func (s *faultSite) newLocal(i int) *localMDT {
	name := fmt.Sprintf("local-MDT%04x", i)
	log, err := llog.Create(filepath.Join(s.dir, name), name)
	must(s.t, err)
	_, err = log.Register(s.t.Context(), "lcapd", 0)
	must(s.t, err)
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, a.Close()) })
	return &localMDT{s, name, log, a, upstream.NewWorkload(upstream.WorkloadOptions{Seed: s.rng.Uint64(), MDT: uint16(100 + i)})}
}

func (l *localMDT) grow(n int) {
	var packed []byte
	for range n {
		packed = l.work.Append(packed, time.Now())
	}
	_, err := l.appender.AppendNew(context.Background(), packed)
	must(l.site.t, err)
}

// mustRun demands that lcapd has not ended by itself.
func (s *faultSite) mustRun() {
	var status syscall.WaitStatus
	if pid, _ := syscall.Wait4(s.pid("lcapd"), &status, syscall.WNOHANG, nil); pid > 0 {
		s.describe()
		s.t.Fatalf("lcapd has ended: exit code %d, %v", status.ExitStatus(), status.Signal())
	}
}

// endDue ends the faults that have lasted long enough.
func (s *faultSite) endDue(now time.Time) {
	due := func(l lasting) bool { return !now.Before(l.at) }
	ending := slices.DeleteFunc(slices.Clone(s.lasting), func(l lasting) bool { return !due(l) })
	s.lasting = slices.DeleteFunc(s.lasting, due)
	for _, l := range ending {
		l.end()
	}
}

// last begins a fault that ends after at most some time, if the one whom it concerns has no other.
func (s *faultSite) last(whom, what string, most time.Duration, begin func() (end func())) {
	if slices.ContainsFunc(s.lasting, func(l lasting) bool { return l.what == whom }) {
		return
	}
	s.faults[what]++
	if end := begin(); end != nil {
		s.lasting = append(s.lasting, lasting{whom, time.Now().Add(time.Duration(s.rng.Int64N(int64(most)))), end})
	}
}

// failProcess has something fail around lcapd, or nothing.
func (s *faultSite) failProcess() {
	name := s.names[s.rng.IntN(len(s.names))]
	group := []string{"fid", "mdt", "turns", "local"}[s.rng.IntN(4)]
	for _, f := range []struct {
		whom, what string
		permille   int
		most       time.Duration
		begin      func() (end func())
	}{
		{name, "process killed", 30, time.Millisecond, func() func() { return s.killAndStart(name) }},
		{name, "process stands still", 20, 8 * time.Second, func() func() { return s.standStill(name) }},
		{"lcapd", "disk full", 15, 8 * time.Second, s.fillDisk},
		{"lcapd", "directory gone", 8, 8 * time.Second, s.moveState},
		{"lcapd", "syncs fail", 8, 4 * time.Second, func() func() { return s.inject("error=EIO") }},
		{"lcapd", "syncs are slow", 8, 4 * time.Second, func() func() { return s.inject("delay_enter=300000") }},
		{"lcapd", "no descriptors", 15, 4 * time.Second, s.takeDescriptors},
		{"strangers", "connection storm", 10, 4 * time.Second, s.storm},
		{"rogue", "rogue member", 20, 2 * time.Second, func() func() { return s.rogue(group) }},
		{"operator", "pause", 10, 3 * time.Second, func() func() { return s.pause(group) }},
		{"operator", "group of an operator", 20, 3 * time.Second, s.ownGroup},
	} {
		if s.rng.IntN(1000) < f.permille {
			s.last(f.whom, f.what, f.most, f.begin)
		}
	}
}

// killAndStart waits for an lcapd until it answers: what fails as it starts it refuses rightly.
func (s *faultSite) killAndStart(name string) func() {
	s.kill(name)
	s.start(name)
	if name == "lcapd" {
		eventually(s.t, "lcapd, which was started again", func() bool {
			s.mustRun()
			return exec.Command(s.dir+"/lcapcli", "-s", s.addr, "status").Run() == nil
		})
	}
	return nil
}

func (s *faultSite) standStill(name string) func() {
	p := s.running[name].Process
	must(s.t, p.Signal(syscall.SIGSTOP))
	return func() { must(s.t, p.Signal(syscall.SIGCONT)) }
}

// fillDisk leaves no room on the state's disk.
func (s *faultSite) fillDisk() func() {
	f, err := os.Create(s.disk + "/ballast")
	must(s.t, err)
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	must(s.t, f.Close())
	return func() { must(s.t, os.Remove(f.Name())) }
}

func (s *faultSite) moveState() func() {
	must(s.t, os.Rename(s.disk+"/state", s.disk+"/elsewhere"))
	return func() { must(s.t, os.Rename(s.disk+"/elsewhere", s.disk+"/state")) }
}

// inject has something happen to every sync of lcapd.
func (s *faultSite) inject(what string) func() {
	cmd := exec.Command(strace(s.t), "-f", "-qq", "-o", "/dev/null", "-p", fmt.Sprint(s.pid("lcapd")),
		"-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:"+what)
	must(s.t, cmd.Start())
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it lets go of lcapd
		_ = cmd.Wait()
	}
}

// strace returns what watches and disturbs system calls.
func strace(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no strace: apt-get install strace")
		}
		t.Skip("there is no strace: apt-get install strace")
	}
	return path
}

// takeDescriptors leaves lcapd some descriptors, of which it needs one for each clear.
func (s *faultSite) takeDescriptors() func() {
	pid := s.pid("lcapd")
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(s.t, err)
	var before unix.Rlimit
	must(s.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before))
	few := before
	few.Cur = uint64(max(len(files)-s.rng.IntN(10), 1))
	must(s.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil))
	return func() { must(s.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil)) }
}

// storm connects often: some say nothing, some nonsense.
func (s *faultSite) storm() func() {
	var conns []net.Conn
	for i := range 300 {
		c, err := net.DialTimeout("unix", strings.TrimPrefix(s.addr, "ipc://"), 100*time.Millisecond)
		if err != nil {
			continue // it is full, or away
		}
		_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Write([]byte(zmtpGreeting)[:s.rng.IntN(len(zmtpGreeting))]) // it may be cut
		if i%2 == 0 {
			_ = c.Close()
			continue
		}
		conns = append(conns, c)
	}
	return func() {
		for _, c := range conns {
			_ = c.Close() // lcapd may have done it
		}
	}
}

// rogue joins a group, takes nothing or does not read it, and answers for everybody.
func (s *faultSite) rogue(group string) func() {
	ctx, cancel := context.WithTimeout(s.t.Context(), 200*time.Millisecond)
	defer cancel()
	c, err := transport.Dial(ctx, s.addr, transport.Options{})
	if err != nil {
		return nil // lcapd is away
	}
	messages := []wire.Message{&wire.Hello{V: 1, Min: 1}, &wire.Join{Group: group, Name: "rogue", Session: fmt.Sprint(s.rng.Uint64())}}
	for range 100 {
		messages = append(messages, &wire.Ack{Lease: 1 + s.rng.Uint64N(10_000), UpTo: 1 << 62}, &wire.Nack{Lease: 1 + s.rng.Uint64N(10_000)})
	}
	if s.rng.IntN(2) == 0 {
		messages = append(messages, &wire.Credit{Batches: 3, Bytes: 1 << 20})
	}
	for _, m := range messages {
		_ = c.SendWait(ctx, transport.Message{Frames: say(s.t, m)}) // it may be cut
	}
	return c.Finish
}

// cli has an operator do something, and tells whether it worked.
func (s *faultSite) cli(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.dir+"/lcapcli", append([]string{"-s", s.addr}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (s *faultSite) pause(group string) func() {
	_ = s.cli("groups", "pause", group) // it may not be heard
	return func() { s.mustDo("groups", "resume", group) }
}

// mustDo has an operator try something until it works. That may be after other faults
// have ended.
func (s *faultSite) mustDo(args ...string) {
	if s.cli(args...) != nil {
		s.lasting = append(s.lasting, lasting{"operator", time.Now(), func() { s.mustDo(args...) }})
	}
}

// ownGroup makes a group, has it moved about, and deletes it later.
func (s *faultSite) ownGroup() func() {
	s.made++
	name := fmt.Sprintf("own%d", s.made)
	s.own[name] = true
	_ = s.cli("groups", "create", name, "--distribution", []string{"fid", "mdt", "round-robin"}[s.rng.IntN(3)], "--start", []string{"earliest", "latest"}[s.rng.IntN(2)])
	_ = s.cli("groups", "seek", name, "--to", []string{"earliest", "latest"}[s.rng.IntN(2)])
	return func() { _ = s.cli("groups", "delete", name) }
}

// tidyUp undoes what operators have done, once all is well again.
func (s *faultSite) tidyUp() {
	eventually(s.t, "operators to be heard", func() bool {
		s.endDue(time.Now())
		return len(s.lasting) == 0
	})
	for _, name := range slices.Sorted(maps.Keys(s.own)) {
		eventually(s.t, "group "+name+" to be deleted", func() bool {
			err := s.cli("groups", "delete", name)
			return err == nil || strings.Contains(err.Error(), "unknown group")
		})
	}
}

// check looks at what was promised.
func (s *faultSite) check() {
	s.compareLedgers("fid", "mdt", "turns")
	s.compareLocals()
	s.checkClears()
	s.checkLog()
	s.checkOrder("fid", func(e entry) string { return e.target })
	s.checkOrder("mdt", func(entry) string { return "" })
	ranges, gaps := s.checkListener("listener", []string{"local-MDT0000", "local-MDT0001"})
	if ranges == 0 {
		s.t.Error("the listener was shown nothing")
	}
	if limit := int64(siteMemory + 64<<20); s.peak > limit {
		s.t.Errorf("lcapd had %d MiB of anonymous memory, the limit and what is granted besides are %d MiB", s.peak>>20, limit>>20)
	}
	s.t.Logf("the listener had %d ranges, %d of them gaps; lcapd had %d MiB of anonymous memory at most, and %d lives", ranges, gaps, s.peak>>20, s.lives["lcapd"])
	if s.t.Failed() {
		s.describe()
	}
}

// compareLocals demands that each group did all of the local changelogs.
func (s *faultSite) compareLocals() {
	for _, group := range []string{"fid", "mdt", "turns", "local"} {
		did := make(map[string]map[uint64]bool)
		for _, l := range s.locals {
			did[l.name] = make(map[uint64]bool)
		}
		for e := range s.entries(group) {
			if d := did[e.MDT]; d != nil {
				d[e.Index] = true
			}
		}
		for _, l := range s.locals {
			info, err := l.log.Info()
			must(s.t, err)
			if n := uint64(len(did[l.name])); n != info.Current {
				s.t.Errorf("group %s: %d of the %d records of %s are in a ledger", group, n, info.Current, l.name)
			}
		}
	}
}

// zeroFID is the target of a record that has none: its key is another FID of it.
var zeroFID = changelog.FID{}.String()

// checkOrder demands that the first deliveries of a key come in the order of their indexes,
// by when the members wrote them down. That is sound: a newer record of a key is handed out
// only when the older ones are acknowledged, and so written down, or to the same member
// behind them. What an MDT showed late is the exception that is promised.
func (s *faultSite) checkOrder(group string, key func(entry) string) {
	type record struct { // small, as there are millions
		mdt, epoch int32
		index      uint64
	}
	type done struct { // a record, when it was done first
		key, index uint64
		at         int64
	}
	mdts := make(map[string]int32)
	late := make(map[string]map[uint64]bool)
	for _, m := range s.mdts {
		late[m.Name()] = m.late
	}
	first := make(map[record]done)
	for e := range s.entries(group) {
		if _, known := mdts[e.MDT]; !known {
			mdts[e.MDT] = int32(len(mdts))
		}
		id := record{mdts[e.MDT], int32(e.Epoch), e.Index}
		hasKey := !late[e.MDT][e.Index] && key(e) != zeroFID
		if before, did := first[id]; hasKey && (!did || e.at < before.at) {
			first[id] = done{printOf(e.MDT, uint64(e.Epoch), key(e)), e.Index, e.at}
		}
	}
	list := slices.SortedFunc(maps.Values(first), func(a, b done) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.index, b.index)) })
	bad, keys := 0, min(len(list), 1)
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		if a.key != b.key {
			keys++
			continue
		}
		if b.at < a.at {
			if bad++; bad < 5 {
				s.t.Errorf("group %s: %d was done %v before %d, which has the same key", group, b.index, time.Duration(a.at-b.at), a.index)
			}
		}
	}
	s.t.Logf("group %s: %d records of %d keys, %d of them out of order", group, len(first), keys, bad)
}

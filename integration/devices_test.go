package integration

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

var (
	devicesFor  = flag.Duration("devices.for", time.Minute, "how long TestDevices lets MDTs and processes fail")
	devicesSeed = flag.Uint64("devices.seed", uint64(time.Now().UnixNano()), "what TestDevices does when")
)

// TestDevices runs lcapd on emulated MDTs of four releases, which fail in all ways that a
// real one has: errors, evictions, failovers, lost tails, changelogs that begin anew,
// records that appear late, processes killed on both sides. In the end each group has done
// every record that the MDTs still had, or had cleared, and no clear was illegal.
func TestDevices(t *testing.T) {
	t.Parallel() // it waits more than it works
	t.Logf("again with -devices.seed %d, as far as real processes allow", *devicesSeed)
	s := newDeviceSite(t, *devicesSeed, "lcapd", "fid-1", "fid-2", "turns-1", "turns-2")
	s.init(s.dir+"/state", "{name: fid, distribution: fid}, {name: turns}", "")
	s.startAll()
	for end := time.Now().Add(*devicesFor); time.Now().Before(end); time.Sleep(time.Duration(s.rng.IntN(100)) * time.Millisecond) {
		s.growOrFail()
		if name := s.names[s.rng.IntN(len(s.names))]; s.rng.IntN(1000) < 15 {
			s.faults["process killed"]++
			s.kill(name)
			s.start(name)
		}
	}
	s.repair()
	s.waitUntilCleared(s.logs()...)
	s.stop()
	s.compareLedgers("fid", "turns")
	s.checkClears()
	s.checkLog()
}

// deviceSite is an lcapd on emulated MDTs, with members.
type deviceSite struct {
	*processes
	rng    *rand.Rand
	mdts   []*failingMDT
	faults map[string]int // what failed, and how often
}

// failingMDT is an emulated MDT, and what it holds. The test's goroutine is the only one
// that appends to it.
type failingMDT struct {
	*emulatedtest.MDT
	site *deviceSite
	work *upstream.Workload
	next uint64
	logs []servedLog // that there were; the last one is served
	// late is, by index, what may appear behind later ones: what was hidden at first, and what did not
	// exist, as an MDT that has lost its tail issues these indexes again.
	late map[uint64]bool
	undo []func() // faults that last until they are undone
	down bool     // one of them is that nobody serves the device
	lost int      // records that the MDT lost, cleared or not
	news int      // how often it began anew or lost its end
}

// servedLog is what a log was given. Runs go on for hours: nothing is kept twice.
type servedLog struct {
	dir  string
	keep uint64        // it has what the log before it had up to there
	own  []givenRecord // above that, by index
}

type givenRecord struct{ index, print uint64 }

// before returns how many records it was given up to an index.
func (x servedLog) before(index uint64) int {
	n, found := slices.BinarySearchFunc(x.own, index, func(r givenRecord, index uint64) int { return cmp.Compare(r.index, index) })
	if found {
		n++
	}
	return n
}

// printOf stands for what a record of an MDT says.
func printOf(mdt string, index uint64, what string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %s", mdt, index, what)
	return h.Sum64()
}

// serve notes that the MDT serves another log, which has of the one before what is at or
// below an index.
func (m *failingMDT) serve(keep uint64) {
	held := ^uint64(0) // up to there it still had what is in x.own
	for _, x := range slices.Backward(m.logs) {
		if held <= keep {
			break
		}
		m.lost += x.before(held) - x.before(keep)
		held = min(held, x.keep)
	}
	m.next = keep + 1
	m.logs = append(m.logs, servedLog{dir: m.Log().Dir(), keep: keep})
}

var siteReleases = []emulated.Version{emulated.Version212, emulated.Version214, emulated.Version215, emulated.Version218}

func newDeviceSite(t *testing.T, seed uint64, names ...string) *deviceSite {
	s := &deviceSite{processes: newProcesses(t, names...), rng: rand.New(rand.NewPCG(seed, 2)), faults: make(map[string]int)}
	must(t, os.Mkdir(s.dir+"/dev", 0o755))
	for i, v := range siteReleases {
		s.mdts = append(s.mdts, s.newMDT(fmt.Sprintf("site-MDT%04x", i), uint16(i), v))
	}
	return s
}

// siteMemory is the limit that lcapd is given at a site, in bytes.
const siteMemory = 64 << 20

// init writes the configuration, with groups and further upstreams, and makes the state.
func (s *deviceSite) init(state, groups, upstreams string) {
	var conf strings.Builder
	fmt.Fprintf(&conf, "listen: [{addr: %q, allow: [listen, consume, operate]}]\nhttp: ''\nstate: %s\nmemory: %d\nheartbeat: 1s\nlease: 5s\nlog: {level: info, format: json}\n", s.addr, state, siteMemory)
	if len(s.mdts) > 0 {
		fmt.Fprintf(&conf, "device_dir: %s/dev\n", s.dir)
	}
	fmt.Fprintf(&conf, "groups: [%s]\nupstream:\n%s", groups, upstreams)
	for i, m := range s.mdts {
		fmt.Fprintf(&conf, "  - {mdt: %s, driver: device, user: cl1, lustre: %q}\n", m.Name(), siteReleases[i])
	}
	s.processes.init(conf.String())
}

// growOrFail lets time pass for all MDTs.
func (s *deviceSite) growOrFail() {
	for _, m := range s.mdts {
		m.undoSome()
		m.grow(1 + s.rng.IntN(300))
	}
	s.fail()
}

// repair ends all faults of MDTs.
func (s *deviceSite) repair() {
	for _, m := range s.mdts {
		m.undoAll()
		m.grow(10)  // behind whatever was hidden
		m.undoAll() // it may have hidden some of these, too
	}
}

func (s *deviceSite) newMDT(name string, number uint16, v emulated.Version) *failingMDT {
	m := &failingMDT{
		MDT: emulatedtest.Start(s.t, emulatedtest.Options{
			MDT: name, DeviceDir: s.dir + "/dev", Version: v, Seed: s.rng.Uint64(), ShortReads: s.rng.IntN(2) == 0, FollowInterval: 20 * time.Millisecond,
		}),
		site: s, work: upstream.NewWorkload(upstream.WorkloadOptions{Seed: s.rng.Uint64(), MDT: number}),
		late: make(map[uint64]bool),
	}
	m.Register("", 0)
	m.serve(0)
	return m
}

// grow appends records, with a hole now and then, and hides some that others follow.
func (m *failingMDT) grow(n int) {
	rng := m.site.rng
	var packed []byte
	var hidden []uint64
	for i := range n {
		at := len(packed)
		packed = m.work.Append(packed, time.Now())
		if rng.IntN(500) == 0 {
			for range 1 + rng.IntN(5) {
				m.late[m.next] = true
				m.next++
			}
		}
		changelog.SetIndex(packed[at:], m.next)
		r, _, err := changelog.Next(packed[at:])
		must(m.site.t, err)
		now := &m.logs[len(m.logs)-1]
		now.own = append(now.own, givenRecord{m.next, printOf(m.Name(), m.next, fmt.Sprintf("%d %d %v", r.Time(), r.Type(), r.Target()))})
		if i+1 < n && !m.down && rng.IntN(300) == 0 {
			hidden = append(hidden, m.next)
			m.late[m.next] = true
		}
		m.next++
	}
	if len(hidden) > 0 {
		m.Hide(hidden...)
		m.site.faults["hidden records"] += len(hidden)
		m.undo = append(m.undo, m.Reveal)
	}
	m.Append(packed)
}

func (m *failingMDT) undoSome() {
	for len(m.undo) > 0 && m.site.rng.IntN(2) == 0 {
		m.undo[0]()
		m.undo = m.undo[1:]
	}
}

func (m *failingMDT) undoAll() {
	for _, undo := range m.undo {
		undo()
	}
	m.undo = nil
}

// until has a fault last for a while. There is one such fault at a time.
func (m *failingMDT) until(start, end func()) {
	if len(m.undo) == 0 {
		start()
		m.undo = append(m.undo, end)
	}
}

func (m *failingMDT) kill()    { m.Kill(); m.down = true }
func (m *failingMDT) restart() { m.Restart(); m.down = false }

var transportErrors = []syscall.Errno{syscall.EIO, syscall.ENODEV, syscall.ESHUTDOWN, syscall.ENOTCONN, syscall.ETIMEDOUT, syscall.EACCES}

// fail has something of an MDT fail, or nothing.
func (s *deviceSite) fail() {
	m := s.mdts[s.rng.IntN(len(s.mdts))]
	errno := transportErrors[s.rng.IntN(len(transportErrors))]
	if m.down {
		return
	}
	for _, f := range []struct {
		what     string
		permille int
		do       func()
	}{
		{"reads fail", 20, func() { m.FailReads(1+s.rng.IntN(3), errno) }},
		{"opens fail", 5, func() { m.FailOpens(1, errno) }},
		{"clears fail", 20, func() { m.FailClears(1+s.rng.IntN(3), errno) }},
		{"clears are done and fail", 20, func() { m.LoseClears(1+s.rng.IntN(3), errno) }},
		{"eviction", 20, func() { m.Evict(errno) }},
		{"stall", 10, func() { m.until(m.Stall, m.Resume) }},
		{"unmount", 8, func() { m.until(m.Unmount, m.Mount) }},
		{"device killed", 8, func() { m.until(m.kill, m.restart) }},
		{"lost tail", 15, m.loseTail},
		{"begins anew", 8, m.beginAnew},
	} {
		if s.rng.IntN(1000) < f.permille {
			s.faults[f.what]++
			f.do()
			return
		}
	}
}

// diedWithMDS is what a clear is answered that was under way when the MDS died: it was not
// done, and the log that it is noted with is not the one that it was meant for.
const diedWithMDS = syscall.ECONNRESET

// loseTail is a crash of the MDS: for a while it answers nobody, then what was not on its
// disk is gone, and its indexes are issued again. Clients notice, or do not.
func (m *failingMDT) loseTail() {
	const away = 1500 * time.Millisecond // the least: a real one is away for much longer
	begun := time.Now()
	m.until(m.Stall, func() {
		time.Sleep(away - time.Since(begun))
		info, err := m.Log().Info()
		must(m.site.t, err)
		keep := info.Current - min(info.Current, m.site.rng.Uint64N(400))
		m.Rewind(keep)
		m.serve(keep)
		m.news++
		m.FailClears(1, diedWithMDS) // the one that was under way
		m.Resume()
		if m.site.rng.IntN(2) == 0 {
			m.Evict(syscall.ESHUTDOWN)
		}
	})
}

// beginAnew is an MDT whose users were all deregistered before it was started again.
func (m *failingMDT) beginAnew() {
	m.until(m.Unmount, func() {
		m.Swap(m.NewLog())
		m.Register("", 0)
		m.serve(0)
		m.news++
		m.Mount()
	})
}

// waitUntilCleared waits until changelogs are cleared to their ends, as long as one of them gets nearer: a
// group that keeps order may be far behind, and the machine have other work.
func (s *deviceSite) waitUntilCleared(logs ...*llog.Log) {
	const patience = 4 * time.Minute // a failure bound: a silent loss of a tail is looked for once a minute
	var places, before []uint64
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		left := 0
		places = places[:0]
		for _, log := range logs {
			info, err := log.Info()
			if err != nil || info.Users[0].Cleared != info.Current {
				left++
			}
			if err == nil {
				places = append(places, info.Users[0].Cleared, info.Current)
			}
		}
		switch {
		case left == 0:
			return
		case !slices.Equal(places, before):
			end, before = time.Now().Add(patience), slices.Clone(places)
		case time.Now().After(end):
			s.describe()
			s.t.Fatalf("%d changelogs are not cleared, and have not got nearer to it for %v", left, patience)
		}
	}
}

func (s *deviceSite) logs() (list []*llog.Log) {
	for _, m := range s.mdts {
		list = append(list, m.Log())
	}
	return list
}

func (s *deviceSite) describe() {
	s.processes.describe()
	for _, m := range s.mdts {
		info, err := m.Log().Info()
		s.t.Logf("%s: last %d, users %+v, %v, %+v", m.Name(), info.Current, info.Users, err, m.Status())
	}
}

// compareLedgers demands that each group did every record that was cleared, in any of the
// logs that there were; and what the last one holds was cleared.
func (s *deviceSite) compareLedgers(groups ...string) {
	records := 0
	for _, group := range groups {
		did := make(map[uint64]struct{})
		for e := range s.entries(group) {
			did[printOf(e.MDT, e.Index, e.what)] = struct{}{}
		}
		for _, m := range s.mdts {
			records += m.compare(group, did)
		}
	}
	lost := 0
	for _, m := range s.mdts {
		lost += m.lost
		if cleared := clearedIn(m.Clears(), m.Log().Dir()); cleared != m.next-1 {
			s.t.Errorf("%s: cleared to %d, the last record is %d", m.Name(), cleared, m.next-1)
		}
	}
	if s.t.Failed() {
		s.describe()
	}
	s.t.Logf("%d records for the groups, %d lost by the MDTs; faults: %v", records, lost, s.faults)
}

// compare demands that a group did what was cleared of the logs that the MDT had, and returns
// how many records they were given.
func (m *failingMDT) compare(group string, did map[uint64]struct{}) (records int) {
	upTo, clears := uint64(0), m.Clears() // of what a log has, so much was cleared, there or in one that kept it
	for i, x := range slices.Backward(m.logs) {
		if i+1 < len(m.logs) {
			upTo = min(upTo, m.logs[i+1].keep)
		}
		upTo = max(upTo, clearedIn(clears, x.dir))
		var missing []uint64
		for _, r := range x.own {
			if _, done := did[r.print]; !done && r.index <= upTo {
				missing = append(missing, r.index)
			}
		}
		if len(missing) > 0 {
			first := missing[0]
			m.site.t.Errorf("group %s: %d records of %s (%s) were cleared, up to %d, and are in no ledger; the first is %d, may appear late: %v", group, len(missing), m.Name(), x.dir, upTo, first, m.late[first])
		}
		records += len(x.own)
	}
	return records
}

// clearedIn returns how far a log was cleared.
func clearedIn(clears []emulated.Clear, dir string) (to uint64) {
	for _, c := range clears {
		if c.Log == dir && c.Result != "EINVAL" && c.Result != "ENOENT" && c.Result != "ECONNRESET" {
			to = max(to, c.Index)
		}
	}
	return to
}

// checkClears demands that every clear that was sent is one that may be: as the user, never
// 0, never above what was read, never below an earlier one.
func (s *deviceSite) checkClears() {
	sent := 0
	for _, m := range s.mdts {
		last := make(map[string]uint64)
		for _, c := range m.Clears() {
			sent++
			if c.Result == "ECONNRESET" {
				continue
			}
			if c.User != 1 || c.Index == 0 || c.Index > c.Delivered || c.Index < last[c.Log] {
				s.t.Errorf("%s: clear %+v, after one to %d", m.Name(), c, last[c.Log])
			}
			if c.Result == "EINVAL" || c.Result == "ENOENT" {
				s.t.Errorf("%s: refused: %+v", m.Name(), c)
			}
			last[c.Log] = c.Index
		}
	}
	s.t.Logf("%d clears were sent", sent)
}

// checkLog demands that what happened to the MDTs is said once: an epoch begins no more often than an
// MDT was another one; it may be said again by an lcapd that was killed before it was on disk.
func (s *deviceSite) checkLog() {
	text, err := os.ReadFile(s.dir + "/lcapd.log")
	must(s.t, err)
	said := make(map[string]int) // by MDT and epoch
	epochs := make(map[string]int)
	late := 0
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Message, MDT string
			Epoch        int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			continue // torn by a kill
		}
		switch {
		case strings.Contains(entry.Message, "a new epoch begins"):
			said[fmt.Sprint(entry.MDT, entry.Epoch)]++
			epochs[entry.MDT] = max(epochs[entry.MDT], entry.Epoch)
		case strings.Contains(entry.Message, "appeared after later ones"):
			late++
		}
	}
	for what, times := range said {
		if times > s.lives["lcapd"] {
			s.t.Errorf("%s was reported %d times in %d lives", what, times, s.lives["lcapd"])
		}
	}
	for _, m := range s.mdts {
		if epochs[m.Name()] > m.news {
			s.t.Errorf("%s has had %d epochs, and was another one %d times", m.Name(), epochs[m.Name()], m.news)
		}
	}
	s.t.Logf("epochs %v, late records %d times", epochs, late)
}

// TestGoldenDevice serves the golden stream as a device, and compares what a member of a
// group prints of it with what lfs would.
func TestGoldenDevice(t *testing.T) {
	stream, err := os.ReadFile("../changelog/testdata/vectors/stream.bin")
	must(t, err)
	bin := buildPrograms(t)
	mdt := emulatedtest.Start(t, emulatedtest.Options{MDT: "home-MDT0000", ShortReads: true})
	mdt.Register("", 0)
	mdt.Append(stream)
	h := newHome(t, bin)
	h.set("device_dir", mdt.Dir())
	h.set("upstream", `[{mdt: home-MDT0000, driver: device, user: cl1, lustre: "2.18", changelog_users: `+mdt.UsersFile()+`}]`)
	h.init()
	if s := h.lcapd("check", "-c", h.file()); s.code != 0 || !strings.Contains(s.stdout, "home-MDT0000 (device): ok, its first record is") {
		t.Errorf("lcapd check: %+v", s)
	}
	r := h.start()
	got := runProgram(t, filepath.Join(bin, "lcapcli"), "-s", r.addresses[0], "consume", "--group", "g", "--idle", "2s", "--format", "lfs")
	want := runProgram(t, filepath.Join(bin, "lcapcli"), "decode", "../changelog/testdata/vectors/stream.bin")
	if got.code != 0 || got.stdout != want.stdout || len(want.stdout) < 100_000 {
		t.Errorf("exit code %d, %d bytes, want %d; %s", got.code, len(got.stdout), len(want.stdout), got.stderr)
	}
	direct := runProgram(t, filepath.Join(bin, "lcapcli"), "changelog", filepath.Join(mdt.Dir(), "changelog-home-MDT0000"))
	if direct.code != 0 {
		t.Errorf("lcapcli changelog: %+v", direct)
	}
	info, err := mdt.Log().Info()
	must(t, err)
	eventually(t, "the clear", func() bool {
		now, err := mdt.Log().Info()
		return err == nil && now.Users[0].Cleared == info.Current
	})
	for _, c := range mdt.Clears() {
		if c.Index == 0 || c.Index > c.Delivered || c.Result != "ok" {
			t.Errorf("clear %+v", c)
		}
	}
}

// TestClearComesAfterSync watches the system calls of lcapd: before each clear of a device the
// state that allows it, data and then root, has been forced to disk.
func TestClearComesAfterSync(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no strace: apt-get install strace")
		}
		t.Skip("there is no strace: apt-get install strace")
	}
	bin := buildPrograms(t)
	mdt := emulatedtest.Start(t, emulatedtest.Options{MDT: "home-MDT0000"})
	mdt.Register("", 0)
	h := newHome(t, bin)
	h.set("device_dir", mdt.Dir())
	h.set("upstream", `[{mdt: home-MDT0000, driver: device, user: cl1, lustre: "2.18"}]`)
	h.init()
	calls := filepath.Join(h.dir, "calls")
	h.through = []string{strace, "-f", "-qq", "-s", "64", "-e", "trace=write,pwrite64,fdatasync,fsync", "-o", calls}
	r := h.start()
	work := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
	for cleared := uint64(0); len(mdt.Clears()) < 3; {
		last := mdt.AppendNew(work.Append(work.Append(nil, time.Now()), time.Now())).Last
		got := runProgram(t, filepath.Join(bin, "lcapcli"), "-s", r.addresses[0], "consume", "--group", "g", "--count", "2")
		if got.code != 0 {
			t.Fatalf("consume: %+v", got)
		}
		eventually(t, "the clear", func() bool {
			info, err := mdt.Log().Info()
			return err == nil && info.Users[0].Cleared == last
		})
		if last <= cleared {
			t.Fatalf("cleared %d, then %d", cleared, last)
		}
		cleared = last
	}
	child, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", r.cmd.Process.Pid))
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(child)))
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGTERM))
	r.wait()
	text, err := os.ReadFile(calls)
	must(t, err)
	clears, synced := 0, 0
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.Contains(line, `"clear:cl1:`):
			if clears++; synced < 2 {
				t.Errorf("%d syncs before %s", synced, line)
			}
			synced = 0
		case strings.Contains(line, "sync") && strings.Contains(line, "= 0"):
			synced++
		}
	}
	if clears < 3 {
		t.Errorf("%d clears were seen", clears)
	}
}

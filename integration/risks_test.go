package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/wire"
)

// risks are what endangers a promise, by what happens.
var risks = []struct {
	name  string
	do    func(t *testing.T, bin string) *riskSite
	kinds []wire.ProblemKind // that come of it, and go; but what is shown for an hour
}{
	{"members", riskOfMembers, []wire.ProblemKind{wire.GroupWithout, wire.MemberStuck, wire.GroupHoldsClear}},
	{"unreachable", riskUnreachable, []wire.ProblemKind{wire.MDTUnreachable, wire.DeviceMissing, wire.DevicePermission}},
	{"deregistered", riskDeregistered, []wire.ProblemKind{wire.UserDeregistered, wire.NewEpoch}},
	{"deregistered-while-quiet", riskDeregisteredWhileQuiet, []wire.ProblemKind{wire.UserDeregistered}},
	{"disk-full", riskDiskFull, []wire.ProblemKind{wire.DiskFull}},
	{"syncs", riskSyncs, []wire.ProblemKind{wire.StateUnwritable, wire.StateSlow}},
	{"hole", riskHole, []wire.ProblemKind{wire.HolePending}},
	{"late", riskLate, []wire.ProblemKind{wire.LateRecords}},
	{"lost", riskLost, []wire.ProblemKind{wire.RecordsLost}},
	{"stopped", riskStopped, []wire.ProblemKind{wire.MDTStopped}},
	{"catch-up", riskCatchUp, []wire.ProblemKind{wire.CatchUpRunning}},
	{"refused", riskRefused, []wire.ProblemKind{wire.ClearRefused, wire.ClearFailing}},
	{"abandoned", riskAbandoned, []wire.ProblemKind{wire.GroupAbandoned}},
	{"operators", riskOfOperators, []wire.ProblemKind{wire.NoGroups, wire.GroupPaused}},
	{"poisoned", riskPoisoned, []wire.ProblemKind{wire.RecordsPoisoned}},
	{"unserved", riskUnserved, []wire.ProblemKind{wire.MDTUnserved}},
	{"memory", riskMemory, []wire.ProblemKind{wire.MemoryFull, wire.ReadingBehind}},
	{"pinning", riskPinning, []wire.ProblemKind{wire.WritersPinning}},
}

// TestRisks makes happen what endangers a promise, one thing after the other, and demands
// that lcapcli status names it with since when and a remedy, that the metric says so, that
// both say when it is over, and that the log had a line for the one and the other.
func TestRisks(t *testing.T) {
	bin := buildDaemon(t)
	for _, x := range risks {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			site := x.do(t, bin)
			for _, kind := range x.kinds {
				if !site.over[kind] && kind != wire.RecordsLost && kind != wire.NewEpoch {
					t.Errorf("%s did not come and go", kind)
				}
			}
		})
	}
}

// riskSite is an lcapd on one emulated MDT, or on a workload.
type riskSite struct {
	*running
	t    *testing.T
	home *daemonHome
	mdt  *emulatedtest.MDT // nil on a workload
	work *upstream.Workload
	next uint64 // the index of the next record
	over map[wire.ProblemKind]bool
}

const riskMDT = "home-MDT0000"

// newRiskOn makes an lcapd that has yet to be configured.
func newRiskOn(t *testing.T, h *daemonHome) *riskSite {
	return &riskSite{t: t, home: h, next: 1, work: upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1}), over: make(map[wire.ProblemKind]bool)}
}

// newRisk starts an lcapd whose MDT is emulated, with what is set besides: key, value, and so on.
func newRisk(t *testing.T, bin string, settings ...string) *riskSite {
	h := newHome(t, bin)
	x := newRiskOn(t, h)
	x.mdt = emulatedtest.Start(t, emulatedtest.Options{MDT: riskMDT, FollowInterval: 20 * time.Millisecond})
	x.mdt.Register("", 0)
	h.set("device_dir", x.mdt.Dir())
	h.set("upstream", `[{mdt: `+riskMDT+`, driver: device, user: cl1, lustre: "2.15"}]`)
	h.set("heartbeat", "1s")
	h.set("lease", "3s")
	for i := 0; i < len(settings); i += 2 {
		h.set(settings[i], strings.ReplaceAll(settings[i+1], "USERS", x.mdt.UsersFile()))
	}
	h.init()
	x.running = h.start()
	return x
}

// grow appends records.
func (x *riskSite) grow(n int) {
	x.t.Helper()
	var packed []byte
	for range n {
		at := len(packed)
		packed = x.work.Append(packed, time.Now())
		changelog.SetIndex(packed[at:], x.next)
		x.next++
	}
	x.mdt.Append(packed)
}

// cli runs lcapcli to its end.
func (x *riskSite) cli(args ...string) said {
	x.t.Helper()
	return runProgram(x.t, filepath.Join(x.home.bin, "lcapcli"), append([]string{"-s", x.addresses[0]}, args...)...)
}

// background starts an lcapcli that stop ends.
func (x *riskSite) background(args ...string) (stop func()) {
	x.t.Helper()
	cmd := exec.Command(filepath.Join(x.home.bin, "lcapcli"), append([]string{"-s", x.addresses[0]}, args...)...)
	must(x.t, cmd.Start())
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	x.t.Cleanup(stop)
	return stop
}

// consume has a member of a group acknowledge all that there is.
func (x *riskSite) consume(group string) {
	x.t.Helper()
	if s := x.cli("consume", "--group", group, "--idle", "1s", "--format", "json"); s.code != 0 {
		x.t.Fatalf("consume: exit code %d: %s", s.code, s.stderr)
	}
}

// status is what lcapcli status says.
func (x *riskSite) status() (s wire.Status) {
	x.t.Helper()
	answer := x.cli("-o", "json", "status")
	if answer.code != 0 {
		x.t.Fatalf("status: %+v", answer)
	}
	must(x.t, json.Unmarshal([]byte(answer.stdout), &s))
	return s
}

// appears waits until a problem is there, and its metric.
func (x *riskSite) appears(kind wire.ProblemKind, about string) {
	x.t.Helper()
	begun := time.Now()
	eventually(x.t, "the problem "+string(kind), func() bool {
		list := x.status().Problems
		i := slices.IndexFunc(list, func(p wire.Problem) bool { return p.Kind == kind && p.About == about })
		if i < 0 {
			return false
		}
		if p := list[i]; p.Since.IsZero() || p.Since.After(time.Now().Add(time.Minute)) || p.Remedy == "" || p.Text == "" {
			x.t.Errorf("%+v", p)
		}
		return x.metrics()[metricOf(kind, about)] == 1
	})
	x.t.Logf("%s after %s", kind, time.Since(begun).Round(time.Millisecond))
	if plain := x.cli("status"); !strings.Contains(plain.stdout, "problem: "+string(kind)+": "+about) && plain.code == 0 {
		x.t.Logf("it was gone at once:\n%s", plain.stdout)
	}
}

// goes waits until a problem is over, and its metric says so.
func (x *riskSite) goes(kind wire.ProblemKind, about string) {
	x.t.Helper()
	eventually(x.t, "the end of the problem "+string(kind), func() bool {
		is := slices.ContainsFunc(x.status().Problems, func(p wire.Problem) bool { return p.Kind == kind && p.About == about })
		value, there := x.metrics()[metricOf(kind, about)]
		return !is && there && value == 0
	})
	x.logs(kind, about, true)
	x.over[kind] = true
}

func metricOf(kind wire.ProblemKind, about string) string {
	return fmt.Sprintf("lcapd_problem{about=%q,kind=%q}", about, kind)
}

// logs waits until the log has said that a problem began and, if it is, that it is over.
func (x *riskSite) logs(kind wire.ProblemKind, about string, isOver bool) {
	x.t.Helper()
	began, over := 0, 0
	eventually(x.t, "the log on "+string(kind), func() bool {
		for {
			select {
			case line, ok := <-x.log:
				if !ok {
					x.t.Fatal("lcapd has ended")
				}
				x.seen = append(x.seen, line)
				continue
			default:
			}
			break
		}
		began, over = 0, 0
		for _, line := range x.seen {
			text, _ := line["message"].(string)
			switch isIt := line["problem"] == string(kind) && line["about"] == about; {
			case isIt && strings.HasPrefix(text, "over: "):
				over++
			case isIt:
				began++
			}
		}
		return began > 0 && over > 0 == isOver
	})
	if began > 2 || over > 2 { // the test takes less than two minutes
		x.t.Errorf("the log says %d times that %s began, and %d times that it is over", began, kind, over)
	}
}

func riskOfMembers(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	x.grow(100)
	x.appears(wire.GroupWithout, "g")
	x.logs(wire.GroupWithout, "g", false) // which is said when it lasts
	stop := x.background("consume", "--group", "g", "--no-ack")
	x.appears(wire.MemberStuck, "g")
	x.goes(wire.GroupWithout, "g")
	x.appears(wire.GroupHoldsClear, "g")
	stop()
	x.consume("g")
	x.goes(wire.MemberStuck, "g")
	x.goes(wire.GroupHoldsClear, "g")
	return x
}

func riskUnreachable(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	x.mdt.Kill()
	x.appears(wire.MDTUnreachable, riskMDT)
	x.mdt.Restart()
	x.goes(wire.MDTUnreachable, riskMDT)
	x.mdt.Unmount()
	x.appears(wire.DeviceMissing, riskMDT)
	x.mdt.Mount()
	x.goes(wire.DeviceMissing, riskMDT)
	x.mdt.FailOpens(1<<20, syscall.EACCES)
	x.mdt.Evict(syscall.EIO) // the open one does not ask again
	x.appears(wire.DevicePermission, riskMDT)
	x.mdt.FailOpens(0, syscall.EACCES)
	x.goes(wire.DevicePermission, riskMDT)
	return x
}

func riskDeregistered(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	x.mdt.Register("", 0) // when the last user goes, so do all records
	x.grow(100)
	if s := x.cli("llog", "deregister", x.mdt.Log().Dir(), "cl1"); s.code != 0 {
		t.Fatalf("deregister: %+v", s)
	}
	x.consume("g")
	x.appears(wire.UserDeregistered, riskMDT)
	x.mdt.Unmount() // the MDT is made anew, and has the user
	x.mdt.Swap(x.mdt.NewLog())
	x.mdt.Register("", 0)
	x.mdt.Mount()
	x.next = 1
	x.grow(10)
	x.consume("g")
	x.goes(wire.UserDeregistered, riskMDT)
	x.appears(wire.NewEpoch, riskMDT)
	return x
}

// riskDiskFull has the state on a file system of its own, without room.
func riskDiskFull(t *testing.T, bin string) *riskSite {
	h := newHome(t, bin)
	disk := mountMemory(t, "1m")
	h.set("state", disk+"/state")
	log := h.llog(riskMDT)
	fill(t, log, 100)
	h.useLLog("cl1")
	h.init()
	x := newRiskOn(t, h)
	x.running = h.start()
	filler := disk + "/filler"
	f, err := os.Create(filler)
	must(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	must(t, f.Close())
	for i := range 60 { // until they need more room than the state has
		name := fmt.Sprintf("g%02d%s", i, strings.Repeat("x", 60))
		x.background("groups", "create", name)
	}
	x.appears(wire.DiskFull, "state")
	must(t, os.Remove(filler))
	x.goes(wire.DiskFull, "state")
	eventually(t, "the groups", func() bool { return len(x.status().Groups) == 61 })
	return x
}

func riskHole(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	x.grow(10)
	x.next += 5
	x.grow(10)
	x.appears(wire.HolePending, riskMDT)
	x.goes(wire.HolePending, riskMDT)
	return x
}

// riskCatchUp has a group that is far behind when lcapd starts.
func riskCatchUp(t *testing.T, bin string) *riskSite {
	h := newHome(t, bin)
	h.set("upstream", "[{mdt: "+riskMDT+", driver: workload, rate: 0, records: 20000}]")
	h.set("groups", "[{name: g}, {name: late}]")
	h.init()
	x := newRiskOn(t, h)
	x.running = h.start()
	eventually(t, "the records", func() bool { return x.status().MDTs[0].Read >= 20000 })
	x.consume("g")
	eventually(t, "the mark", func() bool {
		groups := x.status().Groups
		i := slices.IndexFunc(groups, func(g wire.GroupStatus) bool { return g.Group == "g" })
		return groups[i].Tracks[0].Durable >= 20000
	})
	x.terminate()
	x.running = h.start()
	stop := x.background("consume", "--group", "late", "--delay", "2ms")
	x.appears(wire.CatchUpRunning, riskMDT)
	stop()
	x.consume("late")
	x.goes(wire.CatchUpRunning, riskMDT)
	return x
}

func riskRefused(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	x.mdt.FailClears(1, syscall.EINVAL)
	x.grow(100)
	x.consume("g")
	x.appears(wire.ClearRefused, riskMDT)
	x.grow(100)
	x.consume("g")
	x.goes(wire.ClearRefused, riskMDT)
	x.mdt.FailClears(2, syscall.EIO)
	x.grow(100)
	x.consume("g")
	x.appears(wire.ClearFailing, riskMDT)
	x.goes(wire.ClearFailing, riskMDT)
	return x
}

// riskAbandoned has a group count as abandoned, by a limit that lcapcli sets, and its
// members come back.
func riskAbandoned(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	if s := x.cli("groups", "create", "other", "--max-backlog", "50", "--start", "earliest"); s.code != 0 {
		t.Fatalf("%+v", s)
	}
	if s := x.cli("groups", "limit", "g", "--max-backlog", "50"); s.code != 4 || !strings.Contains(s.stderr, "configuration") {
		t.Errorf("a group of the configuration was limited: %+v", s)
	}
	x.grow(100)
	x.appears(wire.GroupAbandoned, "other")
	x.consume("other")
	x.goes(wire.GroupAbandoned, "other")
	return x
}

package integration

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/wire"
)

// riskDeregisteredWhileQuiet has the only user go when everything is cleared: there is nothing to
// clear, and there will not be.
func riskDeregisteredWhileQuiet(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin, "upstream", `[{mdt: `+riskMDT+`, driver: device, user: cl1, lustre: "2.15", changelog_users: "USERS"}]`)
	x.grow(100)
	x.consume("g")
	eventually(t, "the clear", func() bool { return x.status().MDTs[0].Cleared == 100 })
	if s := x.cli("llog", "deregister", x.mdt.Log().Dir(), "cl1"); s.code != 0 {
		t.Fatalf("deregister: %+v", s)
	}
	x.appears(wire.UserDeregistered, riskMDT)
	x.mdt.Swap(x.mdt.NewLog())
	x.mdt.Register("", 0)
	x.mdt.Evict(syscall.EIO)
	x.goes(wire.UserDeregistered, riskMDT)

	h := newHome(t, bin)
	log := h.llog(riskMDT)
	h.useLLog("cl1")
	h.set("heartbeat", "1s")
	h.init()
	local := newRiskOn(t, h)
	local.running = h.start()
	must(t, log.Deregister(t.Context(), 1))
	local.appears(wire.UserDeregistered, riskMDT)
	local.terminate()
	return x
}

// riskSyncs has syncs of the state fail, and then take long.
func riskSyncs(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	for _, inject := range []struct {
		what string
		kind wire.ProblemKind
	}{{"error=EIO", wire.StateUnwritable}, {"delay_enter=30000000", wire.StateSlow}} {
		cmd := exec.Command(strace(t), "-f", "-p", fmt.Sprint(x.cmd.Process.Pid), "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:"+inject.what)
		said, err := cmd.StderrPipe()
		must(t, err)
		must(t, cmd.Start())
		attached := bufio.NewReader(said)
		_, err = attached.ReadString('\n') // that it is attached
		must(t, err)
		drained := make(chan struct{})
		go func() { defer close(drained); _, _ = io.Copy(io.Discard, attached) }() // until it ends
		end := func() {
			if cmd.ProcessState == nil {
				_ = cmd.Process.Signal(syscall.SIGTERM) // it lets go of lcapd
				<-drained
				_ = cmd.Wait()
			}
		}
		t.Cleanup(end)
		x.grow(100)
		x.consume("g")
		x.appears(inject.kind, "state")
		end()
		x.goes(inject.kind, "state")
	}
	return x
}

// riskLate has records appear behind a member that has passed their place. It acknowledges
// nothing: who has not passed it would get them in their place, and they would not be late.
func riskLate(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	stop := x.background("consume", "--group", "g", "--no-ack")
	x.mdt.Hide(5, 6)
	x.grow(10)
	eventually(t, "the records behind", func() bool { return x.status().MDTs[0].Read == 10 })
	x.mdt.Reveal()
	x.appears(wire.LateRecords, riskMDT)
	stop()
	x.consume("g")
	x.goes(wire.LateRecords, riskMDT)
	return x
}

// riskLost has the MDT drop records that lcapd has not cleared, as it does with its last user.
func riskLost(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	x.grow(100)
	eventually(t, "the records", func() bool { return x.status().MDTs[0].Read == 100 })
	if s := x.cli("llog", "deregister", x.mdt.Log().Dir(), "cl1"); s.code != 0 {
		t.Fatalf("deregister: %+v", s)
	}
	x.mdt.Evict(syscall.EIO) // who opens it again sees it
	x.appears(wire.RecordsLost, "g")
	x.logs(wire.RecordsLost, "g", false)
	return x
}

// riskStopped has the MDT show a record that this version cannot read.
func riskStopped(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin)
	x.grow(10)
	future := changelog.Fields{
		Type: changelog.TypeCreat, Index: 11, Time: changelog.TimeOf(time.Now()), Target: changelog.FID{Seq: 7, Oid: 1}, Name: "future",
		Format: changelog.Format{Flags: changelog.FlagExtra},
	}
	packed, err := future.Append(nil)
	must(t, err)
	packed[changelog.HeaderSize+1] = 0x01 // an extra flag that nobody knows
	x.mdt.Append(packed)
	x.appears(wire.MDTStopped, riskMDT)
	if code, _ := x.get("/readyz"); code == 200 {
		t.Error("lcapd is ready all the same")
	}
	x.mdt.Swap(x.mdt.NewLog()) // which nobody can mend but the MDT itself
	x.mdt.Register("", 0)
	x.next = 1
	x.grow(10)
	if s := x.cli("mdts", "restart", riskMDT); s.code != 0 {
		t.Errorf("%+v", s)
	}
	x.goes(wire.MDTStopped, riskMDT)
	return x
}

// riskOfOperators is what operators do, or leave undone.
func riskOfOperators(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin, "groups", "")
	x.grow(10)
	x.appears(wire.NoGroups, "groups")
	for _, args := range [][]string{{"create", "g", "--start", "earliest"}, {"pause", "g"}} {
		if s := x.cli(append([]string{"groups"}, args...)...); s.code != 0 {
			t.Fatalf("%v: %+v", args, s)
		}
	}
	x.goes(wire.NoGroups, "groups")
	x.appears(wire.GroupPaused, "g")
	if s := x.cli("groups", "resume", "g"); s.code != 0 {
		t.Fatalf("%+v", s)
	}
	x.goes(wire.GroupPaused, "g")
	return x
}

// riskPoisoned has members die of the same records, until those wait for an operator.
func riskPoisoned(t *testing.T, bin string) *riskSite {
	x := newRisk(t, bin, "groups", "[{name: g, max_deliveries: 2}]")
	x.grow(10)
	for range 2 {
		if s := x.cli("consume", "--group", "g", "--no-ack", "--count", "1"); s.code != 0 {
			t.Fatalf("%+v", s)
		}
	}
	x.appears(wire.RecordsPoisoned, "g")
	if s := x.cli("groups", "resume", "g"); s.code != 0 {
		t.Fatalf("%+v", s)
	}
	x.goes(wire.RecordsPoisoned, "g")
	x.consume("g")
	eventually(t, "the clear", func() bool { return x.status().MDTs[0].Cleared == 10 })
	return x
}

// riskUnserved has members serve one of two MDTs.
func riskUnserved(t *testing.T, bin string) *riskSite {
	h := newHome(t, bin)
	h.set("upstream", "[{mdt: home-MDT0000, driver: workload, rate: 100}, {mdt: home-MDT0001, driver: workload, rate: 100}]")
	h.init()
	x := newRiskOn(t, h)
	x.running = h.start()
	x.background("consume", "--group", "g", "--mdts", "home-MDT0001")
	x.appears(wire.MDTUnserved, "g")
	if p := x.problem(wire.MDTUnserved, "g"); !strings.Contains(p.Text, "home-MDT0000") {
		t.Errorf("%+v", p)
	}
	x.background("consume", "--group", "g", "--mdts", "home-MDT0000")
	x.goes(wire.MDTUnserved, "g")
	return x
}

// problem returns a problem that is there.
func (x *riskSite) problem(kind wire.ProblemKind, about string) wire.Problem {
	x.t.Helper()
	list := x.status().Problems
	i := slices.IndexFunc(list, func(p wire.Problem) bool { return p.Kind == kind && p.About == about })
	if i < 0 {
		x.t.Fatalf("no %s of %s in %+v", kind, about, list)
	}
	return list[i]
}

// plenty is an lcapd that has much more to read than it may keep.
func plenty(t *testing.T, bin string, records int) *riskSite {
	h := newHome(t, bin)
	var packed []byte
	work := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
	for range 1000 {
		packed = work.Append(packed, time.Now())
	}
	file := filepath.Join(h.dir, "records")
	must(t, os.WriteFile(file, packed, 0o600))
	h.set("upstream", fmt.Sprintf("[{mdt: %s, driver: memory, path: %s, records: %d}]", riskMDT, file, records))
	h.init()
	x := newRiskOn(t, h)
	x.running = h.start()
	return x
}

// member starts a member in Go, which stop ends.
func (x *riskSite) member(group string) (stop func()) {
	x.t.Helper()
	cmd := exec.Command(filepath.Join(x.home.bin, "member"), "-servers", x.addresses[0], "-group", group, "-name", "m", "-ledger", "/dev/null")
	must(x.t, cmd.Start())
	stop = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	x.t.Cleanup(stop)
	return stop
}

// riskMemory has a group stand still until no more can be kept for it.
func riskMemory(t *testing.T, bin string) *riskSite {
	x := plenty(t, bin, 1_000_000)
	x.appears(wire.MemoryFull, "memory")
	x.appears(wire.ReadingBehind, riskMDT)
	if n := x.memory(); n > 64<<20+64<<20 {
		t.Errorf("%d MiB of anonymous memory", n>>20)
	}
	x.member("g")
	x.goes(wire.MemoryFull, "memory")
	x.goes(wire.ReadingBehind, riskMDT)
	return x
}

// riskPinning has a member not read what it was sent, while another group goes on: what it
// pins nobody else needs any more.
func riskPinning(t *testing.T, bin string) *riskSite {
	x := plenty(t, bin, 1_000_000)
	if s := x.cli("groups", "create", "stalled", "--start", "earliest"); s.code != 0 {
		t.Fatalf("%+v", s)
	}
	h := &hostile{running: x.running, tcp: x.addresses[0]}
	conn := h.dial(t, true)
	send(t, conn, say(t, &wire.Join{Group: "stalled", Name: "x", Session: "x"}))
	if m, ok := hear(t, conn).(*wire.Joined); !ok {
		t.Fatalf("%+v", m)
	}
	send(t, conn, say(t, &wire.Credit{Batches: 1 << 20, Bytes: 8 << 20}))
	beating := make(chan struct{})
	defer func() { <-beating }()
	defer conn.Finish()
	go func() {
		defer close(beating)
		for conn.Send(transport.Message{Frames: say(t, &wire.Heartbeat{})}) == nil {
			select {
			case <-time.After(time.Second):
			case <-conn.Done():
			}
		}
	}()
	x.member("g")
	x.appears(wire.WritersPinning, "memory")
	conn.Close(transport.ErrClosed)
	x.goes(wire.WritersPinning, "memory")
	return x
}

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// TestBlackHole has a member and a listener behind a network whose packets vanish, in one direction or
// both: no connection is reset, and nobody is told. The group goes on without the member after
// its lease, lcapd gives back all that their connections took, and when the network is back
// they come back by themselves, and nothing is missing.
func TestBlackHole(t *testing.T) {
	bin := buildDaemon(t)
	for _, x := range []struct {
		name     string
		to, from bool // the peers: what is lost
	}{{"both ways", true, true}, {"to the peers", true, false}, {"from the peers", false, true}} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			near, far := cable(t)
			s := newPeerSite(t, bin, near, far, 2*time.Second, 4*time.Second)
			s.flows("near", "far", "listener")
			before := s.metrics()
			if x.to {
				near.lose(far)
			}
			if x.from {
				far.lose(near)
			}
			eventually(t, "the member to be given up", func() bool { return slices.Equal(s.members(), []string{"near"}) })
			read := s.status().MDTs[0].Read
			eventually(t, "the others to get what it had", func() bool { return s.status().MDTs[0].Cleared > read })
			eventually(t, "the connections to end", func() bool {
				now := s.metrics()
				return now["lcapd_connections"] <= before["lcapd_connections"]-2 && now["go_goroutines"] < before["go_goroutines"]
			})
			if x.to {
				near.find(far)
			}
			if x.from {
				far.find(near)
			}
			eventually(t, "the member to be back", func() bool { return len(s.members()) == 2 })
			eventually(t, "the listener to be back", func() bool { return len(s.status().Listeners) == 1 })
			s.flows("near", "far", "listener")
			if m := s.status().Memory; m.Pinned > m.Limit/8 {
				t.Errorf("%d bytes are pinned", m.Pinned)
			}
			s.nothingIsMissing()
		})
	}
}

// peerSite is an lcapd with a member beside it, and a member and a listener who may be elsewhere.
type peerSite struct {
	*riskSite
	peers *processes
}

// newPeerSite starts all of them. heartbeat and lease are of the configuration.
func newPeerSite(t *testing.T, bin string, near, far *netSpace, heartbeat, lease time.Duration) *peerSite {
	t.Helper()
	h := newHome(t, bin)
	h.space = near
	addr := "127.0.0.1"
	if near != nil {
		addr = near.addr
	}
	h.set("listen", fmt.Sprintf(`[{addr: "ipc://%s/sock"}, "tcp://%s:0"]`, h.dir, addr))
	h.set("upstream", "[{mdt: "+riskMDT+", driver: workload, rate: 1000}]")
	h.set("heartbeat", heartbeat.String())
	h.set("lease", lease.String())
	h.init()
	s := &peerSite{riskSite: newRiskOn(t, h), peers: &processes{
		t: t, dir: h.dir, names: []string{"g-near", "g-far", "listener"}, running: make(map[string]*exec.Cmd), lives: make(map[string]int),
	}}
	s.running = h.start()
	t.Cleanup(func() {
		if t.Failed() && s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			text, state := s.wait()
			t.Logf("lcapd, %v:\n%s", state, text)
		}
	})
	s.launch("g-near", near, s.addresses[0], "-group", "g", "-name", "near")
	s.launch("g-far", far, s.addresses[1], "-group", "g", "-name", "far")
	s.launch("listener", far, s.addresses[1], "-name", "listener")
	return s
}

// launch starts a member or listener.
func (s *peerSite) launch(name string, in *netSpace, server string, args ...string) {
	s.t.Helper()
	args = append(args, "-servers", server, "-ledger", s.peers.ledgerFile(name, 0))
	cmd := exec.Command(filepath.Join(s.home.bin, "member"), args...)
	cmd.Stderr = s.peers.open(s.peers.logFile(name))
	must(s.t, in.do(cmd.Start))
	s.peers.running[name], s.peers.lives[name] = cmd, 1
	s.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if s.t.Failed() {
			text, _ := os.ReadFile(s.peers.logFile(name))
			s.t.Logf("%s:\n%s", name, text)
		}
	})
}

// members are the names of those that the group has, sorted.
func (s *peerSite) members() (names []string) {
	s.t.Helper()
	answer := s.cli("-o", "json", "members")
	var list []wire.MemberStatus
	if answer.code != 0 || json.Unmarshal([]byte(answer.stdout), &list) != nil {
		s.t.Fatalf("%+v", answer)
	}
	for _, m := range list {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// flows waits until some have written more to their ledgers.
func (s *peerSite) flows(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if name != "listener" {
			name = "g-" + name
		}
		size := func() int64 {
			info, err := os.Stat(s.peers.ledgerFile(name, 0))
			if err != nil {
				return 0
			}
			return info.Size()
		}
		before := size()
		eventually(s.t, "records for "+name, func() bool { return size() > before })
	}
}

// nothingIsMissing ends everybody and compares what they did with what was cleared.
func (s *peerSite) nothingIsMissing() {
	s.t.Helper()
	for _, name := range s.peers.names {
		cmd := s.peers.running[name]
		must(s.t, cmd.Process.Signal(syscall.SIGTERM))
		must(s.t, cmd.Wait())
	}
	cleared := s.status().MDTs[0].Cleared
	s.terminate()
	did := make(map[uint64]int)
	for e := range s.peers.entries("g") {
		did[e.Index]++
	}
	missing, again := 0, 0
	for i := uint64(1); i <= cleared; i++ {
		switch did[i] {
		case 0:
			missing++
		case 1:
		default:
			again++
		}
	}
	ranges, gaps := s.peers.checkListener("listener", []string{riskMDT})
	if missing > 0 || cleared == 0 || ranges == 0 {
		s.t.Errorf("of %d records that were cleared %d are in no ledger; the listener has %d ranges", cleared, missing, ranges)
	}
	s.t.Logf("%d records were cleared, %d of them done more than once; %d of the listener's %d ranges are gaps", cleared, again, gaps, ranges)
}

package integration

import (
	"flag"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// stillFor is more than a member's lease there, and less than after what a member gives up lcapd.
var stillFor = flag.Duration("still.for", 6*time.Second, "how long TestStandStill has somebody stand still")

// TestStandStill has lcapd, a member and a listener stand still, by SIGSTOP, one after the other, for
// longer than a lease. For minutes:
//
//	go test ./integration -run TestStandStill -v -args -still.for 2m
//
// A member that stood still is told that its leases went to others; when lcapd did, nobody is told
// anything, and neither is who was back within the lease. Nothing is missing, for members or listeners.
func TestStandStill(t *testing.T) {
	bin := buildDaemon(t)
	for _, who := range []string{"lcapd", "g-far", "listener"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			s := newPeerSite(t, bin, nil, nil, 2*time.Second, 4*time.Second)
			s.flows("near", "far", "listener")
			before := s.metrics()
			p := s.cmd.Process
			if who != "lcapd" {
				p = s.peers.running[who].Process
			}
			must(t, p.Signal(syscall.SIGSTOP))
			defer p.Signal(syscall.SIGCONT)
			end := time.After(*stillFor)
			if who == "g-far" {
				eventually(t, "the member to be given up", func() bool { return slices.Equal(s.members(), []string{"near"}) })
				read := s.status().MDTs[0].Read
				eventually(t, "the other to get what it had", func() bool { return s.status().MDTs[0].Cleared > read })
			}
			<-end
			must(t, p.Signal(syscall.SIGCONT))
			eventually(t, "everybody to be there", func() bool { return len(s.members()) == 2 && len(s.status().Listeners) == 1 })
			read := s.status().MDTs[0].Read
			eventually(t, "what comes then", func() bool { return s.status().MDTs[0].Cleared > read+1000 })
			s.flows("near", "far", "listener")
			s.isBlamed(who, before, s.metrics())
			s.nothingIsMissing()
		})
	}
	t.Run("within the lease", func(t *testing.T) {
		t.Parallel()
		s := newPeerSite(t, bin, nil, nil, time.Second, time.Minute)
		s.flows("near", "far", "listener")
		for _, who := range []string{"g-far", "listener"} {
			p := s.peers.running[who].Process
			must(t, p.Signal(syscall.SIGSTOP))
			defer p.Signal(syscall.SIGCONT)
		}
		<-time.After(min(*stillFor, 30*time.Second)) // the library takes a server for dead after 5 s
		for _, who := range []string{"g-far", "listener"} {
			must(t, s.peers.running[who].Process.Signal(syscall.SIGCONT))
		}
		s.flows("near", "far", "listener")
		for _, who := range []string{"g-far", "listener"} {
			if told, err := os.ReadFile(s.peers.logFile(who)); err != nil || len(told) > 0 {
				t.Errorf("%s was told, though lcapd was there all the time: %s, %v", who, told, err)
			}
		}
		s.nothingIsMissing()
	})
}

// isBlamed looks who was told what.
func (s *peerSite) isBlamed(who string, before, now map[string]float64) {
	s.t.Helper()
	told, err := os.ReadFile(s.peers.logFile("g-far"))
	must(s.t, err)
	away := now[refused("sent-away")] - before[refused("sent-away")]
	const patienceOfMembers = 4*2*time.Second + time.Second // of the library, with that heartbeat
	switch isLong := *stillFor >= patienceOfMembers; {
	case who == "g-far":
		if away != 1 || !strings.Contains(string(told), "disconnected") {
			s.t.Errorf("%v members were sent away; it says:\n%s", away, told)
		}
	case away != 0 && (who != "lcapd" || !isLong): // else who comes back takes over from itself
		s.t.Errorf("%v members were sent away, as %s stood still", away, who)
	case who == "lcapd" && !isLong && len(told) > 0:
		s.t.Errorf("a member was told: %s", told)
	}
	for _, reason := range []string{"idle", "stalled", "slow-message"} {
		if who == "lcapd" && now[cut(reason)] != before[cut(reason)] {
			s.t.Errorf("lcapd stood still, and peers were cut: %s", reason)
		}
	}
}

// TestLateAck is told what becomes of a lease while its member says nothing: the member is sent away
// with the reason, and what it acknowledges afterwards counts for nothing.
func TestLateAck(t *testing.T) {
	t.Parallel()
	x := newRisk(t, buildDaemon(t), "groups", "[{name: g, distribution: mdt}]")
	x.grow(100)
	h := &hostile{running: x.running, tcp: x.addresses[0]}
	join := &wire.Join{Group: "g", Name: "m", Session: "s"}
	first := h.dial(t, true)
	send(t, first, say(t, join))
	if _, ok := hear(t, first).(*wire.Joined); !ok {
		t.Fatal("not joined")
	}
	send(t, first, say(t, &wire.Credit{Batches: 1, Bytes: 1 << 20}))
	batch, ok := hear(t, first).(*wire.Batch)
	if !ok {
		t.Fatal("no batch")
	}
	bye, ok := hear(t, first).(*wire.Bye)
	if !ok || !strings.Contains(bye.Text, "no heartbeat for 3s") {
		t.Fatalf("%+v", bye)
	}
	second := h.dial(t, true)
	send(t, second, say(t, join))
	if _, ok := hear(t, second).(*wire.Joined); !ok {
		t.Fatal("not joined again")
	}
	send(t, second, say(t, &wire.Ack{Lease: batch.Lease, UpTo: batch.Last}))
	if e, ok := hear(t, second).(*wire.Error); !ok || e.Code != wire.LeaseLost || e.Lease != batch.Lease || e.Text == "" {
		t.Fatalf("%+v", e)
	}
	if mark := x.status().Groups[0].Tracks[0].Mark; mark != 0 {
		t.Errorf("the mark is %d", mark)
	}
	send(t, second, say(t, &wire.Credit{Batches: 1, Bytes: 1 << 20}))
	again, ok := hear(t, second).(*wire.Batch)
	if !ok || again.First != batch.First || again.Delivery != 2 {
		t.Fatalf("%+v", again)
	}
	send(t, second, say(t, &wire.Ack{Lease: again.Lease, UpTo: again.Last}))
	eventually(t, "the mark", func() bool { return x.status().Groups[0].Tracks[0].Mark >= again.Last })
}

package groups

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkHandOut is the steady state: a member takes a batch, it is measured and
// acknowledged, and gives credit for the next one. Neither the number of MDTs nor that
// of members must show in it.
func BenchmarkHandOut(b *testing.B) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT, ByFID} {
		for _, size := range []struct{ mdts, members int }{{1, 1}, {1, 100}, {128, 1}, {128, 100}} {
			b.Run(fmt.Sprintf("%s/mdts=%d/members=%d", distribution, size.mdts, size.members), func(b *testing.B) {
				benchHandOut(b, distribution, size.mdts, size.members)
			})
		}
	}
}

func benchHandOut(b *testing.B, distribution Distribution, mdts, members int) {
	g := New(Config{Distribution: distribution, InFlight: 64 << 20, AckTimeout: time.Hour, Lease: time.Hour})
	for i := range mdts {
		g.AddMDT(MDT(i), 0)
	}
	for i := range members {
		must(g.Join(MemberID(i+1), fmt.Sprint(i), "s", nil, start))
		must(g.Credit(MemberID(i+1), 4, 1<<20, start))
		settle(g)
	}
	for _, t := range g.order {
		t.wakeStreams()
	}
	const bytes = 64 << 10
	now := start
	var queue []*Stream
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		queue = append(queue, g.Woken()...)
		if len(queue) == 0 {
			b.Fatal("nobody wants to hand out")
		}
		s := queue[0]
		queue = queue[1:]
		from, why := s.Need(now)
		if why != Ready {
			continue
		}
		d, why := s.Take(Piece{From: from, To: from + 600, Bytes: bytes}, ^uint64(0), now)
		if why != Ready {
			continue
		}
		queue = append(queue, s)
		n++
		now = now.Add(time.Microsecond)
		g.Measured(d, bytes, d.To, now)
		must(g.Ack(d.Member, d.Lease, d.To, now))
		must(g.Credit(d.Member, 1, bytes, now))
		g.Tick(now)
		g.Moved()
		if len(g.Expired(now)) > 0 {
			b.Fatal("somebody has expired")
		}
	}
}

// settle asks all streams that are woken, without a batch for any.
func settle(g *Group) {
	for woken := g.Woken(); len(woken) > 0; woken = g.Woken() {
		for _, s := range woken {
			s.Need(start)
		}
	}
}

// BenchmarkJoin is a member that comes and goes, in a group that has nothing to do.
func BenchmarkJoin(b *testing.B) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT, ByFID} {
		for _, members := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%s/mdts=128/members=%d", distribution, members), func(b *testing.B) {
				g := newGroup(Config{Distribution: distribution}, 128, 0)
				for i := range members {
					join(g, MemberID(i+1))
					settle(g)
				}
				id := MemberID(members)
				for b.Loop() {
					id++
					join(g, id)
					settle(g)
					must(g.Leave(id))
					settle(g)
				}
			})
		}
	}
}

// BenchmarkLose is the worst moment: a member goes that has everything in flight.
func BenchmarkLose(b *testing.B) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT} {
		b.Run(fmt.Sprintf("%s/leases=20000", distribution), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				g := newGroup(Config{Distribution: distribution}, 1, 1)
				for i := range uint64(20000) {
					wake(g, 0)
					handOut(g, batch(i, 1), start)
				}
				b.StartTimer()
				must(g.Leave(1))
			}
		})
	}
}

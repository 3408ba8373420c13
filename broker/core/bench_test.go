package core

import (
	"fmt"
	"testing"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// load is a core with groups, MDTs and members that take and acknowledge everything.
type load struct {
	core  *Core
	feeds []ReaderID
	ends  []uint64
	steps int
	next  int // MDT that has a batch
	bytes []byte
}

func newLoad(tb testing.TB, nGroups, nMDTs, nMembers int, batch int) *load {
	cfg := DefaultConfig
	cfg.CeilingStep = 1 << 60
	st := State{}
	for i := range nMDTs {
		st.MDTs = append(st.MDTs, MDTState{MDT: groups.MDT(i)})
	}
	for i := range nGroups {
		name := fmt.Sprint("g", i)
		st.Groups = append(st.Groups, GroupState{Config: groups.Config{Name: name, Distribution: groups.ByMDT, InFlight: 1 << 40}})
		for m := range nMDTs {
			st.Marks = append(st.Marks, MarkState{Group: name, MDT: groups.MDT(m), Ceiling: 1 << 60})
		}
	}
	l := &load{core: New(cfg, st, time.Unix(0, 0)), ends: make([]uint64, nMDTs), bytes: make([]byte, batch)}
	for i := range nMembers {
		id := Peer(i + 1)
		l.core.Step(Join{Peer: id, Group: fmt.Sprint("g", i%nGroups), Name: fmt.Sprint("m", i), Session: "s"})
		l.core.Step(Credit{Peer: id, Batches: 1 << 30, Bytes: 1 << 60})
	}
	for l.core.Work(1000) {
	}
	for _, out := range l.core.Outputs() {
		if o, ok := out.(OpenReader); ok {
			l.feeds = append(l.feeds, o.Reader)
		}
	}
	if len(l.feeds) != nMDTs {
		tb.Fatalf("%d readers of %d MDTs", len(l.feeds), nMDTs)
	}
	return l
}

// turn has one batch of an MDT read, delivered to every group, and acknowledged.
func (l *load) turn(mdt int) {
	const indexes = 900
	b := &Batch{MDT: groups.MDT(mdt), From: l.ends[mdt], To: l.ends[mdt] + indexes, Records: l.bytes, Count: indexes}
	l.ends[mdt] = b.To
	l.step(BatchRead{Reader: l.feeds[mdt], Batch: b})
	for more := true; more; {
		more = l.core.Work(1)
		l.steps++
		for _, out := range l.core.Outputs() {
			switch o := out.(type) {
			case Deliver:
				l.step(Ack{Peer: o.Member, Lease: o.Lease, UpTo: o.To})
				l.step(Sent{Peer: o.Member, Batch: o.Batch})
				more = true
			case Persist:
				l.step(Persisted{Seq: o.Seq})
			}
		}
	}
}

func (l *load) step(ev Event) {
	l.core.Step(ev)
	l.steps++
}

// BenchmarkStep measures one step of the loop: an event, or one hand-out. The cost
// must not grow with the number of groups, MDTs and members (at most twice), nor with
// the size of batches.
func BenchmarkStep(b *testing.B) {
	for _, size := range []struct{ groups, mdts, members, batch int }{
		{1, 1, 1, 128 << 10},
		{1, 1, 1, 1 << 10},
		{64, 128, 1000, 128 << 10},
	} {
		b.Run(fmt.Sprintf("%dx%dx%d/%dKiB", size.groups, size.mdts, size.members, size.batch>>10), func(b *testing.B) {
			l := newLoad(b, size.groups, size.mdts, size.members, size.batch)
			for i := range 4 * size.mdts {
				l.turn(i % size.mdts)
			}
			l.steps = 0
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				l.turn(i % size.mdts)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(l.steps), "ns/step")
		})
	}
}

// The same in one run, as a test: both sides in turns, and of each the best of many short
// pieces, which a busy machine leaves some of alone.
func TestStepCostDoesNotGrow(t *testing.T) {
	small, large := newLoad(t, 1, 1, 1, 1<<10), newLoad(t, 64, 128, 1000, 1<<10)
	best := map[*load]float64{}
	for round := range 100 {
		for _, l := range []*load{small, large} {
			l.steps = 0
			start := time.Now()
			for l.steps < 4000 {
				l.next = (l.next + 1) % len(l.ends)
				l.turn(l.next)
			}
			c := float64(time.Since(start)) / float64(l.steps)
			if round > 0 && (best[l] == 0 || c < best[l]) { // the first one warms up
				best[l] = c
			}
		}
	}
	ratio := best[large] / best[small]
	t.Logf("%.0f ns a step with 1 group, 1 MDT, 1 member; %.0f with 64, 128, 1000: %.2f times", best[small], best[large], ratio)
	if ratio > 2 {
		t.Errorf("a step costs %.2f times as much with 64 groups, 128 MDTs and 1000 members", ratio)
	}
}

// Package coreload has a core at work as a loop has it: with groups, MDTs and members that take and
// acknowledge everything at once. It measures what one step costs, which must not depend on how many there are.
//
// It is for benchmarks and has one owner.
package coreload

import (
	"fmt"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
)

// Size is how much a core has to do with.
type Size struct {
	Groups, MDTs, Members int
	// Batch is how many bytes of records a batch has.
	Batch int
}

// A Load is a core at work. Steps counts its steps: an event each, or one hand-out.
type Load struct {
	Steps int

	core    *core.Core
	readers []core.ReaderID
	ends    []uint64
	next    int // the MDT that has a batch
	bytes   []byte
}

// New returns a core of a size whose members have joined.
func New(s Size) (*Load, error) {
	cfg := core.DefaultConfig
	cfg.CeilingStep = 1 << 60 // no waiting for the disk
	l := &Load{core: core.New(cfg, state(s), time.Unix(0, 0)), ends: make([]uint64, s.MDTs), bytes: make([]byte, s.Batch)}
	for i := range s.Members {
		id := core.Peer(i + 1)
		l.core.Step(core.Join{Peer: id, Group: fmt.Sprint("g", i%s.Groups), Name: fmt.Sprint("m", i), Session: "s"})
		l.core.Step(core.Credit{Peer: id, Batches: 1 << 30, Bytes: 1 << 60})
	}
	for l.core.Work(1000) {
	}
	for _, out := range l.core.Outputs() {
		if o, ok := out.(core.OpenReader); ok {
			l.readers = append(l.readers, o.Reader)
		}
	}
	if len(l.readers) != s.MDTs {
		return nil, fmt.Errorf("%d readers of %d MDTs", len(l.readers), s.MDTs)
	}
	return l, nil
}

// state is what the core begins with.
func state(s Size) core.State {
	st := core.State{}
	for i := range s.MDTs {
		st.MDTs = append(st.MDTs, core.MDTState{MDT: groups.MDT(i)})
	}
	for i := range s.Groups {
		name := fmt.Sprint("g", i)
		st.Groups = append(st.Groups, core.GroupState{Config: groups.Config{Name: name, Distribution: groups.ByMDT, InFlight: 1 << 40}})
		for m := range s.MDTs {
			st.Marks = append(st.Marks, core.MarkState{Group: name, MDT: groups.MDT(m), Ceiling: 1 << 60})
		}
	}
	return st
}

// Turn has a batch of the next MDT read, delivered to every group, and acknowledged.
func (l *Load) Turn() {
	const indexes = 900
	mdt := l.next
	l.next = (l.next + 1) % len(l.ends)
	b := &core.Batch{MDT: groups.MDT(mdt), From: l.ends[mdt], To: l.ends[mdt] + indexes, Records: l.bytes, Count: indexes}
	l.ends[mdt] = b.To
	l.step(core.BatchRead{Reader: l.readers[mdt], Batch: b})
	for more := true; more; {
		more = l.core.Work(1)
		l.Steps++
		for _, out := range l.core.Outputs() {
			switch o := out.(type) {
			case core.Deliver:
				l.step(core.Ack{Peer: o.Member, Lease: o.Lease, UpTo: o.To})
				l.step(core.Sent{Peer: o.Member, Batch: o.Batch})
				more = true
			case core.Persist:
				l.step(core.Persisted{Seq: o.Seq})
			}
		}
	}
}

func (l *Load) step(ev core.Event) {
	l.core.Step(ev)
	l.Steps++
}

// Compare returns what a step costs in each of two cores. They take turns, and of each the best of many
// short pieces counts, which a busy machine leaves some of alone.
func Compare(a, b *Load) (costA, costB time.Duration) {
	const pieces, steps = 100, 4000
	best := map[*Load]time.Duration{}
	for piece := range pieces {
		for _, l := range []*Load{a, b} {
			l.Steps = 0
			start := time.Now()
			for l.Steps < steps {
				l.Turn()
			}
			c := time.Since(start) / time.Duration(l.Steps)
			if piece > 0 && (best[l] == 0 || c < best[l]) { // the first one warms up
				best[l] = c
			}
		}
	}
	return best[a], best[b]
}

package core

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// Windows that hold more than the memory limit slow the reading down, and do not stop it: neither
// for the group that has them nor for another one, nor in another MDT, and without any time
// going by, so that nobody waits for the age of what is held. Each MDT is then read again and again,
// as nothing is kept; when they hold half of the limit, hardly ever.
func TestWindowsAndMemory(t *testing.T) {
	const half = 2 * hoarded * 10 * hoardedRecord // in both MDTs
	for _, memory := range []int64{1, 30_000, 100_000, half, 2 * half} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			cfg := DefaultConfig
			cfg.Memory, cfg.Grant = memory, 20_000
			h := newHoarder(t, cfg)
			for range 300 {
				h.turn()
			}
			for mdt, end := range h.ends {
				if end < 200*10 {
					t.Errorf("MDT %d was read up to %d", mdt, end)
				}
			}
			for id, got := range h.taken {
				if low := min(got[0], got[1]); low < (200-hoarded)*10 {
					t.Errorf("member %d has got up to %v", id, got)
				}
			}
			if opened := h.core.lastReader; memory == 2*half && opened > 10 {
				t.Errorf("%d batches of 2 MDTs were read by %d readings", (h.ends[0]+h.ends[1])/10, opened)
			}
		})
	}
}

// hoarder is a desk with two MDTs, a group without modules and one whose windows hold all that they
// may: 40 batches in each MDT, far more than there is memory for. Members acknowledge all at once.
type hoarder struct {
	*desk
	ends    [2]uint64
	granted map[ReaderID]int64
	readers map[ReaderID]*worldReader
	stages  map[ChainID]*hoard
	taken   map[Peer]*[2]uint64 // up to where members acknowledged
}

// hoard is a stage with windows.
type hoard struct {
	o     OpenChain
	out   uint64 // up to where it let go
	input []Process
}

const (
	hoarded       = 40   // batches
	hoardedRecord = 1320 // what a held record takes
)

func newHoarder(t *testing.T, cfg Config) *hoarder {
	h := &hoarder{granted: map[ReaderID]int64{}, readers: map[ReaderID]*worldReader{}, stages: map[ChainID]*hoard{}, taken: map[Peer]*[2]uint64{}}
	st := State{MDTs: []MDTState{{MDT: 0}, {MDT: 1}}}
	for _, name := range []string{"windows", "plain"} {
		g := GroupState{Config: groups.Config{Name: name, Distribution: groups.ByMDT, InFlight: 1 << 40}}
		if name == "windows" {
			g.Modules = "[coalesce]"
		}
		st.Groups = append(st.Groups, g)
	}
	h.desk = &desk{t: t, now: time.Unix(1000, 0), got: make(map[Peer][]Deliver)}
	h.core = New(cfg, st, h.now)
	h.work()
	for id, group := range []string{"windows", "plain"} {
		h.join(Peer(id+1), group, 10)
		h.taken[Peer(id+1)] = new([2]uint64)
	}
	return h
}

// turn has everybody do once what he can: readers deliver a batch if they may, stages take one in.
func (h *hoarder) turn() {
	h.orders()
	for _, id := range slices.Sorted(maps.Keys(h.readers)) {
		if r := h.readers[id]; r != nil && h.granted[id] > 0 && (r.until == 0 || r.at < r.until) {
			b := deskBatch(r.at, r.at+10)
			b.MDT = r.mdt.id
			r.at = b.To
			h.granted[id] -= b.Weight()
			h.ends[b.MDT] = max(h.ends[b.MDT], b.To)
			h.step(BatchRead{Reader: id, Batch: b})
			if r.at == r.until {
				h.step(ReaderEnded{Reader: id})
			}
		}
		h.orders()
	}
	for _, id := range slices.Sorted(maps.Keys(h.stages)) {
		if x := h.stages[id]; x != nil && len(x.input) > 0 {
			h.take(x)
		}
		h.orders()
	}
	for id, taken := range h.taken {
		for _, d := range h.got[id] {
			taken[d.Batch.MDT] = max(taken[d.Batch.MDT], d.To)
		}
		h.ackAll(id)
	}
}

// take has a stage take in a batch, and let go the oldest if it holds more than it may.
func (h *hoarder) take(x *hoard) {
	in := x.input[0]
	x.input = x.input[1:]
	ev := Processed{Chain: x.o.Chain, Taken: true}
	if to := in.Batch.To; to > x.out+10*hoarded {
		b := deskBatch(x.out, to-10*hoarded)
		b.MDT, x.out = x.o.MDT, b.To
		ev.Batches = []*Batch{b}
	}
	ev.Held = Held{Records: int(in.Batch.To - x.out), Bytes: int64(in.Batch.To-x.out) * hoardedRecord, Oldest: x.out + 1, Since: h.now}
	h.step(ev)
}

// orders takes in what the core wants of readers and stages.
func (h *hoarder) orders() {
	for _, o := range h.out {
		switch o := o.(type) {
		case OpenReader:
			h.readers[o.Reader] = &worldReader{id: o.Reader, mdt: &worldMDT{id: o.MDT}, at: o.From, until: o.Until}
		case CloseReader:
			delete(h.readers, o.Reader)
		case Grant:
			h.granted[o.Reader] += o.Bytes
		case OpenChain:
			h.stages[o.Chain] = &hoard{o: o, out: o.After}
		case CloseChain:
			delete(h.stages, o.Chain)
		case Process:
			h.stages[o.Chain].input = append(h.stages[o.Chain].input, o)
		}
	}
	h.forget()
}

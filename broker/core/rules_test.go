package core

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// desk is a core with one MDT, whose outputs are looked at one by one. The disk
// and the MDT do what they are told.
type desk struct {
	t    *testing.T
	core *Core
	now  time.Time
	out  []Output // since they were looked at last
	live ReaderID
	got  map[Peer][]Deliver // not acknowledged
}

// newDesk returns a desk with groups that start at 0.
func newDesk(t *testing.T, cfg Config, names ...string) *desk {
	d := &desk{t: t, now: time.Unix(1000, 0), got: make(map[Peer][]Deliver)}
	st := State{MDTs: []MDTState{{}}}
	for _, name := range names {
		st.Groups = append(st.Groups, GroupState{Config: groups.Config{Name: name, Distribution: groups.RoundRobin, InFlight: 1 << 40, Lease: time.Hour}})
	}
	d.core = New(cfg, st, d.now)
	d.work()
	d.live = d.opened()[0].Reader
	return d
}

// work has the core do what it can, and the disk what it is told.
func (d *desk) work() {
	for more := true; more; {
		more = d.core.Work(1)
		for _, o := range d.core.Outputs() {
			d.out = append(d.out, o)
			switch o := o.(type) {
			case Persist:
				d.core.Step(Persisted{Seq: o.Seq})
				more = true
			case Clear:
				d.core.Step(Cleared{Index: o.Index})
			case Deliver:
				d.got[o.Member] = append(d.got[o.Member], o)
				d.core.Step(Sent{Peer: o.Member, Batch: o.Batch})
			}
		}
	}
}

func (d *desk) step(ev Event) {
	d.core.Step(ev)
	d.work()
}

// after lets time pass.
func (d *desk) after(x time.Duration) {
	d.now = d.now.Add(x)
	d.step(Tick{Now: d.now})
}

// join adds a member that takes some batches.
func (d *desk) join(id Peer, group string, batches int) {
	d.step(Join{Peer: id, Group: group, Name: fmt.Sprint("m", id), Session: "s"})
	d.step(Credit{Peer: id, Batches: batches, Bytes: 1 << 40})
}

// ackAll has a member acknowledge what it got, and take as much again.
func (d *desk) ackAll(id Peer) {
	got := d.got[id]
	d.got[id] = nil
	for _, x := range got {
		d.step(Ack{Peer: id, Lease: x.Lease, UpTo: x.To})
		d.step(Credit{Peer: id, Batches: 1, Bytes: x.Batch.Bytes()})
	}
}

// read has a reader deliver a batch in which all records are there but those in holes.
func (d *desk) read(id ReaderID, from, to uint64, holes ...Range) {
	d.step(BatchRead{Reader: id, Batch: deskBatch(from, to, holes...)})
}

func deskBatch(from, to uint64, holes ...Range) *Batch {
	count := int(to - from)
	for _, h := range holes {
		count -= int(h.To - h.From)
	}
	return &Batch{From: from, To: to, Count: count, Records: make([]byte, 1000*count), Holes: holes}
}

// look forgets the outputs and returns those of a kind.
func look[O Output](d *desk) (found []O) {
	for _, o := range d.out {
		if o, ok := o.(O); ok {
			found = append(found, o)
		}
	}
	return found
}

func (d *desk) forget() { d.out = nil }

func (d *desk) opened() []OpenReader { return look[OpenReader](d) }

// foundInHole answers the second look at a hole: it has one record, at its end or before.
func (d *desk) foundInHole(hole Range, at uint64) {
	late := groups.LateRecord{Index: at}
	d.step(HoleChecked{Hole: hole, Found: []*Batch{deskBatch(hole.From, at, Range{hole.From, at - 1})}, Late: []groups.LateRecord{late}})
}

// What is left of a hole in which a record appeared is looked at again, and nothing above it is
// cleared before; be it that modules have dropped that record, so that nobody is to get it.
func TestRestOfAHole(t *testing.T) {
	t.Run("found", func(t *testing.T) {
		checkRestOfAHole(t, func(d *desk) {
			d.foundInHole(Range{5, 8}, 7)
			d.ackAll(1) // the late one
		})
	})
	t.Run("dropped", func(t *testing.T) {
		checkRestOfAHole(t, func(d *desk) {
			b := deskBatch(5, 7, Range{5, 6})
			b.Records, b.Count = nil, 0
			d.step(HoleChecked{Hole: Range{5, 8}, Found: []*Batch{b}})
		})
	})
}

func checkRestOfAHole(t *testing.T, find func(*desk)) {
	t.Helper()
	d := newDesk(t, DefaultConfig, "g")
	d.join(1, "g", 10)
	d.read(d.live, 0, 20, Range{5, 8})
	d.ackAll(1)
	d.after(DefaultConfig.HoleDelay)
	if asked := look[CheckHole](d); len(asked) != 1 || asked[0].Hole != (Range{5, 8}) {
		t.Fatalf("asked for %v", asked)
	}
	find(d)
	d.forget()
	d.after(DefaultConfig.HoleDelay)
	d.after(DefaultConfig.ClearEvery)
	asked := look[CheckHole](d)
	if !slices.ContainsFunc(asked, func(x CheckHole) bool { return x.Hole == (Range{7, 8}) }) {
		t.Errorf("asked again for %v", asked)
	}
	for _, k := range look[Clear](d) {
		if k.Index > 7 {
			t.Errorf("%d was cleared", k.Index)
		}
	}
	for _, x := range asked {
		d.step(HoleChecked{Hole: x.Hole})
	}
	d.after(DefaultConfig.ClearEvery)
	d.after(DefaultConfig.ClearEvery)
	if cleared := look[Clear](d); len(cleared) == 0 || cleared[len(cleared)-1].Index != 20 {
		t.Errorf("cleared %v, want 20", cleared)
	}
}

// A catch-up that was opened before a late record was found may have passed its place: it
// ends, and who read there reads again.
func TestLateRecordEndsCatchUps(t *testing.T) {
	cfg := DefaultConfig
	cfg.Memory, cfg.Grant = 1, 1
	d := newDesk(t, cfg, "ahead", "behind")
	d.join(1, "ahead", 10)
	d.read(d.live, 0, 20, Range{5, 8})
	d.ackAll(1)
	d.read(d.live, 20, 40) // there is no memory for both
	d.forget()
	d.join(2, "behind", 10)
	opened := d.opened()
	if len(opened) != 1 || opened[0].From != 0 {
		t.Fatalf("opened %+v", opened)
	}
	d.after(cfg.HoleDelay)
	d.forget()
	d.foundInHole(Range{5, 8}, 7)
	if closed := look[CloseReader](d); len(closed) != 1 || closed[0].Reader != opened[0].Reader {
		t.Errorf("closed %v", closed)
	}
	again := d.opened()
	if len(again) != 1 || again[0].From != 0 {
		t.Fatalf("opened again %+v", again)
	}
	d.read(opened[0].Reader, 0, 20, Range{5, 8}) // what it had on its way is ignored
	if got := d.got[2]; len(got) != 0 {
		t.Errorf("delivered %v", got)
	}
	d.read(again[0].Reader, 0, 20, Range{5, 6}, Range{7, 8})
	if got := d.got[2]; len(got) == 0 || got[0].Batch.Count != 18 {
		t.Errorf("delivered %v", got)
	}
}

// A group that is a little behind the foremost one finds in memory what it needs: the reading does
// not fill it with what nobody has got yet.
func TestALittleBehind(t *testing.T) {
	const batch, behind = 1000 * 10, 20
	cfg := DefaultConfig
	cfg.Memory, cfg.Grant = 100*(batch+700), 4*batch
	d := newDesk(t, cfg, "ahead", "behind")
	end := uint64(0)
	granted := map[ReaderID]int64{}
	read := func() {
		for _, g := range look[Grant](d) {
			granted[g.Reader] += g.Bytes
		}
		for d.forget(); granted[d.live] > 0; d.forget() {
			b := deskBatch(end, end+10)
			granted[d.live] -= b.Weight()
			end = b.To
			d.step(BatchRead{Reader: d.live, Batch: b})
			for _, g := range look[Grant](d) {
				granted[g.Reader] += g.Bytes
			}
			if o := d.opened(); len(o) > 0 {
				t.Fatalf("at %d the MDT is read another time: %+v", end, o)
			}
		}
	}
	d.join(1, "ahead", 1)
	for round := range 500 {
		read()
		d.ackAll(1)
		if round == behind {
			d.join(2, "behind", 1)
		}
		d.ackAll(2)
		if o := d.opened(); len(o) > 0 {
			t.Fatalf("in round %d the MDT is read another time: %+v", round, o)
		}
	}
	if end < 10*500 {
		t.Errorf("only %d were read", end)
	}
}

// Why: a ceiling is reserved a million indexes ahead. If it stayed there, all of them would be told to be
// delivered again, maybe, after each orderly restart, and nothing could be cancelled in them.
func TestOrderlyEndTakesBackTheCeiling(t *testing.T) {
	d := newDesk(t, DefaultConfig, "g")
	d.read(d.live, 0, 60)
	d.read(d.live, 60, 100)
	d.join(1, "g", 1)
	var last []MarkState
	for d.core.Save() {
		for _, o := range d.core.Outputs() {
			if p, ok := o.(Persist); ok {
				last = append(last, p.Update.Marks...)
				d.core.Step(Persisted{Seq: p.Seq})
			}
		}
	}
	if n := len(last); n == 0 || last[n-1].Ceiling != 60 || last[n-1].Mark != 0 {
		t.Fatalf("on disk in the end: %+v, want the ceiling 60, which is what was handed out", last)
	}
	again := New(DefaultConfig, State{
		MDTs: []MDTState{{}}, Marks: last[len(last)-1:],
		Groups: []GroupState{{Config: groups.Config{Name: "g", Distribution: groups.RoundRobin, InFlight: 1 << 40, Lease: time.Hour}}},
	}, d.now)
	e := &desk{t: t, core: again, now: d.now, got: make(map[Peer][]Deliver)}
	e.work()
	e.live = e.opened()[0].Reader
	e.read(e.live, 0, 60)
	e.read(e.live, 60, 100)
	e.join(2, "g", 2)
	if got := e.got[2]; len(got) != 2 || !got[0].MaybeRedelivered || got[1].MaybeRedelivered {
		t.Errorf("deliveries of the next life: %+v", got)
	}
}

// Why: who changes a group is told that this is on disk. A write that had begun before does not have it.
func TestStoredIsWhatWasChangedLast(t *testing.T) {
	d := newDesk(t, DefaultConfig, "g")
	if err := d.core.Do(PauseGroup{Group: "g", Paused: true}); err != nil {
		t.Fatal(err)
	}
	first := d.core.Outputs()[0].(Persist)
	if err := d.core.Do(SetChain{Group: "g", Filter: "type == CREAT"}); err != nil {
		t.Fatal(err)
	}
	d.forget()
	d.core.Step(Persisted{Seq: first.Seq})
	for _, o := range d.core.Outputs() {
		switch o := o.(type) {
		case GroupStored:
			t.Error("the group counts as stored by a write that has another chain")
		case Persist:
			if o.Update.Groups[0].Filter == "" {
				t.Error("the second write has no filter either")
			}
			d.step(Persisted{Seq: o.Seq})
		}
	}
	if len(look[GroupStored](d)) != 1 {
		t.Errorf("stored: %v", look[GroupStored](d))
	}
}

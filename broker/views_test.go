package broker

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/wire"
)

// few is what somebody wants who does not care for jobs.
var few = &changelog.Format{Flags: changelog.FlagRename}

// exactly are the records as made, repacked one by one.
func exactly(t *testing.T, want *changelog.Format, indexes ...uint64) (packed []byte) {
	t.Helper()
	for _, i := range indexes {
		whole, err := made(i, i)[0].Append(nil)
		must(t, err)
		r, _, err := changelog.Next(whole)
		must(t, err)
		if want == nil {
			packed = append(packed, whole...)
		} else {
			packed = r.AppendRepacked(packed, *want)
		}
	}
	return packed
}

func indexesUpTo(last uint64) (list []uint64) {
	for i := uint64(1); i <= last; i++ {
		list = append(list, i)
	}
	return list
}

// wantExactly demands that records are those with their indexes, repacked.
func wantExactly(t *testing.T, records []byte, want *changelog.Format) {
	t.Helper()
	if exact := exactly(t, want, indexesOf(records)...); len(records) == 0 || !bytes.Equal(records, exact) {
		t.Fatalf("records %v have %d bytes, want %d others", indexesOf(records), len(records), len(exact))
	}
}

func (s *site) joinFor(group, name string, credit int, fields *changelog.Format) *someone {
	s.t.Helper()
	x := &someone{site: s, inbox: s.b.NewInbox()}
	m, err := s.b.Join(s.ctx, JoinOptions{Group: group, Name: name, Session: name, Fields: fields}, x.inbox)
	must(s.t, err)
	x.m = m
	x.credit(credit)
	return x
}

func (s *site) status() wire.Status {
	s.t.Helper()
	st, err := s.b.Status(s.ctx)
	must(s.t, err)
	return st
}

// A hundred members of as many groups, and some listeners, who all want the same fields: each batch is cut
// once for all of them.
func TestEachBatchIsCutOnce(t *testing.T) {
	const records, many = 5000, 100
	s := newSiteWith(t, func(o *Options) { o.Views, o.BatchBytes = 1<<30, 128<<10 })
	log := s.logs[firstMDT]
	plain, _ := s.listen(ListenOptions{})
	var members []*someone
	for i := range many {
		group := fmt.Sprint("g", i)
		s.group(group, []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID}[i%3])
		members = append(members, s.joinFor(group, "m", 8, few))
	}
	var listeners []*Listener
	for range many / 10 {
		x, _ := s.listen(ListenOptions{Fields: few})
		listeners = append(listeners, x)
	}
	log.grow(records)
	batches := uint64(0)
	for at := uint64(0); at < records; batches++ {
		x, err := plain.Next(s.ctx)
		must(t, err)
		wantExactly(t, x.Records, nil)
		at = x.To
	}
	exact := exactly(t, few, indexesUpTo(records)...)
	starts := []int{0, 0} // by index
	for scan := changelog.NewScanner(exact); scan.Scan(); {
		starts = append(starts, int(scan.Offset()))
	}
	compare := func(got []byte, first uint64) { // these members and listeners get all, one after the other
		if !bytes.HasPrefix(exact[starts[first]:], got) {
			t.Errorf("%d bytes from record %d on are none of those wanted", len(got), first)
		}
	}
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() {
			for got := 0; got < records; {
				d, err := m.inbox.Next(s.ctx)
				if err == nil {
					err = errors.Join(m.m.Ack(s.ctx, d.Lease, d.Last), m.m.Credit(s.ctx, 1, int64(len(d.Records))))
				}
				if err != nil {
					t.Error(err)
					return
				}
				got += d.Count
				compare(d.Records, d.First)
			}
		})
	}
	for _, x := range listeners {
		all.Go(func() {
			for at := uint64(0); at < records; {
				shown, err := x.Next(s.ctx)
				if err != nil {
					t.Error(err)
					return
				}
				compare(shown.Records, shown.First)
				at = shown.To
			}
		})
	}
	all.Wait()
	st := s.status()
	if st.Views != (wire.Views{Batches: batches, Records: records}) || batches < 2 {
		t.Errorf("%d batches were cut so often: %+v", batches, st.Views)
	}
	if st.Groups[0].Members[0].Fields != "rename" || st.Listeners[0].Fields != "all" || st.Memory.Views == 0 {
		t.Errorf("%+v %+v %+v", st.Groups[0].Members, st.Listeners, st.Memory)
	}
}

// What a member wants it gets in each delivery, whatever way that came: shared out by FID, given back, after
// a restart - and for its credit counts what it was sent.
func TestEveryDeliveryIsCut(t *testing.T) {
	const records = 2000
	for _, memory := range []int64{1, 0} { // no view outlives the next one; all do
		s := newSiteWith(t, func(o *Options) { o.Views = memory })
		log := s.logs[firstMDT]
		s.group("g", groups.ByFID)
		a, b := s.joinFor("g", "a", 8, few), s.joinFor("g", "b", 8, &changelog.Format{})
		plain := s.join("g", "c", 8)
		wants := map[*someone]*changelog.Format{a: few, b: {}, plain: nil}
		s.eventually("the lanes to be shared out", func() bool {
			lanes := 0
			for _, m := range s.status().Groups[0].Members {
				if m.Lanes > 0 {
					lanes++
				}
			}
			return lanes == 3
		})
		log.grow(records)
		sent := int64(0)
		held := map[*someone]*Delivery{}
		for m, want := range wants {
			d := m.next()
			wantExactly(t, d.Records, want)
			held[m] = d
			sent += int64(len(d.Records))
		}
		s.eventually("what is in flight to be what was sent", func() bool {
			g := s.status().Groups[0]
			inFlight := int64(0)
			for _, m := range g.Members {
				inFlight += m.InFlight
			}
			more := int64(0)
			for _, m := range g.Members {
				more += int64(m.Bytes)
			}
			return inFlight == more && more >= sent
		})
		for m, want := range wants {
			must(t, m.m.Nack(s.ctx, held[m].Lease, held[m].First, 0))
			d := m.next()
			for d.Attempt == 1 { // of those behind it
				d = m.next()
			}
			wantExactly(t, d.Records, want)
		}
		s.restart()
		a = s.joinFor("g", "a", 256, few)
		for got := 0; got < records; {
			d := a.next()
			wantExactly(t, d.Records, few)
			a.ack(d)
			a.credit(1)
			got += d.Count
		}
		s.eventually("the clear", func() bool { return log.cleared() == records })
		s.end()
	}
}

// planOf compiles a listener's chain.
func planOf(t *testing.T, text string, more ...modules.Kind) *modules.Plan {
	t.Helper()
	specs, err := modules.ParseSpecs(text)
	must(t, err)
	p, err := modules.Parse(specs, append(modules.Builtin(), more...), modules.Use{Scope: modules.ForListeners})
	must(t, err)
	return p
}

const renames = `[{filter: {types: RENME}}]`

// What a filtered listener is shown, what its filter left out, and what it missed add up to what was read,
// whatever is kept for it. The filter's verdict on what it missed nobody knows: a gap counts records read.
func TestFilteredListener(t *testing.T) {
	const records = 20000
	for _, kept := range []int64{64 << 20, 1 << 18} {
		s := newSiteWith(t, func(o *Options) { o.History, o.BatchBytes = kept, 128<<10 })
		x, _ := s.listen(ListenOptions{Plan: planOf(t, renames), Filter: "f", Modules: "m", Fields: few})
		s.group("g", groups.ByMDT)
		s.logs[firstMDT].grow(records)
		s.join("g", "m", 64).take(records)
		shown, missed, at := 0, 0, uint64(0)
		for n := uint64(0); uint64(shown+missed)+n < records; {
			got, err := x.Next(s.ctx)
			must(t, err)
			switch {
			case got.From < at || got.To <= got.From && got.Gap == nil:
				t.Fatalf("(%d, %d] behind %d", got.From, got.To, at)
			case got.Gap != nil:
				if got.Gap.Records != int(got.Gap.To-got.Gap.From) || got.Gap.Unknown {
					t.Fatalf("%+v", got.Gap)
				}
				missed += got.Gap.Records
				at = got.Gap.To
			default:
				wantExactly(t, got.Records, few)
				for _, i := range indexesOf(got.Records) {
					if i%40 != 0 {
						t.Fatalf("record %d is no rename", i)
					}
				}
				if list := indexesOf(got.Records); got.First != list[0] || got.Last != list[len(list)-1] || got.Count != len(list) {
					t.Fatalf("%v: %+v", list, got)
				}
				shown += got.Count
				at = got.To
			}
			n = x.tally.counts().filtered
		}
		if (missed > 0) != (kept < 1<<20) || shown == 0 {
			t.Errorf("%d shown, %d missed", shown, missed)
		}
		st := s.status()
		if l := st.Listeners[0]; l.Filter != "f" || l.Modules != "m" || l.Filtered != uint64(records-shown-missed) || st.ListenerFiltered != l.Filtered {
			t.Errorf("%+v, %d", l, st.ListenerFiltered)
		}
		must(t, x.Close())
		if n := s.status().ListenerFiltered; n != uint64(records-shown-missed) {
			t.Errorf("%d records are said to be left out of listeners that are gone", n)
		}
		s.end()
	}
}

// Listeners with the same filter share its work, however each of them wrote it.
func TestFiltersAreShared(t *testing.T) {
	const records, many = 5000, 20
	s := newSiteWith(t, func(o *Options) { o.Views = 1 << 30 })
	plain, _ := s.listen(ListenOptions{})
	var listeners []*Listener
	for i := range many {
		x, _ := s.listen(ListenOptions{Plan: planOf(t, renames[:len(renames)-1]+" "[:i%2]+"]")})
		listeners = append(listeners, x)
	}
	s.logs[firstMDT].grow(records)
	batches := uint64(0)
	for at := uint64(0); at < records; batches++ {
		x, err := plain.Next(s.ctx)
		must(t, err)
		at = x.To
	}
	for _, x := range listeners {
		for n := 0; n < records/40; {
			shown, err := x.Next(s.ctx)
			must(t, err)
			n += shown.Count
		}
	}
	if st := s.status(); st.Views.Batches != batches {
		t.Errorf("%d batches were filtered %d times", batches, st.Views.Batches)
	}
	for _, x := range listeners {
		must(t, x.Close())
	}
	must(t, s.b.call(s.ctx, func(l *loop) {
		if len(l.views.watchers)+len(l.views.plans)+len(l.views.shared) > 0 {
			t.Errorf("of listeners that are gone stay %v, %v, %v", l.views.watchers, l.views.plans, l.views.shared)
		}
	}))
}

// A chain that goes by time is one for all batches of a listener.
func TestPacedListener(t *testing.T) {
	s := newSite(t)
	plan := planOf(t, `[{rate: {records: 1, burst: 5}}]`)
	x, _ := s.listen(ListenOptions{Plan: plan})
	for last := uint64(1); last <= 10; last++ {
		s.logs[firstMDT].grow(last)
		s.eventually("the record to be read", func() bool { return s.status().MDTs[0].Read == last })
	}
	for i := uint64(1); i <= 5; i++ {
		shown, err := x.Next(s.ctx)
		must(t, err)
		if i < 5 && shown.First != i {
			t.Errorf("%d comes, want %d", shown.First, i)
		}
	}
	if plan.Pure() || !planOf(t, renames).Pure() || !planOf(t, `[{sample: {one_in: 2}}, {project: {fields: []}}]`).Pure() {
		t.Error("who depends on the time is mistaken")
	}
}

// failing is a module that gives up at a record.
func failing(at uint64) modules.Kind {
	return modules.Kind{Name: "failing", Parse: func(*modules.Options, modules.Use) (modules.Factory, error) {
		return func(modules.Start) modules.Module { return failsAt{at: at} }, nil
	}}
}

type failsAt struct {
	modules.Stateless
	at uint64
}

func (m failsAt) Push(r changelog.Record, out *modules.Out) {
	if r.Index() == m.at {
		out.Fail(errors.New("cannot go on"))
		return
	}
	out.Keep(r)
}

// Modules that fail end their listener, and nobody else.
func TestFailingModulesEndTheirListener(t *testing.T) {
	s := newSite(t)
	var broken []*Listener
	for range 2 { // what they share fails, too
		x, _ := s.listen(ListenOptions{Plan: planOf(t, "[failing]", failing(700))})
		broken = append(broken, x)
	}
	whole, _ := s.listen(ListenOptions{})
	a := &account{t: t}
	for last := uint64(500); last <= 1000; last += 500 {
		s.logs[firstMDT].grow(last)
		s.listenTo(whole, a, last)
	}
	for _, x := range broken {
		var err error
		for err == nil {
			_, err = x.Next(s.ctx)
		}
		wantError(t, err, ErrModules)
		if _, again := x.Next(s.ctx); again != err {
			t.Errorf("then comes %v", again)
		}
	}
}

// deaf is a peer whose connection is gone, which nobody knows yet.
type deaf struct{ *Inbox }

func (deaf) Deliver(*Delivery) bool { return false }

// Why: what was handed out to a member in one step must not meet a member that is gone.
func TestMemberGoesWhileItIsHandedOut(t *testing.T) {
	s := newSite(t, firstMDT, secondMDT)
	for i, fields := range []*changelog.Format{nil, few} {
		name := fmt.Sprint("g", i)
		s.group(name, groups.ByMDT)
		for _, log := range s.logs {
			log.grow(uint64(1000 * (i + 1)))
		}
		s.eventually("the records to be read", func() bool {
			st := s.status()
			return st.MDTs[0].Read == uint64(1000*(i+1)) && st.MDTs[1].Read == st.MDTs[0].Read
		})
		m, err := s.b.Join(s.ctx, JoinOptions{Group: name, Name: "deaf", Session: "s", Fields: fields}, deaf{s.b.NewInbox()})
		must(t, err)
		must(t, m.Credit(s.ctx, 100, 1<<20))
		s.eventually("the member to be sent away", func() bool {
			for _, g := range s.status().Groups {
				if len(g.Members) > 0 {
					return false
				}
			}
			return true
		})
	}
	s.eventually("nothing to be held", func() bool { return s.status().Memory.Pinned == 0 })
}

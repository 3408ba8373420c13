package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// account adds up what a listener is shown of one MDT, and demands that it goes on
// where it was.
type account struct {
	t              *testing.T
	at             uint64
	shown, missed  int
	gaps, unknowns int
}

func (a *account) take(x Shown) {
	a.t.Helper()
	if x.Gap != nil {
		if x.Gap.From != a.at || x.Gap.To < x.Gap.From {
			a.t.Fatalf("a gap (%d,%d] behind %d", x.Gap.From, x.Gap.To, a.at)
		}
		a.gaps++
		a.missed += x.Gap.Records
		if x.Gap.Unknown {
			a.unknowns++
		}
		a.at = x.Gap.To
		return
	}
	got := indexesOf(x.Records)
	if len(got) != x.Count || got[0] != x.First || got[len(got)-1] != x.Last {
		a.t.Fatalf("%d records from %d to %d are said to be %d from %d to %d", len(got), got[0], got[len(got)-1], x.Count, x.First, x.Last)
	}
	if x.From != a.at {
		a.t.Fatalf("(%d,%d] comes behind %d, without a gap between them", x.From, x.To, a.at)
	}
	wantRange(a.t, got, x.From+1, x.To) // these changelogs have no holes
	a.shown += x.Count
	a.at = x.To
}

func (s *site) listen(o ListenOptions) (*Listener, []Mark) {
	s.t.Helper()
	x, marks, err := s.b.Listen(s.ctx, o)
	must(s.t, err)
	return x, marks
}

// listenTo has a listener go on to an index.
func (s *site) listenTo(x *Listener, a *account, last uint64) {
	s.t.Helper()
	for a.at < last {
		got, err := x.Next(s.ctx)
		must(s.t, err)
		a.take(got)
	}
}

func TestListenerIsShownAllInOrder(t *testing.T) {
	s := newSite(t)
	x, marks := s.listen(ListenOptions{})
	if len(marks) != 1 || marks[0] != (Mark{MDT: firstMDT}) {
		t.Errorf("marks: %v", marks)
	}
	a := &account{t: t}
	for last := uint64(500); last <= 5000; last += 500 {
		s.logs[firstMDT].grow(last)
		s.listenTo(x, a, last)
	}
	if a.shown != 5000 || a.gaps != 0 {
		t.Errorf("%d records, %d gaps", a.shown, a.gaps)
	}
	must(t, x.Close())
	if c := s.logs[firstMDT].cleared(); c != 0 {
		t.Errorf("cleared up to %d without groups", c)
	}
}

// What a listener is shown and what it is told that it missed add up to what was read,
// whatever the size of the history is.
func TestGapsAreExact(t *testing.T) {
	for _, history := range []int64{1, 30_000, 300_000} {
		s := newSiteWith(t, func(o *Options) { o.History = history })
		x, _ := s.listen(ListenOptions{})
		a := &account{t: t}
		last := uint64(0)
		for range 20 {
			last += 700
			s.logs[firstMDT].grow(last)
			if last%2100 != 0 {
				s.eventually("the reading", func() bool { // it goes on without the listener
					_, marks, err := s.b.Listen(s.ctx, ListenOptions{})
					must(t, err)
					return marks[0].Index == last
				})
				continue
			}
			s.listenTo(x, a, last)
		}
		s.listenTo(x, a, last)
		if a.shown+a.missed != int(last) || a.unknowns > 0 {
			t.Errorf("history of %d bytes: %d shown and %d missed in %d gaps, %d unknown, of %d", history, a.shown, a.missed, a.gaps, a.unknowns, last)
		}
		if history < 100_000 && a.gaps == 0 {
			t.Errorf("history of %d bytes: no gaps", history)
		}
		t.Logf("history of %d bytes: %d shown, %d missed in %d gaps", history, a.shown, a.missed, a.gaps)
	}
}

func TestListenerSaysWhatItSawLast(t *testing.T) {
	s := newSite(t)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	s.logs[firstMDT].grow(100)
	m.take(100)
	x, marks := s.listen(ListenOptions{Seen: []Mark{{MDT: firstMDT, Index: 60}, {MDT: "nowhere", Index: 5}}})
	if marks[0].Index != 100 {
		t.Fatalf("the MDT stands at %d", marks[0].Index)
	}
	got, err := x.Next(s.ctx)
	must(t, err)
	if got.Gap == nil || *got.Gap != (Gap{MDT: firstMDT, From: 60, To: 100, Unknown: true}) {
		t.Errorf("got %+v", got.Gap)
	}
	same, _ := s.listen(ListenOptions{Seen: marks})
	s.logs[firstMDT].grow(110)
	for _, x := range []*Listener{x, same} {
		got, err = x.Next(s.ctx)
		must(t, err)
		wantRange(t, indexesOf(got.Records), 101, 110)
	}
	_, _, err = s.b.Listen(s.ctx, ListenOptions{MDTs: []string{"nowhere"}})
	wantError(t, err, core.ErrUnknownMDT)
}

// Who is shown all of a batch is told of it in the same words, which are found once; who is shown a part, or
// less of each record, in others.
func TestHeaderIsMadeOnce(t *testing.T) {
	s := newSite(t)
	s.group("g", groups.ByMDT)
	first, _ := s.listen(ListenOptions{})
	second, _ := s.listen(ListenOptions{})
	part, _ := s.listen(ListenOptions{Seen: []Mark{{MDT: firstMDT, Index: 60}}})
	cut, _ := s.listen(ListenOptions{Fields: few})
	s.logs[firstMDT].grow(100)
	s.join("g", "m", 64).take(100)
	for i, x := range []*Listener{first, second, part, cut} {
		var got Shown
		for got.To < 100 { // the records may come as several batches: the last counts
			var err error
			got, err = x.Next(s.ctx)
			must(t, err)
		}
		word := fmt.Sprint("word ", i)
		header, err := got.Header(func() ([]byte, error) { return []byte(word), nil })
		must(t, err)
		want := []string{"word 0", "word 0", "word 2", "word 3"}[i]
		if i == 2 && got.From > 60 {
			want = "word 0" // all of the last batch
		}
		if string(header) != want {
			t.Errorf("listener %d, shown (%d, %d]: %q, want %q", i, got.From, got.To, header, want)
		}
	}
}

// slow is an upstream that shows nothing until it may.
type slow struct {
	*testLog
	begin chan struct{}
}

func (x slow) Open(ctx context.Context, start uint64) (Reader, error) {
	select {
	case <-x.begin:
		return x.testLog.Open(ctx, start)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestListenerIsNotShownWhatIsOld(t *testing.T) {
	begin := make(chan struct{})
	s := newSiteWith(t, func(o *Options) { o.MDTs[0].Source = slow{o.MDTs[0].Source.(*testLog), begin} })
	records := made(1, 100)
	for i := range records {
		records[i].Time = changelog.TimeOf(time.Now().Add(-time.Hour))
		if i >= 60 {
			records[i].Time = changelog.TimeOf(time.Now().Add(time.Hour))
		}
		if i == 80 { // behind the first that is new enough time does not count
			records[i].Time = changelog.TimeOf(time.Now().Add(-time.Hour))
		}
	}
	s.logs[firstMDT].append(records...)
	x, _ := s.listen(ListenOptions{})
	close(begin)
	var got []uint64
	for len(got) < 40 {
		shown, err := x.Next(s.ctx)
		must(t, err)
		if shown.Gap != nil {
			t.Fatalf("a gap: %+v", shown.Gap)
		}
		got = append(got, indexesOf(shown.Records)...)
	}
	wantRange(t, got, 61, 100)
	// The reader is at the end now: times do not count any more.
	x, _ = s.listen(ListenOptions{})
	old := made(101, 110)
	for i := range old {
		old[i].Time = 1
	}
	s.logs[firstMDT].append(old...)
	shown, err := x.Next(s.ctx)
	must(t, err)
	wantRange(t, indexesOf(shown.Records), 101, uint64(100+shown.Count))
}

func TestListenerOfSomeMDTs(t *testing.T) {
	s := newSite(t, firstMDT, secondMDT)
	x, marks := s.listen(ListenOptions{MDTs: []string{secondMDT}})
	if len(marks) != 1 || marks[0].MDT != secondMDT {
		t.Errorf("marks: %v", marks)
	}
	s.logs[firstMDT].grow(100)
	s.logs[secondMDT].grow(100)
	a := &account{t: t}
	for a.at < 100 {
		got, err := x.Next(s.ctx)
		must(t, err)
		if got.MDT != secondMDT {
			t.Fatalf("shown records of %s", got.MDT)
		}
		a.take(got)
	}
}

func TestManyListeners(t *testing.T) {
	const records, many = 5000, 100
	s := newSite(t)
	ended := make(chan error, many)
	for range many {
		x, _ := s.listen(ListenOptions{})
		go func() {
			next := uint64(1)
			for next <= records {
				got, err := x.Next(s.ctx)
				if err != nil {
					ended <- err
					return
				}
				for _, i := range indexesOf(got.Records) {
					if i != next {
						ended <- errors.New("out of order, or a gap")
						return
					}
					next++
				}
			}
			ended <- x.Close()
		}()
	}
	s.logs[firstMDT].grow(records)
	for range many {
		must(t, <-ended)
	}
}

func TestListenerHearsOfAReset(t *testing.T) {
	s := newSiteWith(t, watchful)
	s.logs[firstMDT].grow(100)
	x, _ := s.listen(ListenOptions{})
	a := &account{t: t}
	s.eventually("the reading", func() bool {
		_, marks := s.listen(ListenOptions{})
		return marks[0].Index == 100
	})
	again := made(1, 30)
	for i := range again {
		again[i].Target.Oid = 999
	}
	s.logs[firstMDT].rewrite(again...)
	got, err := x.Next(s.ctx)
	for ; err == nil && got.Epoch == 0; got, err = x.Next(s.ctx) {
		a.take(got)
	}
	must(t, err)
	if got.Gap == nil || !got.Gap.Unknown || got.Gap.Epoch != 1 {
		t.Fatalf("the new epoch begins with %+v", got)
	}
	a = &account{t: t}
	s.listenTo(x, a, 30)
}

// Why: an lcapd that is killed before a new epoch is on disk has told listeners its number. The next one
// may give that number to what an MDT shows that was reset once more: all of it is new then.
func TestEpochThatWasNotOnDisk(t *testing.T) {
	s := newSiteWith(t, watchful)
	s.logs[firstMDT].grow(100)
	s.eventually("the reading", func() bool {
		_, marks := s.listen(ListenOptions{})
		return marks[0].Index == 100
	})
	x, _ := s.listen(ListenOptions{Seen: []Mark{{MDT: firstMDT, Epoch: 1, Index: 20}}})
	again := made(1, 30)
	for i := range again {
		again[i].Target.Oid = 999
	}
	s.logs[firstMDT].rewrite(again...)
	for next := uint64(1); next <= 30; {
		got, err := x.Next(s.ctx)
		must(t, err)
		if got.Gap != nil {
			continue // up to where the MDT was, and that it begins anew
		}
		list := indexesOf(got.Records)
		if list[0] != next || got.Epoch != 1 {
			t.Fatalf("record %d of epoch %d comes, want %d", list[0], got.Epoch, next)
		}
		next = list[len(list)-1] + 1
	}
}

func TestListenerEnds(t *testing.T) {
	s := newSite(t)
	x, _ := s.listen(ListenOptions{})
	ctx, cancel := context.WithCancelCause(s.ctx)
	why := errors.New("enough")
	cancel(why)
	_, err := x.Next(ctx)
	wantError(t, err, why)
	s.end()
	_, err = x.Next(context.Background())
	wantError(t, err, ErrStopped)
	must(t, x.Close())
	s.start()
}

// Why: a listener that came while old records were read was told of a gap among them, and then neither shown
// nor told what followed it and was as old.
func TestNothingIsSilentBehindAGap(t *testing.T) {
	h := newHistory(1 << 20)
	h.listeners = 1
	w := &watched{name: "m", since: changelog.TimeOf(time.Unix(2_000_000_000, 0))}
	x := &Listener{wants: map[groups.MDT]*watched{0: w}, order: []groups.MDT{0}, at: h.newest}
	records := pack(t, made(1, 30)) // older than any listener
	size := len(records) / 30
	show := func(from, to int) {
		h.show(&core.Batch{From: uint64(from), To: uint64(to), Count: to - from, Records: records[from*size : to*size]}, nil, false)
	}
	show(0, 10)
	if got, ok := x.look(x.at.next); ok {
		t.Fatalf("shown %+v, which is older than the listener", got)
	}
	h.limit = 0 // (10, 20] is not kept
	show(10, 20)
	h.limit = 1 << 20
	show(20, 30)
	gap, err := x.Next(t.Context())
	must(t, err)
	if gap.Gap == nil || gap.Gap.From != 10 || gap.Gap.To != 20 {
		t.Fatalf("got (%d, %d], %+v, want the gap (10, 20]", gap.From, gap.To, gap.Gap)
	}
	got, err := x.Next(t.Context())
	must(t, err)
	wantRange(t, indexesOf(got.Records), 21, 30)
}

// Why: a listener that came while old records were read was shown those that are older than it, from a new one on
// that was found late among them.
func TestLateRecordsDoNotShowTheOld(t *testing.T) {
	h := newHistory(1 << 20)
	h.listeners = 1
	fresh := made(11, 30)
	x := &Listener{wants: map[groups.MDT]*watched{0: {name: "m", since: fresh[0].Time}}, order: []groups.MDT{0}, at: h.newest}
	show := func(late bool, records []changelog.Fields) {
		from := records[0].Index - 1
		h.show(&core.Batch{From: from, To: from + uint64(len(records)), Count: len(records), Records: pack(t, records)}, nil, late)
	}
	show(true, fresh[:1])
	show(false, made(1, 10))
	show(false, fresh[1:])
	for _, want := range []uint64{11, 12} {
		got, err := x.Next(t.Context())
		must(t, err)
		if got.First != want {
			t.Errorf("shown from %d on, want %d", got.First, want)
		}
	}
}

// Gaps are told as they are, if a listener stands still over a reset or late records.
func TestGapsDoNotMixEpochs(t *testing.T) {
	h := newHistory(1)
	h.listeners = 1
	x := &Listener{wants: map[groups.MDT]*watched{0: {name: "m"}}, order: []groups.MDT{0}, at: h.newest}
	show := func(epoch core.Epoch, from, to uint64, late bool) {
		h.show(&core.Batch{Epoch: epoch, From: from, To: to, Count: int(to - from), Records: make([]byte, 100)}, nil, late)
	}
	show(0, 0, 10, false)
	show(0, 10, 15, false)
	show(0, 2, 3, true)
	show(0, 15, 20, false)
	h.miss(0, 1, core.Range{})
	show(1, 0, 4, false)
	var got []Gap
	for range 4 {
		shown, err := x.Next(t.Context())
		must(t, err)
		got = append(got, *shown.Gap)
	}
	want := []Gap{
		{"m", 0, 0, 15, 15, false}, {"m", 0, 2, 3, 1, false}, {"m", 0, 15, 20, 5, false},
		{"m", 1, 0, 4, 4, true},
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("gap %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// Why: a listener that came back was told of records that were found late, and not kept for it, as of a range that
// begins where it was and ends below that.
func TestGapOfLateRecordsBelowWhatWasSeen(t *testing.T) {
	h := newHistory(1)
	h.listeners = 1
	w := &watched{name: "m", epoch: 1, after: 100}
	x := &Listener{wants: map[groups.MDT]*watched{0: w}, order: []groups.MDT{0}, at: h.newest}
	h.show(&core.Batch{Epoch: 1, From: 4, To: 6, Count: 2, Records: make([]byte, 100)}, nil, true)
	got, err := x.Next(t.Context())
	must(t, err)
	if want := (Gap{MDT: "m", Epoch: 1, From: 4, To: 6, Records: 2}); got.Gap == nil || *got.Gap != want {
		t.Errorf("got %+v, want %+v", got.Gap, want)
	}
}

// Why: a listener that came between the core's hearing of a reset and the loop's acting on it was told that the new
// epoch stood where the old one had ended. When it came back, all of the new one below that was kept from it.
func TestListenerThatComesWithAReset(t *testing.T) {
	s := newSite(t)
	s.logs[firstMDT].grow(100)
	s.eventually("the reading", func() bool {
		_, marks := s.listen(ListenOptions{})
		return marks[0].Index == 100
	})
	x := &Listener{b: s.b, begun: time.Now(), wants: make(map[groups.MDT]*watched),
		options: ListenOptions{Seen: []Mark{{MDT: firstMDT, Index: 60}}}}
	var marks []Mark
	must(t, s.b.call(s.ctx, func(l *loop) {
		l.core.Step(core.Reset{MDT: 0, Epoch: 1}) // as takeIn does, before a call
		var err error
		marks, err = l.listen(x)
		must(t, err)
	}))
	if want := (Mark{MDT: firstMDT, Index: 100}); marks[0] != want {
		t.Errorf("it stands at %+v, want %+v", marks[0], want)
	}
	for _, want := range []Gap{{MDT: firstMDT, From: 60, To: 100, Unknown: true}, {MDT: firstMDT, Epoch: 1, Unknown: true}} {
		got, err := x.Next(s.ctx)
		must(t, err)
		if got.Gap == nil || *got.Gap != want {
			t.Fatalf("got %+v, %+v, want %+v", got, got.Gap, want)
		}
	}
	s.listenTo(x, &account{t: t}, 100) // the MDT is the same
}

// Why: who was away while an MDT counted anew was told of what it missed of the last epoch alone.
func TestListenerThatIsAwayOverResets(t *testing.T) {
	s := newSite(t)
	s.logs[firstMDT].grow(100)
	for epoch := range core.Epoch(3) {
		s.eventually("the reading", func() bool {
			_, marks := s.listen(ListenOptions{})
			return marks[0] == Mark{firstMDT, epoch, 100}
		})
		if epoch < 2 {
			must(t, s.b.call(s.ctx, func(l *loop) { l.core.Step(core.Reset{MDT: 0, Epoch: epoch + 1}) })) // the MDT stays the same
		}
	}
	for _, test := range []struct {
		seen Mark
		want []Gap
	}{
		{Mark{firstMDT, 0, 60}, []Gap{{firstMDT, 0, 60, 100, 0, true}, {firstMDT, 1, 0, 100, 0, true}, {firstMDT, 2, 0, 100, 0, true}}},
		{Mark{firstMDT, 0, 100}, []Gap{{firstMDT, 1, 0, 100, 0, true}, {firstMDT, 2, 0, 100, 0, true}}},
		{Mark{firstMDT, 1, 99}, []Gap{{firstMDT, 1, 99, 100, 0, true}, {firstMDT, 2, 0, 100, 0, true}}},
		{Mark{firstMDT, 2, 99}, []Gap{{firstMDT, 2, 99, 100, 0, true}}},
	} {
		x, _ := s.listen(ListenOptions{Seen: []Mark{test.seen}})
		for _, want := range test.want {
			got, err := x.Next(s.ctx)
			must(t, err)
			if got.Gap == nil || *got.Gap != want {
				t.Errorf("who saw %v is told of %+v, want %+v", test.seen, got.Gap, want)
			}
		}
	}
}

// Why: a listener that came back was told of late records above its place first. When it was cut off behind that,
// it had its place there, and was never told of what lies between.
func TestLateRecordsAbovePlacesOfReturningListeners(t *testing.T) {
	w := &mdtWork{MDT: MDT{Name: "m"}, epoch: 1, shown: 100}
	w.remember(aside{1, 90, core.Range{From: 10, To: 20}})
	w.remember(aside{1, 90, core.Range{From: 40, To: 60}})
	w.remember(aside{1, 95, core.Range{From: 80, To: 81}})
	for _, test := range []struct {
		seen uint64
		want []Gap
	}{
		{9, []Gap{{"m", 1, 9, 100, 0, true}}},
		{10, []Gap{{"m", 1, 10, 100, 0, true}}},
		{50, []Gap{{"m", 1, 10, 20, 0, true}, {"m", 1, 40, 50, 0, true}, {"m", 1, 50, 100, 0, true}}},
		{80, []Gap{{"m", 1, 10, 20, 0, true}, {"m", 1, 40, 60, 0, true}, {"m", 1, 80, 100, 0, true}}},
		{94, []Gap{{"m", 1, 80, 81, 0, true}, {"m", 1, 94, 100, 0, true}}},
		{100, nil},
	} {
		if got := w.missed(Mark{"m", 1, test.seen}); !slices.Equal(got, test.want) {
			t.Errorf("who saw %d is told of %v, want %v", test.seen, got, test.want)
		}
	}
}

// What an MDT remembers for those who come back is bounded, and what it forgets of late records it tells with others.
func TestManyAsides(t *testing.T) {
	w := &mdtWork{MDT: MDT{Name: "m"}, epoch: 3, shown: 1000}
	w.remember(aside{epoch: 2, shown: 50})
	for i := range uint64(mostAsides + 10) {
		w.remember(aside{3, 1000, core.Range{From: 500 - i, To: 501 - i}})
	}
	gaps := w.missed(Mark{"m", 3, 1000})
	if len(gaps) != mostAsides || gaps[0] != (Gap{"m", 3, 490, 501, 0, true}) || gaps[1].To != gaps[0].From {
		t.Errorf("%d gaps, from %+v on", len(gaps), gaps[:2])
	}
	if gaps := w.missed(Mark{"m", 3, 1001}); gaps != nil {
		t.Errorf("who was shown what came later is told of %v", gaps)
	}
}

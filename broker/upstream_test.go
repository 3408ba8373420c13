package broker

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// watchful looks often whether an MDT is still the one that it was.
func watchful(o *Options) { o.RecogniseEvery = 20 * time.Millisecond }

// lost returns the next notice of lost records; deliveries before it are dropped.
func (x *someone) lost() Lost {
	x.t.Helper()
	for {
		select {
		case msg := <-x.inbox.messages:
			switch msg := msg.(type) {
			case Lost:
				return msg
			case *Delivery:
				must(x.t, x.b.Done(x.ctx, msg))
			}
		case <-x.ctx.Done():
			x.t.Fatal("no notice that records are lost")
		}
	}
}

// inEpoch takes so many records of an epoch and acknowledges them; others it drops.
func (x *someone) inEpoch(epoch uint32, records int) (indexes []uint64) {
	x.t.Helper()
	for len(indexes) < records {
		d, err := x.inbox.Next(x.ctx)
		if x.ctx.Err() != nil {
			x.t.Fatalf("got only %v of epoch %d", indexes, epoch)
		}
		if err == nil && uint32(d.Epoch) == epoch {
			indexes = append(indexes, indexesOf(d.Records)...)
			x.ack(d)
		}
	}
	return indexes
}

func TestResetOfAnMDT(t *testing.T) {
	s := newSiteWith(t, watchful)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	d := m.next()
	must(t, m.m.Ack(s.ctx, d.Lease, 30))
	s.eventually("the clear", func() bool { return log.cleared() == 30 })
	later := made(1, 50)
	for i := range later {
		later[i].Time = changelog.TimeOf(time.Unix(1_900_000_000+int64(i), 0))
	}
	log.rewrite(later...)
	if x := m.lost(); x.Epoch != 0 || x.From != 30 || x.To != 100 || x.MDT != firstMDT || x.Group != "g" {
		t.Errorf("lost: %+v", x)
	}
	wantRange(t, m.inEpoch(1, 50), 1, 50)
	s.eventually("the clear", func() bool { return log.cleared() == 50 })
	s.restart() // the epoch is durable
	log.append(made(51, 60)...)
	m = s.join("g", "m", 64)
	wantRange(t, m.inEpoch(1, 10), 51, 60)
}

func TestResetWhileStopped(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	s.join("g", "m", 64).take(100)
	s.end()
	log.rewrite(made(1, 40)...) // the same, but the end is gone
	s.start()
	m := s.join("g", "m", 64)
	wantRange(t, m.inEpoch(1, 40), 1, 40)
	s.eventually("the clear", func() bool { return log.cleared() == 40 })
}

func TestTailThatWasIssuedAgain(t *testing.T) {
	s := newSiteWith(t, watchful)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	m.next()
	again := made(1, 120)
	for i := range again[90:] {
		again[90+i].Target.Oid = 7777
	}
	log.rewrite(again...)
	if x := m.lost(); x.From != 0 || x.To != 100 {
		t.Errorf("lost: %+v", x)
	}
	wantRange(t, m.inEpoch(1, 120), 1, 120)
}

func TestPurge(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(map[bool]string{true: "running", false: "stopped"}[running], func(t *testing.T) {
			s := newSiteWith(t, watchful)
			log := s.logs[firstMDT]
			log.grow(100)
			s.group("g", groups.ByMDT)
			s.group("other", groups.ByMDT)
			m := s.join("g", "m", 64)
			d := m.next()
			must(t, m.m.Ack(s.ctx, d.Lease, 30))
			if !running {
				s.end()
			}
			_, err := log.log().ClearAll(s.ctx, log.user)
			must(t, err)
			if running {
				if x := m.lost(); x.Epoch != 0 || x.From != 30 || x.To != 100 {
					t.Errorf("lost: %+v", x)
				}
				m.ack(d)
			} else {
				log.append(made(101, 120)...)
				s.start()
				m = s.join("g", "m", 64)
				wantRange(t, m.inEpoch(0, 20), 101, 120)
			}
			must(t, s.b.DeleteGroup(s.ctx, "other", false))
			log.append(made(121, 130)...)
			wantRange(t, m.take(10), 121, 130)
			s.eventually("the clear", func() bool { return log.cleared() == 130 })
		})
	}
}

// hiding is an MDT that does not show a record at first. Who looks there again waits
// until it does.
type hiding struct {
	*testLog
	index uint64
	shown chan struct{}
}

type hidingReader struct {
	Reader
	index uint64
}

func (h hiding) Open(ctx context.Context, start uint64) (Reader, error) {
	r, err := h.testLog.Open(ctx, start)
	if err == nil && start == h.index {
		select {
		case <-h.shown:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	select {
	case <-h.shown:
		return r, err
	default:
		return hidingReader{r, h.index}, err
	}
}

func (r hidingReader) Read(dst []byte) (int, error) {
	n, err := r.Reader.Read(dst)
	at := 0
	for scan := changelog.NewScanner(dst[:n]); scan.Scan(); at = int(scan.Offset()) {
		if scan.Record().Index() == r.index {
			return at + copy(dst[at:], dst[at+scan.Record().Size():n]), err
		}
	}
	return n, err
}

func TestLateRecord(t *testing.T) {
	shown := make(chan struct{})
	s := newSiteWith(t, func(o *Options) { o.MDTs[0].Source = hiding{o.MDTs[0].Source.(*testLog), 5, shown} })
	log := s.logs[firstMDT]
	s.group("g", groups.ByFID)
	s.group("behind", groups.ByFID) // reads it in its place
	m := s.join("g", "m", 64)
	listener, _, err := s.b.Listen(s.ctx, ListenOptions{})
	must(t, err)
	log.grow(20)
	got := m.take(19)
	wantRange(t, got[:4], 1, 4)
	wantRange(t, got[4:], 6, 20)
	listened := 0
	for listened < 19 {
		x, err := listener.Next(s.ctx)
		must(t, err)
		listened += x.Count
	}
	close(shown)
	d := m.next()
	if !d.Late || d.First != 5 || d.Count != 1 {
		t.Errorf("got %d, late %v", d.First, d.Late)
	}
	m.ack(d)
	x, err := listener.Next(s.ctx)
	must(t, err)
	if !x.Late || x.First != 5 || x.Count != 1 {
		t.Errorf("the listener got %d, late %v", x.First, x.Late)
	}
	behind := s.join("behind", "m", 64)
	wantRange(t, behind.take(20), 1, 20)
	s.eventually("the clear", func() bool { return log.cleared() == 20 })
}

// spoiled is an upstream whose first reading ends in bytes that are no records.
type spoiled struct {
	*testLog
	first chan struct{} // holds one token: who gets it, spoils
}

type spoiledReader struct{ Reader }

func (x spoiled) Open(ctx context.Context, start uint64) (Reader, error) {
	r, err := x.testLog.Open(ctx, start)
	select {
	case <-x.first:
		return spoiledReader{r}, err
	default:
		return r, err
	}
}

func (r spoiledReader) Read(dst []byte) (int, error) {
	n, err := r.Reader.Read(dst)
	if err == nil {
		n += copy(dst[n:], make([]byte, 100))
	}
	return n, err
}

func TestStoppedMDTIsRestarted(t *testing.T) {
	first := make(chan struct{}, 2)
	first <- struct{}{}
	s := newSiteWith(t, func(o *Options) { o.MDTs[0].Source = spoiled{o.MDTs[0].Source.(*testLog), first} })
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	s.logs[firstMDT].grow(10)
	wantRange(t, m.take(10), 1, 10)
	s.eventually("the stop", func() bool {
		status, err := s.b.Status(s.ctx)
		must(t, err)
		return status.MDTs[0].State == "stopped"
	})
	s.logs[firstMDT].grow(20)
	wantError(t, s.b.Restart(s.ctx, "nowhere"), groups.ErrUnknownMDT)
	must(t, s.b.Restart(s.ctx, firstMDT))
	wantRange(t, m.take(10), 11, 20)
}

func TestSlowMemberDoesNotKeepOthers(t *testing.T) {
	const records = 20000
	s := newSiteWith(t, func(o *Options) { o.Limits.Memory, o.Limits.Grant = 1<<19, 1<<17 })
	log := s.logs[firstMDT]
	s.group("slow", groups.ByMDT)
	s.group("quick", groups.ByMDT)
	slow, quick := s.join("slow", "m", 2), s.join("quick", "m", 8)
	held := slow.next
	log.grow(records)
	wantRange(t, quick.take(records), 1, records)
	d := held() // and now it goes on, by a catch-up
	got := indexesOf(d.Records)
	slow.ack(d)
	slow.credit(8)
	got = append(got, slow.take(records-len(got))...)
	wantRange(t, got, 1, records)
	if !slices.IsSorted(got) {
		t.Error("out of order")
	}
	s.eventually("the clear", func() bool { return log.cleared() == records })
}

// unaware is a source whose readers do not notice that the changelog was replaced, as those
// of a device do not.
type unaware struct{ Source }

func (u unaware) Open(ctx context.Context, start uint64) (Reader, error) {
	r, err := u.Source.Open(ctx, start)
	return unawareReader{r}, err
}

type unawareReader struct{ Reader }

func (r unawareReader) Read(dst []byte) (int, error) {
	n, err := r.Reader.Read(dst)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

func (r unawareReader) Wait(ctx context.Context) error {
	if r.Reader.Wait(ctx) == nil {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// takeAnother takes all of an MDT that has come in the place of another one, and of which nothing may be cleared before.
func (x *someone) takeAnother(log *testLog, last uint64) {
	x.t.Helper()
	d := x.next()
	if at := log.cleared(); at != 0 || d.Epoch != 1 {
		x.t.Errorf("epoch %d; %d was cleared of an MDT that is another one", d.Epoch, at)
	}
	wantRange(x.t, indexesOf(d.Records), 1, last)
	x.ack(d)
	x.eventually("the clear", func() bool { return log.cleared() == last })
}

// An MDT that nobody has looked at since it lost its end is looked at before it is cleared.
func TestNoClearOfWhatWasIssuedAgain(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.MDTs[0].Source = unaware{o.MDTs[0].Source} })
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	held := []*Delivery{m.next()}
	for held[len(held)-1].Last < 100 { // as the reader came upon them
		held = append(held, m.next())
	}
	again := made(1, 120)
	for i := range again[90:] {
		again[90+i].Target.Oid = 7777
	}
	log.rewrite(again...)
	for _, d := range held {
		m.ack(d)
	}
	m.takeAnother(log, 120)
}

// interrupted is a source that is held up at its first clear: before it takes hold of what is to
// be cleared, or after that was looked at.
type interrupted struct {
	Source
	when       string
	held, goOn chan struct{}
}

func (x *interrupted) holdUp(when string) {
	if x.when == when {
		x.when = "never again"
		close(x.held)
		<-x.goOn
	}
}

func (x *interrupted) ClearIf(ctx context.Context, index uint64, isSame func() error) error {
	x.holdUp("before")
	return x.Source.ClearIf(ctx, index, func() error {
		err := isSame()
		x.holdUp("after")
		return err
	})
}

// An MDT that is replaced between the look at it and its clear is not cleared, nor is one that is
// replaced before.
func TestNoClearOfAnMDTThatTookThePlace(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			x := &interrupted{when: when, held: make(chan struct{}), goOn: make(chan struct{})}
			s := newSiteWith(t, func(o *Options) { x.Source, o.MDTs[0].Source = unaware{o.MDTs[0].Source}, x })
			log := s.logs[firstMDT]
			log.grow(100)
			s.group("g", groups.ByMDT)
			m := s.join("g", "m", 64)
			m.take(100)
			<-x.held
			anew := made(1, 120)
			for i := range anew {
				anew[i].Target.Oid = 7777
			}
			log.rewrite(anew...)
			close(x.goOn)
			m.takeAnother(log, 120)
		})
	}
}

// slowToOpen is a source that takes its time for each opening.
type slowToOpen struct {
	Source
	pauses []time.Duration
}

func (x *slowToOpen) Open(ctx context.Context, start uint64) (Reader, error) {
	if len(x.pauses) > 0 {
		time.Sleep(x.pauses[0])
		x.pauses = x.pauses[1:]
	}
	return x.Source.Open(ctx, start)
}

// A look may take long, but what it has found of the end must be fresh when the MDT is cleared.
func TestNoClearAfterAnOldLook(t *testing.T) {
	for _, test := range []struct {
		forTheEnd, forTheFirst time.Duration
		mayClear               bool
	}{
		{0, 0, true}, {time.Hour, freshLook / 2, true}, {0, freshLook + time.Second, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			log := &testLog{t: t, dir: filepath.Join(t.TempDir(), "log"), name: firstMDT}
			log.create()
			log.grow(10)
			source := &slowToOpen{log, []time.Duration{test.forTheEnd, test.forTheFirst}}
			known := core.MDTState{Recent: ingest.RecordIDs(&core.Batch{Records: pack(t, made(9, 10))})}
			l := &loop{ctx: t.Context()}
			err := l.mayClear(&mdtWork{MDT: MDT{Source: source}}, clearOrder{known: known}, core.Clear{})
			if (err == nil) != test.mayClear {
				t.Errorf("%v for the end and %v for the first record: %v", test.forTheEnd, test.forTheFirst, err)
			}
		})
	}
}

// Why: a clear that was decided before an epoch has ended may be carried out after that. What it names was not read in the
// new one, and nothing is known yet by which an MDT could be told from another.
func TestNoClearOfAnEpochThatHasEnded(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Limits.ClearEvery, o.Limits.ClearAgain = time.Hour, time.Hour })
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	s.join("g", "m", 64).take(100)
	must(t, s.b.call(s.ctx, func(l *loop) {
		l.core.Step(core.Reset{MDT: 0, Epoch: 1})
		l.do(core.Clear{MDT: 0, Epoch: 0, Index: 100})
	}))
	s.end() // and with it all that was under way
	if at := log.cleared(); at != 0 {
		t.Errorf("%d was cleared of an epoch in which nothing was acknowledged", at)
	}
}

// Why: an MDT that does not answer a clear may be found to be another one again and again meanwhile.
func TestClearThatHangsOverResets(t *testing.T) {
	x := &interrupted{when: "before", held: make(chan struct{}), goOn: make(chan struct{})}
	s := newSiteWith(t, func(o *Options) { x.Source, o.MDTs[0].Source = o.MDTs[0].Source, x })
	s.logs[firstMDT].grow(100)
	s.group("g", groups.ByMDT)
	s.join("g", "m", 64).take(100)
	<-x.held
	s.b.calls <- func(l *loop) {
		for epoch := core.Epoch(1); epoch < 4; epoch++ {
			l.core.Step(core.Reset{MDT: 0, Epoch: epoch})
			l.do(core.Clear{MDT: 0, Epoch: epoch, Index: 1})
		}
	}
	if _, err := s.b.Status(s.ctx); err != nil {
		t.Errorf("the loop stands still: %v", err)
	}
	close(x.goOn)
}

// Why: what is found late while a listener is away, or was on its way to it, lies below its place: it was neither shown
// nor told of when it came back.
func TestLateRecordWhileAListenerIsAway(t *testing.T) {
	shown := make(chan struct{})
	s := newSiteWith(t, func(o *Options) { o.MDTs[0].Source = hiding{o.MDTs[0].Source.(*testLog), 5, shown} })
	s.logs[firstMDT].grow(20)
	s.eventually("the reading", func() bool {
		_, marks := s.listen(ListenOptions{})
		return marks[0].Index == 20
	})
	here, _ := s.listen(ListenOptions{})
	close(shown)
	late, err := here.Next(s.ctx)
	must(t, err)
	if !late.Late || late.From != 4 || late.To != 5 {
		t.Fatalf("got %+v, want the late record 5", late)
	}
	missed := Gap{MDT: firstMDT, From: 4, To: 5, Unknown: true}
	for _, test := range []struct {
		seen uint64
		want []Gap
	}{
		{20, []Gap{missed}},
		{10, []Gap{missed, {MDT: firstMDT, From: 10, To: 20, Unknown: true}}},
	} {
		x, _ := s.listen(ListenOptions{Seen: []Mark{{MDT: firstMDT, Index: test.seen}}})
		for _, want := range test.want {
			got, err := x.Next(s.ctx)
			must(t, err)
			if got.Gap == nil || *got.Gap != want {
				t.Errorf("who saw %d is told of %+v, want %+v", test.seen, got.Gap, want)
			}
		}
	}
	s.logs[firstMDT].grow(30)
	s.listenTo(here, &account{t: t, at: 20}, 30)
	x, _ := s.listen(ListenOptions{Seen: []Mark{{MDT: firstMDT, Index: 25}}})
	got, err := x.Next(s.ctx)
	must(t, err)
	if want := (Gap{MDT: firstMDT, From: 25, To: 30, Unknown: true}); got.Gap == nil || *got.Gap != want {
		t.Errorf("who was shown what came after it is told of %+v, want %+v", got.Gap, want)
	}
}

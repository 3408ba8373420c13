package broker

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// fetched is a source whose first reader has fetched some records ahead, as a client does
// (ABI 8.3). It shows each part when the test lets it; who opens later sees the changelog.
type fetched struct {
	Source
	parts  chan []byte
	opened bool // the first reader; nobody else opens before it
}

func (f *fetched) Open(ctx context.Context, start uint64) (Reader, error) {
	if !f.opened {
		f.opened = true
		return &fetchedReader{parts: f.parts}, nil
	}
	return f.Source.Open(ctx, start)
}

type fetchedReader struct {
	parts chan []byte
	next  []byte
}

func (r *fetchedReader) Read(dst []byte) (int, error) {
	if len(r.next) == 0 {
		return 0, io.EOF
	}
	n := copy(dst, r.next)
	r.next = nil
	return n, nil
}

func (r *fetchedReader) Wait(ctx context.Context) error {
	select {
	case r.next = <-r.parts:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *fetchedReader) Close() error { return nil }

func pack(t *testing.T, records []changelog.Fields) (packed []byte) {
	t.Helper()
	for _, f := range records {
		var err error
		packed, err = f.Append(packed)
		must(t, err)
	}
	return packed
}

// crash is an MDT that is going to die, and to issue the records from 106 on again.
type crash struct {
	*fetched
	s           *site
	log         *testLog
	m           *someone
	old, issued []changelog.Fields // before and after
}

// newCrash returns one of which 100 records were taken and cleared.
func newCrash(t *testing.T) *crash {
	c := &crash{fetched: &fetched{parts: make(chan []byte)}, old: made(1, 110), issued: made(1, 130)}
	c.s = newSiteWith(t, func(o *Options) { c.Source, o.MDTs[0].Source = o.MDTs[0].Source, c.fetched })
	c.log = c.s.logs[firstMDT]
	c.log.grow(100)
	c.s.group("g", groups.ByMDT)
	c.m = c.s.join("g", "m", 64)
	for i := range c.issued[105:] {
		c.issued[105+i].Target.Oid = 7777
	}
	c.parts <- pack(t, c.old[:100])
	c.m.take(100)
	c.s.eventually("the clear", func() bool { return c.log.cleared() == 100 })
	return c
}

// takeAnew takes the second epoch. In the first one nothing above 105 may be cleared.
func (c *crash) takeAnew() {
	c.s.t.Helper()
	c.takeAnewUpTo(105, 130)
}

// takeAnewUpTo takes the second epoch up to last. In the first one nothing above same may be cleared.
func (c *crash) takeAnewUpTo(same, last uint64) {
	t := c.s.t
	t.Helper()
	var again []uint64
	for len(again) == 0 || again[len(again)-1] < last {
		d := c.m.next()
		if cleared := c.log.cleared(); cleared > same && d.Epoch == 0 {
			t.Fatalf("%d was cleared while nobody has seen all of it", cleared)
		}
		if d.Epoch == 1 {
			again = append(again, indexesOf(d.Records)...)
		}
		c.m.ack(d)
	}
	wantRange(t, again, 1, last)
	c.s.eventually("the clear", func() bool { return c.log.cleared() == last })
}

// An MDT dies when the client has fetched records 101 to 110, and issues 106 to 110 again. They
// are read after the silence, behind some that it has kept, and the new 111 follows them
// without a gap, in one batch.
func TestFetchedBeforeTheSilence(t *testing.T) {
	c := newCrash(t)
	c.log.rewrite(c.issued...)
	<-time.After(silence + silence/10)
	c.parts <- pack(t, c.old[100:105])
	c.m.take(5)
	c.parts <- append(pack(t, c.old[105:]), pack(t, c.issued[110:])...)
	c.takeAnew()
}

// Why: what was read before an MDT died, and waited for memory until it was back, was heard right before what it showed
// then: nobody noticed that it had been away, and that it had issued indexes again. Records that two groups had not seen were cleared.
func TestHeardAfterTheSilence(t *testing.T) {
	c := newCrash(t)
	holding, hold := make(chan struct{}), make(chan struct{})
	held := make(chan error, 1)
	go func() {
		held <- c.s.b.call(c.s.ctx, func(l *loop) {
			close(holding)
			<-hold
			l.mdts[0].asked = time.Now() // that the loop was busy is no silence
		})
	}()
	<-holding
	c.parts <- pack(t, c.old[100:110])
	<-time.After(silence + silence/10)
	c.log.rewrite(c.issued...)
	for i := 110; i < 130; i += 2 { // more batches than a clear remembers
		c.parts <- pack(t, c.issued[i:i+2])
	}
	close(hold)
	must(t, <-held)
	c.takeAnew()
}

// Why: an MDT that answers slowly was asked for the same again and again, and what each was to compare with
// waited in memory: 500 MiB in a quarter of an hour.
func TestManyAskForOneLook(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	m.take(100)
	answers := make(chan struct{})
	slowly := func(ctx context.Context) func() {
		select {
		case <-answers:
		case <-ctx.Done():
		}
		return func() {}
	}
	must(t, s.b.call(s.ctx, func(l *loop) {
		w := l.mdts[0]
		l.look(w, func() errand { return slowly })
		for range 100 {
			l.recognise(w, time.Now())
		}
		if len(w.queue) > 2 { // another look may have been under way
			t.Errorf("%d looks wait", len(w.queue))
		}
	}))
	issued := made(1, 30)
	for i := range issued {
		issued[i].Target.Oid = 7777
	}
	log.rewrite(issued...)
	close(answers)
	if d := m.next(); d.Epoch != 1 || d.First != 1 {
		t.Errorf("record %d of epoch %d", d.First, d.Epoch)
	}
}

// An MDT is still doubted when the reading notices that it was reset, and it is looked at before the
// new one has shown a record: there is nothing to find once more, and nothing that was found.
func TestDoubtOfAnEarlierEpoch(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	m.take(100)
	issued := made(1, 30)
	for i := range issued {
		issued[i].Target.Oid = 7777
	}
	log.rewrite(issued...)
	must(t, s.b.call(s.ctx, func(l *loop) {
		w, known := l.mdts[0], l.core.Known(0)
		last := &core.Batch{MDT: w.id, From: 99, To: 100, Count: 1, Records: pack(t, made(100, 100))}
		w.doubt = &doubt{epoch: known.Epoch, known: known.Recent, heard: []*core.Batch{last}, count: 1}
		l.core.Step(core.Reset{MDT: w.id, Epoch: known.Epoch + 1})
		l.recognise(w, time.Now())
	}))
	var again []uint64
	for len(again) < len(issued) {
		d := m.next()
		if d.Epoch != 1 {
			t.Fatalf("a delivery of epoch %d", d.Epoch)
		}
		again = append(again, indexesOf(d.Records)...)
		m.ack(d)
	}
	wantRange(t, again, 1, 30)
	s.eventually("the clear", func() bool { return log.cleared() == 30 })
}

// blind is a source that nobody can look at while there is a file; a reading goes on.
type blind struct {
	Source
	t    *testing.T
	file string
}

func (c *crash) blind() *blind {
	x := &blind{c.Source, c.s.t, filepath.Join(c.s.dir, "blind")}
	c.Source = x
	return x
}

func (x *blind) Open(ctx context.Context, start uint64) (Reader, error) {
	if _, err := os.Stat(x.file); err == nil {
		return nil, errors.New("not now")
	}
	return x.Source.Open(ctx, start)
}

func (x *blind) begin() { must(x.t, os.WriteFile(x.file, nil, 0o600)) }
func (x *blind) end()   { must(x.t, os.Remove(x.file)) }

// read is how far the broker has read and written down that it has.
func (c *crash) read(index uint64) {
	c.s.t.Helper()
	c.s.eventually("the reading", func() bool { return c.s.status().MDTs[0].Read == index })
}

// Why: an MDT died that had been silent before, and could not be looked at since: what was to be found once more was
// counted from the first silence, and the records after the second one were not among it.
func TestSecondSilence(t *testing.T) {
	const first = 100 + fetchedBefore
	c := newCrash(t)
	x := c.blind()
	x.begin()
	c.old, c.issued = made(1, first+10), made(1, first+30)
	for i := range c.issued[first+5:] {
		c.issued[first+5+i].Target.Oid = 7777
	}
	c.m.credit(200)
	<-time.After(silence + silence/10)
	for i := 100; i < first; i += 256 {
		c.parts <- pack(t, c.old[i:i+256])
	}
	c.read(first)
	c.log.rewrite(c.issued...)
	<-time.After(silence + silence/10)
	c.parts <- pack(t, c.old[first:])
	for i := first + 10; i < len(c.issued); i += 2 { // more batches than a clear remembers
		c.parts <- pack(t, c.issued[i:i+2])
	}
	c.read(first + 30)
	x.end()
	c.takeAnewUpTo(first+5, first+30)
}

// Why: what was read last before the silence was pushed out of the eight records that an MDT is known by, as nine
// batches were taken in at once.
func TestManyBatchesAtOnceAfterTheSilence(t *testing.T) {
	c := newCrash(t)
	c.parts <- pack(t, c.old[100:110])
	c.read(110)
	c.s.eventually("the look", func() bool { return c.sure() })
	holding, hold := make(chan struct{}), make(chan struct{})
	held := make(chan error, 1)
	go func() {
		held <- c.s.b.call(c.s.ctx, func(l *loop) {
			close(holding)
			select {
			case <-hold:
			case <-c.s.ctx.Done():
			}
			l.takeIn() // as it does before each call
		})
	}()
	<-holding
	c.log.rewrite(c.issued...)
	<-time.After(silence + silence/10)
	for i := 110; i < 130; i += 2 {
		c.parts <- pack(t, c.issued[i:i+2])
	}
	c.s.eventually("the batches", func() bool { return len(c.s.b.events) >= 10 })
	close(hold)
	must(t, <-held)
	c.takeAnew()
}

// Why: lcapd ended before it was found out that an MDT had issued indexes again, and after the next start knew the
// MDT by what it had shown since. What it issued again nobody got, and it was cleared.
func TestEndAfterTheSilence(t *testing.T) {
	c := newCrash(t)
	x := c.blind()
	c.s.group("slow", groups.ByMDT)
	c.parts <- pack(t, c.old[100:110])
	c.m.take(10)
	c.s.eventually("the mark", func() bool { return c.s.status().Groups[0].Tracks[0].Durable == 110 })
	x.begin()
	c.log.rewrite(c.issued...)
	<-time.After(silence + silence/10)
	for i := 110; i < 130; i += 2 { // more batches than a start remembers
		c.parts <- pack(t, c.issued[i:i+2])
	}
	c.m.take(20)
	c.s.eventually("the mark", func() bool { return c.s.status().Groups[0].Tracks[0].Durable == 130 })
	c.s.end()
	x.end()
	c.s.start()
	must(t, c.s.b.DeleteGroup(c.s.ctx, "slow", false))
	c.m = c.s.join("g", "m", 64)
	c.takeAnew()
}

// sure tells whether all that was heard since the last silence was found once more.
func (c *crash) sure() (is bool) {
	must(c.s.t, c.s.b.call(c.s.ctx, func(l *loop) { is = !l.mdts[0].unsure() }))
	return is
}

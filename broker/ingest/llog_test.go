package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/llog"
)

// smallSegments are of some hundred records, so that tests meet their ends.
const smallSegments = 64 << 10

// site is a local changelog with one user and an appender.
type site struct {
	*llog.Log
	*llog.Appender
	user llog.UserID
}

// newSite makes one, in memory if the machine has such a file system.
func newSite(t testing.TB, segment int64) *site {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ingest")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	l, err := llog.Create(filepath.Join(dir, "log"), "test-MDT0000")
	check(t, err)
	u, err := l.Register(context.Background(), "lcapd", 0)
	check(t, err)
	a, err := l.NewAppender(llog.AppendOptions{SegmentSize: segment})
	check(t, err)
	t.Cleanup(func() { check(t, a.Close()) })
	return &site{l, a, u.ID}
}

// append appends the test's records from..to.
func (s *site) append(t testing.TB, from, to uint64) {
	t.Helper()
	_, err := s.Append(context.Background(), recs(upTo(from, to)...))
	check(t, err)
}

func (s *site) open(_ context.Context, start uint64) (ingest.Reader, error) {
	return s.NewReader(start, nil)
}

// running is a Run in a goroutine.
type running struct {
	batches chan *core.Batch
	ended   chan error
}

func start(ctx context.Context, s *site, o ingest.Options) *running {
	r := &running{make(chan *core.Batch), make(chan error, 1)}
	go func() {
		r.ended <- ingest.RunFrom(ctx, s.open, o, func(ctx context.Context, b *core.Batch) error {
			select {
			case r.batches <- b:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		close(r.batches)
	}()
	return r
}

// next returns the next batch.
func (r *running) next(t testing.TB) *core.Batch {
	t.Helper()
	select {
	case b, ok := <-r.batches:
		if !ok {
			t.Fatalf("the reading ended: %v", <-r.ended)
		}
		return b
	case <-time.After(patience):
		t.Fatal("no batch comes")
	}
	return nil
}

// A live reading and a catch-up see the same while records are being appended.
func TestRunWithAppends(t *testing.T) {
	noLeak(t)
	s := newSite(t, smallSegments)
	const last = 5000
	o := ingest.Options{MDT: 1, BatchBytes: 4096, ReadBytes: 8192, Slots: true}
	ctx, stop := context.WithCancel(within(t))
	live := start(ctx, s, o)
	appended := make(chan struct{})
	go func() {
		defer close(appended)
		for i := uint64(1); i <= last; i += 10 {
			s.append(t, i, i+9)
		}
	}()
	catchUp := o
	catchUp.Start, catchUp.Until = 101, 4321
	behind := start(ctx, s, catchUp)
	var batches, caught []*core.Batch
	for at := uint64(0); at < last; {
		b := live.next(t)
		batches, at = append(batches, b), b.To
	}
	for b := range behind.batches {
		caught = append(caught, b)
	}
	check(t, <-behind.ended)
	checkBatches(t, o, batches, recs(upTo(1, last)...))
	checkBatches(t, catchUp, caught, recs(upTo(101, 4321)...))
	<-appended
	stop()
	if err := <-live.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the live reading ended with %v", err)
	}
}

// An appended record is there without anybody waiting for a timer: far sooner than
// any polling would be.
func TestRunLatency(t *testing.T) {
	noLeak(t)
	s := newSite(t, smallSegments)
	ctx, stop := context.WithCancel(within(t))
	r := start(ctx, s, ingest.Options{})
	best := patience
	for i := uint64(1); i <= 50; i++ {
		at := time.Now()
		s.append(t, i, i)
		if b := r.next(t); b.From != i-1 || b.To != i || b.Count != 1 {
			t.Fatalf("got %s after the append of %d", show(b), i)
		}
		best = min(best, time.Since(at))
	}
	t.Logf("best of 50: %v from the call of Append to Emit", best)
	if best > 20*time.Millisecond {
		t.Errorf("the best of 50 took %v", best)
	}
	stop()
	<-r.ended
}

// What is purged while we read is missing, and noted as such.
func TestRunWithPurge(t *testing.T) {
	noLeak(t)
	s := newSite(t, smallSegments)
	s.append(t, 1, 1000)
	ctx, stop := context.WithCancel(within(t))
	o := ingest.Options{BatchBytes: 2000, ReadBytes: 4000}
	r := start(ctx, s, o)
	batches := []*core.Batch{r.next(t)}
	s.append(t, 1001, 3000)
	check(t, s.Clear(ctx, s.user, 2500))
	for at := uint64(0); at < 3000; {
		b := r.next(t)
		batches, at = append(batches, b), b.To
	}
	stop()
	<-r.ended
	var packed []byte
	holes := uint64(0)
	for _, b := range batches {
		packed = append(packed, b.Records...)
		for _, h := range b.Holes {
			holes += h.To - h.From
		}
	}
	checkBatches(t, o, batches, packed)
	if n := uint64(bytes.Count(packed, []byte("ab"))); n+holes != 3000 || holes == 0 {
		t.Errorf("%d records and %d missing indexes are not 3000", n, holes)
	}
}

// Everything up to the end of a catch-up was purged: the next record proves it.
func TestCatchUpOfWhatIsGone(t *testing.T) {
	noLeak(t)
	s := newSite(t, smallSegments)
	s.append(t, 1, 10)
	ctx := within(t)
	check(t, s.Clear(ctx, s.user, 10))
	o := ingest.Options{Start: 3, Until: 8}
	r := start(ctx, s, o)
	s.append(t, 11, 11)
	b := r.next(t)
	if show(b) != "(2,8][] holes [{2 8}]" {
		t.Errorf("got %s", show(b))
	}
	check(t, <-r.ended)
}

// Damage in the log is an error of the reader: what comes before it is there.
func TestRunToDamage(t *testing.T) {
	noLeak(t)
	s := newSite(t, smallSegments)
	s.append(t, 1, 2000)
	segments, err := filepath.Glob(filepath.Join(s.Dir(), "*.seg"))
	check(t, err)
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	check(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 200), 30_000)
	check(t, errors.Join(err, f.Close()))
	var batches []*core.Batch
	err = ingest.RunFrom(within(t), s.open, ingest.Options{}, collect(&batches))
	e, ok := errors.AsType[*ingest.ReadError](err)
	if !ok || !errors.Is(err, llog.ErrCorrupt) {
		t.Fatalf("the error is %v", err)
	}
	checkBatches(t, ingest.Options{}, batches, recs(upTo(1, e.Position)...))
	if e.Position < 100 || e.Position > 1000 {
		t.Errorf("the position is %d", e.Position)
	}
}

// However a reading is cancelled, it ends, and leaves nothing behind.
func TestRunCancel(t *testing.T) {
	noLeak(t)
	s := newSite(t, smallSegments)
	s.append(t, 1, 200)
	why := errors.New("the broker ends")
	for n := range 20 { // while it emits the nth batch; behind the last one it waits
		ctx, stop := context.WithCancelCause(within(t))
		r := start(ctx, s, ingest.Options{BatchBytes: 1320, ReadBytes: 2000})
		for range min(n, 10) {
			r.next(t)
		}
		stop(why)
		if err := <-r.ended; !errors.Is(err, why) {
			t.Fatalf("the end after %d batches is %v", n, err)
		}
	}
}

// A hole in a log stays one.
func TestCheckHoleOfALog(t *testing.T) {
	noLeak(t)
	s := newSite(t, smallSegments)
	ctx := within(t)
	_, err := s.Append(ctx, recs(1, 2, 5, 6))
	check(t, err)
	late, err := ingest.CheckHole(ctx, s.open, ingest.Options{}, core.Range{From: 2, To: 4})
	if err != nil || late != nil {
		t.Errorf("found %v, %v", late, err)
	}
	late, err = ingest.CheckHole(ctx, s.open, ingest.Options{}, core.Range{From: 1, To: 4})
	check(t, err)
	if len(late) != 1 || show(late[0]) != "(1,4][2] holes [{2 4}]" {
		t.Errorf("found %v", late)
	}
}

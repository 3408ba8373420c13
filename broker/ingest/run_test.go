package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
)

// What comes in one go leaves as one batch, when nothing more is there.
func TestRunUntil(t *testing.T) {
	r := feedOf(recs(upTo(1, 10)...), recs(11), recs(12, 13, 15))
	var batches []*core.Batch
	o := ingest.Options{MDT: 5, Epoch: 1, Until: 14}
	check(t, ingest.Run(within(t), r, o, collect(&batches)))
	checkBatches(t, o, batches, recs(upTo(1, 13)...))
	if got := show(batches[len(batches)-1]); len(batches) != 1 || got != "(0,14][1 2 3 4 5 6 7 8 9 10 11 12 13] holes [{13 14}]" {
		t.Errorf("%d batches, the last one %s", len(batches), got)
	}
	if !r.closed {
		t.Error("the reader is still open")
	}
}

func TestRunHasNothingToDo(t *testing.T) {
	r := feedOf()
	check(t, ingest.Run(within(t), r, ingest.Options{Start: 5, Until: 4}, nil))
	if !r.closed {
		t.Error("the reader is still open")
	}
}

// A record that comes alone leaves at once. In the bubble time stands still while
// anybody runs, so that no time passes means that nobody waited for a timer.
func TestRunEmitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newFeed(0)
		emitted := make(chan *core.Batch)
		ended := make(chan error)
		go func() {
			ended <- ingest.Run(ctx, r, ingest.Options{}, func(_ context.Context, b *core.Batch) error {
				emitted <- b
				return nil
			})
		}()
		for i := uint64(1); i <= 20; i++ {
			time.Sleep(time.Duration(i) * time.Minute)
			appended := time.Now()
			r.c <- rec(i)
			b := <-emitted
			if waited := time.Since(appended); waited != 0 || b.From != i-1 || b.To != i {
				t.Errorf("%s after %s", show(b), waited)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the end is %v", err)
		}
	})
}

// While Emit blocks nothing is read.
func TestRunBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := newFeed(1000)
		for i := range uint64(1000) {
			r.c <- rec(i + 1)
		}
		full := errors.New("shutting down")
		emitted := make(chan *core.Batch)
		ended := make(chan error)
		go func() {
			ended <- ingest.Run(ctx, r, ingest.Options{BatchBytes: 660}, func(ctx context.Context, b *core.Batch) error {
				select {
				case emitted <- b:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
		}()
		for n := range 10 {
			synctest.Wait()
			if left := len(r.c); left != 1000-10*(n+1)-1 { // ten records are a batch; one more says that it is full
				t.Fatalf("%d reads left after %d batches", left, n)
			}
			<-emitted
		}
		cancel(full)
		if err := <-ended; err != full {
			t.Errorf("the end is %v", err)
		}
		if !r.closed {
			t.Error("the reader is still open")
		}
	})
}

func TestRunErrors(t *testing.T) {
	refused := errors.New("no room")
	gone, cancel := context.WithCancelCause(context.Background())
	cancel(refused)
	for _, c := range []struct {
		name string
		ctx  context.Context
		r    *feed
		emit error
		good []byte
		is   []error
		says string
	}{
		{"reading", within(t), feedOf(recs(1, 2), recs(3), errBroken), nil, recs(1, 2, 3), []error{errBroken}, "reading after index 3: the cable is cut"},
		{"reading at the start", within(t), feedOf(errBroken), nil, nil, []error{errBroken}, "reading after index 0: the cable is cut"},
		{"waiting", within(t), &feed{waitErr: errBroken, next: recs(1)}, nil, recs(1), []error{errBroken}, "reading after index 1: wait: the cable is cut"},
		{"closing", within(t), &feed{closing: errBroken, next: recs(1, 2, 3, 4, 5, 6, 7, 8, 9)}, nil, recs(upTo(1, 9)...), []error{errBroken}, "reading after index 9: close: the cable is cut"},
		{"a bad record", within(t), feedOf(recs(1), append(recs(2), 1, 2, 3)), nil, recs(1, 2), []error{changelog.ErrTruncated}, "stopped after index 2, 132 bytes into the reading"},
		{"emitting", within(t), feedOf(recs(1)), refused, recs(1), []error{refused}, "no room"},
		{"the context has ended", gone, feedOf(recs(1)), nil, nil, []error{refused}, "no room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var batches []*core.Batch
			err := ingest.Run(c.ctx, c.r, ingest.Options{Until: 9}, func(_ context.Context, b *core.Batch) error {
				batches = append(batches, b)
				return c.emit
			})
			checkSays(t, err, c.says)
			for _, want := range c.is {
				if !errors.Is(err, want) {
					t.Errorf("the error is %v", err)
				}
			}
			checkBatches(t, ingest.Options{}, batches, c.good)
			if !c.r.closed {
				t.Error("the reader is still open")
			}
			if e, ok := errors.AsType[*ingest.ReadError](err); ok && e.Position != uint64(len(c.good)/66) {
				t.Errorf("the position is %d", e.Position)
			}
		})
	}
}

// What was read together with an error comes before it, and so does an empty Read.
type odd struct {
	feed
	reads []func(dst []byte) (int, error)
}

func (r *odd) Read(dst []byte) (int, error) {
	f := r.reads[0]
	r.reads = r.reads[1:]
	return f(dst)
}

func (r *odd) Wait(context.Context) error { return nil }

func TestRunOddReads(t *testing.T) {
	r := &odd{reads: []func([]byte) (int, error){
		func([]byte) (int, error) { return 0, nil },
		func(dst []byte) (int, error) { return copy(dst, rec(1)), nil },
		func([]byte) (int, error) { return 0, nil },
		func(dst []byte) (int, error) { return copy(dst, rec(2)), errBroken },
	}}
	var batches []*core.Batch
	err := ingest.Run(within(t), r, ingest.Options{MDT: 4}, collect(&batches))
	checkBatches(t, ingest.Options{MDT: 4}, batches, recs(1, 2))
	if e, ok := errors.AsType[*ingest.ReadError](err); !ok || e.MDT != 4 || e.Position != 2 || !errors.Is(err, errBroken) {
		t.Errorf("the error is %v", err)
	}
	if len(batches) != 2 {
		t.Errorf("%d batches: a read of nothing says that nothing is there", len(batches))
	}
}

// A batch says from when until when it was read, whatever holds it up behind that: an MDT may go away, and come back as
// another one, within one read or between two.
func TestRunSaysWhenItWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const long = time.Minute
		slowly := func(index uint64) func([]byte) (int, error) {
			return func(dst []byte) (int, error) {
				time.Sleep(long)
				return copy(dst, rec(index)), nil
			}
		}
		nothing := func([]byte) (int, error) { return 0, nil }
		r := &odd{reads: []func([]byte) (int, error){slowly(1), nothing, slowly(2), nothing, func([]byte) (int, error) { return 0, errBroken }}}
		var batches []*core.Batch
		begun := time.Now()
		err := ingest.Run(context.Background(), r, ingest.Options{}, func(ctx context.Context, b *core.Batch) error {
			time.Sleep(10 * long) // it waits for memory
			return collect(&batches)(ctx, b)
		})
		if !errors.Is(err, errBroken) || len(batches) != 2 {
			t.Fatalf("%d batches, %v", len(batches), err)
		}
		for i, asked := range []time.Time{begun, begun.Add(11 * long)} {
			if b := batches[i]; !b.Asked.Equal(asked) || !b.Came.Equal(asked.Add(long)) {
				t.Errorf("batch %d was read from %v to %v, want %v and a minute later", i, b.Asked, b.Came, asked)
			}
		}
	})
}

func TestRunFrom(t *testing.T) {
	for _, start := range []uint64{0, 1, 7} {
		first := max(start, 1)
		var batches []*core.Batch
		o := ingest.Options{Start: start, Until: 8}
		check(t, ingest.RunFrom(within(t), opener(t, feedOf(recs(upTo(first, 9)...)), first), o, collect(&batches)))
		checkBatches(t, o, batches, recs(upTo(first, 8)...))
	}
}

func TestRunFromCannotOpen(t *testing.T) {
	open := func(context.Context, uint64) (ingest.Reader, error) { return nil, errBroken }
	err := ingest.RunFrom(within(t), open, ingest.Options{Start: 5}, nil)
	checkSays(t, err, "reading after index 4: open: the cable is cut")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(fmt.Errorf("enough"))
	checkSays(t, ingest.RunFrom(ctx, open, ingest.Options{}, nil), "enough")
}

func TestCheckHole(t *testing.T) {
	hole := core.Range{From: 10, To: 20}
	for _, c := range []struct {
		name  string
		shown [][]byte
		want  []string
	}{
		{"empty", [][]byte{recs(21, 22)}, nil},
		{"empty, what follows was purged", [][]byte{recs(900)}, nil},
		{"one late record", [][]byte{recs(13, 21)}, []string{"(10,20][13] holes [{10 12} {13 20}]"}},
		{"all late", [][]byte{recs(upTo(11, 20)...)}, []string{"(10,20][11 12 13 14 15 16 17 18 19 20] holes []"}},
		{"in several reads", [][]byte{recs(12), recs(14), recs(30)}, []string{"(10,20][12 14] holes [{10 11} {12 13} {14 20}]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var things []any
			for _, b := range c.shown {
				things = append(things, b)
			}
			r := feedOf(things...)
			late, err := ingest.CheckHole(within(t), opener(t, r, 11), ingest.Options{MDT: 2, Slots: true}, hole)
			check(t, err)
			var got []string
			for _, b := range late {
				got = append(got, show(b))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if !r.closed {
				t.Error("the reader is still open")
			}
		})
	}
}

// A hole that turns out to be full of records is read in portions.
func TestCheckHoleOfAnySize(t *testing.T) {
	o := ingest.Options{BatchBytes: 660}
	hole := core.Range{To: 200}
	packed := recs(upTo(1, 201)...)
	var all []*core.Batch
	for rounds := 0; hole.From < hole.To; rounds++ {
		open := func(_ context.Context, start uint64) (ingest.Reader, error) {
			return feedOf(packed[66*(start-1):]), nil
		}
		late, err := ingest.CheckHole(within(t), open, o, hole)
		check(t, err)
		if len(late) > 8 || rounds > 3 {
			t.Fatalf("%d batches in round %d", len(late), rounds)
		}
		all = append(all, late...)
		hole.From = late[len(late)-1].To
	}
	checkBatches(t, o, all, recs(upTo(1, 200)...))
}

func TestCheckHoleErrors(t *testing.T) {
	hole := core.Range{From: 3, To: 5}
	late, err := ingest.CheckHole(within(t), opener(t, feedOf(recs(4)), 4), ingest.Options{}, hole)
	if late != nil || !errors.Is(err, ingest.ErrEnd) {
		t.Errorf("nothing is behind the hole: got %v, %v", late, err)
	}
	late, err = ingest.CheckHole(within(t), opener(t, feedOf(recs(4), errBroken), 4), ingest.Options{}, hole)
	if late != nil || !errors.Is(err, errBroken) {
		t.Errorf("got %v, %v", late, err)
	}
}

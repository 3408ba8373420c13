package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// patience is how long tests wait for what must happen, however slow the machine.
const patience = 60 * time.Second

// within returns a context that ends the wait for what never comes.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkSays fails the test unless the text of err has all the words.
func checkSays(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Fatalf("the error is %q, want one that says %q", err, word)
		}
	}
}

// vectors returns the packed records of the golden stream: 2000, mixed, with holes.
func vectors(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../changelog/testdata/vectors/stream.bin")
	check(t, err)
	return b
}

// rec returns the record that tests use under an index: 66 bytes, about an object of
// its own.
func rec(index uint64) []byte {
	return build(changelog.Fields{Type: changelog.TypeCreat, Index: index, Target: changelog.FID{Seq: 7, Oid: uint32(index)}, Name: "ab"})
}

// rename returns a record with two keys.
func rename(index uint64, target, source uint32) []byte {
	return build(changelog.Fields{
		Type: changelog.TypeRenme, Format: changelog.Format{Flags: changelog.FlagRename}, Index: index,
		Target: changelog.FID{Seq: 7, Oid: target}, Source: changelog.FID{Seq: 7, Oid: source}, Name: "to", SourceName: "from",
	})
}

func build(f changelog.Fields) []byte {
	f.Format.Flags |= changelog.FlagVersion
	packed, err := f.Append(nil)
	if err != nil {
		panic(err)
	}
	return packed
}

// recs returns the records of the indexes, one behind the other.
func recs(indexes ...uint64) []byte {
	var b []byte
	for _, i := range indexes {
		b = append(b, rec(i)...)
	}
	return b
}

// upTo returns the indexes from..to.
func upTo(from, to uint64) []uint64 {
	var all []uint64
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

// split cuts packed records into pieces of n records.
func split(packed []byte, n int) [][]byte {
	var pieces [][]byte
	from, count := 0, 0
	for scan := changelog.NewScanner(packed); scan.Scan(); {
		if count++; count == n {
			pieces = append(pieces, packed[from:scan.Offset()])
			from, count = int(scan.Offset()), 0
		}
	}
	return append(pieces, packed[from:])
}

// expected computes, record by record, what a batch must say besides its range.
func expected(b *core.Batch) (want core.Batch) {
	want = core.Batch{Slots: new(groups.Slots)}
	last := b.From
	hole := func(to uint64) {
		if to > last {
			want.Holes = append(want.Holes, core.Range{From: last, To: to})
		}
	}
	for scan := changelog.NewScanner(b.Records); scan.Scan(); last = scan.Last {
		hole(scan.Last - 1)
		want.Count++
		home, other, two := groups.Keys(scan.Record())
		want.Slots.Add(home)
		want.Homes, want.Sizes = append(want.Homes, home), append(want.Sizes, uint16(scan.Record().Size()))
		if two {
			want.Slots.Add(other)
			want.Pairs = append(want.Pairs, groups.Pair{Index: scan.Last, Home: home, Other: other})
		}
	}
	hole(b.To)
	return want
}

// checkBatches checks that batches follow each other from the start of o, that each
// says what its records say and keeps no more memory than that, and that their records
// are packed.
func checkBatches(t testing.TB, o ingest.Options, batches []*core.Batch, packed []byte) {
	t.Helper()
	at := max(o.Start, 1) - 1
	var all []byte
	for _, b := range batches {
		want := expected(b)
		if b.MDT != o.MDT || b.Epoch != o.Epoch || b.From != at || b.To < b.From {
			t.Fatalf("batch %+v follows %d", b, at)
		}
		if b.Count != want.Count || !slices.Equal(b.Holes, want.Holes) {
			t.Fatalf("(%d, %d]: %d records, holes %v; want %d, %v", b.From, b.To, b.Count, b.Holes, want.Count, want.Holes)
		}
		if o.Slots && (*b.Slots != *want.Slots || !slices.Equal(b.Pairs, want.Pairs)) || !o.Slots && (b.Slots != nil || b.Pairs != nil) {
			t.Fatalf("(%d, %d]: wrong slots, or pairs %v; want %v", b.From, b.To, b.Pairs, want.Pairs)
		}
		if !o.Slots {
			want.Homes, want.Sizes = nil, nil
		}
		if !slices.Equal(b.Homes, want.Homes) || !slices.Equal(b.Sizes, want.Sizes) || cap(b.Homes) != len(b.Homes) || cap(b.Sizes) != len(b.Sizes) {
			t.Fatalf("(%d, %d]: homes %v and sizes %v, want %v and %v", b.From, b.To, b.Homes, b.Sizes, want.Homes, want.Sizes)
		}
		if limit := o.BatchBytes; limit > 0 && len(b.Records) > limit && b.Count > 1 {
			t.Fatalf("(%d, %d]: %d records have %d bytes, the limit is %d", b.From, b.To, b.Count, len(b.Records), limit)
		}
		if cap(b.Records)-len(b.Records) > cap(b.Records)/8 || cap(b.Holes) != len(b.Holes) || cap(b.Pairs) != len(b.Pairs) {
			t.Fatalf("(%d, %d]: keeps more memory than it uses", b.From, b.To)
		}
		all, at = append(all, b.Records...), b.To
	}
	if !bytes.Equal(all, packed) {
		t.Fatalf("the batches have %d bytes of records, which are not the %d that came in", len(all), len(packed))
	}
}

// seal passes pieces to a new Sealer, each in a buffer that is overwritten at once,
// and returns all batches, up to the error if there is one.
func seal(o ingest.Options, pieces ...[]byte) ([]*core.Batch, error) {
	s := ingest.NewSealer(o)
	var all []*core.Batch
	for _, piece := range pieces {
		sealed, err := add(s, piece)
		all = append(all, sealed...)
		if err != nil {
			return all, err
		}
	}
	b, err := s.Seal()
	if b != nil {
		all = append(all, b)
	}
	return all, err
}

// add has a sealer take what one or several reads gave, as many whole records at a time
// as there is room for.
func add(s *ingest.Sealer, packed []byte) (all []*core.Batch, err error) {
	for {
		room := s.Room()
		n := len(packed)
		if n > len(room) {
			n = 0
			for scan := changelog.NewScanner(packed); scan.Scan() && int(scan.Offset()) <= len(room); {
				n = int(scan.Offset())
			}
		}
		sealed, err := s.Add(copy(room, packed[:n]))
		all, packed = append(all, sealed...), packed[n:]
		if err != nil || len(packed) == 0 {
			return all, err
		}
	}
}

// feed is a reader that gives what comes over a channel: whole Reads, or errors.
type feed struct {
	c       chan any
	next    any
	waitErr error
	closed  bool
	closing error
}

func newFeed(size int) *feed { return &feed{c: make(chan any, size)} }

// feedOf returns a reader that gives these things at once, and then nothing more.
func feedOf(things ...any) *feed {
	f := newFeed(len(things))
	for _, x := range things {
		f.c <- x
	}
	return f
}

func (f *feed) Read(dst []byte) (int, error) {
	x := f.next
	f.next = nil
	if x == nil {
		select {
		case x = <-f.c:
		default:
			return 0, io.EOF
		}
	}
	if err, failed := x.(error); failed {
		return 0, err
	}
	return copy(dst, x.([]byte)), nil
}

func (f *feed) Wait(ctx context.Context) error {
	if f.waitErr != nil {
		return f.waitErr
	}
	select {
	case f.next = <-f.c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *feed) Close() error {
	f.closed = true
	return f.closing
}

// opener returns an opener that gives r, and checks where it is to start.
func opener(t testing.TB, r ingest.Reader, start uint64) ingest.Opener {
	return func(_ context.Context, at uint64) (ingest.Reader, error) {
		if at != start {
			t.Errorf("opened at %d, want %d", at, start)
		}
		return r, nil
	}
}

// collect returns an Emit that keeps the batches in a slice.
func collect(into *[]*core.Batch) ingest.Emit {
	return func(_ context.Context, b *core.Batch) error {
		*into = append(*into, b)
		return nil
	}
}

// noLeak checks, at the end of the test, that as many goroutines run as now.
func noLeak(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond) // those that were waited for may be on their way out
		}
		if n := runtime.NumGoroutine(); n > before {
			buf := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
		}
	})
}

var errBroken = errors.New("the cable is cut")

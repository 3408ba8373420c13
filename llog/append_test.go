package llog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

func TestAppendKeepsIndexes(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{})
	var want []uint64
	for _, batch := range [][]uint64{{1, 2, 3}, {7}, {100, 101, 5000}, {1 << 40}} {
		var packed []byte
		for _, i := range batch {
			packed = append(packed, rec(i)...)
		}
		given := bytes.Clone(packed)
		got, err := a.Append(context.Background(), packed)
		check(t, err)
		if got.Records != len(batch) || got.First != batch[0] || got.Last != batch[len(batch)-1] || got.Masked != 0 {
			t.Errorf("append %v: got %+v", batch, got)
		}
		if !bytes.Equal(packed, given) {
			t.Errorf("append %v changed the caller's bytes", batch)
		}
		for i := range packed {
			packed[i] = 0xff // the caller's again: it must not be kept
		}
		want = append(want, batch...)
		checkLog(t, l, want)
	}
	none, err := a.Append(context.Background(), nil)
	check(t, err)
	if none.Records != 0 || none.First != 0 || none.Last != 0 || none.Masked != 0 {
		t.Errorf("append of nothing: %+v", none)
	}
	checkLog(t, l, want)
}

// A batch with anything wrong in it is refused as a whole, and leaves no trace.
func TestAppendRefuses(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{})
	appendRange(t, a, 1, 10)
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	long := rec(12)
	long[0], long[1] = 0xff, 0xff
	for _, tt := range []struct {
		name    string
		records []byte
		want    error
		says    string
	}{
		{"same index", rec(10), changelog.ErrIndexOrder, "follows index 10"},
		{"lower index", rec(3), changelog.ErrIndexOrder, "index 3"},
		{"index 0", rec(0), changelog.ErrIndexOrder, ""},
		{"falls within", join(rec(11), rec(13), rec(12)), changelog.ErrIndexOrder, "index 12"},
		{"repeats within", join(rec(11), rec(12), rec(12)), changelog.ErrIndexOrder, ""},
		{"late old one", join(recs(11, 50), rec(10)), changelog.ErrIndexOrder, ""},
		{"cut", join(rec(11), rec(12)[:70]), changelog.ErrTruncated, "offset"},
		{"cut header", join(rec(11), rec(12)[:5]), changelog.ErrTruncated, ""},
		{"garbage behind", join(rec(11), []byte("x")), changelog.ErrTruncated, ""},
		{"impossible name", join(rec(11), long), changelog.ErrNameArea, "65535"},
		{"no room above", join(rec(11), rec(math.MaxUint64)), nil, "leave no index"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := a.Append(context.Background(), tt.records)
			if err == nil || got.Records != 0 || got.Masked != 0 {
				t.Fatalf("got %+v, %v", got, err)
			}
			if tt.want != nil {
				checkIs(t, err, tt.want)
			}
			checkSays(t, err, tt.says, l.MDT())
			checkLog(t, l, upTo(1, 10))
		})
	}
	appendRange(t, a, 11, 12)
	checkLog(t, l, upTo(1, 12))
}

func TestAppendNew(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{})
	appendNew := func(given []byte, from, to uint64) {
		t.Helper()
		got, err := a.AppendNew(context.Background(), given)
		check(t, err)
		if got.Records != int(to-from+1) || got.First != from || got.Last != to {
			t.Fatalf("got %+v, want %d to %d", got, from, to)
		}
	}
	renumbered := func(index, from uint64) []byte {
		b := rec(from)
		changelog.SetIndex(b, index)
		return b
	}
	given := slices.Concat(rec(900), rec(0), rec(5)) // whatever they carry
	kept := bytes.Clone(given)
	appendNew(given, 1, 3)
	if !bytes.Equal(given, kept) {
		t.Error("the caller's records were renumbered, not the stored ones")
	}
	appendRange(t, a, 50, 50)
	appendNew(recs(1, 2), 51, 52)
	want := slices.Concat(renumbered(1, 900), renumbered(2, 0), renumbered(3, 5), rec(50), renumbered(51, 1), renumbered(52, 2))
	if got := readFrom(t, l, 0); !bytes.Equal(got, want) {
		t.Errorf("got %v", indexes(t, got))
	}
	_, err := a.AppendNew(context.Background(), slices.Concat(rec(1), rec(2)[:20]))
	checkIs(t, err, changelog.ErrTruncated)
	checkEqual(t, "current index", current(t, l), 52)
}

func TestAppendNewInANewLogStartsWithOne(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	got, err := newAppender(t, l, llog.AppendOptions{}).AppendNew(context.Background(), rec(77))
	check(t, err)
	checkEqual(t, "first index", got.First, 1)
}

// What no user wants is not recorded, and takes no index (ABI 10.2).
func TestAppendMasks(t *testing.T) {
	const a, b, c, future = changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeUnlnk, changelog.Type(70)
	for _, tt := range []struct {
		name  string
		users [][]changelog.Type // nil wants everything
		want  []changelog.Type
	}{
		{"one user", [][]changelog.Type{{a}}, []changelog.Type{a}},
		{"two together", [][]changelog.Type{{a}, {c}}, []changelog.Type{a, c}},
		{"one wants all", [][]changelog.Type{{a}, nil}, []changelog.Type{a, b, c, future}},
		{"nothing of it", [][]changelog.Type{{changelog.TypeHSM}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			for _, types := range tt.users {
				register(t, l, "", types...)
			}
			app := newAppender(t, l, llog.AppendOptions{})
			given := slices.Concat(typed(10, a), typed(11, b), typed(12, c), typed(13, future))
			for round := range 2 { // the second time there are records before
				got, err := app.AppendNew(context.Background(), given)
				check(t, err)
				checkEqual(t, "stored", got.Records, len(tt.want))
				checkEqual(t, "masked", got.Masked, 4-len(tt.want))
				checkEqual(t, "last", got.Last, uint64(len(tt.want)*(round+1)))
			}
			for i, r := range scan(t, readFrom(t, l, 0)) {
				checkEqual(t, "index", r.Index(), uint64(i+1))
				checkEqual(t, "type", r.Type(), tt.want[i%len(tt.want)])
			}
			checkEqual(t, "current index", current(t, l), uint64(2*len(tt.want)))
		})
	}
}

// Masked-out records keep their indexes to themselves, but a batch of them is
// checked like any other.
func TestAppendMasksWithIndexes(t *testing.T) {
	l := newLog(t)
	register(t, l, "", changelog.TypeCreat)
	a := newAppender(t, l, llog.AppendOptions{})
	got, err := a.Append(context.Background(), slices.Concat(typed(5, changelog.TypeMkdir), typed(6, changelog.TypeCreat), typed(7, changelog.TypeMkdir)))
	check(t, err)
	if got.Records != 1 || got.Masked != 2 || got.First != 6 || got.Last != 6 {
		t.Errorf("got %+v", got)
	}
	_, err = a.Append(context.Background(), slices.Concat(typed(9, changelog.TypeMkdir), typed(8, changelog.TypeMkdir)))
	checkIs(t, err, changelog.ErrIndexOrder)
	checkEqual(t, "current index", current(t, l), 6)
	// A mask counts from the registration on, in whatever process that happens.
	register(t, reopen(t, l), "", changelog.TypeMkdir)
	got, err = a.Append(context.Background(), typed(7, changelog.TypeMkdir))
	check(t, err)
	checkEqual(t, "stored for the new user", got.Records, 1)
	deregister(t, reopen(t, l), 2)
	got, err = a.Append(context.Background(), typed(8, changelog.TypeMkdir))
	check(t, err)
	checkEqual(t, "masked when it left", got.Masked, 1)
}

func TestAppendWithoutUsers(t *testing.T) {
	l := newLog(t)
	a := newAppender(t, l, llog.AppendOptions{})
	refused := func() {
		t.Helper()
		got, err := a.AppendNew(context.Background(), rec(1))
		checkIs(t, err, llog.ErrNoUsers)
		checkSays(t, err, l.MDT(), "lcapcli llog register "+l.Dir())
		checkEqual(t, "stored", got.Records, 0)
	}
	refused()
	id := register(t, l, "")
	appendRange(t, a, 1, 3)
	deregister(t, l, id)
	refused()
	checkEqual(t, "current index", current(t, l), 3)
	register(t, l, "")
	appendRange(t, a, 4, 4)
	checkLog(t, l, upTo(4, 4))
}

func TestOneAppenderAtATime(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a, err := l.NewAppender(llog.AppendOptions{})
	check(t, err)
	for range 3 {
		_, err = reopen(t, l).NewAppender(llog.AppendOptions{})
		checkIs(t, err, llog.ErrBusy)
		checkSays(t, err, fmt.Sprintf("process %d;", os.Getpid()), l.Dir())
	}
	appendRange(t, a, 1, 2)
	check(t, a.Close())
	fill(t, l, llog.AppendOptions{}, 3, 4)
	checkLog(t, l, upTo(1, 4))
}

// Appends of many goroutines become few commits; each is there once, and those of
// one goroutine in its order.
func TestAppendTogether(t *testing.T) {
	const workers, each, batch = 16, 40, 3
	for name, sync := range map[string]llog.SyncPolicy{"each": llog.SyncEach, "never": llog.SyncNever, "interval": llog.SyncEvery(time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			register(t, l, "")
			a := newAppender(t, l, llog.AppendOptions{Sync: sync, SegmentSize: 20 << 10})
			appendTogether(t, a, workers, each, batch)
			got := scan(t, readFrom(t, l, 0))
			checkEqual(t, "records", len(got), workers*each*batch)
			next := map[uint32]uint32{}
			for i, r := range got {
				checkEqual(t, "index", r.Index(), uint64(i+1))
				who, what := r.Target().Oid, r.Target().Ver
				if what != next[who] {
					t.Fatalf("index %d: number %d of worker %d, want its number %d", r.Index(), what, who, next[who])
				}
				next[who]++
			}
		})
	}
}

// appendTogether has workers append numbered records at once, and checks what
// they are told: consecutive indexes for each batch.
func appendTogether(t *testing.T, a *llog.Appender, workers, each, batch uint32) {
	t.Helper()
	var group sync.WaitGroup
	for who := range workers {
		group.Go(func() {
			number := uint32(0)
			for range each {
				var packed []byte
				for range batch {
					f := changelog.Fields{Type: changelog.TypeCreat, Target: changelog.FID{Oid: who, Ver: number}}
					packed, _ = f.Append(packed)
					number++
				}
				got, err := a.AppendNew(context.Background(), packed)
				if err != nil || got.Records != int(batch) || got.Last-got.First != uint64(batch-1) {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		})
	}
	group.Wait()
}

// Requests of one commit stand for themselves: one refused takes none with it.
func TestAppendTogetherWithBadOnes(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{})
	var group sync.WaitGroup
	for who := range 8 {
		group.Go(func() {
			for range 25 {
				if who%2 == 0 {
					if _, err := a.AppendNew(context.Background(), rec(1)[:10]); !errors.Is(err, changelog.ErrTruncated) {
						t.Error(err)
					}
				} else if got, err := a.AppendNew(context.Background(), rec(1)); err != nil || got.Records != 1 {
					t.Errorf("%+v, %v", got, err)
				}
			}
		})
	}
	group.Wait()
	checkEqual(t, "records", len(scan(t, readFrom(t, l, 0))), 100)
}

func TestAppendMoreThanOneCommitHolds(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{})
	const n = 16000
	packed := recs(1, n)
	if len(packed) < 2*llog.GroupLimit {
		t.Fatalf("only %d bytes", len(packed))
	}
	got, err := a.Append(context.Background(), packed)
	check(t, err)
	checkEqual(t, "stored", got.Records, n)
	if !bytes.Equal(readFrom(t, l, 0), packed) {
		t.Error("read something else")
	}
}

func TestSegmentsRoll(t *testing.T) {
	frame := func(index uint64) int64 { return int64(len(rec(index)) + llog.FrameOverhead) }
	for _, size := range []int64{1, llog.SegmentHeader + frame(1), 1000, 2000, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			l := memoryLog(t)
			register(t, l, "")
			opts := llog.AppendOptions{SegmentSize: size}
			fill(t, l, opts, 1, 20)  // one append, one commit
			fill(t, l, opts, 21, 21) // the last segment is taken up again
			a := newAppender(t, l, opts)
			for i := uint64(22); i <= 40; i++ {
				appendRange(t, a, i, i)
			}
			checkLog(t, l, upTo(1, 40))
			var want []uint64 // as many records to a segment as fit, but one at least
			room := int64(0)
			for i := uint64(1); i <= 40; i++ {
				if room < frame(i) {
					want, room = append(want, i), size-llog.SegmentHeader
				}
				room -= frame(i)
			}
			if got := segments(t, l); !slices.Equal(got, want) {
				t.Errorf("segments %v, want %v", got, want)
			}
			for _, base := range want {
				info, err := os.Stat(segmentPath(l, base))
				check(t, err)
				if info.Size() > max(size, llog.SegmentHeader+frame(base)) {
					t.Errorf("segment %d has %d bytes", base, info.Size())
				}
			}
		})
	}
}

// A segment is named for its first record, also behind a gap.
func TestSegmentsRollAtAGap(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 1)
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 500, 501)
	if got := segments(t, l); !slices.Equal(got, []uint64{1, 500, 501}) {
		t.Errorf("segments %v", got)
	}
	checkLog(t, l, []uint64{1, 500, 501})
	got, err := newAppender(t, l, llog.AppendOptions{SegmentSize: 1}).AppendNew(context.Background(), rec(0))
	check(t, err)
	checkEqual(t, "next", got.First, 502)
}

// An appender that dies between sealing a segment and making the next one: what is
// sealed stays so, for readers that have seen it are gone from it.
func TestDeathBetweenSegments(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 2)
	check(t, os.Remove(segmentPath(l, 2))) // as if it had not come to it
	checkLog(t, l, upTo(1, 1))
	r := newReader(t, l, 0, nil)
	checkRange(t, next(t, r), 1, 1)
	blocks(t, r)
	sealed := readFile(t, segmentPath(l, 1))
	fill(t, l, llog.AppendOptions{Sync: llog.SyncNever}, 2, 3)
	checkRange(t, woken(t, r), 2, 3)
	checkLog(t, l, upTo(1, 3))
	if !bytes.Equal(readFile(t, segmentPath(l, 1)), sealed) {
		t.Error("the sealed segment has changed")
	}
}

func TestAppenderClose(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a, err := l.NewAppender(llog.AppendOptions{})
	check(t, err)
	stored := make(chan uint64, 1000)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				got, err := a.AppendNew(context.Background(), rec(1))
				if errors.Is(err, llog.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				stored <- got.Last
			}
		})
	}
	for range 3 {
		<-stored
	}
	for range 3 {
		group.Go(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	go func() { group.Wait(); close(stored) }()
	acknowledged := 3
	for range stored {
		acknowledged++
	}
	checkEqual(t, "records", len(scan(t, readFrom(t, l, 0))), acknowledged)
	check(t, a.Close())
	_, err = a.Append(context.Background(), rec(5000))
	checkIs(t, err, llog.ErrClosed)
	checkIs(t, a.Sync(context.Background()), llog.ErrClosed)
	fill(t, l, llog.AppendOptions{}, 6000, 6000) // the lock is free
}

// Indexes end one before the largest number, so that everywhere index + 1 is one.
func TestAppendNearTheLastIndex(t *testing.T) {
	const end = math.MaxUint64
	l := newLog(t)
	id := register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1})
	full := func(add func(context.Context, []byte) (llog.Appended, error), records []byte) {
		t.Helper()
		got, err := add(context.Background(), records)
		checkSays(t, err, "make a new changelog")
		checkEqual(t, "stored", got.Records, 0)
	}
	appendRange(t, a, end-4, end-4)
	full(a.Append, slices.Concat(rec(end-3), rec(end)))
	full(a.AppendNew, recs(1, 4))
	got, err := a.AppendNew(context.Background(), rec(1))
	check(t, err)
	checkEqual(t, "index", got.Last, end-3)
	full(a.AppendNew, recs(1, 3))
	got, err = a.AppendNew(context.Background(), recs(1, 2))
	check(t, err)
	checkEqual(t, "last index", got.Last, end-1)
	full(a.AppendNew, rec(1))
	full(a.Append, rec(end))
	if got := indexes(t, readFrom(t, l, end-2)); !slices.Equal(got, []uint64{end - 2, end - 1}) {
		t.Errorf("read %v", got)
	}
	r := newReader(t, l, end, nil)
	if all, err := readOn(r, 64<<10); err != nil || len(all) > 0 {
		t.Errorf("at the very end: %v, %v", all, err)
	}
	clearTo(t, l, id, end-1)
	checkLog(t, l, nil)
	checkEqual(t, "current index", current(t, l), end-1)
	checkEqual(t, "segments", len(segments(t, l)), 1)
}

func TestSync(t *testing.T) {
	for name, sync := range map[string]llog.SyncPolicy{"each": llog.SyncEach, "never": llog.SyncNever, "interval": llog.SyncEvery(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			register(t, l, "")
			a := newAppender(t, l, llog.AppendOptions{Sync: sync, SegmentSize: 1000})
			check(t, a.Sync(context.Background())) // nothing is there yet
			appendRange(t, a, 1, 20)
			check(t, a.Sync(context.Background()))
			check(t, a.Sync(context.Background()))
			appendRange(t, a, 21, 21)
			checkLog(t, l, upTo(1, 21))
		})
	}
}

func TestAppenderOfAReplacedLog(t *testing.T) {
	l := newLog(t)
	check(t, os.RemoveAll(l.Dir()))
	register(t, create(t, l.Dir()), "")
	_, err := l.NewAppender(llog.AppendOptions{})
	checkIs(t, err, llog.ErrReplaced)
	checkEqual(t, "segments in the new log", len(segments(t, l)), 0)
}

func TestAppenderOfNothing(t *testing.T) {
	l := newLog(t)
	check(t, os.RemoveAll(l.Dir()))
	_, err := l.NewAppender(llog.AppendOptions{})
	checkIs(t, err, syscall.ENOENT)
	checkSays(t, err, l.Dir())
	if entries, err := os.ReadDir(strings.TrimSuffix(l.Dir(), "/log")); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

package llog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// streamVector is a stream of 2000 mixed records with gaps in their indexes.
const streamVector = "../changelog/testdata/vectors/stream.bin"

// gappyLog holds records with these indexes, in segments of about 1000 bytes.
func gappyLog(t *testing.T) (l *llog.Log, have []uint64) {
	l = memoryLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1000})
	for i := uint64(1); i <= 200; i += 1 + i%3*i%7 {
		appendRange(t, a, i, i)
		have = append(have, i)
	}
	return l, have
}

func TestReadFromAnyIndex(t *testing.T) {
	l, have := gappyLog(t)
	for start := range uint64(210) {
		var want []byte
		for _, i := range have {
			if i >= start {
				want = append(want, rec(i)...)
			}
		}
		r := newReader(t, l, start, nil)
		got, err := readOn(r, llog.MinRead+int(start)*10)
		check(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("from %d: got %v", start, indexes(t, got))
		}
		next := start
		if len(want) > 0 {
			next = have[len(have)-1] + 1
		}
		checkEqual(t, "next", r.Next(), max(next, 1))
	}
}

func TestReadFromTheLargestIndex(t *testing.T) {
	l, _ := gappyLog(t)
	for _, start := range []uint64{math.MaxUint64, math.MaxUint64 - 1, 1 << 63} {
		if got := readFrom(t, l, start); len(got) > 0 {
			t.Errorf("from %d: got %v", start, indexes(t, got))
		}
	}
}

// The stream comes out byte for byte as it went in, whole records only, whatever
// the sizes of segments, appends and buffers.
func TestReadStream(t *testing.T) {
	stream, err := os.ReadFile(streamVector)
	check(t, err)
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		l := memoryLog(t)
		register(t, l, "")
		a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1 + rng.Int64N(100<<10)})
		for _, batch := range cut(t, rng, stream) {
			_, err := a.Append(context.Background(), batch)
			check(t, err)
		}
		r := newReader(t, l, 0, nil)
		var got []byte
		for len(got) < len(stream) {
			buf := make([]byte, llog.MinRead+rng.IntN(8<<10))
			n, err := r.Read(buf)
			check(t, err)
			if n == 0 {
				t.Fatalf("seed %d: read nothing, without an error", seed)
			}
			scan(t, buf[:n]) // whole records
			got = append(got, buf[:n]...)
		}
		if !bytes.Equal(got, stream) {
			t.Errorf("seed %d: the stream came out changed", seed)
		}
		if n, err := r.Read(make([]byte, llog.MinRead)); n != 0 || err != io.EOF {
			t.Errorf("seed %d: at the end: %d, %v", seed, n, err)
		}
	}
}

// cut cuts packed records into batches of random size.
func cut(t *testing.T, rng *rand.Rand, packed []byte) [][]byte {
	var batches [][]byte
	var batch []byte
	for _, r := range scan(t, packed) {
		batch = append(batch, r.Bytes()...)
		if rng.IntN(20) == 0 {
			batches, batch = append(batches, batch), nil
		}
	}
	return append(batches, batch)
}

func TestReadWithTheSmallestBuffer(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	// The largest record there can be still fits.
	all := changelog.Format{Flags: changelog.FlagVersion | changelog.FlagRename | changelog.FlagJobID | changelog.FlagExtra,
		Extra: changelog.ExtraUIDGID | changelog.ExtraNID | changelog.ExtraOpen | changelog.ExtraXattr}
	name := string(bytes.Repeat([]byte("n"), changelog.MaxName))
	f := changelog.Fields{Type: changelog.TypeRenme, Format: all, Name: name, SourceName: name, Source: changelog.FID{Seq: 1}}
	largest, err := f.Append(nil)
	check(t, err)
	checkEqual(t, "size of the largest record", len(largest), changelog.MaxRecordSize)
	a := newAppender(t, l, llog.AppendOptions{})
	for range 3 {
		_, err := a.AppendNew(context.Background(), slices.Concat(largest, rec(1)))
		check(t, err)
	}
	r := newReader(t, l, 0, nil)
	for _, size := range []int{0, 1, llog.MinRead - 1} {
		n, err := r.Read(make([]byte, size))
		checkEqual(t, "read", n, 0)
		checkIs(t, err, io.ErrShortBuffer)
		checkSays(t, err, l.Dir(), fmt.Sprint(llog.MinRead))
	}
	got, err := readOn(r, llog.MinRead)
	check(t, err)
	if got := indexes(t, got); !slices.Equal(got, upTo(1, 6)) {
		t.Errorf("got %v", got)
	}
}

func TestReadEndAndMore(t *testing.T) {
	l := newLog(t)
	r := newReader(t, l, 0, nil)
	buf := make([]byte, 64<<10)
	atEnd := func() {
		t.Helper()
		for range 3 {
			if n, err := r.Read(buf); n != 0 || err != io.EOF {
				t.Fatalf("got %d, %v, want the end", n, err)
			}
		}
	}
	atEnd()
	register(t, l, "")
	atEnd()
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 500})
	atEnd()
	for i := uint64(1); i <= 30; i++ {
		appendRange(t, a, i, i)
		n, err := r.Read(buf)
		check(t, err)
		checkRange(t, buf[:n], i, i)
		atEnd()
	}
	check(t, a.Close())
	atEnd()
	fill(t, l, llog.AppendOptions{SegmentSize: 500}, 31, 33)
	got, err := readOn(r, 64<<10)
	check(t, err)
	checkRange(t, got, 31, 33)
}

func TestReaderClose(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 3)
	before := openFiles(t)
	r, err := l.NewReader(0, nil)
	check(t, err)
	_, err = readOn(r, llog.MinRead)
	check(t, err)
	check(t, r.Wait(context.Background())) // the first one only makes ready
	for range 3 {
		check(t, r.Close())
	}
	_, err = r.Read(make([]byte, llog.MinRead))
	checkIs(t, err, llog.ErrClosed)
	checkIs(t, r.Wait(context.Background()), llog.ErrClosed)
	checkEqual(t, "open files", openFiles(t), before)
	unused, err := l.NewReader(0, nil)
	check(t, err)
	check(t, unused.Close())
	checkEqual(t, "open files", openFiles(t), before)
}

// openFiles counts the files that this process holds open.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(entries)
}

// What every user cleared is gone at once, for readers that are already there too.
func TestPurgeUnderReaders(t *testing.T) {
	for _, size := range []int64{1, 1000, 1 << 20} { // a segment for each record, some, one for all
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			l := memoryLog(t)
			id := register(t, l, "")
			a := newAppender(t, l, llog.AppendOptions{SegmentSize: size})
			appendRange(t, a, 1, 60)
			buf := make([]byte, llog.MinRead)
			var readers []*llog.Reader
			for i := range 12 { // that stand anywhere, some not begun
				r := newReader(t, l, uint64(i*5), nil)
				for range i % 4 {
					if _, err := r.Read(buf); err != io.EOF {
						check(t, err)
					}
				}
				readers = append(readers, r)
			}
			clearTo(t, l, id, 40)
			for i, r := range readers {
				first := max(r.Next(), 41)
				got, err := readOn(r, llog.MinRead)
				check(t, err)
				if want := upTo(first, 60); !slices.Equal(indexes(t, got), want) {
					t.Errorf("reader %d got %v, want %v", i, indexes(t, got), want)
				}
			}
			clearTo(t, l, id, 60)
			checkLog(t, l, nil)
			appendRange(t, a, 61, 62)
			for _, r := range readers {
				got, err := readOn(r, llog.MinRead)
				check(t, err)
				checkRange(t, got, 61, 62)
			}
		})
	}
}

// The purge shows although a backup made of hard links keeps the old files alive.
func TestPurgeBesideHardLinks(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1})
	appendRange(t, a, 1, 4)
	r := newReader(t, l, 0, nil)
	_, err := r.Read(make([]byte, llog.MinRead))
	check(t, err)
	backup := t.TempDir()
	for _, name := range entries(t, l.Dir()) {
		check(t, os.Link(l.Dir()+"/"+name, backup+"/"+name))
	}
	clearTo(t, l, id, 3)
	got, err := readOn(r, llog.MinRead)
	check(t, err)
	checkRange(t, got, 4, 4)
	deregister(t, l, id) // which the appender must see
	_, err = a.Append(context.Background(), rec(5))
	checkIs(t, err, llog.ErrNoUsers)
}

func TestTail(t *testing.T) {
	l, have := gappyLog(t)
	for n := range len(have) + 3 {
		got, err := l.Tail(n)
		check(t, err)
		want := have[max(0, len(have)-n):]
		same := func(r changelog.Record, i uint64) bool { return bytes.Equal(r.Bytes(), rec(i)) }
		if !slices.EqualFunc(got, want, same) {
			t.Fatalf("tail of %d: got %d records, want %v", n, len(got), want)
		}
	}
	if got, err := l.Tail(-1); err != nil || len(got) > 0 {
		t.Errorf("tail of -1: %v, %v", got, err)
	}
	clearTo(t, l, 1, have[len(have)-3])
	got, err := l.Tail(100)
	check(t, err)
	if len(got) != 2 || got[0].Index() != have[len(have)-2] {
		t.Errorf("after a clear: %v", got)
	}
}

func TestTailOfAnEmptyLog(t *testing.T) {
	if got, err := newLog(t).Tail(5); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// Many readers, a fast appender and a user that clears: each reader gets, in
// order, all that was not cleared before it came by.
func TestReadersAtOnce(t *testing.T) {
	const last = 3600
	l := memoryLog(t)
	id := register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 8 << 10})
	bell, err := llog.NewBell()
	check(t, err)
	defer func() { check(t, bell.Close()) }()
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			if err := followTo(reopen(t, l), last, llog.MinRead<<(i%6), bell); err != nil {
				t.Error(err)
			}
		})
	}
	for i := uint64(1); i < last; i += 60 {
		appendRange(t, a, i, i+59)
		if i%600 == 1 && i > 600 {
			clearTo(t, l, id, i-600+i%59)
		}
	}
	group.Wait()
	checkEqual(t, "current index", current(t, l), last)
}

// followTo reads until it has seen the record last. Records must come in order and
// unchanged; one may only be missing if it was purged.
func followTo(l *llog.Log, last uint64, size int, bell *llog.Bell) (err error) {
	r, err := l.NewReader(0, bell)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	buf := make([]byte, size)
	for next := uint64(1); next <= last; {
		before, err := l.Info()
		if err != nil {
			return err
		}
		n, err := r.Read(buf)
		if err == io.EOF {
			err = r.Wait(ctx)
		}
		if err != nil {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			var record changelog.Record
			if record, rest, err = changelog.Next(rest); err != nil {
				return err
			}
			i := record.Index()
			if !bytes.Equal(record.Bytes(), rec(i)) || i < next || i <= before.Users[0].Cleared {
				return fmt.Errorf("got index %d, at or above %d was to come, %d were cleared", i, next, before.Users[0].Cleared)
			}
			if i > next {
				now, err := l.Info()
				if err != nil || now.Users[0].Cleared < i-1 {
					return fmt.Errorf("index %d came after %d, but only %d is cleared: %w", i, next-1, now.Users[0].Cleared, err)
				}
			}
			next = i + 1
		}
	}
	return nil
}

func TestInfoBytes(t *testing.T) {
	l, _ := gappyLog(t)
	info, err := l.Info()
	check(t, err)
	var want int64
	for _, base := range segments(t, l) {
		stat, err := os.Stat(segmentPath(l, base))
		check(t, err)
		want += stat.Size()
	}
	checkEqual(t, "bytes", info.Bytes, want)
}

// Looking around while segments come and go never fails, and never shows less
// than what was there all the time.
func TestLookWhileSegmentsComeAndGo(t *testing.T) {
	l := memoryLog(t)
	id := register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1, Sync: llog.SyncNever})
	appendRange(t, a, 1, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(2); i <= 800; i++ {
			if _, err := a.Append(context.Background(), rec(i)); err != nil {
				t.Error(err)
			}
			if err := l.Clear(context.Background(), id, i-1); err != nil {
				t.Error(err)
			}
		}
	}()
	for looks := 0; ; looks++ {
		info, err := l.Info()
		check(t, err)
		if info.Records < 1 || info.Last < info.First || info.Current < info.Last || info.First == 0 {
			t.Fatalf("the log says %+v", info)
		}
		tail, err := l.Tail(3)
		check(t, err)
		if len(tail) == 0 {
			t.Fatal("the tail is empty")
		}
		if got := readFrom(t, l, 0); len(got) == 0 {
			t.Fatal("a reader got nothing")
		}
		_, err = l.CollectIdle(context.Background(), llog.DefaultIdleLimits, user(t, l, id).Touched)
		check(t, err)
		select {
		case <-done:
			t.Logf("looked %d times", looks)
			return
		default:
		}
	}
}

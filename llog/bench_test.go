package llog

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

// Each benchmark does the same work with plain files in the same run, turn by
// turn, and reports the ratio: how many times as long this package takes. Both are
// medians of a turn, for the disk is shared with whatever else the machine does.

var benchRecords = flag.Int("llog.records", 1_000_000, "records of BenchmarkOpenHuge; the documented run has 1e8, for 15 GB in $TMPDIR")

// benchTurns is one kind of work: how long each turn of it took.
type benchTurns []time.Duration

// add times one turn.
func (t *benchTurns) add(b *testing.B, turn func() error) {
	b.Helper()
	start := time.Now()
	err := turn()
	*t = append(*t, time.Since(start))
	benchCheck(b, err)
}

// at returns the time that the given share of the turns, 0 to 1, did not exceed.
func (t benchTurns) at(share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(t))
	return sorted[int(share*float64(len(sorted)-1))]
}

// perSecond returns how many of n are done in a second, when a turn does n.
func (t benchTurns) perSecond(n int) float64 { return float64(n) / t.at(0.5).Seconds() }

func benchCheck(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// benchRatio reports the ratio, and hides the time of an iteration, which has
// both kinds of work in it.
func benchRatio(b *testing.B, ours, plain benchTurns) {
	b.ReportMetric(float64(ours.at(0.5))/float64(plain.at(0.5)), "ratio")
	b.ReportMetric(0, "ns/op")
}

// benchThroughput reports turns that move so many bytes and records each.
func benchThroughput(b *testing.B, ours, plain benchTurns, bytes, records int) {
	b.ReportMetric(ours.perSecond(bytes)/1e6, "MB/s-llog")
	b.ReportMetric(plain.perSecond(bytes)/1e6, "MB/s-plain")
	b.ReportMetric(float64(ours.at(0.5))/float64(records), "ns/record")
	benchRatio(b, ours, plain)
}

// benchLog makes a log with one user, who keeps everything.
func benchLog(tb testing.TB) *Log {
	tb.Helper()
	l, err := Create(filepath.Join(tb.TempDir(), "log"), "bench-MDT0000")
	benchCheck(tb, err)
	_, err = l.Register(context.Background(), "", 0)
	benchCheck(tb, err)
	return l
}

func benchAppender(tb testing.TB, l *Log, opts AppendOptions) *Appender {
	tb.Helper()
	a, err := l.NewAppender(opts)
	benchCheck(tb, err)
	return a
}

// benchMix returns at most size bytes of records as they are mixed on an MDT, and
// how many there are.
func benchMix(tb testing.TB, size int) (packed []byte, records int) {
	tb.Helper()
	stream, err := os.ReadFile("../changelog/testdata/vectors/stream.bin")
	benchCheck(tb, err)
	for rest := stream; ; records++ {
		if len(rest) == 0 {
			rest = stream
		}
		var rec changelog.Record
		rec, rest, err = changelog.Next(rest)
		benchCheck(tb, err)
		if len(packed)+rec.Size() > size {
			return packed, records
		}
		packed = append(packed, rec.Bytes()...)
	}
}

// benchFile makes a plain file.
func benchFile(tb testing.TB) *os.File {
	tb.Helper()
	f, err := os.CreateTemp(tb.TempDir(), "plain")
	benchCheck(tb, err)
	return f
}

// benchTotal is how much one turn of the large benchmarks moves, in bytes.
const benchTotal = 64 << 20

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{128 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("SyncNever/%dKiB", size>>10), func(b *testing.B) { benchAppendNever(b, size) })
	}
	one, _ := benchMix(b, 200)
	some, _ := benchMix(b, 128<<10)
	b.Run("SyncEach/1record", func(b *testing.B) { benchAppendEach(b, one) })
	b.Run("SyncEach/128KiB", func(b *testing.B) { benchAppendEach(b, some) })
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("SyncEach/callers=%d", callers), func(b *testing.B) { benchAppendGroup(b, one, callers) })
	}
}

// benchAppendNever appends in pieces of size bytes; the plain file gets the same
// bytes in writes of 1 MiB.
func benchAppendNever(b *testing.B, size int) {
	const write = 1 << 20
	packed, records := benchMix(b, size)
	plainPacked, _ := benchMix(b, write)
	pieces := benchTotal / size
	var ours, plain benchTurns
	for b.Loop() {
		l := benchLog(b)
		a := benchAppender(b, l, AppendOptions{Sync: SyncNever})
		ours.add(b, func() error {
			for range pieces {
				if _, err := a.AppendNew(context.Background(), packed); err != nil {
					return err
				}
			}
			return nil
		})
		benchCheck(b, errors.Join(a.Close(), os.RemoveAll(l.Dir())))

		f := benchFile(b)
		plain.add(b, func() error {
			for left := pieces * len(packed); left > 0; left -= write {
				if _, err := f.Write(plainPacked[:min(left, len(plainPacked))]); err != nil {
					return err
				}
			}
			return nil
		})
		benchCheck(b, errors.Join(f.Close(), os.Remove(f.Name())))
	}
	benchThroughput(b, ours, plain, pieces*len(packed), pieces*records)
}

// benchAppendEach makes one durable commit after the other.
func benchAppendEach(b *testing.B, packed []byte) {
	const commits = 16 // in one turn, for what one file leaves behind slows the other's first
	l := benchLog(b)
	a := benchAppender(b, l, AppendOptions{})
	f := benchFile(b)
	var ours, plain benchTurns
	for b.Loop() {
		ours.add(b, func() error {
			for range commits {
				if _, err := a.AppendNew(context.Background(), packed); err != nil {
					return err
				}
			}
			return nil
		})
		plain.add(b, func() error {
			for range commits {
				if err := benchCommit(f, packed); err != nil {
					return err
				}
			}
			return nil
		})
	}
	benchCheck(b, errors.Join(a.Close(), f.Close()))
	b.ReportMetric(float64(ours.at(0.5).Microseconds())/commits, "us/commit-llog")
	b.ReportMetric(float64(plain.at(0.5).Microseconds())/commits, "us/commit-plain")
	benchRatio(b, ours, plain)
}

func benchCommit(f *os.File, packed []byte) error {
	if _, err := f.Write(packed); err != nil {
		return err
	}
	return unix.Fdatasync(int(f.Fd()))
}

// benchAppendGroup has many callers append single records at once; the plain file
// gets one forced write for each record.
func benchAppendGroup(b *testing.B, packed []byte, callers int) {
	const each = 32 // records of a caller in one turn
	l := benchLog(b)
	a := benchAppender(b, l, AppendOptions{})
	f := benchFile(b)
	var ours, plain benchTurns
	for b.Loop() {
		ours.add(b, func() error {
			done := make(chan error)
			for range callers {
				go func() {
					var err error
					for range each {
						_, e := a.AppendNew(context.Background(), packed)
						err = errors.Join(err, e)
					}
					done <- err
				}()
			}
			var err error
			for range callers {
				err = errors.Join(err, <-done)
			}
			return err
		})
		plain.add(b, func() error {
			for range each {
				if err := benchCommit(f, packed); err != nil {
					return err
				}
			}
			return nil
		})
	}
	benchCheck(b, errors.Join(a.Close(), f.Close()))
	b.ReportMetric(ours.perSecond(callers*each), "records/s-llog")
	b.ReportMetric(plain.perSecond(each), "records/s-plain")
	b.ReportMetric(plain.perSecond(each)/ours.perSecond(callers*each), "ratio")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkRead(b *testing.B) {
	const size = 4 * benchTotal
	packed, records := benchMix(b, 1<<20)
	l := benchLog(b)
	a := benchAppender(b, l, AppendOptions{Sync: SyncNever})
	f := benchFile(b)
	pieces := size / len(packed)
	for range pieces {
		_, err := a.AppendNew(context.Background(), packed)
		benchCheck(b, err)
		_, err = f.Write(packed)
		benchCheck(b, err)
	}
	benchCheck(b, a.Close())

	buf := make([]byte, 256<<10)
	var ours, plain benchTurns
	for b.Loop() {
		ours.add(b, func() error { return benchReadAll(l, buf, pieces*len(packed)) })
		plain.add(b, func() error {
			for off := int64(0); ; off += int64(len(buf)) {
				if _, err := f.ReadAt(buf, off); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
			}
		})
	}
	benchCheck(b, f.Close())
	benchThroughput(b, ours, plain, pieces*len(packed), pieces*records)
}

// benchReadAll reads the whole log and checks that it gets size bytes of records.
func benchReadAll(l *Log, buf []byte, size int) error {
	r, err := l.NewReader(0, nil)
	if err != nil {
		return err
	}
	for err == nil {
		var n int
		n, err = r.Read(buf)
		size -= n
	}
	if err != io.EOF || size != 0 {
		return fmt.Errorf("%d bytes are missing: %w", size, err)
	}
	return r.Close()
}

// BenchmarkFollowWake measures from before the append until another goroutine,
// which waited for it, has read the record; and the same with a pipe.
func BenchmarkFollowWake(b *testing.B) {
	const settle = time.Millisecond // until the other side waits
	l := benchLog(b)
	a := benchAppender(b, l, AppendOptions{Sync: SyncNever})
	r, err := l.NewReader(1, nil)
	benchCheck(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error)
	go func() {
		buf := make([]byte, 64<<10)
		for ctx.Err() == nil {
			_, err := r.Read(buf)
			if err == io.EOF {
				_ = r.Wait(ctx) // its end shows above
				continue
			}
			got <- err
		}
		got <- r.Close()
	}()
	in, out, err := os.Pipe()
	benchCheck(b, err)
	piped := make(chan error)
	go func() {
		var err error
		for buf := make([]byte, 64<<10); err == nil; {
			_, err = in.Read(buf)
			piped <- err
		}
	}()
	packed, _ := benchMix(b, 200)
	var ours, plain benchTurns
	for b.Loop() {
		time.Sleep(settle)
		ours.add(b, func() error {
			if _, err := a.AppendNew(ctx, packed); err != nil {
				return err
			}
			return <-got
		})
		time.Sleep(settle)
		plain.add(b, func() error {
			if _, err := out.Write(packed); err != nil {
				return err
			}
			return <-piped
		})
	}
	cancel()
	benchCheck(b, errors.Join(<-got, a.Close(), out.Close()))
	if err := <-piped; err != io.EOF {
		b.Fatal(err)
	}
	benchCheck(b, in.Close())
	b.ReportMetric(float64(ours.at(0.5))/1e3, "us-median")
	b.ReportMetric(float64(ours.at(0.99))/1e3, "us-99%")
	b.ReportMetric(float64(plain.at(0.5))/1e3, "us-median-pipe")
	benchRatio(b, ours, plain)
}

// BenchmarkClear compares a clear with the durable replacement of a file.
func BenchmarkClear(b *testing.B) {
	for _, segments := range []int{1, 270} {
		b.Run(fmt.Sprintf("segments=%d", segments), func(b *testing.B) {
			ctx := context.Background()
			l := benchLog(b)
			u, err := l.Register(ctx, "", 0)
			benchCheck(b, err)
			packed, _ := benchMix(b, 1<<10)
			a := benchAppender(b, l, AppendOptions{Sync: SyncNever, SegmentSize: int64(len(packed))})
			for range segments {
				_, err := a.AppendNew(ctx, packed)
				benchCheck(b, err)
			}
			benchCheck(b, a.Close())
			info, err := l.Info()
			benchCheck(b, err)
			file, data := filepath.Join(b.TempDir(), "file"), make([]byte, 500)
			var ours, plain benchTurns
			for b.Loop() {
				ours.add(b, func() error { return l.Clear(ctx, u.ID, info.Last) })
				plain.add(b, func() error {
					f, err := replaceFile(file, data, true)
					return errors.Join(err, f.Close())
				})
			}
			b.ReportMetric(float64(ours.at(0.5).Microseconds()), "us/clear")
			b.ReportMetric(float64(plain.at(0.5).Microseconds()), "us/replace")
			benchRatio(b, ours, plain)
		})
	}
}

// BenchmarkOpenHuge opens, and reads through, a log of -llog.records records of 64
// to 150 bytes. What it costs to open it must not depend on how many there are,
// nor must the memory that reading takes.
func BenchmarkOpenHuge(b *testing.B) {
	l := benchLog(b)
	var bytes int
	var ours, plain benchTurns
	b.Run("build", func(b *testing.B) {
		for bytes == 0 { // once, however often the benchmark is run
			bytes = benchBuild(b, l, *benchRecords, &ours, &plain)
		}
		b.ReportMetric(float64(bytes)/1e9, "GB")
		benchThroughput(b, ours, plain, bytes, *benchRecords)
	})
	info, err := l.Info()
	benchCheck(b, err)
	b.Run("appender", func(b *testing.B) {
		for b.Loop() {
			benchCheck(b, benchAppender(b, l, AppendOptions{}).Close())
		}
	})
	b.Run("reader", func(b *testing.B) {
		buf := make([]byte, 64<<10)
		rng := rand.New(rand.NewPCG(1, 1))
		for b.Loop() {
			r, err := l.NewReader(1+rng.Uint64N(info.Last), nil)
			benchCheck(b, err)
			_, err = r.Read(buf)
			benchCheck(b, errors.Join(err, r.Close()))
		}
	})
	b.Run("info", func(b *testing.B) {
		for b.Loop() {
			_, err := l.Info()
			benchCheck(b, err)
		}
	})
	b.Run("tail", func(b *testing.B) {
		for b.Loop() {
			_, err := l.Tail(10)
			benchCheck(b, err)
		}
	})
	b.Run("read", func(b *testing.B) { benchReadThrough(b, l, bytes) })
}

// benchBuild appends so many records, and writes them to a plain file before. It
// returns their size in bytes.
func benchBuild(b *testing.B, l *Log, records int, ours, plain *benchTurns) (bytes int) {
	const piece = 10_000
	var packed []byte
	name := strings.Repeat("n", 150-changelog.HeaderSize)
	for i := range piece {
		f := changelog.Fields{
			Type:   changelog.TypeCreat,
			Format: changelog.Format{Flags: changelog.FlagVersion},
			Target: changelog.FID{Seq: 0x200000400, Oid: uint32(i)},
			Name:   name[:i%(len(name)+1)],
		}
		var err error
		packed, err = f.Append(packed)
		benchCheck(b, err)
	}
	f := benchFile(b)
	plain.add(b, func() error {
		for range records / piece {
			if _, err := f.Write(packed); err != nil {
				return err
			}
		}
		return nil
	})
	benchCheck(b, errors.Join(f.Close(), os.Remove(f.Name())))

	a := benchAppender(b, l, AppendOptions{Sync: SyncNever})
	ours.add(b, func() error {
		for range records / piece {
			if _, err := a.AppendNew(context.Background(), packed); err != nil {
				return err
			}
		}
		return nil
	})
	benchCheck(b, a.Close())
	return records / piece * len(packed)
}

// benchReadThrough reads everything and reports how much memory that took above
// what was there before.
func benchReadThrough(b *testing.B, l *Log, bytes int) {
	buf := make([]byte, 256<<10)
	runtime.GC()
	var turns benchTurns
	heapBefore, rssBefore := benchMemory(b)
	heapMost, rssMost := heapBefore, rssBefore
	for b.Loop() {
		turns.add(b, func() error {
			r, err := l.NewReader(0, nil)
			if err != nil {
				return err
			}
			left := bytes
			for reads := 0; err == nil; reads++ {
				var n int
				n, err = r.Read(buf)
				left -= n
				if reads%256 == 0 {
					heap, rss := benchMemory(b)
					heapMost, rssMost = max(heapMost, heap), max(rssMost, rss)
				}
			}
			if err != io.EOF || left != 0 {
				return fmt.Errorf("%d bytes are missing: %w", left, err)
			}
			return r.Close()
		})
	}
	b.ReportMetric(turns.perSecond(bytes)/1e6, "MB/s")
	b.ReportMetric(float64(rssMost-rssBefore)/1e6, "MB-rss-growth")
	b.ReportMetric(float64(heapMost-heapBefore)/1e6, "MB-heap-growth")
	b.ReportMetric(float64(rssMost)/1e6, "MB-rss")
}

// benchMemory returns the bytes of live heap and of memory that the process has
// from the system.
func benchMemory(b *testing.B) (heap, rss int) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, err := os.ReadFile("/proc/self/statm")
	benchCheck(b, err)
	pages, err := strconv.Atoi(strings.Fields(string(status))[1])
	benchCheck(b, err)
	return int(m.HeapAlloc), pages * os.Getpagesize()
}

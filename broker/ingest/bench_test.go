package ingest_test

import (
	"context"
	"fmt"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// ballast makes the heap as large as a broker's: in a tiny one the collector runs
// all the time.
var ballast []byte

// window stands for the broker's: batches live for a while.
var window [64]*core.Batch

// page is a read of 128 KiB of the golden stream.
type page struct {
	packed  []byte
	offsets []int
}

func goldenPage(t testing.TB) (p page) {
	for scan := changelog.NewScanner(vectors(t)); scan.Scan() && len(p.packed)+scan.Record().Size() <= ingest.DefaultReadBytes; {
		p.offsets = append(p.offsets, len(p.packed))
		p.packed = append(p.packed, scan.Record().Bytes()...)
	}
	return p
}

// number has the records follow on an index, and returns the last one's.
func (p page) number(index uint64) uint64 {
	for _, at := range p.offsets {
		index++
		changelog.SetIndex(p.packed[at:], index)
	}
	return index
}

// reads runs pass over pages, numbered so that indexes rise for ever; the numbering is part of
// the time, 1-2 ns a record.
func reads(b *testing.B, pass func(packed []byte, first uint64)) {
	ballast = make([]byte, 256<<20)
	p := goldenPage(b)
	b.SetBytes(int64(len(p.packed)))
	b.ReportAllocs()
	index := uint64(0)
	for b.Loop() {
		first := index + 1
		index = p.number(index)
		pass(p.packed, first)
	}
	perRecord(b, b.N*len(p.offsets))
}

func perRecord(b *testing.B, records int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}

// What framing alone costs, with the same checks.
func BenchmarkScanner(b *testing.B) {
	reads(b, func(packed []byte, first uint64) {
		scan := changelog.NewScanner(packed)
		scan.Ordered, scan.StrictExtra, scan.Last = true, true, first-1
		for scan.Scan() {
		}
		check(b, scan.Err())
	})
}

func BenchmarkSealer(b *testing.B) {
	for _, slots := range []bool{false, true} {
		b.Run(fmt.Sprintf("slots=%v", slots), func(b *testing.B) {
			s := ingest.NewSealer(ingest.Options{Slots: slots})
			n := 0
			reads(b, func(packed []byte, _ uint64) {
				sealed, err := add(s, packed)
				check(b, err)
				for _, batch := range sealed {
					window[n%len(window)] = batch
					n++
				}
			})
		})
	}
}

// typeFilters are filters for everybody, by how many of the golden stream's records they keep.
var typeFilters = []struct{ keeps, chain string }{
	{"all", `[{filter: {types: -MARK}}]`},
	{"half", `[{filter: {types: CREAT MKDIR HLINK SLINK MKNOD UNLNK RMDIR RENME}}]`},
	{"few", `[{filter: {types: OPEN}}]`},
}

// BenchmarkSealerModules is what sealing costs with a filter for everybody, beside sealing without one:
// both take turns, and the fastest ones count, in time of the processor, so that others on the
// machine disturb the ratio least.
func BenchmarkSealerModules(b *testing.B) {
	const pages = 512
	var records int
	pass := func(b *testing.B, o ingest.Options) func() {
		s := ingest.NewSealer(o)
		n, index := 0, uint64(0)
		page := goldenPage(b)
		records = pages * len(page.offsets)
		return func() {
			for range pages {
				index = page.number(index)
				sealed, err := add(s, page.packed)
				check(b, err)
				for _, batch := range sealed {
					window[n%len(window)] = batch
					n++
				}
			}
		}
	}
	b.Run("nothing", func(b *testing.B) {
		seal := pass(b, ingest.Options{Slots: true})
		for b.Loop() {
			seal()
		}
		perRecord(b, b.N*records)
	})
	for _, f := range typeFilters {
		b.Run(f.keeps, func(b *testing.B) {
			o := ingest.Options{Slots: true}
			with, without := pass(b, through(o, planFor(b, f.chain))), pass(b, o)
			fastest, base := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
			for b.Loop() {
				begun := worked()
				with()
				half := worked()
				without()
				fastest, base = min(fastest, half-begun), min(base, worked()-half)
			}
			b.ReportMetric(float64(fastest)/float64(records), "ns/record")
			b.ReportMetric(float64(fastest)/float64(base), "ratio")
		})
	}
}

// worked returns the processor time that this program has taken.
func worked() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A record at a time: what an idle stream costs.
func BenchmarkSealerIdle(b *testing.B) {
	s := ingest.NewSealer(ingest.Options{Slots: true})
	one := rec(1)
	b.ReportAllocs()
	for n := uint64(1); b.Loop(); n++ {
		changelog.SetIndex(one, n)
		if _, err := add(s, one); err != nil {
			b.Fatal(err)
		}
		window[n%uint64(len(window))], _ = s.Seal()
	}
}

// A catch-up through a local changelog of 20 MB, in memory.
func BenchmarkRun(b *testing.B) {
	ballast = make([]byte, 256<<20)
	s := newSite(b, llog.DefaultSegmentSize)
	stream := vectors(b)
	for range 64 {
		if _, err := s.AppendNew(context.Background(), stream); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(64 * len(stream)))
	b.ReportAllocs()
	o := ingest.Options{Until: 64 * 2000, Slots: true}
	n := 0
	for b.Loop() {
		check(b, ingest.RunFrom(context.Background(), s.open, o, func(_ context.Context, batch *core.Batch) error {
			window[n%len(window)] = batch
			n++
			return nil
		}))
	}
	perRecord(b, b.N*64*2000)
	b.ReportMetric(float64(64*len(stream)*b.N)/float64(n)/1024, "KiB/batch")
}

package ingest_test

import (
	"context"
	"fmt"
	"testing"

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

// reads runs pass over reads of 128 KiB of the golden stream, numbered so that
// indexes rise for ever; the numbering is part of the time, 1-2 ns a record.
func reads(b *testing.B, pass func(packed []byte, first uint64)) {
	ballast = make([]byte, 256<<20)
	var packed []byte
	var offsets []int
	for scan := changelog.NewScanner(vectors(b)); scan.Scan() && len(packed)+scan.Record().Size() <= ingest.DefaultReadBytes; {
		offsets = append(offsets, len(packed))
		packed = append(packed, scan.Record().Bytes()...)
	}
	b.SetBytes(int64(len(packed)))
	b.ReportAllocs()
	index := uint64(0)
	for b.Loop() {
		first := index + 1
		for _, at := range offsets {
			index++
			changelog.SetIndex(packed[at:], index)
		}
		pass(packed, first)
	}
	perRecord(b, b.N*len(offsets))
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

package scatter_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/scatter"
	"github.com/lcapd/lcapd/changelog"
)

// formats calls f with every format that can be asked for.
func formats(f func(changelog.Format)) {
	for flags := range 8 {
		for extra := range int(changelog.ExtraKnown) + 1 {
			f(changelog.Format{Flags: changelog.Flags(flags) << 13, Extra: changelog.Extra(extra)})
		}
	}
}

// repacked is the records of a batch repacked one by one.
func repacked(b []byte, want changelog.Format) (out []byte) {
	for scan := changelog.NewScanner(b); scan.Scan(); {
		out = scan.Record().AppendRepacked(out, want)
	}
	return out
}

// The golden records, in every form: byte for byte what the record's own repacking gives, which the golden
// conversions of package changelog vouch for. A batch with nothing to cut is the batch.
func TestRepackOfGoldenRecords(t *testing.T) {
	b := vectors(t)
	before := bytes.Clone(b.Records)
	formats(func(want changelog.Format) {
		got, exact := scatter.Repack(b, want), repacked(b.Records, want)
		if !bytes.Equal(got.Records, exact) || len(exact) > len(b.Records) || cap(got.Records) != len(exact) && got != b {
			t.Fatalf("%v: %d bytes in %d, want %d", want, len(got.Records), cap(got.Records), len(exact))
		}
		if got.From != b.From || got.To != b.To || got.Count != b.Count || got.Newest != b.Newest || got.Slots != b.Slots {
			t.Fatalf("%v: %+v", want, got)
		}
		if again := scatter.Repack(got, want); again != got {
			t.Fatalf("%v: what was cut is cut again", want)
		}
	})
	if !bytes.Equal(before, b.Records) {
		t.Fatal("the batch changed")
	}
	if n := testing.AllocsPerRun(10, func() { scatter.Repack(scatter.Repack(b, changelog.FormatAll), changelog.FormatAll) }); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

// Why: without its rename block a rename seems to be about another object; it must go where it belongs all
// the same, or its order is lost.
func TestCutFormGoesByTheWholeRecord(t *testing.T) {
	b := vectors(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	renames := 0
	for scan := changelog.NewScanner(b.Records); scan.Scan(); {
		if _, ok := scan.Record().Source(); ok {
			renames++
		}
	}
	if renames < 10 {
		t.Fatalf("%d renames say nothing", renames)
	}
	formats(func(want changelog.Format) {
		form := scatter.Repack(b, want)
		wants := []scatter.Want{{From: b.From, To: b.To}, {From: b.From + 100, To: b.To - 100}}
		for _, set := range partition(rnd, 5) {
			wants = append(wants, scatter.Want{From: b.From, To: b.To, Slots: set}, scatter.Want{From: b.From + 50, To: b.To, Slots: set})
		}
		plain, cut := scatter.Cut(b, wants), new(scatter.Cutter).CutForm(b, form, wants)
		for i, p := range cut {
			q := plain[i]
			if !bytes.Equal(p.Records, repacked(q.Records, want)) || p.Count != q.Count || p.First != q.First || p.Last != q.Last {
				t.Fatalf("%v, %d: %d records %d to %d, want %d records %d to %d", want, i, p.Count, p.First, p.Last, q.Count, q.First, q.Last)
			}
		}
	})
}

var sunk *core.Batch

// BenchmarkRepack measures what a form costs: with everything wanted a look at each record, else a copy. The
// ratio is against one walk over the records.
func BenchmarkRepack(b *testing.B) {
	all := real(b)
	base := 0.0
	measure := func(name string, pass func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				pass()
			}
			ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(all.Count)
			if name == "walk" {
				base = ns
			}
			b.ReportMetric(ns, "ns/record")
			b.ReportMetric(ns/base, "ratio")
		})
	}
	types := uint64(0)
	measure("walk", func() {
		for scan := changelog.NewScanner(all.Records); scan.Scan(); {
			types += uint64(scan.Record().Type())
		}
	})
	for _, names := range [][]string{changelog.FormatNames(), {"rename", "jobid"}, {}} {
		want, err := changelog.ParseFormat(names)
		if err != nil {
			b.Fatal(err)
		}
		name := want.String()
		if name == "" {
			name = "none"
		}
		measure(name, func() { sunk = scatter.Repack(all, want) })
	}
}

// real returns a batch of 128 KiB of records as a server of 2.16 writes them.
func real(b *testing.B) *core.Batch {
	var records [][]byte
	for size, i := 0, uint64(1); size < 128<<10; i++ {
		f := changelog.Fields{
			Type: changelog.TypeCreat, Index: i, Target: changelog.FID{Seq: 7, Oid: uint32(i)}, Name: "result-0001.h5", JobID: "dd.1000", UID: 1000, GID: 100,
			Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID | changelog.FlagExtra,
				Extra: changelog.ExtraUIDGID | changelog.ExtraNID | changelog.ExtraNIDBE},
		}
		packed, err := f.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		records = append(records, packed)
		size += len(packed)
	}
	return batch(records...)
}

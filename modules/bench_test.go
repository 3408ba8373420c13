package modules_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// workload returns batches of 128 KiB as a busy MDT makes them: files are created, written, closed and, most of them,
// removed a little later; 400,000 records, so that they are not all in the processor's cache.
func workload(tb testing.TB) (batches []modules.Batch, records int) {
	tb.Helper()
	const n = 400_000
	var packed []byte
	from := uint64(0)
	add := func(f changelog.Fields) {
		records++
		f.Index, f.Time = uint64(records), changelog.Time(records)<<20
		f.Format = changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID | changelog.FlagExtra, Extra: changelog.ExtraUIDGID | changelog.ExtraNID | changelog.ExtraNIDBE}
		f.JobID, f.UID, f.GID = "dd.1000", 1000+uint64(records%7), 100
		f.NID = changelog.NID{Net: 2, Len: 4, Addr: [16]byte{10, 20, 0, byte(records)}}
		var err error
		if packed, err = f.Append(packed); err != nil {
			tb.Fatal(err)
		}
		if len(packed) >= 128<<10 {
			batches = append(batches, modules.Batch{From: from, To: uint64(records), Records: packed})
			from, packed = uint64(records), nil
		}
	}
	directory := changelog.FID{Seq: 0x200000007, Oid: 1}
	for i := uint32(0); records < n; i++ {
		fid := changelog.FID{Seq: 0x200000401, Oid: i}
		name := fmt.Sprintf("file-%d.tmp", i)
		add(changelog.Fields{Type: changelog.TypeCreat, Target: fid, Parent: directory, Name: name})
		add(changelog.Fields{Type: changelog.TypeClose, Target: fid, Payload: 0x42})
		if i >= 100 && i%3 != 0 {
			old := changelog.FID{Seq: 0x200000401, Oid: i - 100}
			add(changelog.Fields{Type: changelog.TypeMtime, Target: old, Payload: 0x7})
			add(changelog.Fields{Type: changelog.TypeUnlnk, Payload: changelog.FlagLastLink, Target: old, Parent: directory, Name: fmt.Sprintf("file-%d.tmp", i-100)})
		}
	}
	return batches, records
}

var sink uint64

// fastest returns the shortest of some times.
func fastest(times []time.Duration) float64 { return float64(slices.Min(times)) }

// worked returns the processor time that this program has taken.
func worked() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkChains measures chains against what they are compared with, all over the same records. Both take turns, the
// fastest turns count, and of them the processor's time: so others on the machine disturb the ratio least.
func BenchmarkChains(b *testing.B) {
	batches, records := workload(b)
	against := map[string]func(){}
	measure := func(name, base string, pass func()) {
		against[name] = pass
		b.Run(name, func(b *testing.B) {
			var times, bases []time.Duration
			for b.Loop() {
				begun := worked()
				pass()
				half := worked()
				times = append(times, half-begun)
				if base != "" {
					against[base]()
					bases = append(bases, worked()-half)
				}
			}
			b.ReportMetric(fastest(times)/float64(records), "ns/record")
			if base != "" {
				b.ReportMetric(fastest(times)/fastest(bases), "ratio")
			}
		})
	}
	chain := func(text string, use modules.Use) func() {
		plan := plan(b, text, use)
		return func() {
			c := plan.New(modules.Start{})
			now := time.Unix(0, 0)
			for _, batch := range batches {
				now = now.Add(time.Millisecond)
				out, err := c.Push(now, batch)
				if err != nil {
					b.Fatal(err)
				}
				sink += uint64(out.Count)
			}
			if _, err := c.Flush(now); err != nil {
				b.Fatal(err)
			}
		}
	}
	each := func(f func(changelog.Record)) func() {
		return func() {
			for _, batch := range batches {
				for scan := changelog.NewScanner(batch.Records); scan.Scan(); {
					f(scan.Record())
				}
			}
		}
	}
	group := modules.Use{Consumers: modules.Changes}
	measure("nothing", "", chain(``, group))
	measure("types/by-hand", "", each(func(r changelog.Record) { sink += uint64(r.Type()) }))
	measure("types/few", "types/by-hand", chain(`[{filter: {types: MKDIR}}]`, group))
	measure("types/half", "types/by-hand", chain(`[{filter: {types: CREAT UNLNK}}]`, group))
	measure("types/most", "types/by-hand", chain(`[{filter: {types: -OPEN}}]`, group))
	measure("expression/by-hand", "", each(func(r changelog.Record) {
		if uid, _, ok := r.Owner(); ok && uid == 1003 && r.Type() == changelog.TypeCreat {
			sink++
		}
	}))
	measure("expression/two-fields", "expression/by-hand", chain(`[{filter: {where: 'uid == 1003 && type == "CREAT"'}}]`, group))
	measure("map", "", each(mapPass()))
	for _, parent := range []string{"refresh", "drop"} {
		measure("coalesce-cancel/"+parent, "map", chain(`[coalesce, {cancel: {parent: `+parent+`}}]`, group))
	}
	measure("coalesce", "map", chain(`[coalesce]`, group))
	measure("cancel", "map", chain(`[cancel]`, group))
}

// mapPass inserts the object of each record into a map, and deletes the one of 10,000 records before.
func mapPass() func(changelog.Record) {
	last := make([]changelog.FID, 10_000)
	present := map[changelog.FID]uint64{}
	i := 0
	return func(r changelog.Record) {
		slot := &last[i%len(last)]
		delete(present, *slot)
		*slot = r.Target()
		present[*slot] = r.Index()
		i++
	}
}

func plan(tb testing.TB, text string, use modules.Use) *modules.Plan {
	tb.Helper()
	specs, err := modules.ParseSpecs(text)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := modules.Parse(specs, modules.Builtin(), use)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

package watch

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// BenchmarkUnpack compares how fast tar makes files that nobody watches with how fast
// their records are made.
func BenchmarkUnpack(b *testing.B) {
	for _, system := range []string{"tmpfs", "ext4", "xfs"} {
		b.Run(system, func(b *testing.B) {
			dir := mounted(b, system)
			bench := newBench(b, dir)
			goSource(b, dir)
			sh(b, dir, "mkdir alone")
			var alone, beside, behind time.Duration
			var sums Stats
			w, stop := bench.start()
			defer stop()
			bench.settled(w)
			for i := range b.N {
				began := time.Now()
				sh(b, dir, fmt.Sprintf("mkdir alone/%d; cd alone/%[1]d; tar xf ../../src.tar", i))
				alone += time.Since(began)
				bench.settled(w)
				began = time.Now()
				sh(b, dir, fmt.Sprintf("mkdir tree/%d; cd tree/%[1]d; tar xf ../../src.tar", i))
				beside += time.Since(began)
				time.Sleep(5 * time.Millisecond) // longer than a batch takes to come
				for sums.Settled = false; !sums.Settled; time.Sleep(time.Millisecond) {
					var err error
					sums, err = w.Stats(b.Context())
					check(b, err)
				}
				behind += time.Since(began)
			}
			b.ReportMetric(float64(sums.Records)/behind.Seconds(), "records/s")
			b.ReportMetric(behind.Seconds()/beside.Seconds(), "recorded/unpacked")
			b.ReportMetric(beside.Seconds()/alone.Seconds(), "unpacked/unwatched")
			b.ReportMetric(float64(sums.Overflows), "overflows")
		})
	}
}

// BenchmarkDirectories measures what a directory of the tree takes in memory.
func BenchmarkDirectories(b *testing.B) {
	const many = 1_000_000
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		dirs := make(map[changelog.FID]*dir)
		root := &dir{fid: changelog.FID{Seq: 1}}
		for i := range uint32(many) {
			d := &dir{fid: changelog.FID{Seq: 1<<63 + uint64(i), Oid: i}, parent: root, name: fmt.Sprintf("directory%d", i)}
			dirs[d.fid] = d
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/many, "B/directory")
		runtime.KeepAlive(dirs)
	}
}

// BenchmarkScan measures how fast a tree is compared with what is known of it.
func BenchmarkScan(b *testing.B) {
	dir := mounted(b, "ext4")
	bench := newBench(b, dir)
	goSource(b, dir)
	sh(b, bench.path(), "for i in 1 2 3 4 5 6 7 8; do mkdir $i; tar xf ../src.tar -C $i; done")
	w, stop := bench.start()
	bench.settled(w)
	stop()
	names := len(realTree(b, bench.options))
	for b.Loop() {
		w, stop := bench.start()
		bench.settled(w)
		stop()
	}
	b.ReportMetric(float64(names*b.N)/b.Elapsed().Seconds(), "names/s")
}

package scatter_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/scatter"
)

var sink []scatter.Part

// full returns a batch of 128 KiB about objects all different, the worst case: hardly
// two records in a row go to the same lane.
func full(b testing.TB) *core.Batch {
	const name = "a file name with ninety characters, so that records have the size that they have in real life"
	var records [][]byte
	for bytes, i := 0, uint64(1); bytes < 128<<10; i++ {
		records = append(records, named(b, i, uint32(i*2654435761), name[:90]))
		bytes += len(records[i-1])
	}
	return batch(records...)
}

func BenchmarkCut(b *testing.B) {
	all := full(b)
	bench := func(name string, wants []scatter.Want) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(all.Records)))
			b.ReportAllocs()
			for b.Loop() {
				sink = scatter.Cut(all, wants)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(all.Count), "ns/record")
		})
	}
	bench("whole", []scatter.Want{{From: all.From, To: all.To}})
	bench("range", []scatter.Want{{From: all.From + 1, To: all.To}})
	for _, lanes := range []int{1, 2, 8, 64, 1024} {
		var wants []scatter.Want
		for _, set := range partition(rand.New(rand.NewPCG(1, 2)), lanes) {
			wants = append(wants, scatter.Want{From: all.From, To: all.To, Slots: set})
		}
		bench(fmt.Sprint(lanes, " lanes"), wants)
	}
}

package core_test

import (
	"fmt"
	"testing"

	"github.com/lcapd/lcapd/internal/coreload"
)

func newLoad(tb testing.TB, s coreload.Size) *coreload.Load {
	tb.Helper()
	l, err := coreload.New(s)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// BenchmarkStep measures one step of the loop: an event, or one hand-out. The cost
// must not grow with the number of groups, MDTs and members (at most twice), nor with
// the size of batches.
func BenchmarkStep(b *testing.B) {
	for _, s := range []coreload.Size{
		{Groups: 1, MDTs: 1, Members: 1, Batch: 128 << 10},
		{Groups: 1, MDTs: 1, Members: 1, Batch: 1 << 10},
		{Groups: 64, MDTs: 128, Members: 1000, Batch: 128 << 10},
	} {
		b.Run(fmt.Sprintf("%dx%dx%d/%dKiB", s.Groups, s.MDTs, s.Members, s.Batch>>10), func(b *testing.B) {
			l := newLoad(b, s)
			for range 4 * s.MDTs {
				l.Turn()
			}
			l.Steps = 0
			b.ResetTimer()
			for b.Loop() {
				l.Turn()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(l.Steps), "ns/step")
		})
	}
}

// The same in one run, as a test.
func TestStepCostDoesNotGrow(t *testing.T) {
	small := newLoad(t, coreload.Size{Groups: 1, MDTs: 1, Members: 1, Batch: 1 << 10})
	large := newLoad(t, coreload.Size{Groups: 64, MDTs: 128, Members: 1000, Batch: 1 << 10})
	one, many := coreload.Compare(small, large)
	ratio := float64(many) / float64(one)
	t.Logf("%v a step with 1 group, 1 MDT, 1 member; %v with 64, 128, 1000: %.2f times", one, many, ratio)
	if ratio > 2 {
		t.Errorf("a step costs %.2f times as much with 64 groups, 128 MDTs and 1000 members", ratio)
	}
}

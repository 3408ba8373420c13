package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// Why: a wrong quantile would look like a measured one.
func TestQuantilesOfAHistogram(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(math.Exp(rng.Float64() * 24)) // 1 ns to 26 s
		h.add(d, 1)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		got := h.quantile(q)
		if off := math.Abs(float64(got-want)) / float64(want); off > 1.0/subBuckets && got-want > 1 {
			t.Errorf("%g: got %v, want %v", q, got, want)
		}
	}
}

func TestHistogramsAddUp(t *testing.T) {
	var early, late, both histogram
	early.add(time.Microsecond, 3)
	late.add(time.Second, 2)
	both.merge(early)
	both.merge(late)
	if got := both.since(early).quantile(0); got < 900*time.Millisecond || got > 1100*time.Millisecond {
		t.Errorf("got %v", got)
	}
	if got := histogram(nil).quantile(0.5); got != 0 {
		t.Errorf("nothing takes %v", got)
	}
}

func TestValueOfRuns(t *testing.T) {
	for _, test := range []struct {
		runs []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if v := valueOf(test.runs); v.Median != test.want || v.Least != slices.Min(test.runs) || v.Most != slices.Max(test.runs) {
			t.Errorf("%v: %+v", test.runs, v)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, size := range []int{0, MinSize, 148, fullSize + 1, MaxSize} {
		packed, err := template(size)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for s := changelog.NewScanner(packed); s.Scan(); n++ {
			if size > 0 && s.Record().Size() != size {
				t.Fatalf("a record of %d bytes, %d were asked for", s.Record().Size(), size)
			}
		}
		if n != templateRecords {
			t.Errorf("size %d: %d records", size, n)
		}
	}
	for _, size := range []int{-1, MinSize - 1, MaxSize + 1} {
		if _, err := template(size); err == nil {
			t.Errorf("records of %d bytes were made", size)
		}
	}
}

// Why: the limit must be sent from as many bytes as lcapd holds, as whole records.
func TestChunksOfTheLimit(t *testing.T) {
	packed, err := template(148)
	if err != nil {
		t.Fatal(err)
	}
	const want = 5 << 20
	bytes, last := 0, uint64(0)
	for _, c := range chunksOf(packed, want) {
		if len(c) > writeBytes {
			t.Errorf("a write of %d bytes", len(c))
		}
		s := changelog.NewScanner(c)
		s.Ordered, s.Last = true, last
		for s.Scan() {
			bytes += s.Record().Size()
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		last = s.Last
	}
	if bytes < want {
		t.Errorf("%d bytes, %d were asked for", bytes, want)
	}
}

// Why: a target that cannot be missed demands nothing.
func TestJudge(t *testing.T) {
	r := &Report{Results: []*Result{{Scenario: Scenario{Name: "one"}, runs: []map[Metric]float64{{Ratio: 0.5}, {Ratio: 0.7}, {Ratio: 0.6}}}}}
	met := r.Judge([]Target{{"at least", of("one", Ratio), 0.6, true}, {"at most", of("one", Ratio), 0.6, false}})
	if !met {
		t.Errorf("0.6 is 0.6: %+v", r.Targets)
	}
	for _, target := range []Target{{"at least", of("one", Ratio), 0.61, true}, {"at most", of("one", Ratio), 0.59, false}} {
		if r.Judge([]Target{target}) {
			t.Errorf("%s %g is met by 0.6", target.Name, target.Bound)
		}
	}
}

package bench

import (
	"math/bits"
	"slices"
	"time"
)

// subBuckets is how many buckets a histogram has between a power of two and the next:
// a quantile is exact to 1/32.
const (
	subBits    = 5
	subBuckets = 1 << subBits
)

// histogram counts durations, in ns, in buckets that grow with them.
type histogram []uint64

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// lowerEnd returns the least duration of a bucket.
func lowerEnd(bucket int) time.Duration {
	shift := max(bucket>>subBits-1, 0)
	return time.Duration(uint64(bucket-shift<<subBits) << shift)
}

// add counts n times d.
func (h *histogram) add(d time.Duration, n uint64) {
	b := bucketOf(d)
	if b >= len(*h) {
		*h = append(*h, make([]uint64, b+1-len(*h))...)
	}
	(*h)[b] += n
}

// merge adds what another has counted.
func (h *histogram) merge(other histogram) {
	if len(other) > len(*h) {
		*h = append(*h, make([]uint64, len(other)-len(*h))...)
	}
	for i, n := range other {
		(*h)[i] += n
	}
}

// since returns what was counted after an earlier state.
func (h histogram) since(before histogram) histogram {
	now := slices.Clone(h)
	for i, n := range before {
		now[i] -= n
	}
	return now
}

// quantile returns the middle of the bucket below whose end the part q of all durations is, 0
// for an empty histogram.
func (h histogram) quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range h {
		total += n
	}
	rank := uint64(q * float64(total))
	for i, n := range h {
		if rank < n {
			return (lowerEnd(i) + lowerEnd(i+1)) / 2
		}
		rank -= n
	}
	return lowerEnd(max(len(h)-1, 0))
}

// Value is what several runs measured.
type Value struct {
	Median float64   `json:"median"`
	Least  float64   `json:"least"`
	Most   float64   `json:"most"`
	Runs   []float64 `json:"runs"` // in the order of the runs
}

// valueOf summarises runs, of which there is at least one.
func valueOf(runs []float64) Value {
	sorted := slices.Sorted(slices.Values(runs))
	n := len(sorted)
	return Value{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Least: sorted[0], Most: sorted[n-1], Runs: runs}
}

package changelog_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// scanEnds is what AppendEnds has to return.
func scanEnds(packed []byte, after uint64) (ends []uint32) {
	s := changelog.NewScanner(packed)
	s.Ordered, s.Last = true, after
	for s.Scan() {
		ends = append(ends, uint32(s.Offset()))
	}
	return ends
}

// Wherever bytes are damaged or missing, and wherever the indexes stop rising, it ends where a
// scanner ends.
func TestAppendEnds(t *testing.T) {
	_, stream := stream(t)
	if ends := changelog.AppendEnds([]uint32{7}, stream, 0); ends[0] != 7 || !slices.Equal(ends[1:], scanEnds(stream, 0)) || int(ends[len(ends)-1]) != len(stream) {
		t.Fatal("the golden stream is framed otherwise")
	}
	all := scanEnds(stream, 0)
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 20_000 {
		from := rng.IntN(len(stream))
		if n%2 == 0 {
			from = int(all[rng.IntN(len(all)-1)])
		}
		part := slices.Clone(stream[from:min(from+rng.IntN(3000), len(stream))])
		for range rng.IntN(3) {
			if len(part) > 0 {
				part[rng.IntN(len(part))] ^= 1 << rng.IntN(8)
			}
		}
		after := uint64(rng.IntN(2)) * uint64(rng.IntN(2000))
		if got, want := changelog.AppendEnds(nil, part, after), scanEnds(part, after); !slices.Equal(got, want) {
			t.Fatalf("%x behind index %d: ends %v, want %v", part, after, got, want)
		}
	}
}

func TestFramed(t *testing.T) {
	_, stream := stream(t)
	at := uint32(0)
	for s := changelog.NewScanner(stream); s.Scan(); {
		end := uint32(s.Offset())
		if r := changelog.Framed(stream[at:end]); r.Index() != s.Record().Index() || r.Size() != s.Record().Size() {
			t.Fatalf("record %d is framed as %d", s.Record().Index(), r.Index())
		}
		at = end
	}
}

func FuzzAppendEnds(f *testing.F) {
	_, stream := stream(f)
	f.Add(stream[:900], uint64(0))
	f.Add(stream[:901], uint64(1000))
	f.Fuzz(func(t *testing.T, packed []byte, after uint64) {
		if got, want := changelog.AppendEnds(nil, packed, after), scanEnds(packed, after); !slices.Equal(got, want) {
			t.Errorf("ends %v, want %v", got, want)
		}
	})
}

func BenchmarkAppendEnds(b *testing.B) {
	_, buf := stream(b)
	b.SetBytes(int64(len(buf)))
	var ends []uint32
	for b.Loop() {
		ends = changelog.AppendEnds(ends[:0], buf, 0)
	}
	reportPerRecord(b, len(ends))
}

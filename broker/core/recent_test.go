package core

import (
	"math/rand/v2"
	"testing"
)

// Whatever was read, in batches of any size: an end that is lost holds a remembered record
// if it has four times as many records as were read after it.
func TestRecentIsSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var m mdt
	var read []uint64
	for index := uint64(0); len(read) < 20_000; {
		index += 1 + rng.Uint64N(1000)
		m.noteRecent(RecordID{Index: index, Time: 1})
		read = append(read, index)
		if len(m.recent) > mostRecent || m.recent[len(m.recent)-1].Index != index {
			t.Fatalf("after %d: %v", index, m.recent)
		}
		below := uint64(0)
		for _, id := range m.recent {
			if id.Index <= below {
				t.Fatalf("after %d: not in order: %v", index, m.recent)
			}
			if distance := index - id.Index; len(read) > mostRecent && id.Index-below > 4*distance+2000 && below > index/100 {
				t.Errorf("after %d nothing is remembered between %d and %d", index, below, id.Index)
			}
			below = id.Index
		}
	}
}

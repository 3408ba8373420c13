package ingest

import (
	"slices"

	"github.com/lcapd/lcapd/changelog"
)

// Identity is what tells a record from another one that was issued under the same
// index, after a crash or reset of the MDT. It is comparable.
type Identity struct {
	Index  uint64
	Time   changelog.Time
	Type   changelog.Type
	Target changelog.FID
}

// Identities returns those of the last n records with an index at or below upTo, in
// order. The records are those of a batch: whole and ordered. It is computed when
// asked for, because few batches are.
func Identities(records []byte, upTo uint64, n int) []Identity {
	var starts []int // of the last 2n at most
	scan := changelog.NewScanner(records)
	for at := 0; n > 0 && scan.Scan() && scan.Last <= upTo; at = int(scan.Offset()) {
		if len(starts) == 2*n {
			starts = append(starts[:0], starts[n:]...)
		}
		starts = append(starts, at)
	}
	starts = starts[max(0, len(starts)-n):]
	ids := slices.Grow([]Identity(nil), len(starts))
	for _, at := range starts {
		if r, _, err := changelog.Next(records[at:]); err == nil {
			ids = append(ids, Identity{Index: r.Index(), Time: r.Time(), Type: r.Type(), Target: r.Target()})
		}
	}
	return ids
}

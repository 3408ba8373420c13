package ingest_test

import (
	"slices"
	"testing"

	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
)

func TestIdentities(t *testing.T) {
	stream := vectors(t)
	var all []ingest.Identity
	for scan := changelog.NewScanner(stream); scan.Scan(); {
		r := scan.Record()
		all = append(all, ingest.Identity{Index: r.Index(), Time: r.Time(), Type: r.Type(), Target: r.Target()})
	}
	for _, n := range []int{1, 2, 3, 8, 100, 1999, 2000, 2001, 5000} {
		for _, upTo := range []uint64{0, all[0].Index - 1, all[0].Index, all[7].Index, all[7].Index + 1, all[1999].Index, 1<<64 - 1} {
			end, found := slices.BinarySearchFunc(all, upTo, func(id ingest.Identity, index uint64) int {
				if id.Index <= index {
					return -1
				}
				return 1
			})
			if found {
				t.Fatal("impossible")
			}
			want := all[max(0, end-n):end]
			if got := ingest.Identities(stream, upTo, n); !slices.Equal(got, want) {
				t.Fatalf("the last %d up to %d: got %d, want %d", n, upTo, len(got), len(want))
			}
		}
	}
	if got := ingest.Identities(stream, 1<<64-1, 0); len(got) != 0 {
		t.Errorf("got %v, asked for none", got)
	}
	if got := ingest.Identities(nil, 9, 3); len(got) != 0 {
		t.Errorf("got %v from nothing", got)
	}
}

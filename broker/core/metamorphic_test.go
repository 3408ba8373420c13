package core

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// What a group is given must not depend on how it is served: not on the memory, the
// size of batches, or the number of members. Without faults every record comes once,
// and the records of a key in one order.
func TestServiceDoesNotChangeWhatIsDelivered(t *testing.T) {
	for seed := range uint64(40) {
		want := deliveredWith(seed, 1<<30, 10, 1)
		for _, memory := range []int64{1, 3000, 1 << 30} {
			for _, most := range []int{1, 7, 60} {
				for _, members := range []int{1, 8} {
					got := deliveredWith(seed, memory, most, members)
					if name := differs(got, want); name != "" {
						t.Fatalf("seed %d: memory %d, batches of %d, %d members: %s got\n%v\ninstead of\n%v", seed, memory, most, members, name, got[name], want[name])
					}
				}
			}
		}
	}
}

// deliveredWith runs a calm world and returns, by group, MDT and key, the indexes
// delivered, in their order; for round-robin, which keeps none, sorted.
func deliveredWith(seed uint64, memory int64, most, members int) map[string][]uint64 {
	w := newWorld(newDice(seed))
	w.calm, w.most = true, most
	w.cfg.Memory, w.cfg.CatchUps, w.cfg.Pinned = memory, 4, 1<<30 // nobody is cut
	w.start()
	for i, d := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		w.do(CreateGroup{GroupState{Config: groups.Config{Name: fmt.Sprint("g", i), Distribution: d, InFlight: 50 * recordSize, Lease: time.Hour}, Start: Earliest}})
		for m := range members {
			w.join(fmt.Sprint("g", i), fmt.Sprint("m", m), "s")
		}
	}
	w.delivered = make(map[string][]uint64)
	w.finish()
	for key, list := range w.delivered {
		if key[:2] == "g0" {
			slices.Sort(list)
		}
	}
	return w.delivered
}

func differs(a, b map[string][]uint64) string {
	for _, name := range append(sortedKeys(a), sortedKeys(b)...) {
		if !slices.Equal(a[name], b[name]) {
			return name
		}
	}
	return ""
}

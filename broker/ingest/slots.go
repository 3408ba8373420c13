package ingest

import (
	"slices"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// keys gathers what a batch says about the ordering keys of its records, and where they are.
type keys struct {
	slots groups.Slots
	pairs []groups.Pair
	homes []groups.Slot
	sizes []uint16
}

// add notes the keys of a record.
func (k *keys) add(r changelog.Record) {
	home, other, two := groups.Keys(r)
	k.homes = append(k.homes, home)
	k.sizes = append(k.sizes, uint16(r.Size())) // it fits: a header and at most changelog.MaxNameArea
	k.slots.Add(home)
	if two {
		k.slots.Add(other)
		k.pairs = append(k.pairs, groups.Pair{Index: r.Index(), Home: home, Other: other})
	}
}

// addAll notes the keys of packed records.
func (k *keys) addAll(packed []byte) {
	for scan := changelog.NewScanner(packed); scan.Scan(); {
		k.add(scan.Record())
	}
}

// moveTo gives what was gathered to b, as copies of the right size, and starts anew.
func (k *keys) moveTo(b *core.Batch) {
	slots := k.slots
	b.Slots, b.Pairs = &slots, exactly(k.pairs)
	b.Homes, b.Sizes = exactly(k.homes), exactly(k.sizes)
	k.slots, k.pairs, k.homes, k.sizes = groups.Slots{}, k.pairs[:0], k.homes[:0], k.sizes[:0]
}

// exactly returns a copy that has no room for more.
func exactly[T any](list []T) []T { return slices.Clip(slices.Clone(list)) }

// WithSlots returns b with Slots, and what goes with them, if it has none: a batch that was sealed
// before a group needed them, or one that was derived from another. The records are
// shared.
func WithSlots(b *core.Batch) *core.Batch {
	if b.Slots != nil {
		return b
	}
	var k keys
	k.addAll(b.Records)
	withSlots := *b
	k.moveTo(&withSlots)
	return &withSlots
}

package core

import (
	"github.com/lcapd/lcapd/groups"
)

// Epoch counts the resets of an MDT's index.
type Epoch uint32

// Batch is a run of records of one MDT as one reading saw it. It is immutable:
// everybody shares it by reference. The batches of one reading follow each other
// without a gap: From is the To of the one before.
type Batch struct {
	MDT   groups.MDT
	Epoch Epoch
	// From and To are the range (From, To] that the batch covers: every index in
	// it was looked at, and what the MDT showed is in Records.
	From, To uint64
	// Records are packed, in ascending order of their indexes. There may be none.
	Records []byte
	Count   int
	// Slots are the home slots of the records and, for those in Pairs, the other one.
	Slots *groups.Slots
	// Pairs are the records with two keys, by index.
	Pairs []groups.Pair
	// Holes are the ranges within (From, To] that have no record, by index. An MDT has
	// few: failed operations leave some (ABI 10.8).
	Holes []Range
}

// Range is (From, To].
type Range struct{ From, To uint64 }

// Bytes returns the size of the records: what counts for credit.
func (b *Batch) Bytes() int64 { return int64(len(b.Records)) }

// Weight returns what the batch takes of the memory limit, and of a grant, in bytes:
// its records and everything around them.
func (b *Batch) Weight() int64 {
	const around = 640 // the struct and the set of slots
	const pair = 16    // of a barrier, or of a hole
	return b.Bytes() + around + pair*int64(len(b.Pairs)+len(b.Holes))
}

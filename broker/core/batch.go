package core

import (
	"time"

	"github.com/lcapd/lcapd/changelog"
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
	// it was looked at, and what the MDT showed is in Records, but for what modules dropped.
	From, To uint64
	// Records are packed, in ascending order of their indexes. There may be none. What the
	// slice has room for besides belongs to nobody.
	Records []byte
	Count   int
	// Last is the index of the last record where modules have dropped some. Else it is 0: what
	// the last one is follows from To and Holes.
	Last uint64
	// Newest is the last record that the MDT showed; zero if there is none.
	Newest RecordID
	// Hidden are the records that the MDT showed and that modules dropped, or made others of, by
	// index: the MDT is recognised by all that it shows. Only the live reading tells them.
	Hidden []RecordID
	// Asked is when the last read for the batch began, Came when it ended; both are zero where nobody tells. What it
	// holds may be handed on much later. The MDT was away for so long at most between two batches: from when the first was asked for
	// until the second came.
	Asked, Came time.Time
	// AtEnd tells that the MDT had nothing more when the batch was sealed.
	AtEnd bool
	// Slots are the home slots of the records and, for those in Pairs, the other one.
	Slots *groups.Slots
	// Pairs are the records with two keys, by index.
	Pairs []groups.Pair
	// Homes and Sizes are the home slot and the size in bytes of each record, in order. They spare
	// whoever cuts the batch to look at records that nobody has in a cache any more. Nil with Slots.
	Homes []groups.Slot
	Sizes []uint16
	// Holes are the ranges within (From, To] of which the MDT showed no record, by index. An MDT
	// has few: failed operations leave some (ABI 10.8).
	Holes []Range
}

// RecordID is what tells a record from another one that was issued under the same
// index, after a crash or a reset of the MDT (ABI 10.8). The zero value is no record.
type RecordID struct {
	Index  uint64
	Time   changelog.Time
	Type   changelog.Type
	Target changelog.FID
}

// Range is (From, To].
type Range struct{ From, To uint64 }

// Shown returns how many records the MDT showed in the range, whatever modules have left of them.
func (b *Batch) Shown() int {
	indexes := b.To - b.From
	for _, h := range b.Holes {
		indexes -= h.To - h.From
	}
	return int(indexes)
}

// LastRecord returns the index of the last record of a batch that has some.
func (b *Batch) LastRecord() uint64 {
	if b.Last != 0 {
		return b.Last
	}
	if n := len(b.Holes); n > 0 && b.Holes[n-1].To == b.To {
		return b.Holes[n-1].From
	}
	return b.To
}

// Bytes returns the size of the records: what counts for credit.
func (b *Batch) Bytes() int64 { return int64(len(b.Records)) }

// Weight returns what the batch takes of the memory limit, and of a grant, in bytes:
// the memory of its records and everything around them.
func (b *Batch) Weight() int64 {
	const around = 640 // the struct and the set of slots
	const pair = 16    // of a barrier, or of a hole
	const id = 40      // of a record that is hidden
	const note = 2     // a home, or a size
	return int64(cap(b.Records)) + around + pair*int64(len(b.Pairs)+len(b.Holes)) + id*int64(cap(b.Hidden)) +
		note*int64(cap(b.Homes)+cap(b.Sizes))
}

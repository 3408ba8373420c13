package scatter

import (
	"cmp"
	"slices"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
)

// A Want is what one delivery gets of a batch: the records in (From, To] whose home
// slot is in Slots; nil stands for all.
type Want struct {
	From, To uint64
	Slots    *groups.Slots
}

// A Part is what a [Want] came to. Nobody may change it.
type Part struct {
	// Records are packed, in the order of the batch.
	Records []byte
	Count   int
	// First and Last are the indexes of the first and the last record, 0 without any.
	First, Last uint64
	// Shared tells that Records are bytes of the batch, and keep all of those in memory.
	Shared bool
}

// Bytes returns what the part weighs.
func (p *Part) Bytes() int64 { return int64(len(p.Records)) }

// A Cutter cuts batches. It has one owner, and uses again for the next batch what it needed
// for the one before. The zero value is ready.
type Cutter struct {
	// Spare has memory of parts that nobody uses any more: who sends it has let go of it.
	// Large parts are cut into it. May be nil.
	Spare <-chan []byte

	records records
}

// Cut returns the part of b for each want. One walk over b serves them all, so ask
// at once for all that is to be cut out of it. Wants may overlap.
//
// Everything, or a part that lies in one run and is at least half of the batch, is
// not copied: it shares the batch's bytes. Other parts are copied, each into memory
// of its size, rounded up to [PageBytes] if it is larger than that.
func Cut(b *core.Batch, wants []Want) []Part { return new(Cutter).CutForm(b, b, wants) }

// CutForm is [Cut], but the parts hold the records as they are in form, which is b
// repacked, or b. To whom they go b tells: form may have lost what a record's home depends on.
func (c *Cutter) CutForm(b, form *core.Batch, wants []Want) []Part {
	parts := make([]Part, len(wants))
	present := cmp.Or(b.Slots, &groups.AllSlots) // a batch without a word on it may have all
	rs, listed := &c.records, false
	defer func() { rs.packed, rs.homes = nil, nil }()
	var lanes []lane
	for i, w := range wants {
		all := w.Slots == nil || contains(w.Slots, present)
		switch {
		case all && w.From <= b.From && w.To >= b.To:
			parts[i] = whole(form)
			continue
		case !all && !w.Slots.Meets(present):
			continue
		case b.Count == 0:
			continue
		case !listed:
			rs.list(b, form)
			listed = true
		}
		lo, hi := rs.upTo(w.From), rs.upTo(w.To)
		switch {
		case lo >= hi:
		case all:
			parts[i] = rs.run(lo, hi)
		default:
			if lanes == nil {
				lanes = make([]lane, 0, len(wants)-i)
			}
			lanes = append(lanes, lane{slots: w.Slots, lo: lo, hi: hi, part: &parts[i]})
		}
	}
	for len(lanes) > 0 {
		lanes = c.fill(lanes, present)
	}
	return parts
}

// contains tells whether s has all slots of other.
func contains(s, other *groups.Slots) bool {
	for i, word := range other {
		if word&^s[i] != 0 {
			return false
		}
	}
	return true
}

// whole is the part for everything. As a rule it costs the same for any batch.
func whole(b *core.Batch) Part {
	if b.Count == 0 {
		return Part{}
	}
	last, ok := lastIndex(b)
	if !ok {
		var rs records
		rs.list(b, b)
		return rs.run(0, len(rs.ends))
	}
	return Part{Records: slices.Clip(b.Records), Count: b.Count, First: indexAt(b.Records, 0), Last: last, Shared: true}
}

// lastIndex returns the index of the last record of b if it follows from the holes:
// if every other index of the range has a record. After a filter that is not so.
func lastIndex(b *core.Batch) (last uint64, ok bool) {
	last, indexes := b.To, b.To-b.From
	for _, h := range b.Holes {
		indexes -= h.To - h.From
		if h.To == b.To {
			last = h.From
		}
	}
	return last, indexes == uint64(b.Count)
}

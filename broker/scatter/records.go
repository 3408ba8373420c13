package scatter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// records is a batch taken apart, once for all wants.
type records struct {
	packed []byte
	ends   []uint32      // where each record ends
	homes  []groups.Slot // its home slot; the batch's own, or found
	found  []groups.Slot // memory for homes
	lanes  []uint16      // the number of the lane that it goes to, from 1; 0 for none
	seen   byte          // what fetch has read
}

// list takes form apart, which is b repacked, or b, into the memory of what was taken apart
// before. A batch is framed before it is sealed, so bytes that are no record are a fault of
// this program, and to go on would lose what is behind them.
func (rs *records) list(b, form *core.Batch) {
	if b.Homes != nil {
		rs.homes = b.Homes
		rs.add(b)
	} else {
		rs.frame(b)
		rs.find()
	}
	if form != b {
		rs.frame(form)
	}
}

// add notes where the records of a batch end by what it says itself: they need not be looked at.
func (rs *records) add(b *core.Batch) {
	rs.packed, rs.ends = b.Records, slices.Grow(rs.ends[:0], len(b.Sizes))
	end := uint32(0)
	for _, size := range b.Sizes {
		end += uint32(size)
		rs.ends = append(rs.ends, end)
	}
}

// find notes the homes of records by looking at them.
func (rs *records) find() {
	rs.found = rs.found[:0]
	at := uint32(0)
	for _, end := range rs.ends {
		home, _, _ := groups.Keys(changelog.Framed(rs.packed[at:end]))
		rs.found = append(rs.found, home)
		at = end
	}
	rs.homes = rs.found
}

// frame notes where the records of a batch end.
func (rs *records) frame(b *core.Batch) {
	rs.packed = b.Records
	rs.fetch()
	rs.ends = changelog.AppendEnds(slices.Grow(rs.ends[:0], b.Count), b.Records, 0)
	if n := len(rs.ends); n == 0 || int(rs.ends[n-1]) != len(b.Records) {
		panic(fmt.Sprintf("scatter: the batch (%d, %d] was sealed with bytes that are no record", b.From, b.To))
	}
}

// fetch has the processor fetch the batch, which was read long ago as a rule. To frame it
// is a chain: where a record ends is known when its beginning has come from memory, and so
// each would be waited for in turn. These reads do not wait for each other.
func (rs *records) fetch() {
	const cacheLine = 64
	for i := 0; i < len(rs.packed); i += cacheLine {
		rs.seen ^= rs.packed[i]
	}
}

// start returns where record i starts.
func (rs *records) start(i int) int {
	if i == 0 {
		return 0
	}
	return int(rs.ends[i-1])
}

// end returns where record i ends.
func (rs *records) end(i int) int { return int(rs.ends[i]) }

// index returns the index of record i.
func (rs *records) index(i int) uint64 { return indexAt(rs.packed, rs.start(i)) }

// indexAt returns the index of the packed record at an offset.
func indexAt(packed []byte, off int) uint64 { return binary.LittleEndian.Uint64(packed[off+8:]) }

// upTo returns how many records there are with an index at or below index.
func (rs *records) upTo(index uint64) int {
	return sort.Search(len(rs.ends), func(i int) bool { return rs.index(i) > index })
}

// run is the part of the records lo to hi, hi not among them. It shares the batch's
// bytes if it has half of them or more, so that no part keeps more than twice its own
// weight in memory.
func (rs *records) run(lo, hi int) Part {
	from, to := rs.start(lo), rs.end(hi-1)
	p := Part{Records: rs.packed[from:to:to], Count: hi - lo, First: rs.index(lo), Last: rs.index(hi - 1), Shared: true}
	if 2*(to-from) < len(rs.packed) {
		p.Records, p.Shared = slices.Clip(bytes.Clone(p.Records)), false
	}
	return p
}

// lane is a want of some slots among the records lo to hi, hi not among them.
type lane struct {
	slots       *groups.Slots
	lo, hi      int
	part        *Part
	first, last int // records of the lane
	bytes       int
	isRun       bool // they follow each other
}

// fill fills the parts of as many lanes as have no slot in common, as all lanes
// of one group have none: then a record goes to one of them at most, and a table
// tells to which. It returns the other lanes.
func (c *Cutter) fill(lanes []lane, present *groups.Slots) (later []lane) {
	rs := &c.records
	var table [groups.SlotCount]uint16 // of lane numbers, from 1
	var taken groups.Slots
	now := make([]lane, 0, len(lanes))
	lo, hi := len(rs.ends), 0
	for _, l := range lanes {
		if taken.Meets(l.slots) {
			later = append(later, l)
			continue
		}
		taken.Union(l.slots)
		now = append(now, l)
		lo, hi = min(lo, l.lo), max(hi, l.hi)
		enter(&table, l.slots, present, uint16(len(now)))
	}
	rs.measure(now, &table, lo, hi)
	for i := range now {
		c.makeRoom(&now[i])
	}
	rs.copy(now, lo, hi)
	return later
}

// enter puts a lane's number at its slots, as far as they matter.
func enter(table *[groups.SlotCount]uint16, slots, present *groups.Slots, number uint16) {
	for i, word := range slots {
		for word &= present[i]; word != 0; word &= word - 1 {
			table[i*64+bits.TrailingZeros64(word)] = number
		}
	}
}

// measure computes what each lane will get of the records lo to hi, hi not among them.
func (rs *records) measure(lanes []lane, table *[groups.SlotCount]uint16, lo, hi int) {
	rs.lanes = slices.Grow(rs.lanes[:0], len(rs.ends))[:len(rs.ends)]
	for i := lo; i < hi; i++ {
		n := table[rs.homes[i]]
		if n != 0 && !lanes[n-1].has(i) {
			n = 0
		}
		if rs.lanes[i] = n; n == 0 {
			continue
		}
		l := &lanes[n-1]
		if l.part.Count == 0 {
			l.first = i
		}
		l.part.Count++
		l.last = i
		l.bytes += rs.end(i) - rs.start(i)
	}
}

// copy copies records into the parts that have room for them, those in a row at once.
func (rs *records) copy(lanes []lane, lo, hi int) {
	for i := lo; i < hi; {
		n, from := rs.lanes[i], i
		for i++; i < hi && rs.lanes[i] == n; i++ {
		}
		if n == 0 || lanes[n-1].isRun {
			continue
		}
		p := lanes[n-1].part
		p.Records = append(p.Records, rs.packed[rs.start(from):rs.end(i-1)]...)
	}
}

// has tells whether record i is in the lane's range.
func (l *lane) has(i int) bool { return l.lo <= i && i < l.hi }

// makeRoom makes the buffer of a lane's part, unless what it gets is one run: then
// that is the part, and nothing is left to do.
func (c *Cutter) makeRoom(l *lane) {
	p, rs := l.part, &c.records
	switch {
	case p.Count == 0:
		return
	case l.last-l.first+1 == p.Count:
		*p, l.isRun = rs.run(l.first, l.last+1), true
		return
	}
	p.Records = c.room(l.bytes)
	p.First, p.Last = rs.index(l.first), rs.index(l.last)
}

// PageBytes is what the memory of a part is rounded up to, if the part is as large.
const PageBytes = 16 << 10

// room returns memory for a part.
func (c *Cutter) room(size int) []byte {
	if size < PageBytes {
		return make([]byte, 0, size)
	}
	select {
	case spare := <-c.Spare:
		if cap(spare) >= size && cap(spare) <= 2*size {
			return spare[:0]
		}
	default:
	}
	return make([]byte, 0, (size+PageBytes-1)/PageBytes*PageBytes)
}

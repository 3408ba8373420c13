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
	ends   []int         // where each record ends
	homes  []groups.Slot // its home slot
}

// list takes form apart, which is b repacked, or b. A batch is framed before it is sealed,
// so bytes that are no record are a fault of this program, and to go on would lose what is
// behind them.
func list(b, form *core.Batch) *records {
	rs := &records{packed: form.Records, ends: make([]int, 0, b.Count), homes: make([]groups.Slot, 0, b.Count)}
	walk(b, func(r changelog.Record, end int) {
		home, _, _ := groups.Keys(r)
		rs.ends = append(rs.ends, end)
		rs.homes = append(rs.homes, home)
	})
	if form != b {
		rs.ends = rs.ends[:0]
		walk(form, func(_ changelog.Record, end int) { rs.ends = append(rs.ends, end) })
	}
	return rs
}

// walk calls f with each record of a batch, and where it ends.
func walk(b *core.Batch, f func(r changelog.Record, end int)) {
	scan := changelog.NewScanner(b.Records)
	for scan.Scan() {
		f(scan.Record(), int(scan.Offset()))
	}
	if err := scan.Err(); err != nil {
		panic(fmt.Sprintf("scatter: the batch (%d, %d] was sealed with bytes that are no record: %v", b.From, b.To, err))
	}
}

// start returns where record i starts.
func (rs *records) start(i int) int {
	if i == 0 {
		return 0
	}
	return rs.ends[i-1]
}

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
	from, to := rs.start(lo), rs.ends[hi-1]
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
}

// fill fills the parts of as many lanes as have no slot in common, as all lanes
// of one group have none: then a record goes to one of them at most, and a table
// tells to which. It returns the other lanes.
func (rs *records) fill(lanes []lane, present *groups.Slots) (later []lane) {
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
		now[i].makeRoom(rs)
	}
	for i := lo; i < hi; i++ {
		if n := table[rs.homes[i]]; n != 0 && now[n-1].has(i) {
			p := now[n-1].part
			p.Records = append(p.Records, rs.packed[rs.start(i):rs.ends[i]]...)
		}
	}
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

// measure computes what each lane will get.
func (rs *records) measure(lanes []lane, table *[groups.SlotCount]uint16, lo, hi int) {
	for i := lo; i < hi; i++ {
		n := table[rs.homes[i]]
		if n == 0 || !lanes[n-1].has(i) {
			continue
		}
		l := &lanes[n-1]
		if l.part.Count == 0 {
			l.first = i
		}
		l.part.Count++
		l.last = i
		l.bytes += rs.ends[i] - rs.start(i)
	}
}

// has tells whether record i is in the lane's range.
func (l *lane) has(i int) bool { return l.lo <= i && i < l.hi }

// makeRoom makes the buffer of a lane's part, unless what it gets is one run: then
// that is the part, and nothing is left to do.
func (l *lane) makeRoom(rs *records) {
	p := l.part
	switch {
	case p.Count == 0:
		return
	case l.last-l.first+1 == p.Count:
		*p, l.hi = rs.run(l.first, l.last+1), l.lo
		return
	}
	p.Records = make([]byte, 0, l.bytes)
	p.First, p.Last = rs.index(l.first), rs.index(l.last)
}

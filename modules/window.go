package modules

import (
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// Bounds are how far a window reaches.
type Bounds struct {
	// Records is how many records there may be between the oldest held and the newest, those that were dropped
	// included.
	Records int
	// Bytes is what they may take in memory, at [entryWeight] bytes a record besides its own.
	Bytes int64
	// Age is how long a record is held.
	Age time.Duration
}

// The bounds of a window, and what they are if nothing is configured.
const (
	defaultRecords, maxRecords = 10_000, 10_000_000
	defaultBytes, minBytes     = 8 << 20, 64 << 10
	maxBytes                   = 16 << 30
	defaultAge, maxAge         = 5 * time.Second, time.Hour
)

// bounds reads the options of a window, and counts what it may hold.
func (o *Options) bounds() Bounds {
	b := Bounds{
		Records: int(o.Int("records", defaultRecords, 1, maxRecords)),
		Bytes:   o.Bytes("bytes", defaultBytes, minBytes, maxBytes),
		Age:     o.Duration("age", defaultAge, time.Millisecond, maxAge),
	}
	o.windows += b.most()
	return b
}

// most is what a window may hold, in bytes of [Held]: all of Bytes, unless so many of the largest
// records are less.
func (b Bounds) most() int64 {
	return min(b.Bytes, int64(b.Records)*(changelog.MaxRecordSize+entryWeight))
}

// window holds copies of the last records of a stream, in their order, and finds those about an object.
//
// The entries about one object are chained from the newest back; each is in one chain, or in two if it is about two
// objects. Dropped entries are in no chain and are let go with those before them. Memory is that of the
// entries between the oldest and the newest, so the bounds count all of them.
type window struct {
	bounds Bounds
	ring   []entry // a power of two of them
	head   uint64  // number of the oldest entry; the window's numbers start at 1
	tail   uint64  // number that the next entry gets
	live   int     // entries that are not dropped
	weight int64
	newest table // newest live entry about an object
	arena  arena
	start  time.Time // of the chain
}

// entry is a record in a window.
type entry struct {
	record   changelog.Record
	index    uint64
	at       time.Duration // when it came, from the start of the chain
	subjects [2]object
	older    [2]uint64 // number of the next older entry about the subject; it is gone if below head
	kind     changelog.Type
	live     bool
	changed  bool // the record is not the one that came
}

// entryWeight is what an entry takes besides the bytes of its record: its places in the ring and in the table, of
// which a half and three quarters may be empty.
const entryWeight = 320

func newWindow(b Bounds) *window { return &window{bounds: b, head: 1, tail: 1} }

// at returns the entry with a number from head on.
func (w *window) at(number uint64) *entry { return &w.ring[number&uint64(len(w.ring)-1)] }

// latest returns the newest entry about an object.
func (w *window) latest(o object) (number uint64, ok bool) {
	number = w.newest.get(o)
	return number, number != 0
}

// before returns the next older entry about an object that an entry is about.
func (w *window) before(e *entry, o object) (number uint64, ok bool) {
	number = e.older[0]
	if e.subjects[0] != o {
		number = e.older[1]
	}
	return number, number >= w.head
}

// add puts a copy of a record behind the others and returns its number.
func (w *window) add(r changelog.Record, out *Out) uint64 {
	if w.tail-w.head == uint64(len(w.ring)) {
		w.grow()
	}
	number := w.tail
	w.tail++
	e := w.at(number)
	e.record, e.index, e.kind, e.live, e.changed = w.arena.copy(r), r.Index(), r.Type(), true, false
	e.at, w.start = out.chain.elapsed, out.chain.start
	e.subjects[0], e.subjects[1] = subjects(r)
	for i, o := range e.subjects {
		if o != noObject {
			e.older[i] = w.newest.set(o, number)
		}
	}
	w.live++
	w.weight += int64(r.Size()) + entryWeight
	return number
}

// grow doubles the ring.
func (w *window) grow() {
	old := w.ring
	w.ring = make([]entry, max(16, 2*len(old)))
	for n := w.head; n < w.tail; n++ {
		*w.at(n) = old[n&uint64(len(old)-1)]
	}
}

// kill takes an entry out of its chains; it must be the newest one about each of its subjects. What it held is let go
// when it is the oldest.
func (w *window) kill(number uint64) {
	e := w.at(number)
	for i, o := range e.subjects {
		switch {
		case o == noObject:
		case e.older[i] >= w.head:
			w.newest.set(o, e.older[i])
		default:
			w.newest.drop(o, number)
		}
	}
	e.live = false
	w.live--
}

// pop lets go the oldest entry.
func (w *window) pop() {
	e := w.at(w.head)
	if e.live {
		for _, o := range e.subjects {
			if o != noObject {
				w.newest.drop(o, w.head)
			}
		}
		w.live--
	}
	w.weight -= int64(e.record.Size()) + entryWeight
	w.arena.release()
	e.record = changelog.Record{}
	w.head++
}

// release keeps the oldest entries as long as must says so, and lets go the dropped ones before the first that
// stays: the oldest entry is always live. leave is told of each that is kept before it goes; it may be nil.
func (w *window) release(out *Out, must func(*entry) bool, leave func(*entry)) {
	for w.head < w.tail {
		e := w.at(w.head)
		if e.live {
			if !must(e) {
				return
			}
			if leave != nil {
				leave(e)
			}
			if e.changed {
				out.Change(e.record, e.record.Bytes())
			} else {
				out.Keep(e.record)
			}
		}
		w.pop()
	}
}

// fit lets go the oldest entries until the window is within its bounds.
func (w *window) fit(out *Out, leave func(*entry)) {
	if w.over() || w.head < w.tail && !w.at(w.head).live {
		w.release(out, func(*entry) bool { return w.over() }, leave)
	}
}

// over tells whether the window reaches too far.
func (w *window) over() bool {
	return w.tail-w.head > uint64(w.bounds.Records) || w.weight > w.bounds.Bytes
}

// tick is [Module.Tick]: it lets go what is held as long as it may be. A quiet stream takes no memory.
func (w *window) tick(out *Out, leave func(*entry)) {
	now := out.chain.elapsed
	w.release(out, func(e *entry) bool { return now-e.at >= w.bounds.Age }, leave)
	if w.head == w.tail {
		w.ring, w.newest, w.arena = nil, table{}, arena{}
	}
}

// flush is [Module.Flush].
func (w *window) flush(out *Out, leave func(*entry)) {
	w.release(out, func(*entry) bool { return true }, leave)
	w.ring, w.newest, w.arena = nil, table{}, arena{}
}

// held is [Module.Held].
func (w *window) held() Held {
	if w.head == w.tail {
		return Held{}
	}
	oldest := w.at(w.head)
	since := w.start.Add(oldest.at)
	return Held{Records: w.live, Bytes: w.weight, Oldest: oldest.index, Since: since, Due: since.Add(w.bounds.Age)}
}

package groups

import (
	"container/heap"
	"slices"
)

// Track is a group's way through one MDT. The group owns it.
//
// Invariants: the streams of lanes share out all keys, each to exactly one; mark
// is the smallest mark of all streams; no lease ends above frontier, no cursor is
// above looked.
type Track struct {
	MDT   MDT
	group *Group

	streams    []*Stream // lanes, or the two ends of the pool
	lastStream int
	marks      markHeap
	lanes      map[MemberID][]*Stream // of fid: by owner
	pool       *pool                  // set for round-robin
	crews      []*crew                // that serve it, for round-robin
	mark       uint64                 // of the streams
	begin      uint64                 // where the track began: nothing at or below it is the group's
	late       late
	frontier   uint64 // the highest index ever handed out
	looked     uint64 // the highest place that a cursor came to
	skips      []uint64
	flight     []flown // the way from mark to looked
	ahead      int64   // its bytes
	held       line    // of streams that wait for the mark, as ahead is too much
	low        line    // of streams that wait for the ceiling
	moved      bool    // in Group.moved
	ended      bool
}

// flown is a part of the way from mark to looked, with its bytes.
type flown struct {
	to    uint64
	bytes int64
}

func newTrack(g *Group, mdt MDT, mark uint64) *Track {
	t := &Track{MDT: mdt, group: g, mark: mark, begin: mark, frontier: mark, looked: mark, lanes: make(map[MemberID][]*Stream)}
	if g.Config.Distribution == RoundRobin {
		t.pool = newPool(t, mark)
		for _, c := range g.crews {
			t.hire(c)
		}
		return t
	}
	s := &Stream{track: t, cursor: mark}
	if g.Config.Distribution == ByFID {
		all := AllSlots
		s.keys = &all
	}
	t.add(s)
	return t
}

func (t *Track) add(s *Stream) {
	t.lastStream++
	s.id = t.lastStream
	t.streams = append(t.streams, s)
	t.lanes[s.owner] = append(t.lanes[s.owner], s)
	heap.Push(&t.marks, s)
	s.wake()
}

// drop ends a stream.
func (t *Track) drop(s *Stream) {
	s.gone = true
	s.leaveLines()
	heap.Remove(&t.marks, s.heapAt)
	isIt := func(x *Stream) bool { return x == s }
	t.streams = slices.DeleteFunc(t.streams, isIt)
	t.lanes[s.owner] = slices.DeleteFunc(t.lanes[s.owner], isIt)
}

// end drops all streams and leases of the track.
func (t *Track) end() {
	t.ended = true
	t.late.end(t.group)
	for _, s := range t.streams {
		s.gone = true
		s.leaveLines()
		for _, l := range s.leases {
			t.group.endLease(l)
		}
	}
	t.streams, t.marks, t.lanes, t.crews = nil, nil, nil, nil
}

// Mark returns the track's mark.
func (t *Track) Mark() uint64 {
	if late := t.late.records; len(late) > 0 {
		return min(t.mark, late[0].Index-1)
	}
	return t.mark
}

// Frontier returns the highest index that was handed out since the track began, or
// was sought.
func (t *Track) Frontier() uint64 { return t.frontier }

// Group returns the group that the track belongs to.
func (t *Track) Group() *Group { return t.group }

// Streams returns the streams, for the broker to look at and not to keep.
func (t *Track) Streams() []*Stream { return t.streams }

// CeilingRaised tells that the hand-out ceiling on disk is higher now: who answered
// [NeedsCeiling] is woken.
func (t *Track) CeilingRaised() { t.low.wakeAll() }

func (t *Track) wakeStreams() {
	for _, s := range t.streams {
		s.wake()
	}
	t.late.wake()
}

// mayReach cuts the way from the cursor of s to to as rule 7 wants it: behind the
// foremost cursor always, beyond it only while that is not too far ahead of the mark.
func (t *Track) mayReach(s *Stream, to uint64) (uint64, Blocked) {
	limit := t.group.Config.InFlight
	if to <= t.looked || limit <= 0 || t.ahead < limit {
		return to, Ready
	}
	if s.cursor >= t.looked {
		s.wait(&t.held)
		return s.cursor, InFlight
	}
	return t.looked, Ready
}

// mostFlights is how many hand-outs may be ahead of the mark, however little they
// weigh: a lease costs memory too.
const mostFlights = 1 << 16

// fineness is in how many parts at least the way ahead of the mark is remembered:
// memory must not grow with the number of hand-outs.
const fineness = 64

// look notes that a cursor comes to to, behind bytes of records and so many hand-outs.
func (t *Track) look(to uint64, bytes, handOuts int64) {
	if to <= t.looked {
		return
	}
	limit := t.group.Config.InFlight
	bytes = max(bytes, handOuts*(limit/mostFlights))
	if limit <= 0 {
		limit = 1 << 26 // there is none: this is for the parts only
	}
	t.looked = to
	t.ahead += bytes
	if last := len(t.flight) - 1; last >= 0 && t.flight[last].bytes+bytes <= limit/fineness {
		t.flight[last].to, t.flight[last].bytes = to, t.flight[last].bytes+bytes
	} else {
		t.flight = append(t.flight, flown{to, bytes})
	}
	t.held.wakeAll() // who is behind the foremost cursor may always go on
}

// streamMoved brings the track's mark up to date after that of s may have changed.
func (t *Track) streamMoved(s *Stream) {
	if s.gone {
		return
	}
	heap.Fix(&t.marks, s.heapAt)
	mark := t.marks[0].ownMark() // who waits for another stands above it: that one counts
	if mark == t.mark {
		return
	}
	t.mark = mark
	for len(t.flight) > 0 && t.flight[0].to <= mark {
		t.ahead -= t.flight[0].bytes
		t.flight = t.flight[1:]
	}
	for len(t.skips) > 0 && t.skips[0] <= mark {
		t.skips = t.skips[1:]
	}
	t.group.markMoved(t)
	t.late.wake()
	if t.ahead < t.group.Config.InFlight {
		t.held.wakeAll()
	}
}

// skipped tells whether an operator had the record at index passed over.
func (t *Track) skipped(index uint64) bool {
	_, found := slices.BinarySearch(t.skips, index)
	return found
}

// untilSkip cuts (cursor, to] before the next index that is passed over.
func (t *Track) untilSkip(cursor, to uint64) uint64 {
	i, _ := slices.BinarySearch(t.skips, cursor+1)
	if i < len(t.skips) && t.skips[i] <= to {
		return t.skips[i] - 1
	}
	return to
}

// laneOf returns the lane that has the slot. Its cost grows with the number of
// lanes: it is for barrier records, which are rare.
func (t *Track) laneOf(slot Slot) *Stream {
	for _, s := range t.streams {
		if s.keys.Has(slot) {
			return s
		}
	}
	panic("groups: a slot is in no lane")
}

// lose gives back all that a member has in flight here, and all that it owns.
func (t *Track) lose(member MemberID) {
	t.late.lose(member)
	if t.pool != nil {
		t.pool.lose(member)
		return
	}
	for _, s := range slices.Clone(t.streams) {
		if s.moveTo == member {
			s.moveTo = 0
			s.wake() // it need not drain any more
		}
		if s.owner == member {
			s.moveAtOnce(s.moveTo)
			s.fallBack()
		}
	}
}

// markHeap orders streams by their own marks.
type markHeap []*Stream

func (h markHeap) Len() int           { return len(h) }
func (h markHeap) Less(i, j int) bool { return h[i].ownMark() < h[j].ownMark() }
func (h markHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}

// Push implements [heap.Interface].
func (h *markHeap) Push(x any) {
	s := x.(*Stream)
	s.heapAt = len(*h)
	*h = append(*h, s)
}

// Pop implements [heap.Interface].
func (h *markHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}

package groups

import (
	"container/heap"
	"slices"
	"time"
)

// Track is a group's way through one MDT. The group owns it.
//
// Invariants: the streams of lanes share out all keys, each to exactly one; mark
// is the smallest mark of all streams; no lease ends above frontier.
type Track struct {
	MDT   MDT
	group *Group

	streams  []*Stream // lanes, or the two ends of the pool
	marks    markHeap
	pool     *pool // set for round-robin
	mark     uint64
	frontier uint64 // the highest index ever handed out
	skips    []uint64
	flight   []flown // what was handed out between mark and frontier
	ahead    int64   // its bytes
	held     []*Stream
}

// flown is a part of the way from mark to frontier, with its bytes.
type flown struct {
	to    uint64
	bytes int64
}

func newTrack(g *Group, mdt MDT, mark uint64) *Track {
	t := &Track{MDT: mdt, group: g, mark: mark, frontier: mark}
	if g.Config.Distribution == RoundRobin {
		t.pool = newPool(t, mark)
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
	t.streams = append(t.streams, s)
	heap.Push(&t.marks, s)
	s.wake()
}

// Mark returns the track's mark.
func (t *Track) Mark() uint64 { return t.mark }

// Frontier returns the highest index that was ever handed out.
func (t *Track) Frontier() uint64 { return t.frontier }

// Group returns the group that the track belongs to.
func (t *Track) Group() *Group { return t.group }

// Streams returns the streams, for the broker to look at and not to keep.
func (t *Track) Streams() []*Stream { return t.streams }

// mayReach cuts (from, to] to what s may hand out now: at or below the frontier
// always, beyond it only while the group is not too far ahead of its mark (rule 7),
// and never above the ceiling.
func (t *Track) mayReach(s *Stream, from, to, ceiling uint64) (uint64, Blocked) {
	limit := t.group.Config.InFlight
	if to > t.frontier && limit > 0 && t.ahead >= limit {
		if from >= t.frontier {
			t.held = append(t.held, s)
			return from, InFlight
		}
		to = t.frontier
	}
	if to > ceiling {
		return from, NeedsCeiling
	}
	return to, Ready
}

// reach notes a hand-out of (from, to] that weighs bytes.
func (t *Track) reach(from, to uint64, bytes int64) {
	if to <= t.frontier {
		return
	}
	if from < t.frontier {
		bytes = int64(float64(bytes) * float64(to-t.frontier) / float64(to-from))
	}
	t.frontier = to
	t.flight = append(t.flight, flown{to, bytes})
	t.ahead += bytes
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
	if t.ahead < t.group.Config.InFlight {
		for _, held := range t.held {
			held.wake()
		}
		t.held = t.held[:0]
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

// laneOf returns the lane that has the slot.
func (t *Track) laneOf(slot Slot) *Stream {
	for _, s := range t.streams {
		if s.keys.Has(slot) {
			return s
		}
	}
	panic("groups: a slot is in no lane")
}

// split takes n slots out of lane s for a new owner. What s has in flight of them
// must be acknowledged first.
func (t *Track) split(s *Stream, keys Slots, owner MemberID) *Stream {
	s.part()
	own := *s.keys // leases in flight keep the set that they were made with
	own.remove(&keys)
	s.keys = &own
	child := &Stream{track: t, keys: &keys, owner: owner, cursor: s.cursor, tries: slices.Clone(s.tries), notBefore: s.notBefore, poisoned: s.poisoned}
	if len(s.leases) > 0 {
		child.after, child.afterAt = s, s.cursor
		s.waiters = append(s.waiters, waiter{child, s.cursor})
	} else if s.after != nil {
		child.after, child.afterAt = s.after, s.afterAt
		s.after.waiters = append(s.after.waiters, waiter{child, s.afterAt})
	}
	t.add(child)
	return child
}

// mergeAt joins s with another lane of its owner that has come to the same place.
// Should either have something in flight, both wait for its end: the mark of a key
// must never fall, and one lane has one mark.
func (t *Track) mergeAt(s *Stream) {
	if s.keys == nil || len(t.streams) == 1 || !s.canMerge() {
		return
	}
	for _, other := range t.streams {
		if other != s && other.owner == s.owner && other.cursor == s.cursor && other.canMerge() {
			s.partner, other.partner = other, s
			t.mergeDrained(s)
			return
		}
	}
}

// canMerge tells whether nothing but its place and what it has in flight
// distinguishes the lane from another one of its owner.
func (s *Stream) canMerge() bool {
	return s.owner != 0 && s.partner == nil && s.moveTo == 0 && s.after == nil &&
		!s.poisoned && len(s.tries) == 0 && s.notBefore.IsZero() && !s.isAwaited()
}

// isAwaited tells whether a lane that was split from s waits for it.
func (s *Stream) isAwaited() bool {
	return slices.ContainsFunc(s.waiters, func(w waiter) bool { return w.stream.after == s })
}

// mergeDrained puts the keys of s and its partner into s, if both have drained.
func (t *Track) mergeDrained(s *Stream) {
	other := s.partner
	if len(s.leases) > 0 || len(other.leases) > 0 {
		return
	}
	s.part()
	keys := *s.keys // deliveries keep the sets that they were made with
	keys.Union(other.keys)
	s.keys = &keys
	s.waiters = append(s.waiters, other.waiters...)
	t.drop(other)
	s.markMoved()
}

// part ends the wait of two lanes for each other.
func (s *Stream) part() {
	if other := s.partner; other != nil {
		s.partner, other.partner = nil, nil
		s.wake()
		other.wake()
	}
}

// drop ends a stream.
func (t *Track) drop(s *Stream) {
	s.gone = true
	heap.Remove(&t.marks, s.heapAt)
	t.streams = slices.DeleteFunc(t.streams, func(x *Stream) bool { return x == s })
}

// lose gives back all that a member has in flight here.
func (t *Track) lose(member MemberID) {
	if t.pool != nil {
		t.pool.lose(member, time.Time{})
		return
	}
	for _, s := range slices.Clone(t.streams) {
		if s.moveTo == member {
			s.moveTo = 0
			s.wake()
		}
		if s.owner != member {
			continue
		}
		s.owner, s.moveTo = s.moveTo, 0
		s.fallBack()
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
	*h = old[:len(old)-1]
	return s
}

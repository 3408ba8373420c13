package groups

import (
	"cmp"
	"slices"
	"time"
)

// LateRecord is a record that was found in a hole when the way had gone on over it.
type LateRecord struct {
	Index uint64
	Home  Slot
	Bytes int64
}

// late is what a track hands out late, from a stream of its own: each record alone,
// to who owns the lane of its home key by then, or in a pool to whose turn it is.
//
// It waits until everything below it is acknowledged: so what is worked on beside it can only
// be newer.
//
// Invariant: records are ascending by index; none is acknowledged. The track's mark
// is below the first, those of the streams are not: order does not hold for what is
// late, and no barrier waits for it.
type late struct {
	stream  *Stream
	records []*lateRecord
}

type lateRecord struct {
	LateRecord
	try       try
	notBefore time.Time
	lease     *lease // while it is handed out
	skipped   bool   // while it is handed out: it does not come again
}

// Late has records handed out late that were found in a hole: as far as the group is
// to get them, and its streams are past them. Who is not reads them in their place, if
// what it reads from now on shows them: the broker sees to that.
// [ErrUnknownMDT] if the group has no track there.
func (g *Group) Late(mdt MDT, found []LateRecord) error {
	t, err := g.trackOf(mdt)
	if err != nil {
		return err
	}
	for _, r := range found {
		if r.Index > t.begin && r.Index <= t.cursorOf(r.Home) && !t.skipped(r.Index) {
			t.late.add(t, r)
		}
	}
	g.markMoved(t)
	return nil
}

// HasLate tells whether late records are not acknowledged yet.
func (t *Track) HasLate() bool { return len(t.late.records) > 0 }

// cursorOf returns how far the way went for a key.
func (t *Track) cursorOf(home Slot) uint64 {
	switch {
	case t.pool != nil:
		return t.pool.head.cursor
	case t.group.Config.Distribution == ByFID:
		return t.laneOf(home).cursor
	}
	return t.streams[0].cursor
}

func (x *late) add(t *Track, r LateRecord) {
	if x.stream == nil {
		x.stream = &Stream{track: t}
	}
	at, found := x.find(r.Index)
	if !found {
		x.records = slices.Insert(x.records, at, &lateRecord{LateRecord: r})
	}
	x.stream.wake()
}

// find returns where the record is, or would be.
func (x *late) find(index uint64) (at int, found bool) {
	return slices.BinarySearchFunc(x.records, index, func(r *lateRecord, index uint64) int { return cmp.Compare(r.Index, index) })
}

// wake has the stream look again, if it has something to hand out.
func (x *late) wake() {
	if len(x.records) > 0 {
		x.stream.wake()
	}
}

// IsLate tells whether the stream is the track's one of late records. What it needs
// is in the batches that were found, and nowhere else.
func (s *Stream) IsLate() bool { return s == s.track.late.stream }

// need tells which record could be handed out now: the one behind from.
func (x *late) need(now time.Time) (from uint64, why Blocked) {
	why = Empty
	for _, r := range x.records {
		if r.lease != nil {
			continue
		}
		if why = x.whyNot(r, now); why == Ready {
			return r.Index - 1, Ready
		}
	}
	return 0, why
}

func (x *late) whyNot(r *lateRecord, now time.Time) Blocked {
	t := x.stream.track
	g := t.group
	switch {
	case g.paused:
		return Paused
	case r.try.spent(g.Config.MaxDeliveries):
		return Poisoned
	case t.mark < r.Index:
		return Barrier // what lies below it may still be worked on
	case now.Before(r.notBefore):
		return g.delay(x.stream, r.notBefore)
	case t.pool != nil && t.turn(0) == nil:
		return x.stream.waitForTurn()
	case t.pool != nil:
		return Ready
	}
	m := g.members[t.ownerOf(r.Home)]
	switch {
	case m == nil:
		return NoMember
	case !m.hasCredit():
		x.stream.wait(&m.line)
		return NoCredit
	}
	return Ready
}

// ownerOf returns who owns the lane of a key.
func (t *Track) ownerOf(home Slot) MemberID {
	if t.group.Config.Distribution == ByFID {
		return t.laneOf(home).owner
	}
	return t.streams[0].owner
}

// take hands out the record behind place.
func (x *late) take(p Piece, place, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	s := x.stream
	t := s.track
	switch {
	case !p.covers(place):
		return d, Elsewhere
	case place+1 > ceiling:
		s.wait(&t.low)
		return d, NeedsCeiling
	}
	at, _ := x.find(place + 1) // need found it
	r := x.records[at]
	l := s.lend(t.lateTo(r.Home), Piece{From: place, To: r.Index, Bytes: r.Bytes}, place, r.Index, r.try, now)
	r.lease = l
	d = l.delivery()
	d.Late = true
	return d, Ready
}

// lateTo returns who is handed out a late record with that key.
func (t *Track) lateTo(home Slot) *member {
	if t.pool != nil {
		return t.turn(0)
	}
	return t.group.members[t.ownerOf(home)]
}

// acked forgets a record that was acknowledged.
func (x *late) acked(l *lease) {
	x.drop(l.to)
	l.stream.track.group.endLease(l)
}

func (x *late) drop(index uint64) {
	if at, found := x.find(index); found {
		x.records = slices.Delete(x.records, at, at+1)
		t := x.stream.track
		t.group.markMoved(t)
	}
}

// giveBack has a record handed out again when it is due.
func (x *late) giveBack(l *lease, due time.Time) {
	at, _ := x.find(l.to)
	r := x.records[at]
	r.lease, r.try, r.notBefore = nil, l.try, due
	l.stream.track.group.endLease(l)
	if r.skipped {
		x.drop(l.to)
	}
	x.stream.wake()
}

// lose gives back what a member has of it.
func (x *late) lose(member MemberID) {
	for _, r := range slices.Clone(x.records) {
		if r.lease != nil && r.lease.member.id == member {
			x.giveBack(r.lease, time.Time{})
		}
	}
}

// end ends all leases: the track ends.
func (x *late) end(g *Group) {
	for _, r := range x.records {
		if r.lease != nil {
			g.endLease(r.lease)
		}
	}
	if x.stream != nil {
		x.stream.gone = true
		x.stream.leaveLines()
	}
}

// skip passes over a record that waits to be handed out late; one that is in flight
// is passed over when it comes back. It tells whether it is one of these.
func (x *late) skip(index uint64) bool {
	at, found := x.find(index)
	switch {
	case !found:
	case x.records[at].lease == nil:
		x.drop(index)
	default:
		x.records[at].skipped = true
	}
	return found
}

// forgive lets records go on that were delivered too often, within (from, to].
func (x *late) forgive(from, to uint64, most int) {
	for _, r := range x.records {
		if r.Index > from && r.Index <= to && r.try.spent(most) {
			r.try.pardon = r.try.n
			x.stream.wake()
		}
	}
}

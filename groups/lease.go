package groups

import (
	"container/list"
	"slices"
	"time"
)

// lease is what was handed out and is not fully acknowledged, or is so above one
// that is not. Invariant: from <= acked <= to.
type lease struct {
	id       LeaseID
	member   *member
	stream   *Stream
	from, to uint64
	last     uint64 // of its records, as far as known: what lies above is acknowledged with it
	acked    uint64
	bytes    int64
	try      try           // how often the range was delivered, with this delivery
	given    time.Time     // when it was handed out
	moved    time.Time     // of the last progress, or of the hand-out
	place    *list.Element // in Group.open, while it is not done
}

func (l *lease) done() bool { return l.acked == l.to }

// lend makes a lease of (from, to] for a member, and charges it. x says how often
// the range was delivered before.
func (s *Stream) lend(m *member, p Piece, from, to uint64, x try, now time.Time) *lease {
	g := s.track.group
	g.lastLease++
	l := &lease{
		id: g.lastLease, member: m, stream: s, from: from, to: to, last: to, acked: from,
		bytes: p.weight(s.keys, from, to), try: try{to, x.n + 1, x.pardon}, given: now, moved: now,
	}
	g.leases[l.id] = l
	l.place = g.open.PushBack(l)
	s.track.frontier = max(s.track.frontier, to)
	g.charge(m, l.bytes)
	return l
}

// delivery describes the lease to who cuts its records out.
func (l *lease) delivery() Delivery {
	return Delivery{
		Member: l.member.id, Lease: l.id, MDT: l.stream.track.MDT, From: l.from, To: l.to,
		Slots: l.stream.keys, Count: l.try.n, Bytes: l.bytes,
	}
}

// Revoked is a lease that ended while its member was there, and not by an ack.
type Revoked struct {
	Member MemberID
	Lease  LeaseID
}

// Revoked returns the leases that were revoked since the last call. Their members are to be
// told before anything is handed out again: what they have of these comes again, and who keeps
// an order must not go on with it. Of a lane the newest come first.
func (g *Group) Revoked() []Revoked {
	revoked := g.revoked
	g.revoked = nil
	return revoked
}

// Holds tells whether a member has the lease.
func (g *Group) Holds(id MemberID, lease LeaseID) bool {
	l := g.leases[lease]
	return l != nil && l.member.id == id
}

// endLease forgets a lease: whoever speaks of it is told that it is lost.
func (g *Group) endLease(l *lease) {
	delete(g.leases, l.id)
	if !l.done() && g.members[l.member.id] == l.member {
		g.revoked = append(g.revoked, Revoked{l.member.id, l.id})
	}
	g.open.Remove(l.place) // a done one is out already
}

// ack raises the acked index of a lease of this stream and drops what is done.
func (s *Stream) ack(l *lease, upTo uint64, now time.Time) {
	if upTo >= l.last {
		upTo = l.to
	}
	if upTo <= l.acked {
		return
	}
	g := s.track.group
	l.acked, l.moved, l.member.acked = upTo, now, now
	if g.open.MoveToBack(l.place); l.done() {
		g.open.Remove(l.place)
	}
	if s.IsLate() {
		s.track.late.acked(l)
		return
	}
	s.dropDone()
	s.markMoved()
}

// dropDone ends the leases at the front that are done.
func (s *Stream) dropDone() {
	for len(s.leases) > 0 && s.leases[0].done() {
		s.track.group.endLease(s.leases[0])
		s.leases[0] = nil
		s.leases = s.leases[1:]
	}
}

// share estimates the bytes of a part of the batch.
func (p Piece) share(from, to uint64) int64 {
	if from <= p.From && to >= p.To {
		return p.Bytes
	}
	return max(1, int64(float64(p.Bytes)*float64(to-from)/float64(p.To-p.From)))
}

// weight estimates the bytes that belong to keys in a part of the batch.
func (p Piece) weight(keys *Slots, from, to uint64) int64 {
	bytes := p.share(from, to)
	if keys == nil || p.Slots == nil {
		return bytes
	}
	return max(1, bytes*int64(keys.common(p.Slots))/int64(p.Slots.Count()))
}

// holdsFor tells whether the batch may hold a record with one of the keys.
func (p Piece) holdsFor(keys *Slots) bool {
	switch {
	case p.Bytes == 0:
		return false
	case p.Slots == nil:
		return true
	case keys == nil:
		return *p.Slots != Slots{}
	}
	return keys.Meets(p.Slots)
}

// covers tells whether what follows place is in the batch.
func (p Piece) covers(place uint64) bool { return p.From <= place && place < p.To }

// pairAt returns the barrier record at an index, if there is one.
func (p Piece) pairAt(index uint64) (Pair, bool) {
	i := p.pairsFrom(index)
	if i < len(p.Pairs) && p.Pairs[i].Index == index {
		return p.Pairs[i], true
	}
	return Pair{}, false
}

// pairsFrom returns where in Pairs the first one at or above index is.
func (p Piece) pairsFrom(index uint64) int {
	i, _ := slices.BinarySearchFunc(p.Pairs, index, func(x Pair, index uint64) int {
		switch {
		case x.Index < index:
			return -1
		case x.Index > index:
			return 1
		}
		return 0
	})
	return i
}

package groups

import (
	"cmp"
	"slices"
	"time"
)

// pool is a round-robin track: new records from the head, and ranges that came
// back. Order holds inside one hand-out only.
//
// Invariant: (mark, head.cursor] is shared out, without overlap, among what is
// acknowledged, the open leases of head, and returned.
type pool struct {
	track    *Track
	head     *Stream // its cursor is that of the pool; it holds all leases
	back     *Stream // hands out what is returned; its cursor is the lowest of it
	returned []returnedRange
}

// returnedRange is a range that came back, ascending in the pool's list.
type returnedRange struct {
	from, to  uint64
	count     int // how often it was delivered
	notBefore time.Time
	poisoned  bool
}

func newPool(t *Track, mark uint64) *pool {
	p := &pool{track: t}
	p.head = &Stream{track: t, cursor: mark}
	p.back = &Stream{track: t, cursor: ^uint64(0), returns: p}
	t.pool = p
	t.add(p.head)
	t.add(p.back)
	return p
}

// lose returns what a member has in flight.
func (p *pool) lose(member MemberID, notBefore time.Time) {
	var lost []*lease
	for _, l := range p.head.leases {
		if l.member == member && !l.done() {
			lost = append(lost, l)
		}
	}
	for _, l := range lost {
		p.giveBack(l, notBefore)
	}
}

// giveBack returns what of a lease is not acknowledged.
func (p *pool) giveBack(l *lease, notBefore time.Time) {
	delete(p.track.group.leases, l.id)
	p.head.leases = slices.DeleteFunc(p.head.leases, func(x *lease) bool { return x == l })
	limit := p.track.group.Config.MaxDeliveries
	r := returnedRange{from: l.acked, to: l.to, count: l.count, notBefore: notBefore, poisoned: limit > 0 && l.count >= limit}
	at, _ := slices.BinarySearchFunc(p.returned, r.from, func(x returnedRange, from uint64) int { return cmp.Compare(x.from, from) })
	p.returned = slices.Insert(p.returned, at, r)
	p.settle()
	p.back.wake()
}

// settle brings the cursor of back, which its mark is made of, up to date.
func (p *pool) settle() {
	p.back.cursor = ^uint64(0)
	if len(p.returned) > 0 {
		p.back.cursor = p.returned[0].from
	}
	p.back.markMoved()
	p.head.markMoved()
}

// next returns the position in returned of the lowest range that may go out now.
func (p *pool) next(now time.Time) (int, Blocked) {
	why := Empty
	for i, r := range p.returned {
		switch {
		case r.poisoned:
			why = Poisoned
		case now.Before(r.notBefore):
			why = Delayed
		default:
			return i, Ready
		}
	}
	return 0, why
}

func (p *pool) need(s *Stream, now time.Time) (from uint64, why Blocked) {
	i, why := p.next(now)
	switch why {
	case Ready:
		from, why = p.returned[i].from, s.whyNot(now)
	case Delayed:
		p.track.group.delayed = append(p.track.group.delayed, s)
	}
	s.blocked = why
	return from, why
}

// take hands out the part of the next returned range that the batch covers.
func (p *pool) take(s *Stream, piece Piece, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	from, why := p.need(s, now)
	if why != Ready {
		return d, why
	}
	i, _ := p.next(now)
	r := &p.returned[i]
	if p.track.skipped(from + 1) {
		p.cutReturned(i, from+1)
		return d, Ready
	}
	to := p.track.untilSkip(from, min(piece.To, r.to))
	if to, why = p.track.mayReach(s, from, to, ceiling); why != Ready {
		s.blocked = why
		return d, why
	}
	member := p.track.group.turn(p.track.MDT)
	p.track.group.took(member)
	d = p.lend(piece, from, to, r.count+1, member, now)
	p.cutReturned(i, to)
	return d, Ready
}

// cutReturned removes what lies at or below to from the front of a returned range.
func (p *pool) cutReturned(i int, to uint64) {
	if p.returned[i].from = to; p.returned[i].from == p.returned[i].to {
		p.returned = slices.Delete(p.returned, i, i+1)
	}
	p.settle()
}

// lend makes a lease of a returned range.
func (p *pool) lend(piece Piece, from, to uint64, count int, member MemberID, now time.Time) Delivery {
	g := p.track.group
	g.lastLease++
	l := &lease{id: g.lastLease, member: member, stream: p.head, from: from, to: to, acked: from, count: count, moved: now}
	g.leases[l.id] = l
	at, _ := slices.BinarySearchFunc(p.head.leases, from, func(x *lease, from uint64) int { return cmp.Compare(x.from, from) })
	p.head.leases = slices.Insert(p.head.leases, at, l)
	g.charge(member, piece.share(from, to))
	return Delivery{Member: member, Lease: l.id, MDT: p.track.MDT, From: from, To: to, Count: count}
}

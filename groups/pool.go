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

// returnedRange is a range (from, try.to] that came back, ascending in the pool's list.
type returnedRange struct {
	from      uint64
	try       try
	by        MemberID // who had it
	notBefore time.Time
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
func (p *pool) lose(member MemberID) {
	var lost []*lease
	for _, l := range p.head.leases {
		if l.member.id == member && !l.done() {
			lost = append(lost, l)
		}
	}
	p.giveBack(time.Time{}, lost...)
}

// giveBack returns what of leases is not acknowledged, to be handed out again when
// it is due.
func (p *pool) giveBack(due time.Time, leases ...*lease) {
	if len(leases) == 0 {
		return
	}
	ended := make(map[*lease]bool, len(leases))
	for _, l := range leases {
		ended[l] = true
		p.track.group.endLease(l)
		p.returned = append(p.returned, returnedRange{from: l.acked, try: l.try, by: l.member.id, notBefore: due})
	}
	slices.SortFunc(p.returned, func(a, b returnedRange) int { return cmp.Compare(a.from, b.from) })
	p.head.leases = slices.DeleteFunc(p.head.leases, func(l *lease) bool { return ended[l] })
	p.settle()
	p.back.wake()
}

// settle brings the marks of both ends up to date. The returned part of a lease is
// in the list by now, so the track's mark does not pass it meanwhile.
func (p *pool) settle() {
	p.back.cursor = ^uint64(0)
	if len(p.returned) > 0 {
		p.back.cursor = p.returned[0].from
	}
	p.head.dropDone()
	p.back.markMoved()
	p.head.markMoved()
}

// next returns the position in returned of the lowest range that may go out now and
// that the batch covers; a batch of nil covers all. If there is none it says why, and
// when one is due.
func (p *pool) next(piece *Piece, now time.Time) (at int, due time.Time, why Blocked) {
	why = Empty
	for i, r := range p.returned {
		switch {
		case r.try.spent(p.track.group.Config.MaxDeliveries):
			if why == Empty {
				why = Poisoned
			}
		case now.Before(r.notBefore):
			if why != Delayed || r.notBefore.Before(due) {
				why, due = Delayed, r.notBefore
			}
		case piece == nil || piece.covers(r.from):
			return i, due, Ready
		}
	}
	return 0, due, why
}

// needHead tells whether new records could be handed out.
func (p *pool) needHead() Blocked {
	switch {
	case p.track.group.paused:
		return Paused
	case p.track.turn(0) == nil:
		return p.head.waitForTurn()
	}
	return Ready
}

// needBack tells where returned records could be handed out.
func (p *pool) needBack(now time.Time) (from uint64, why Blocked) {
	i, due, why := p.next(nil, now)
	switch {
	case why == Delayed:
		return 0, p.track.group.delay(p.back, due)
	case why != Ready:
		return 0, why
	case p.track.group.paused:
		return 0, Paused
	case p.track.turn(0) == nil:
		return 0, p.back.waitForTurn()
	}
	return p.returned[i].from, Ready
}

// takeHead hands out new records.
func (p *pool) takeHead(piece Piece, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	s, t := p.head, p.track
	if t.skipped(s.cursor + 1) {
		s.advance(piece, s.cursor+1, 0)
		return d, Ready
	}
	to, why := t.mayReach(s, t.untilSkip(s.cursor, piece.To))
	switch {
	case why != Ready:
		return d, why
	case !piece.holdsFor(nil):
		s.advance(piece, to, 0)
		return d, Ready
	case to > ceiling:
		s.wait(&t.low)
		return d, NeedsCeiling
	}
	l := s.lend(t.turn(0), piece, s.cursor, to, try{}, now)
	s.leases = append(s.leases, l)
	d = l.delivery()
	s.advance(piece, to, 1)
	return d, Ready
}

// takeBack hands out the part of a returned range that the batch covers.
func (p *pool) takeBack(piece Piece, ceiling uint64, now time.Time) (d Delivery, why Blocked) {
	t := p.track
	i, _, why := p.next(&piece, now)
	if why != Ready {
		return d, Elsewhere // there is one, or it would not have come to this
	}
	r := p.returned[i]
	if t.skipped(r.from + 1) {
		p.cutReturned(i, r.from+1)
		return d, Ready
	}
	to := t.untilSkip(r.from, min(piece.To, r.try.to))
	switch {
	case !piece.holdsFor(nil):
		p.cutReturned(i, to)
		return d, Ready
	case to > ceiling:
		p.back.wait(&t.low)
		return d, NeedsCeiling
	}
	l := p.head.lend(t.turn(r.by), piece, r.from, to, r.try, now)
	at, _ := slices.BinarySearchFunc(p.head.leases, l.from, func(x *lease, from uint64) int { return cmp.Compare(x.from, from) })
	p.head.leases = slices.Insert(p.head.leases, at, l)
	p.cutReturned(i, to)
	return l.delivery(), Ready
}

// cutReturned removes what lies at or below to from the front of a returned range.
func (p *pool) cutReturned(i int, to uint64) {
	if p.returned[i].from = to; to == p.returned[i].try.to {
		p.returned = slices.Delete(p.returned, i, i+1)
	}
	p.settle()
}

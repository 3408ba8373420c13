package groups

import (
	"cmp"
	"slices"
	"time"
)

// line is where streams wait, in the order in which they came, each once.
type line struct {
	streams []*Stream
	credit  func() int // tells for how many hand-outs there is credit; nil for lines that wait for something else
	called  bool       // in Group.calls
}

// wait has the stream stand in the line, if it does not already.
func (s *Stream) wait(l *line) {
	if !slices.Contains(s.lines, l) {
		s.lines = append(s.lines, l)
		l.streams = append(l.streams, s)
	}
}

// next takes the first stream out of the line.
func (l *line) next() *Stream {
	s := l.streams[0]
	l.streams[0] = nil
	l.streams = l.streams[1:]
	s.left(l)
	return s
}

// left notes that the stream stands in the line no more.
func (s *Stream) left(l *line) {
	s.lines = slices.DeleteFunc(s.lines, func(x *line) bool { return x == l })
}

// leaveLines takes the stream out of all lines: it ends, or has another owner.
func (s *Stream) leaveLines() {
	for _, l := range s.lines {
		l.streams = slices.DeleteFunc(l.streams, func(x *Stream) bool { return x == s })
	}
	s.lines = nil
}

func (l *line) wakeAll() {
	for len(l.streams) > 0 {
		l.next().wake()
	}
}

// call notes that there may be credit for who stands in the line.
func (g *Group) call(l *line) {
	if !l.called && len(l.streams) > 0 {
		l.called = true
		g.calls = append(g.calls, l)
	}
}

// callUp wakes as many streams of each line as there is credit for. The line stays
// called until it is empty or the credit is used up: should a stream not use it, for
// whatever reason, the next one is woken.
func (g *Group) callUp() {
	g.calls = slices.DeleteFunc(g.calls, func(l *line) bool {
		credit := l.credit()
		for range min(credit, len(l.streams)) {
			l.next().wake()
		}
		l.called = credit > 0 && len(l.streams) > 0
		return !l.called
	})
}

// crew is the members of a round-robin group that serve the same MDTs. As a rule
// there is one. It is there so that whose turn it is can be told without asking all.
type crew struct {
	serves  []MDT
	members int
	ready   []*member // with credit, in turn
	line    line      // pools' streams that wait for credit
}

// enlist puts a member into its crew.
func (g *Group) enlist(m *member) {
	i := slices.IndexFunc(g.crews, func(c *crew) bool {
		return (c.serves == nil) == (m.serves == nil) && slices.Equal(c.serves, m.serves)
	})
	if i < 0 {
		c := &crew{serves: m.serves}
		c.line.credit = func() int { return len(c.ready) }
		i = len(g.crews)
		g.crews = append(g.crews, c)
		for _, t := range g.order {
			t.hire(c)
		}
	}
	m.crew = g.crews[i]
	m.crew.members++
}

// hire has the crew serve the track, if it does so at all.
func (t *Track) hire(c *crew) {
	if t.pool != nil && servesMDT(c.serves, t.MDT) {
		t.crews = append(t.crews, c)
		t.wakeStreams() // they wait in its line too from now on
	}
}

// discharge takes a member out of its crew, and dissolves one without members.
func (g *Group) discharge(m *member) {
	c := m.crew
	c.dismiss(m)
	if c.members--; c.members > 0 {
		return
	}
	g.crews = slices.DeleteFunc(g.crews, func(x *crew) bool { return x == c })
	for _, t := range g.order {
		t.crews = slices.DeleteFunc(t.crews, func(x *crew) bool { return x == c })
	}
	c.line.wakeAll()
}

// turn returns the member whose turn it is among those with credit that serve the
// MDT: who had his last longest ago. Only if nobody else can it is the one given.
func (t *Track) turn(not MemberID) *member {
	var best, last *member
	for _, c := range t.crews {
		for _, m := range c.ready {
			if m.id == not {
				last = m
				continue
			}
			if best == nil || m.turn < best.turn {
				best = m
			}
			break
		}
	}
	if best == nil {
		return last
	}
	return best
}

// waitForTurn has a pool's stream wait for a member with credit. What was returned
// goes before what is new: it holds the mark.
func (s *Stream) waitForTurn() Blocked {
	for _, c := range s.track.crews {
		s.wait(&c.line)
		if streams := c.line.streams; s.returns != nil {
			at := slices.Index(streams, s)
			copy(streams[1:at+1], streams[:at])
			streams[0] = s
		}
	}
	if len(s.track.crews) == 0 {
		return NoMember
	}
	return NoCredit
}

// dismiss takes a member out of the row. Who had his turn is at its front.
func (c *crew) dismiss(m *member) {
	i := slices.Index(c.ready, m)
	switch {
	case i < 0:
		return
	case i == 0:
		c.ready[0] = nil
		c.ready = c.ready[1:]
	default:
		c.ready = slices.Delete(c.ready, i, i+1)
	}
	m.isReady = false
}

// charge takes one hand-out off a member's credit, and ends its turn.
func (g *Group) charge(m *member, bytes int64) {
	m.batches--
	m.bytes -= bytes
	if m.crew != nil {
		m.crew.dismiss(m)
		g.creditChanged(m)
	}
}

// Credit lets a member take so many more hand-outs, and bytes. Below 0 counts as 0.
func (g *Group) Credit(id MemberID, batches int, bytes int64, now time.Time) error {
	m, ok := g.members[id]
	if !ok {
		return ErrUnknownMember
	}
	g.hear(m, now)
	most := g.Config
	m.batches = min(m.batches+min(max(batches, 0), maxBatches), cmp.Or(most.CreditBatches, maxBatches))
	m.bytes = min(m.bytes+min(max(bytes, 0), maxBytes), cmp.Or(most.CreditBytes, maxBytes))
	g.creditChanged(m)
	return nil
}

// The most credit that a member can have, so that no sum overflows.
const (
	maxBatches = 1 << 30
	maxBytes   = 1 << 50
)

// Measured tells, once, what a delivery really holds, when it was cut out of its
// batch: so many bytes of records, the last one at index last; 0 and 0 if there are
// none. The member is charged for that instead of the estimate, and its ack of the
// last record acknowledges all of the lease. Without records there is nothing for the
// member to acknowledge: the lease ends here, and costs it nothing.
func (g *Group) Measured(d Delivery, bytes int64, last uint64, now time.Time) {
	if m := g.members[d.Member]; m != nil {
		m.bytes = min(m.bytes+d.Bytes-bytes, maxBytes)
		if bytes == 0 {
			m.batches = min(m.batches+1, maxBatches)
		}
		g.creditChanged(m)
	}
	l := g.leases[d.Lease]
	switch {
	case l == nil:
	case bytes == 0:
		l.stream.ack(l, l.to, now)
	case last <= l.from || last > l.to:
		l.bytes = bytes // where the last record is remains unknown
	default:
		l.bytes, l.last = bytes, last
		l.stream.ack(l, l.acked, now) // it may be done by that
	}
}

// creditChanged brings up to date who may have a turn, and calls who waits.
func (g *Group) creditChanged(m *member) {
	c := m.crew
	switch {
	case c == nil && m.hasCredit():
		g.call(&m.line)
	case c == nil, m.hasCredit() == m.isReady:
	case m.isReady:
		c.dismiss(m)
	default:
		g.turns++
		m.turn, m.isReady = g.turns, true
		c.ready = append(c.ready, m)
		g.call(&c.line)
	}
}

package groups

import (
	"fmt"
	"slices"
	"time"
)

// Group is a persistent consumer group: its members and its way through each MDT.
// It has one owner, the broker's loop.
type Group struct {
	Config Config

	tracks    map[MDT]*Track
	order     []*Track // as added
	members   map[MemberID]*member
	byName    map[string]*member
	leases    map[LeaseID]*lease
	lastLease LeaseID
	paused    bool

	ready   []*member // with credit, in turn; may hold some that have none any more
	waiting []*Stream // of pools: for a member with credit
	delayed []*Stream // for a nack's delay
	woken   []*Stream
	moved   []*Track // whose mark changed
}

// member is one connection that shares in the group.
type member struct {
	id            MemberID
	name, session string
	serves        []MDT // nil stands for all
	batches       int   // credit
	bytes         int64 // credit; may be overdrawn by one hand-out
	heard         time.Time
	inReady       bool
	blocked       []*Stream // lanes that wait for its credit
}

func (m *member) hasCredit() bool { return m.batches > 0 && m.bytes > 0 }

func (m *member) wait(s *Stream) { m.blocked = append(m.blocked, s) }

func (m *member) servesMDT(mdt MDT) bool { return m.serves == nil || slices.Contains(m.serves, mdt) }

// New returns a group without members and tracks.
func New(config Config) *Group {
	return &Group{
		Config:  config,
		tracks:  make(map[MDT]*Track),
		members: make(map[MemberID]*member),
		byName:  make(map[string]*member),
		leases:  make(map[LeaseID]*lease),
	}
}

// AddMDT starts a track whose mark is mark.
func (g *Group) AddMDT(mdt MDT, mark uint64) *Track {
	t := newTrack(g, mdt, mark)
	g.tracks[mdt] = t
	g.order = append(g.order, t)
	g.rebalance()
	return t
}

// RemoveMDT ends the track; its leases are lost.
func (g *Group) RemoveMDT(mdt MDT) error {
	t, ok := g.tracks[mdt]
	if !ok {
		return fmt.Errorf("group %s: %w %d", g.Config.Name, ErrUnknownMDT, mdt)
	}
	t.end()
	delete(g.tracks, mdt)
	g.order = slices.DeleteFunc(g.order, func(x *Track) bool { return x == t })
	g.rebalance()
	return nil
}

// end drops all streams and leases of the track.
func (t *Track) end() {
	for id, l := range t.group.leases {
		if l.stream.track == t {
			delete(t.group.leases, id)
		}
	}
	for _, s := range t.streams {
		s.gone = true
	}
	t.streams, t.marks = nil, nil
}

// Track returns the group's track of an MDT, nil if it has none.
func (g *Group) Track(mdt MDT) *Track { return g.tracks[mdt] }

// Woken returns the streams that may be able to hand out again, some maybe more
// than once, and forgets them.
func (g *Group) Woken() []*Stream {
	w := g.woken
	g.woken = nil
	return w
}

// Moved returns the tracks whose mark changed since the last call, some maybe more
// than once.
func (g *Group) Moved() []*Track {
	m := g.moved
	g.moved = nil
	return m
}

func (g *Group) markMoved(t *Track) { g.moved = append(g.moved, t) }

// Join adds a member under a connection's id. A member of the same name and
// session is taken over: what it has in flight goes back at once. One of another
// session keeps the name ([ErrNameInUse]).
func (g *Group) Join(id MemberID, name, session string, serves []MDT, now time.Time) error {
	if old := g.byName[name]; old != nil {
		if old.session != session {
			return fmt.Errorf("group %s, member %s: %w", g.Config.Name, name, ErrNameInUse)
		}
		g.remove(old)
	}
	m := &member{id: id, name: name, session: session, serves: serves, heard: now}
	g.members[id] = m
	g.byName[name] = m
	g.rebalance()
	return nil
}

// Leave removes a member: it said so, its connection ended, or it is given up.
// What it has in flight goes back at once.
func (g *Group) Leave(id MemberID) error {
	m, ok := g.members[id]
	if !ok {
		return ErrUnknownMember
	}
	g.remove(m)
	g.rebalance()
	return nil
}

func (g *Group) remove(m *member) {
	delete(g.members, m.id)
	delete(g.byName, m.name)
	m.batches = 0
	for _, t := range g.order {
		t.lose(m.id)
	}
	for _, s := range m.blocked {
		s.wake()
	}
	m.blocked = nil
}

// Credit lets a member take so many more hand-outs, and bytes.
func (g *Group) Credit(id MemberID, batches int, bytes int64, now time.Time) error {
	m, ok := g.members[id]
	if !ok {
		return ErrUnknownMember
	}
	m.heard = now
	m.batches += batches
	m.bytes += bytes
	if !m.hasCredit() {
		return nil
	}
	if !m.inReady {
		m.inReady = true
		g.ready = append(g.ready, m)
	}
	g.wakeAll(&m.blocked)
	g.wakeAll(&g.waiting)
	return nil
}

func (g *Group) wakeAll(list *[]*Stream) {
	for _, s := range *list {
		s.wake()
	}
	*list = nil
}

// charge takes one hand-out off a member's credit.
func (g *Group) charge(id MemberID, bytes int64) {
	m := g.members[id]
	m.batches--
	m.bytes -= bytes
}

// whyNoTurn tells whether some member could take the next hand-out of a pool.
func (g *Group) whyNoTurn(s *Stream) Blocked {
	if g.turn(s.track.MDT) != 0 {
		return Ready
	}
	g.waiting = append(g.waiting, s)
	for _, m := range g.members {
		if m.servesMDT(s.track.MDT) {
			return NoCredit
		}
	}
	return NoMember
}

// turn returns the member whose turn it is among those with credit that serve the
// MDT; 0 if there is none.
func (g *Group) turn(mdt MDT) MemberID {
	for len(g.ready) > 0 && !g.ready[0].hasCredit() {
		g.ready[0].inReady = false
		g.ready = g.ready[1:]
	}
	for _, m := range g.ready {
		if m.hasCredit() && m.servesMDT(mdt) {
			return m.id
		}
	}
	return 0
}

// took puts a member at the end of the row, after its turn.
func (g *Group) took(id MemberID) {
	i := slices.IndexFunc(g.ready, func(m *member) bool { return m.id == id })
	m := g.ready[i]
	if i == 0 {
		g.ready = g.ready[1:]
	} else {
		g.ready = slices.Delete(g.ready, i, i+1)
	}
	g.ready = append(g.ready, m)
}

// Heartbeat notes that a member is alive.
func (g *Group) Heartbeat(id MemberID, now time.Time) error {
	m, ok := g.members[id]
	if !ok {
		return ErrUnknownMember
	}
	m.heard = now
	return nil
}

// Ack acknowledges a lease up to and with an index.
func (g *Group) Ack(id MemberID, lease LeaseID, upTo uint64, now time.Time) error {
	l, err := g.leaseOf(id, lease, now)
	if err != nil {
		return err
	}
	l.stream.ack(l, upTo, now)
	return nil
}

// leaseOf returns a lease of a member, which shows that the member is alive.
func (g *Group) leaseOf(id MemberID, lease LeaseID, now time.Time) (*lease, error) {
	if err := g.Heartbeat(id, now); err != nil {
		return nil, err
	}
	l, ok := g.leases[lease]
	if !ok || l.member != id {
		return nil, ErrLeaseLost
	}
	return l, nil
}

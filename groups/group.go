package groups

import (
	"container/list"
	"fmt"
	"slices"
	"time"
)

// Group is a persistent consumer group: its members and its way through each MDT.
// It has one owner, the broker's loop. The times it is given must not go back.
type Group struct {
	Config Config

	tracks  map[MDT]*Track
	order   []*Track // as added
	members map[MemberID]*member
	byName  map[string]*member
	heard   list.List // of *member: who was silent longest comes first
	crews   []*crew   // of round-robin
	turns   uint64    // counts turns, to tell who had his last
	paused  bool

	leases    map[LeaseID]*lease
	open      list.List // of *lease that are not done: who made no progress for longest comes first
	lastLease LeaseID

	calls   []*line // with streams that wait and maybe credit
	delayed line    // of streams that wait for their due time
	nextDue time.Time
	woken   []*Stream
	moved   []*Track // whose mark changed
	revoked []Revoked
}

// member is one connection that shares in the group.
type member struct {
	id            MemberID
	name, session string
	serves        []MDT // ascending; nil stands for all
	batches       int   // credit
	bytes         int64 // credit; may be overdrawn by one hand-out
	heard         time.Time
	acked         time.Time     // when something that it has made progress
	place         *list.Element // in Group.heard

	line    line   // lanes that wait for its credit
	crew    *crew  // of round-robin
	turn    uint64 // its last, or when it came to have credit again
	isReady bool   // in crew.ready
}

func (m *member) hasCredit() bool { return m.batches > 0 && m.bytes > 0 }

// canTake returns for how many hand-outs there is credit.
func (m *member) canTake() int {
	if m.bytes <= 0 {
		return 0
	}
	return max(m.batches, 0)
}

func (m *member) servesMDT(mdt MDT) bool { return servesMDT(m.serves, mdt) }

func servesMDT(serves []MDT, mdt MDT) bool {
	if serves == nil {
		return true
	}
	_, found := slices.BinarySearch(serves, mdt)
	return found
}

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

// AddMDT starts a track whose mark is mark. A track that was there ends, as by
// [Group.RemoveMDT].
func (g *Group) AddMDT(mdt MDT, mark uint64) *Track {
	if g.tracks[mdt] != nil {
		_ = g.RemoveMDT(mdt) // it is there
	}
	t := newTrack(g, mdt, mark)
	g.tracks[mdt] = t
	g.order = append(g.order, t)
	g.rebalance()
	return t
}

// RemoveMDT ends the track; its leases are lost. [ErrUnknownMDT] if there is none.
func (g *Group) RemoveMDT(mdt MDT) error {
	t, err := g.trackOf(mdt)
	if err != nil {
		return err
	}
	t.end()
	delete(g.tracks, mdt)
	g.order = slices.DeleteFunc(g.order, func(x *Track) bool { return x == t })
	g.rebalance()
	return nil
}

// Track returns the group's track of an MDT, nil if it has none. A seek replaces it.
func (g *Group) Track(mdt MDT) *Track { return g.tracks[mdt] }

// trackOf returns the track of an MDT, or [ErrUnknownMDT].
func (g *Group) trackOf(mdt MDT) (*Track, error) {
	t := g.tracks[mdt]
	if t == nil {
		return nil, fmt.Errorf("group %s: %w %d", g.Config.Name, ErrUnknownMDT, mdt)
	}
	return t, nil
}

// Woken returns the streams that may be able to hand out again, each once, and
// forgets them. Look after every call into the group or one of its streams, Need
// and Take among them, until it returns none: who waits for credit is woken one by
// one, as long as there is credit, so nobody is woken in vain.
func (g *Group) Woken() []*Stream {
	g.callUp()
	woken := g.woken
	g.woken = nil
	for _, s := range woken {
		s.woken = false
	}
	return slices.DeleteFunc(woken, (*Stream).Gone)
}

// Moved returns the tracks whose mark changed since the last call, each once, and
// forgets them. Those that have ended are not among them.
func (g *Group) Moved() []*Track {
	moved := g.moved
	g.moved = nil
	for _, t := range moved {
		t.moved = false
	}
	return slices.DeleteFunc(moved, func(t *Track) bool { return t.ended })
}

func (g *Group) markMoved(t *Track) {
	if !t.moved {
		t.moved = true
		g.moved = append(g.moved, t)
	}
}

// Join adds a member under a connection's id. A member of the same name and
// session is taken over: what it has in flight goes back at once. One of another
// session keeps the name ([ErrNameInUse]). serves lists the MDTs that the member
// wants; nil stands for all.
func (g *Group) Join(id MemberID, name, session string, serves []MDT, now time.Time) error {
	if old := g.byName[name]; old != nil {
		if old.session != session {
			return fmt.Errorf("group %s, member %s: %w", g.Config.Name, name, ErrNameInUse)
		}
		g.remove(old)
	}
	if serves != nil {
		serves = append(make([]MDT, 0, len(serves)), serves...) // even without any it is not nil
		slices.Sort(serves)
		serves = slices.Compact(serves)
	}
	m := &member{id: id, name: name, session: session, serves: serves, heard: now}
	m.place, m.line.credit = g.heard.PushBack(m), m.canTake
	g.members[id] = m
	g.byName[name] = m
	if g.Config.Distribution == RoundRobin {
		g.enlist(m)
	}
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
	g.heard.Remove(m.place)
	m.batches = 0 // it may be in calls
	if m.crew != nil {
		g.discharge(m)
	}
	for _, t := range g.order {
		t.lose(m.id)
	}
	m.line.wakeAll()
}

// Heartbeat notes that a member is alive.
func (g *Group) Heartbeat(id MemberID, now time.Time) error {
	m, ok := g.members[id]
	if !ok {
		return ErrUnknownMember
	}
	g.hear(m, now)
	return nil
}

func (g *Group) hear(m *member, now time.Time) {
	m.heard = now
	g.heard.MoveToBack(m.place)
}

// Excuse has a time count for nobody in which nobody could be heard, as the broker itself stood
// still: signs of life and acknowledgements that came meanwhile are still to be taken in.
func (g *Group) Excuse(d time.Duration) {
	for _, m := range g.members {
		m.heard = m.heard.Add(d)
	}
	for e := g.open.Front(); e != nil; e = e.Next() {
		l := e.Value.(*lease)
		l.given, l.moved = l.given.Add(d), l.moved.Add(d)
	}
}

// Expired returns the members that gave no sign of life for the group's lease.
// They are still members: the broker ends their connections and calls Leave. Its
// cost grows with what it returns only.
func (g *Group) Expired(now time.Time) []MemberID {
	if g.Config.Lease <= 0 {
		return nil
	}
	var ids []MemberID
	for e := g.heard.Front(); e != nil; e = e.Next() {
		m := e.Value.(*member)
		if now.Sub(m.heard) <= g.Config.Lease {
			break
		}
		ids = append(ids, m.id)
	}
	slices.Sort(ids)
	return ids
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

// MaxDelay is the longest delay that a nack can ask for: it outlives its member.
const MaxDelay = time.Hour

// Nack gives a lease back: the record at index from is the first that failed. What
// of the lease lies below it and is not acknowledged comes again too, as only an ack
// acknowledges. The lane, in a pool the range, waits for the delay, which is cut to
// [MaxDelay].
func (g *Group) Nack(id MemberID, lease LeaseID, from uint64, delay time.Duration, now time.Time) error {
	l, err := g.leaseOf(id, lease, now)
	switch {
	case err != nil:
		return err
	case l.done(), from > l.to:
		return nil // there is nothing to give back
	}
	s, due := l.stream, now.Add(min(max(delay, 0), MaxDelay))
	if s.IsLate() {
		s.track.late.giveBack(l, due)
		return nil
	}
	if p := s.track.pool; p != nil {
		p.giveBack(due, l)
		return nil
	}
	s.notBefore = due
	s.fallBack()
	return nil
}

// leaseOf returns a lease of a member, which shows that the member is alive.
func (g *Group) leaseOf(id MemberID, lease LeaseID, now time.Time) (*lease, error) {
	if err := g.Heartbeat(id, now); err != nil {
		return nil, err
	}
	l, ok := g.leases[lease]
	if !ok || l.member.id != id {
		return nil, ErrLeaseLost
	}
	return l, nil
}

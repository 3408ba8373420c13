package groups

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is a group as operators see it: above all, who waits for whom. It shares
// nothing with the group.
type Snapshot struct {
	Name         string
	Distribution Distribution
	Paused       bool
	Members      []MemberState // in the order in which they joined
	Tracks       []TrackState  // by MDT
}

// MemberState is a member in a [Snapshot].
type MemberState struct {
	ID            MemberID
	Name, Session string
	Serves        []MDT // nil stands for all
	Batches       int   // credit: hand-outs
	Bytes         int64 // credit; may be overdrawn by one hand-out
	Lanes         int   // that it owns; 0 for round-robin
	Leases        int   // that are not fully acknowledged
	InFlight      int64 // their bytes
	// Idle is how long there was no sign of life.
	Idle time.Duration
	// Stuck is how long it has acknowledged nothing of what it has; 0 if it has nothing.
	Stuck time.Duration
}

// TrackState is a track in a [Snapshot].
type TrackState struct {
	MDT      MDT
	Mark     uint64
	Frontier uint64
	// Ahead is how many bytes the foremost cursor leads the mark by.
	Ahead int64
	// Oldest is the lease that was handed out longest ago and is not fully
	// acknowledged; its ID is 0 if there is none.
	Oldest   LeaseState
	Streams  []StreamState
	Poisoned []PoisonedRange
	Late     int      // records found in holes that are not acknowledged
	Skips    []uint64 // the indexes above the mark that are passed over
}

// LeaseState is a lease in a [Snapshot].
type LeaseState struct {
	ID              LeaseID
	Member          MemberID
	From, To, Acked uint64
	Count           int           // which delivery it is
	Age             time.Duration // since it was handed out
	Idle            time.Duration // since it made progress, or was handed out
}

// StreamState is a stream in a [Snapshot].
type StreamState struct {
	ID      int      // unique in its track
	Owner   MemberID // 0 for nobody and for pools
	Keys    int      // how many slots the lane has, for the distribution fid
	Returns bool     // the end of a pool for what came back
	// Cursor and Mark are 0 for the returns end of a pool to which nothing came back.
	Cursor, Mark uint64
	Leases       int // with those that are done but wait for one before them
	Blocked      Blocked
	// MoveTo is the owner to be of a lane that drains, else 0.
	MoveTo MemberID
	// WaitsFor is whom it waits for, for all reasons but an operator and time.
	WaitsFor WaitsFor
	// Delay is how long it still waits, when it is [Delayed].
	Delay time.Duration
}

// WaitsFor is whom a stream waits for: a member to give credit, or a stream to come
// to a mark, which is its owner's to acknowledge. What does not apply is 0.
type WaitsFor struct {
	Stream int
	Member MemberID
	Mark   uint64
}

// PoisonedRange is a range (From, To] that was delivered max_deliveries times.
type PoisonedRange struct {
	Stream   int
	From, To uint64
	Count    int
}

// Snapshot returns the state of the group. Its cost grows with the group's size.
func (g *Group) Snapshot(now time.Time) Snapshot {
	snap := Snapshot{Name: g.Config.Name, Distribution: g.Config.Distribution, Paused: g.paused}
	place := make(map[MemberID]int, len(g.members))
	for _, m := range g.members {
		snap.Members = append(snap.Members, MemberState{
			ID: m.id, Name: m.name, Session: m.session, Serves: slices.Clone(m.serves),
			Batches: m.batches, Bytes: m.bytes, Idle: now.Sub(m.heard),
		})
	}
	slices.SortFunc(snap.Members, func(a, b MemberState) int { return cmp.Compare(a.ID, b.ID) })
	for i, m := range snap.Members {
		place[m.ID] = i
	}
	for e := g.open.Front(); e != nil; e = e.Next() {
		l := e.Value.(*lease)
		m := &snap.Members[place[l.member.id]]
		m.Leases++
		m.Stuck = max(m.Stuck, min(now.Sub(l.given), now.Sub(l.member.acked)))
		m.InFlight += l.bytes
	}
	for _, t := range g.order {
		state := t.snapshot(now)
		snap.Tracks = append(snap.Tracks, state)
		for _, s := range state.Streams {
			if s.Owner != 0 {
				snap.Members[place[s.Owner]].Lanes++
			}
		}
	}
	slices.SortFunc(snap.Tracks, func(a, b TrackState) int { return cmp.Compare(a.MDT, b.MDT) })
	return snap
}

func (t *Track) snapshot(now time.Time) TrackState {
	state := TrackState{MDT: t.MDT, Mark: t.Mark(), Frontier: t.frontier, Ahead: t.ahead, Late: len(t.late.records), Skips: slices.Clone(t.skips)}
	var oldest *lease
	for _, s := range t.streams {
		state.Streams = append(state.Streams, s.snapshot(now))
		for _, l := range s.leases {
			if !l.done() && (oldest == nil || l.id < oldest.id) {
				oldest = l
			}
		}
		if s.poisoned {
			x := s.tries.at(s.cursor)
			state.Poisoned = append(state.Poisoned, PoisonedRange{s.id, s.cursor, x.to, x.n})
		}
	}
	if oldest != nil {
		state.Oldest = oldest.snapshot(now)
	}
	if t.pool != nil {
		for _, r := range t.pool.returned {
			if r.try.spent(t.group.Config.MaxDeliveries) {
				state.Poisoned = append(state.Poisoned, PoisonedRange{t.pool.back.id, r.from, r.try.to, r.try.n})
			}
		}
	}
	return state
}

func (l *lease) snapshot(now time.Time) LeaseState {
	return LeaseState{
		ID: l.id, Member: l.member.id, From: l.from, To: l.to, Acked: l.acked,
		Count: l.try.n, Age: now.Sub(l.given), Idle: now.Sub(l.moved),
	}
}

func (s *Stream) snapshot(now time.Time) StreamState {
	state := StreamState{
		ID: s.id, Owner: s.owner, Returns: s.returns != nil, Cursor: s.cursor, Mark: s.mark(),
		Leases: len(s.leases), Blocked: s.blocked, MoveTo: s.moveTo, WaitsFor: s.waitsFor(),
	}
	if s.keys != nil {
		state.Keys = s.keys.Count()
	}
	if s.returns != nil && len(s.returns.returned) == 0 {
		state.Cursor, state.Mark = 0, 0
	}
	if s.blocked == Delayed {
		state.Delay = max(0, s.due.Sub(now))
	}
	return state
}

// waitsFor tells whom the stream waits for.
func (s *Stream) waitsFor() WaitsFor {
	switch {
	case s.blocked == NoCredit:
		return WaitsFor{Member: s.owner}
	case s.blocked == Draining && s.moveTo != 0:
		return WaitsFor{s.id, s.owner, s.cursor}
	case s.blocked == Draining && s.after != nil:
		return WaitsFor{s.after.id, s.after.owner, s.afterAt}
	case s.blocked == InFlight:
		return s.track.holder()
	case s.blocked != Barrier && s.blocked != Merging, s.waitsOn == nil, s.waitsOn.gone:
		return WaitsFor{}
	}
	mark := s.cursor
	for _, w := range s.waitsOn.waiters {
		if w.stream == s {
			mark = w.mark
		}
	}
	return WaitsFor{s.waitsOn.id, s.waitsOn.owner, mark}
}

// holder tells who holds the mark of the track: a lane and its owner, or whoever has
// the first lease of a pool; nobody if that came back.
func (t *Track) holder() WaitsFor {
	s := t.marks[0]
	w := WaitsFor{s.id, s.owner, s.cursor}
	if len(s.leases) > 0 {
		w.Member, w.Mark = s.leases[0].member.id, s.leases[0].to
	}
	return w
}

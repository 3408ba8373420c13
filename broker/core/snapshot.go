package core

import (
	"slices"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// Snapshot is the broker as operators see it. It shares nothing with the core.
type Snapshot struct {
	// Memory is how many bytes of batches are kept, Pinned how many more only writers
	// hold, Granted how many readers may still deliver. Limit is that of their sum.
	// Chained is what chains of modules have to work on, or hold back.
	Memory, Pinned, Granted, Chained, Limit int64
	MDTs                                    []MDTSnapshot   // as they were added
	Groups                                  []GroupSnapshot // as they were created
	// Unwritten is since when the state could not be written; zero if all is well.
	Unwritten      time.Time
	UnwrittenError string
	UnwrittenCause error
	Writing        time.Time // since when a write is under way; zero if none is
	PinLimit       int64     // of Pinned
	Starved        int       // readings that wait for memory
}

// MDTSnapshot is an MDT in a [Snapshot].
type MDTSnapshot struct {
	MDT     groups.MDT
	Epoch   Epoch
	Read    uint64 // the last index read
	Cleared uint64 // the last index that was sent as a clear; 0 for none
	// Window is what is kept of the live reading.
	Window   Range
	Batches  int
	Bytes    int64
	CatchUps []CatchUp
	// Holes is how many holes hold the clear back until they were looked at again.
	Holes int
	Late  bool // records found in a hole are not acknowledged by all
	// HeldBy is the group with the lowest mark on disk, which holds the clear back.
	HeldBy string
	// Stopped: what the MDT shows are no records; it is read again after a Restart.
	Stopped bool
	// Failing is since when it cannot be read, Uncleared since when not be cleared;
	// zero if all is well.
	Failing, Uncleared time.Time
	// Error says what is wrong with reading, ClearError with clearing.
	Error, ClearError     string
	ReadCause, ClearCause error
	// HoleFrom and HoleSince are of the first of Holes.
	HoleFrom  uint64
	HoleSince time.Time
}

// CatchUp is a catch-up reading in a [Snapshot].
type CatchUp struct {
	At, Until uint64
	Users     int
}

// GroupSnapshot is a group in a [Snapshot].
type GroupSnapshot struct {
	groups.Snapshot
	Start                      Start
	Limits                     Limits
	Filter, Modules, Consumers string
	MDTs                       []groups.MDT // nil stands for all
	OnDisk                     bool
	Marks                      []MarkSnapshot // by MDT, as they were added
}

// MarkSnapshot is what is durable of a group's way through an MDT.
type MarkSnapshot struct {
	MDT           groups.MDT
	Mark, Ceiling uint64
	// LostUpTo is up to where records were gone before the group got them; 0 if none were.
	LostUpTo uint64
	// IdleSince is since when nothing was acknowledged although something waits; zero if
	// nothing does.
	IdleSince time.Time
	Abandoned string         // why the group counts as abandoned here; "" if it does not
	Missed    []Missed       // what it gave up, the oldest first
	Chain     *ChainSnapshot // nil if the group has none
}

// ChainSnapshot is the chain of a group in an MDT.
type ChainSnapshot struct {
	ID      ChainID // of the instance at work; 0 while there is none
	Window  Range   // what it made, and some stream still needs
	Bytes   int64
	TakenIn uint64 // up to where it was given records
	Held    Held
	Failing time.Time // since when it fails; zero if it does not
	Error   string
}

// Owes tells whether the group has missed something that its members do not know of.
func (m MarkSnapshot) Owes() bool {
	return slices.ContainsFunc(m.Missed, func(x Missed) bool { return !x.Told })
}

// trouble is since when something fails, and how it failed last.
type trouble struct {
	since time.Time
	err   string
	cause error
}

// note takes down how something went.
func (x *trouble) note(err error, now time.Time) {
	switch {
	case err == nil:
		*x = trouble{}
	case x.since.IsZero():
		*x = trouble{now, err.Error(), err}
	default:
		x.err, x.cause = err.Error(), err
	}
}

// Snapshot returns the state of everything. Its cost grows with the size of it.
func (c *Core) Snapshot() Snapshot {
	snap := Snapshot{
		Memory: c.memory, Pinned: c.pinned, Granted: c.granted, Chained: c.chained, Limit: c.cfg.Memory,
		Unwritten: c.persist.trouble.since, UnwrittenError: c.persist.trouble.err,
		UnwrittenCause: c.persist.trouble.cause, PinLimit: c.cfg.Pinned, Starved: len(c.starved),
	}
	if c.persist.underway != nil {
		snap.Writing = c.persist.begun
	}
	for _, m := range c.order {
		snap.MDTs = append(snap.MDTs, m.snapshot())
	}
	for _, name := range c.names {
		snap.Groups = append(snap.Groups, c.groups[name].snapshot(c.now))
	}
	return snap
}

func (m *mdt) snapshot() MDTSnapshot {
	snap := MDTSnapshot{
		MDT: m.id, Epoch: m.epoch, Read: m.lastRead, Cleared: m.clear.sent,
		Window: Range{m.live.start, m.live.end}, Batches: len(m.live.batches), Bytes: m.live.bytes,
		Holes: len(m.holes), Late: len(m.late) > 0, Stopped: m.stopped,
		Failing: m.reading.since, Error: m.reading.err, Uncleared: m.clear.trouble.since, ClearError: m.clear.trouble.err,
		ReadCause: m.reading.cause, ClearCause: m.clear.trouble.cause,
	}
	if len(m.holes) > 0 {
		snap.HoleFrom, snap.HoleSince = m.holes[0].From, m.holes[0].seen
	}
	for _, f := range m.catchUps {
		snap.CatchUps = append(snap.CatchUps, CatchUp{At: f.end, Until: f.until, Users: len(f.users)})
	}
	var last *track
	for _, t := range m.tracks {
		if last == nil || t.durable < last.durable {
			last = t
			snap.HeldBy = t.group.Config.Name
		}
	}
	return snap
}

func (g *group) snapshot(now time.Time) GroupSnapshot {
	snap := GroupSnapshot{Snapshot: g.Snapshot(now), Start: g.start, Limits: g.limits, Filter: g.filter, Modules: g.modules, Consumers: g.consumers, MDTs: g.mdts, OnDisk: g.onDisk}
	snap.Paused = g.paused // by an operator: an orderly end pauses all of them
	for _, t := range g.tracks {
		snap.Marks = append(snap.Marks, MarkSnapshot{
			MDT: t.mdt.id, Mark: t.durable, Ceiling: t.ceiling, LostUpTo: t.lost,
			IdleSince: t.idleSince(), Abandoned: t.abandoned(now, 0), Missed: slices.Clone(t.missed), Chain: t.chain.snapshot(),
		})
	}
	return snap
}

func (x *chain) snapshot() *ChainSnapshot {
	if x == nil {
		return nil
	}
	return &ChainSnapshot{
		ID: x.id, Window: Range{x.start, x.end}, Bytes: x.bytes, TakenIn: x.intake.at, Held: x.held,
		Failing: x.trouble.since, Error: x.trouble.err,
	}
}

// Group returns what a group is; false if there is none of that name.
func (c *Core) Group(name string) (GroupState, bool) {
	g := c.groups[name]
	if g == nil {
		return GroupState{}, false
	}
	return g.state(), true
}

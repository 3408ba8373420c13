package core

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// Errors that a peer is told.
var (
	// ErrUnknownGroup: no group has that name.
	ErrUnknownGroup = errors.New("unknown group")
	// ErrGroupExists: a group of that name has other properties.
	ErrGroupExists = errors.New("group exists")
	// ErrNotMember: the peer is a member of no group.
	ErrNotMember = errors.New("not a member")
	// ErrAlreadyMember: the peer is a member already.
	ErrAlreadyMember = errors.New("already a member")
	// ErrBelowClear: the position was cleared: its records may be gone.
	ErrBelowClear = errors.New("below the last clear")
	// ErrUnknownMDT: the broker does not serve the MDT, or not for that group.
	ErrUnknownMDT = groups.ErrUnknownMDT
	// ErrMDTExists: the broker serves the MDT already.
	ErrMDTExists = errors.New("MDT exists")
	// ErrHasMembers: that is not done while the group has members.
	ErrHasMembers = errors.New("the group has members")
)

// Core owns all state of a broker but the bytes of batches on their way, and the
// listeners' rings. Who calls it owns it.
//
// Step applies an event, Do an operator's request; Work then lets streams hand out, a few at a time, so that
// one event never takes long; Outputs returns what is to be done. All are
// deterministic.
type Core struct {
	cfg    Config
	now    time.Time
	mdts   map[groups.MDT]*mdt
	order  []*mdt // as added
	groups map[string]*group
	names  []string // of groups, as created
	peers  map[Peer]*peer
	feeds  map[ReaderID]*feed
	tracks map[*groups.Track]*track
	chains map[ChainID]*chain

	runnable   []*consumer
	starved    []*feed  // readers that got no grant for want of memory
	memory     int64    // bytes of batches in all windows
	granted    int64    // bytes that readers may still deliver
	chained    int64    // bytes that chains have to work on, or hold
	failing    []*chain // that wait to begin again
	hungry     []*chain // whose intakes look again at the next tick
	pins       map[*Batch]*pin
	pinned     int64 // bytes of batches that only writers hold
	leaving    int64 // bytes that writers of peers hold that are gone
	lastReader ReaderID
	lastChain  ChainID
	rotate     int // whose window is looked at next when memory is short

	persist persist
	out     []Output
}

// group is a group with what the broker knows of it.
type group struct {
	*groups.Group
	start  Start
	limits Limits
	// What is done with records before they are handed out, and what consumers need of them:
	// texts, as operators write them.
	filter, modules, consumers string
	acked                      time.Time    // when a member acknowledged something last, or came back
	owes                       bool         // some track may have missed what no member knows of
	mdts                       []groups.MDT // that it is for; nil stands for all
	paused                     bool
	onDisk                     bool
	dirty                      bool // in persist.groups
	tracks                     []*track
	members                    map[string]Peer // by name
	joins                      []Join          // that wait for the group to be on disk
}

// track is a group's track with what is durable of it.
//
// Invariants: durable <= mark in memory, unless a late record was found; what was
// handed out is <= ceiling.
type track struct {
	*groups.Track
	group   *group
	mdt     *mdt
	durable uint64    // the mark on disk
	ceiling uint64    // the hand-out ceiling on disk
	before  uint64    // the ceiling on disk when lcapd started
	wanted  uint64    // the ceiling asked for
	lost    uint64    // up to where the group was told that records are gone
	dirty   bool      // something is to be written
	seek    bool      // the mark may fall: an operator said so
	sought  uint64    // to where
	behind  time.Time // since when something waits to be acknowledged; zero if nothing does
	missed  []Missed  // what was given up; immutable, but as a whole
	gone    []Missed  // what Lustre dropped, while the group has acknowledged nothing since; not durable
	gaveUp  time.Time // when that was last, or lcapd started
	chain   *chain    // that its streams read; nil if they read what the MDT shows
	highest uint64    // that any stream came to, before the last seek
}

// peer is a connection that is a member.
type peer struct {
	id     Peer
	group  *group
	name   string
	unsent int64 // bytes of the batches that its writer still holds
	sends  int   // deliveries that it still holds
	repack bool  // it gets records with blocks cut away
}

// State is what was durable when lcapd stopped.
type State struct {
	MDTs   []MDTState
	Groups []GroupState
	Marks  []MarkState
}

// MDTState is what of an MDT is durable.
type MDTState struct {
	MDT     groups.MDT
	Epoch   Epoch
	Cleared uint64 // what was cleared, or was going to be
	Read    uint64 // everything up to it was read; holes in it are empty
	// Recent are some records that were read, by index, for the MDT to be recognised by: the last ones, and before them
	// some of those that are not cleared.
	Recent []RecordID
}

// New returns the core as it was when the state was written.
func New(cfg Config, st State, now time.Time) *Core {
	c := &Core{
		cfg:    cfg,
		now:    now,
		mdts:   make(map[groups.MDT]*mdt),
		groups: make(map[string]*group),
		peers:  make(map[Peer]*peer),
		feeds:  make(map[ReaderID]*feed),
		tracks: make(map[*groups.Track]*track),
		chains: make(map[ChainID]*chain),
		pins:   make(map[*Batch]*pin),
	}
	c.persist.last = now
	for _, s := range st.Groups {
		c.addGroup(s, true)
	}
	for _, s := range st.MDTs {
		// What was going to be cleared may not have been.
		c.addMDT(s, st.Marks).clear.again = true
	}
	return c
}

// addMDT starts to serve an MDT, with what is durable of it.
func (c *Core) addMDT(s MDTState, marks []MarkState) *mdt {
	m := &mdt{id: s.MDT, epoch: s.Epoch, lastRead: s.Read, clear: clearing{reserved: s.Cleared, onDisk: s.Cleared, sent: s.Cleared, at: c.now.Add(-c.cfg.RetryAfter)}}
	n := max(0, len(s.Recent)-mostRecent)
	m.ladder, m.recent = slices.Clone(s.Recent[:n]), slices.Clone(s.Recent[n:])
	c.mdts[s.MDT] = m
	c.order = append(c.order, m)
	for _, name := range c.names {
		if g := c.groups[name]; g.isFor(m.id) {
			c.addTrack(g, m, restored(marks, name, m))
		}
	}
	c.openLive(m)
	return m
}

// restored returns the durable state of a group's track; a group that has none
// there starts at the earliest position.
func restored(marks []MarkState, name string, m *mdt) MarkState {
	i := slices.IndexFunc(marks, func(s MarkState) bool { return s.Group == name && s.MDT == m.id && s.Epoch == m.epoch })
	if i < 0 {
		return MarkState{Group: name, MDT: m.id, Epoch: m.epoch, Mark: m.clear.reserved, Ceiling: m.clear.reserved}
	}
	return marks[i]
}

// Step applies an event. Call Work and Outputs behind it.
func (c *Core) Step(ev Event) {
	ev.apply(c)
}

// Do grants a request, or says why not. Call Work and Outputs behind it.
func (c *Core) Do(r Request) error { return r.do(c) }

// Outputs returns what is to be done, in order, and forgets it.
func (c *Core) Outputs() []Output {
	c.writeState(false)
	out := c.out
	c.out = nil
	return out
}

func (c *Core) emit(o Output) { c.out = append(c.out, o) }

func (c *Core) addGroup(s GroupState, onDisk bool) *group {
	g := &group{Group: groups.New(s.Config), start: s.Start, limits: s.Limits, filter: s.Filter, modules: s.Modules, consumers: s.Consumers, mdts: s.MDTs, paused: s.Paused, onDisk: onDisk, members: make(map[string]Peer)}
	g.Pause(s.Paused)
	c.groups[s.Config.Name] = g
	c.names = append(c.names, s.Config.Name)
	return g
}

// isFor tells whether the group is to get what an MDT shows.
func (g *group) isFor(id groups.MDT) bool { return g.mdts == nil || slices.Contains(g.mdts, id) }

// state is what of a group is to be durable.
func (g *group) state() GroupState {
	return GroupState{Config: g.Config, Start: g.start, Limits: g.limits, Filter: g.filter, Modules: g.modules, Consumers: g.consumers, MDTs: g.mdts, Paused: g.paused}
}

// addTrack lets a group serve an MDT from a mark on.
func (c *Core) addTrack(g *group, m *mdt, s MarkState) {
	t := &track{group: g, mdt: m, durable: s.Mark, ceiling: s.Ceiling, before: s.Ceiling, wanted: s.Ceiling, missed: s.Missed, gaveUp: c.now}
	g.owes = g.owes || t.owesTelling()
	t.behind = c.behindAtStart(g.limits, s.Since)
	t.Track = g.AddMDT(m.id, s.Mark)
	t.setChain()
	c.tracks[t.Track] = t
	g.tracks = append(g.tracks, t)
	m.tracks = append(m.tracks, t)
	c.collect(g)
}

// collect takes over what a call into a group has brought about: streams that may
// hand out, marks that moved.
func (c *Core) collect(g *group) {
	for _, r := range g.Revoked() {
		c.emit(Refuse{Peer: r.Member, Lease: r.Lease, Err: fmt.Errorf("%w: it was given back", groups.ErrLeaseLost)})
	}
	for _, s := range g.Woken() {
		c.enqueue(consumerOf(s))
	}
	for _, t := range g.Moved() {
		if t := c.tracks[t]; t != nil { // else it has ended
			c.touch(t)
		}
	}
}

// apply lets time pass.
func (ev Tick) apply(c *Core) {
	stood := ev.Now.Sub(c.now)
	c.now = ev.Now
	for _, name := range c.names {
		g := c.groups[name]
		if c.cfg.StandStill > 0 && stood > c.cfg.StandStill {
			g.Excuse(stood)
		}
		g.Tick(c.now)
		for _, id := range g.Expired(c.now) {
			c.emit(Disconnect{Peer: id, Reason: fmt.Sprintf("no heartbeat for %s", g.Config.Lease)})
			c.leave(id)
		}
		c.collect(g)
	}
	for _, m := range c.order {
		c.tickMDT(m)
	}
	c.tickChains()
}

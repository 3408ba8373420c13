package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

// ChainID is one instance of the chain of modules of a group in an MDT. Never used again.
type ChainID uint64

// chain is what the streams of a track read in the place of what the MDT shows, if its
// group has a filter or modules: a window of derived batches. A stage outside makes them; its
// intake takes batches of the MDT one after the other, from the live window or a catch-up,
// as a stream would.
//
// An instance begins at the lowest place that a stream needs, with everything that any
// stream ever came to as its ceiling. Who needs what the window has dropped ends it: another
// one begins there, for all streams. So what two instances made is never joined, and no
// birth is cancelled that somebody may have been handed.
//
// Invariant: the window covers what the instance has accounted for, behind where it began;
// unanswered is what it was given behind that.
type chain struct {
	window
	track      *track
	id         ChainID // of the instance at work; 0 while there is none
	began      uint64  // behind where it began
	intake     consumer
	waiters    []*consumer // streams that wait for what comes behind end
	unanswered []*Batch    // that the stage has
	busy       int64       // their bytes
	held       Held
	stopped    bool      // the intake has no room
	isHungry   bool      // in Core.hungry
	used       time.Time // when a stream asked last
	trouble    trouble   // with the instances
	failedAt   uint64    // up to where the last one that failed had taken in
	retryAt    time.Time // when another one may begin; zero if at once
}

// Held is what the modules of a chain hold back.
type Held struct {
	Records int
	Bytes   int64     // in memory
	Oldest  uint64    // the lowest index; 0 if there is none
	Since   time.Time // when that one came
}

// mostUnanswered is how many batches a stage may have.
const mostUnanswered = 8

// MostUnanswered is how many [Process] outputs an instance of a chain has at most that no
// [Processed] answers.
const MostUnanswered = mostUnanswered

// setChain gives a track what its group says now. No instance is at work.
func (t *track) setChain() {
	t.chain = nil
	if t.group.chained() {
		t.chain = &chain{track: t}
		t.chain.intake.chain = t.chain
	}
}

// chained tells whether there is anything to be done with records before the hand-out.
func (g *group) chained() bool { return g.filter != "" || g.modules != "" }

// low is up to where a track needs nothing any more of what the MDT shows: what its chain
// has taken in, or its streams have passed. A fall goes by a catch-up.
func (t *track) low() uint64 {
	if t.chain != nil && t.chain.id != 0 {
		return t.chain.intake.at
	}
	return t.Low()
}

// reached is the highest place that a stream of the track came to since lcapd started, or
// may have come to before: what lies above it nobody was ever handed.
func (t *track) reached() uint64 {
	t.highest = max(t.highest, t.Looked())
	return max(t.before, t.highest)
}

// workChained lets a stream hand out from what the chain made.
func (c *Core) workChained(t *track, p *consumer) {
	x := t.chain
	x.used = c.now
	if x.id == 0 || p.at < x.start {
		c.openChain(x)
	}
	if b := x.batchAt(p.at); b != nil {
		c.take(t, p, b)
	} else if !slices.Contains(x.waiters, p) {
		x.waiters = append(x.waiters, p)
	}
	c.trim(x)
}

// openChain begins another instance, unless it failed a short while ago.
func (c *Core) openChain(x *chain) {
	t := x.track
	ceiling := t.reached()
	c.closeChain(x)
	if !x.retryAt.IsZero() {
		return
	}
	c.lastChain++
	x.id, x.began = c.lastChain, t.Low()
	x.start, x.end, x.intake.at = x.began, x.began, x.began
	c.chains[x.id] = x
	c.enqueue(&x.intake)
	c.emit(OpenChain{Chain: x.id, Group: t.group.Config.Name, MDT: t.mdt.id, Epoch: t.mdt.epoch, After: x.began, Ceiling: ceiling})
}

// closeChain ends the instance. Who waited for it looks again.
func (c *Core) closeChain(x *chain) {
	if x.id == 0 {
		return
	}
	delete(c.chains, x.id)
	c.emit(CloseChain{Chain: x.id})
	c.dropAll(&x.window)
	c.chained -= x.busy + x.held.Bytes
	x.id, x.unanswered, x.busy, x.held, x.stopped = 0, nil, 0, Held{}, false
	c.leaveFeed(&x.intake)
	m, isIntake := x.track.mdt, func(p *consumer) bool { return p == &x.intake }
	m.live.waiters = slices.DeleteFunc(m.live.waiters, isIntake)
	m.queue = slices.DeleteFunc(m.queue, isIntake)
	c.enqueueAll(&x.waiters)
}

// feedChain gives the next batch to the stage.
func (c *Core) feedChain(x *chain) {
	if x.id == 0 {
		c.leaveFeed(&x.intake)
		return
	}
	if c.makeRoom(x); !c.mayFeed(x) {
		c.leaveFeed(&x.intake) // who cannot go on must not keep a reader from who can
		x.stopped = true
		c.lookAgain(x)
		return
	}
	b := c.nextBatch(x.track.mdt, &x.intake)
	switch {
	case b == nil:
		return
	case x.intake.feed != nil && x.track.mdt.mayShowLate(Range{x.intake.at, b.To}):
		c.leaveFeed(&x.intake)
		c.lookAgain(x)
		return
	}
	c.emit(Process{Chain: x.id, After: x.intake.at, Batch: b})
	x.unanswered = append(x.unanswered, b)
	x.busy += b.Weight()
	c.chained += b.Weight()
	x.intake.at = b.To
	c.enqueue(&x.intake)
}

// mayShowLate tells whether a catch-up may show a record of a range that the live reading did
// not: in a hole that is to be looked at. It may be handed out late, around the chain, which so
// must not have cancelled its object.
func (m *mdt) mayShowLate(r Range) bool {
	return slices.ContainsFunc(m.holes, func(h hole) bool { return h.From < r.To && h.To > r.From })
}

// lookAgain has the intake look again in a while.
func (c *Core) lookAgain(x *chain) {
	if !x.isHungry {
		x.isHungry = true
		c.hungry = append(c.hungry, x)
	}
}

// mayFeed tells whether the stage may have one more batch: a few at once, and as a catch-up
// while what waits is not too much; one in any case, or nothing would ever move.
func (c *Core) mayFeed(x *chain) bool {
	if len(x.batches)+len(x.unanswered) == 0 {
		return true
	}
	return len(x.unanswered) < mostUnanswered && !c.isFull(x) && c.hasRoom()
}

// isFull tells whether as much waits for the streams as may.
func (c *Core) isFull(x *chain) bool { return x.bytes+x.busy+c.cfg.Grant > 4*c.cfg.Grant }

// makeRoom drops from the window, as long as there is no room, first what all streams have
// passed: else it stays, for what comes again. Then what only streams need that wait for
// nobody knows how long: they would keep the others waiting with them.
func (c *Core) makeRoom(x *chain) {
	if c.isFull(x) || !c.hasRoom() {
		c.dropUpTo(x, x.track.Low())
		c.dropUpTo(x, x.track.needed())
	}
}

// trim makes room, and has the intake go on if it waits for that.
func (c *Core) trim(x *chain) {
	c.makeRoom(x)
	if x.stopped && c.mayFeed(x) {
		x.stopped = false
		c.enqueue(&x.intake)
	}
}

// dropUpTo drops from the window what lies at or below low, as long as there is no room.
func (c *Core) dropUpTo(x *chain, low uint64) {
	for len(x.batches) > 0 && x.batches[0].To <= low && (c.isFull(x) || !c.hasRoom()) {
		c.dropOldest(&x.window)
	}
}

// needed is the lowest place that a stream goes on from before long.
func (t *track) needed() uint64 {
	low := ^uint64(0)
	for _, s := range t.Streams() {
		switch s.Blocked() {
		case groups.Delayed, groups.Poisoned, groups.NoMember, groups.Empty:
		case groups.Ready:
			low = min(low, max(s.Cursor(), consumerOf(s).at))
		default:
			low = min(low, s.Cursor())
		}
	}
	return low
}

// apply takes what a stage made of a batch into the window, or what it let go in time.
func (ev Processed) apply(c *Core) {
	x := c.chains[ev.Chain]
	if x == nil {
		return // of an instance that was closed meanwhile
	}
	if ev.Taken {
		b := x.unanswered[0]
		x.unanswered = x.unanswered[1:]
		x.busy -= b.Weight()
		c.chained -= b.Weight()
	}
	c.chained += ev.Held.Bytes - x.held.Bytes
	x.held = ev.Held
	for _, b := range ev.Batches {
		if b.From != x.end || b.To <= b.From {
			ev.Err = fmt.Errorf("a derived batch (%d,%d] behind %d", b.From, b.To, x.end)
			break
		}
		c.takeIn(&x.window, b)
	}
	if ev.Err != nil {
		c.chainFailed(x, ev.Err)
		return
	}
	if x.end >= x.failedAt {
		x.trouble, x.failedAt = trouble{}, 0
	}
	c.enqueueAll(&x.waiters)
	c.trim(x)
}

// chainFailed ends an instance; another one begins after a while. Nothing above the marks was
// accounted for, so nothing is lost.
func (c *Core) chainFailed(x *chain, err error) {
	t := x.track
	x.trouble.note(err, c.now)
	x.failedAt = max(x.failedAt, x.intake.at)
	x.retryAt = c.now.Add(c.cfg.RetryAfter)
	c.failing = append(c.failing, x)
	c.closeChain(x)
	c.emit(Alarm{Kind: wire.ChainFailing, MDT: t.mdt.id, Group: t.group.Config.Name, Err: err, Text: fmt.Sprintf("the chain of modules failed behind %d: %v", t.Low(), err)})
}

// tickChains lets those chains begin again that failed, when it is time, and has those look
// again that wait.
func (c *Core) tickChains() {
	for _, x := range c.hungry {
		x.isHungry, x.stopped = false, false
		c.trim(x)
		c.enqueue(&x.intake)
	}
	c.hungry = nil
	c.failing = slices.DeleteFunc(c.failing, func(x *chain) bool {
		due := !c.now.Before(x.retryAt)
		if due {
			c.retryChain(x)
		}
		return due
	})
}

func (c *Core) retryChain(x *chain) {
	x.retryAt = time.Time{}
	c.enqueueAll(&x.waiters)
}

// restChain ends the instance of a group that has no members: its window would only take room.
func (c *Core) restChain(t *track) {
	if x := t.chain; x != nil && x.id != 0 && len(t.group.members) == 0 && c.now.Sub(x.used) >= c.cfg.Linger {
		c.closeChain(x)
	}
}

// do changes what is done with records before a group gets them. Nobody may be in the middle
// of it, and what was decided about records above the mark is decided anew.
func (r SetChain) do(c *Core) error {
	g, err := c.groupNamed(r.Group)
	if err != nil {
		return err
	}
	if len(g.members)+len(g.joins) > 0 {
		return fmt.Errorf("group %s: %w", r.Group, ErrHasMembers)
	}
	g.filter, g.modules, g.consumers = r.Filter, r.Modules, r.Consumers
	for _, t := range g.tracks {
		for _, s := range t.Streams() {
			c.leaveFeed(consumerOf(s))
		}
		c.endChain(t)
		t.setChain()
	}
	c.touchGroup(g)
	c.collect(g)
	return nil
}

// endChain takes a chain out of everything: its track ends, or gets another one.
func (c *Core) endChain(t *track) {
	x := t.chain
	if x == nil {
		return
	}
	c.closeChain(x)
	c.failing = slices.DeleteFunc(c.failing, func(f *chain) bool { return f == x })
	c.enqueueAll(&x.waiters)
}

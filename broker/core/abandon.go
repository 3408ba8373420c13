package core

import (
	"fmt"
	"slices"
	"time"
)

// Limits say when a group counts as abandoned, MDT by MDT, and what is done then. The zero
// value has none: such a group holds the clear back for as long as it exists.
type Limits struct {
	// Backlog is how many indexes of an MDT the group may have unacknowledged; 0 for any
	// number.
	Backlog uint64
	// Idle is how long nothing may be acknowledged, by whatever member, while something of
	// the MDT waits to be; 0 for any time.
	Idle time.Duration
	// Expire has the group give up its hold on the clear then. Else it is only told.
	Expire bool
}

// Missed is a range of an MDT that a group gave up, as it was abandoned. It is durable.
type Missed struct {
	Epoch Epoch
	Range
	At time.Time // when it gave up the end of it
	// Told says that the group has acknowledged something since its members were told.
	Told bool
}

// SetLimits changes the limits of a group. [ErrUnknownGroup].
type SetLimits struct {
	Group  string
	Limits Limits
}

func (r SetLimits) do(c *Core) error {
	g, err := c.groupNamed(r.Group)
	if err != nil {
		return err
	}
	g.limits = r.Limits
	c.touchGroup(g)
	return nil
}

// expire has abandoned groups that are to expire give up what only they hold back: up to
// where all others are, on disk. Nobody gives up what would be kept all the same.
func (c *Core) expire(m *mdt) {
	if c.now.Sub(m.looked) < c.cfg.ClearEvery {
		return
	}
	m.looked = c.now
	target := m.seen()
	var given []*track
	for _, t := range m.tracks {
		c.noteBehind(t)
		c.restChain(t)
		if t.group.limits.Expire && t.group.onDisk && !t.seek && t.abandoned(c.now, c.cfg.ExpireEvery) != "" {
			given = append(given, t)
		} else {
			target = min(target, t.durable)
		}
	}
	for _, t := range given {
		if t.Mark() < target && c.now.Sub(t.gaveUp) >= c.cfg.ExpireEvery {
			c.giveUp(t, target)
		}
	}
}

// noteBehind takes down since when something of a track waits to be acknowledged.
func (c *Core) noteBehind(t *track) {
	switch {
	case t.Mark() >= t.mdt.lastRead:
		t.behind = time.Time{}
	case t.behind.IsZero():
		t.behind = c.now
	}
}

// idleSince is since when nothing was acknowledged although something waits; zero if
// nothing does.
func (t *track) idleSince() time.Time {
	if t.behind.IsZero() || t.behind.After(t.group.acked) {
		return t.behind
	}
	return t.group.acked
}

// abandoned says why a track counts as abandoned; "" if it does not. One that has expired
// stays so until somebody comes back: then it is given at least grace.
func (t *track) abandoned(now time.Time, grace time.Duration) string {
	limits, lag, idle := t.group.limits, t.mdt.lastRead-min(t.mdt.lastRead, t.Mark()), time.Duration(0)
	if since := t.idleSince(); !since.IsZero() {
		idle = now.Sub(since)
	}
	switch {
	case limits.Backlog > 0 && lag > limits.Backlog:
		return fmt.Sprintf("%d indexes wait to be acknowledged, the limit is %d", lag, limits.Backlog)
	case limits.Idle > 0 && idle >= limits.Idle:
		return fmt.Sprintf("nothing was acknowledged for %s, the limit is %s", idle.Round(time.Second), limits.Idle)
	case limits.Expire && t.owesTelling() && len(t.group.members) == 0 && now.Sub(t.group.acked) >= grace:
		return "it has expired, and no member has come back"
	}
	return ""
}

// owesTelling tells whether the track has missed something that no member knows of yet.
func (t *track) owesTelling() bool {
	return slices.ContainsFunc(t.missed, func(x Missed) bool { return !x.Told })
}

// giveUp has a track go on behind index, as a seek would. What it misses is written with
// the mark, and told to the members that there are, and to those that come.
func (c *Core) giveUp(t *track, index uint64) {
	x := Missed{Epoch: t.mdt.epoch, Range: Range{t.Mark(), index}, At: c.now}
	t.gaveUp, t.group.owes = c.now, true
	c.emit(Lost{Group: t.group.Config.Name, MDT: t.mdt.id, Epoch: x.Epoch, Range: x.Range, Expired: true})
	if n := len(t.missed); n > 0 && !t.missed[n-1].Told && t.missed[n-1].Epoch == x.Epoch && t.missed[n-1].To == x.From {
		x.From = t.missed[n-1].From
		t.missed = t.missed[:n-1]
	}
	t.missed = append(slices.Clip(forgetOldest(t.missed)), x)
	c.startAt(t, index)
	c.collect(t.group)
}

// forgetOldest makes room for one more range. The log keeps what was told long ago.
func forgetOldest(list []Missed) []Missed {
	const most = 64
	if len(list) >= most && list[0].Told {
		return list[1:]
	}
	return list
}

// noteGone remembers a loss for members that come: there may be none now, as when lcapd has just started.
func (t *track) noteGone(x Missed) {
	const most = 64
	if n := len(t.gone); n > 0 && t.gone[n-1].Epoch == x.Epoch && (t.gone[n-1].To == x.From || n == most) {
		t.gone[n-1].To = x.To
		return
	}
	t.gone = append(t.gone[max(0, len(t.gone)+1-most):], x)
}

// acknowledged notes that a member has acknowledged something: the group is alive, and
// knows what it missed, as each member was told before.
func (c *Core) acknowledged(g *group) {
	g.acked = c.now
	if !g.owes {
		return
	}
	g.owes = false
	for _, t := range g.tracks {
		t.gone = nil
		if !t.owesTelling() {
			continue
		}
		t.missed = slices.Clone(t.missed)
		for i := range t.missed {
			t.missed[i].Told = true
		}
		c.touch(t)
	}
}

// tellMissed tells a member that joins what its group has missed, until the group has
// acknowledged something since.
func (c *Core) tellMissed(g *group, id Peer) {
	for _, t := range g.tracks {
		for _, x := range t.gone {
			c.emit(Lost{Peer: id, Group: g.Config.Name, MDT: t.mdt.id, Epoch: x.Epoch, Range: x.Range})
		}
		for _, x := range t.missed {
			if !x.Told {
				g.acked = c.now // somebody is back: what waits may be worked on
				c.emit(Lost{Peer: id, Group: g.Config.Name, MDT: t.mdt.id, Epoch: x.Epoch, Range: x.Range, Expired: true})
			}
		}
	}
}

// behindAtStart is since when a track is behind, as lcapd starts: nobody could acknowledge
// while it did not run, so a tenth of the time is left at least. What is stored is the time of
// the wall clock, which may have been set meanwhile: a time that is still to come is now. From
// here on that clock does not count.
func (c *Core) behindAtStart(limits Limits, since time.Time) time.Time {
	if since.IsZero() {
		return since
	}
	idle := max(c.now.Sub(since), 0)
	if limits.Idle > 0 {
		idle = min(idle, limits.Idle-limits.Idle/10)
	}
	return c.now.Add(-idle)
}

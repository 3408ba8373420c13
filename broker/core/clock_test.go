package core

import (
	"testing"
	"time"

	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/internal/clocktest"
)

const year = 365 * 24 * time.Hour

// clockSteps are what somebody may set the wall clock by while lcapd runs.
var clockSteps = []time.Duration{time.Hour, -time.Hour, year, -year, 30 * year, -30 * year}

// clocked is a core with a group of one member, which has 50 of 100 records to do.
type clocked struct {
	*Core
	now   time.Time     // by a clock that nobody sets
	ahead time.Duration // what the wall clock was set by
}

const clockedMember Peer = 1

func newClocked(t *testing.T, limits Limits, since func(now time.Time) time.Time) *clocked {
	t.Helper()
	now := time.Now()
	cfg := DefaultConfig
	cfg.Memory = 1 << 20
	c := &clocked{now: now, Core: New(cfg, State{
		MDTs:   []MDTState{{MDT: 0, Cleared: 50, Read: 100}},
		Groups: []GroupState{{Config: groups.Config{Name: "g", Lease: 10 * time.Second, InFlight: 1 << 20}, Limits: limits}},
		Marks:  []MarkState{{Group: "g", MDT: 0, Mark: 50, Ceiling: 100, Since: since(now)}},
	}, now)}
	c.Step(Join{Peer: clockedMember, Group: "g", Name: "m", Session: "s"})
	c.outputs()
	return c
}

// outputs tells whether the member was sent away.
func (c *clocked) outputs() (sentAway bool) {
	for _, o := range c.Outputs() {
		if _, is := o.(Disconnect); is {
			sentAway = true
		}
	}
	return sentAway
}

// pass lets time pass, in ticks, and tells whether the member was sent away.
func (c *clocked) pass(d time.Duration) (sentAway bool) {
	const tick = 100 * time.Millisecond
	for end := c.now.Add(d); c.now.Before(end); {
		c.now = c.now.Add(tick)
		c.Step(Tick{Now: clocktest.Set(c.now, c.ahead)})
		sentAway = c.outputs() || sentAway
	}
	return sentAway
}

func (c *clocked) abandoned() string { return c.Snapshot().Groups[0].Marks[0].Abandoned }

// A lease lasts as long as it should, however the wall clock is set meanwhile.
func TestLeasesAndTheWallClock(t *testing.T) {
	for _, step := range clockSteps {
		c := newClocked(t, Limits{}, func(now time.Time) time.Time { return now })
		for range 5 {
			c.ahead += step / 5
			if c.pass(time.Second) {
				t.Errorf("clock set by %s: the member was sent away within its lease", step)
			}
		}
		c.Step(Heartbeat{Peer: clockedMember})
		c.ahead -= step
		if c.pass(9900 * time.Millisecond) {
			t.Errorf("clock set back by %s: the member was sent away within its lease", step)
		}
		if !c.pass(time.Second) {
			t.Errorf("clock set by %s: the member's lease does not end", step)
		}
	}
}

// A group is abandoned after max_idle, however the wall clock is set meanwhile.
func TestIdleAndTheWallClock(t *testing.T) {
	for _, step := range clockSteps {
		c := newClocked(t, Limits{Idle: 20 * time.Second}, func(now time.Time) time.Time { return now })
		c.ahead = step
		c.Step(Heartbeat{Peer: clockedMember})
		if c.pass(19 * time.Second); c.abandoned() != "" {
			t.Errorf("clock set by %s: %s", step, c.abandoned())
		}
		if c.pass(2 * time.Second); c.abandoned() == "" {
			t.Errorf("clock set by %s: after 21 s of 20 s the group is not abandoned", step)
		}
	}
}

// At a start there is only the time of the wall clock to go by. It may have been set: a group
// keeps a tenth of max_idle at least, and is never given more than all of it.
func TestStoredIdleAndTheWallClock(t *testing.T) {
	for since, left := range map[time.Duration]time.Duration{ // before the start
		0: 20 * time.Second, 5 * time.Second: 15 * time.Second, 19 * time.Second: 2 * time.Second,
		time.Hour: 2 * time.Second, 30 * year: 2 * time.Second,
		-time.Hour: 20 * time.Second, -30 * year: 20 * time.Second,
	} {
		c := newClocked(t, Limits{Idle: 20 * time.Second}, func(now time.Time) time.Time { return now.Add(-since).Round(0) })
		c.ahead = year // it may be set right at last
		if c.pass(left - time.Second); c.abandoned() != "" {
			t.Errorf("idle since %s: within the %s that are left: %s", since, left, c.abandoned())
		}
		if c.pass(1100 * time.Millisecond); c.abandoned() == "" {
			t.Errorf("idle since %s: not abandoned after %s", since, left)
		}
	}
}

// While lcapd stands still nobody is heard: that time counts for no member.
func TestStandStill(t *testing.T) {
	c := newClocked(t, Limits{}, func(now time.Time) time.Time { return now })
	c.pass(5 * time.Second)
	c.now = c.now.Add(time.Hour)
	if c.Step(Tick{Now: c.now}); c.outputs() {
		t.Error("the member was sent away for what lcapd was silent")
	}
	if c.pass(4 * time.Second) {
		t.Error("the member was sent away within its lease")
	}
	if !c.pass(2 * time.Second) {
		t.Error("the member's lease does not end")
	}
}

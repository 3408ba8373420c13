package broker

import (
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

// A group that nobody comes for gives up its hold, and goes on to exist: who comes back is
// told exactly what is missing, after a new start as well, and gets all that follows.
func TestAbandonedGroupExpires(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Limits.ExpireEvery = time.Millisecond })
	log := s.logs[firstMDT]
	must(t, s.b.CreateGroup(s.ctx, GroupSpec{Name: "gone", Distribution: groups.ByMDT, Start: core.Earliest, Limits: core.Limits{Backlog: 30, Expire: true}}))
	s.group("g", groups.ByMDT)
	log.grow(100)
	m := s.join("g", "m", 8)
	wantRange(t, m.take(100), 1, 100)
	s.eventually("the clear", func() bool { return log.cleared() == 100 })
	s.restart()
	status, err := s.b.Status(s.ctx)
	must(t, err)
	expired := func(p wire.Problem) bool { return p.Kind == wire.GroupExpired && p.About == "gone" }
	if !contains(status.Problems, expired) {
		t.Errorf("no problem says that the group has expired: %+v", status.Problems)
	}
	back := s.join("gone", "m", 8)
	if x := back.lost(); x.From != 0 || x.To != 100 || x.Group != "gone" || x.MDT != firstMDT {
		t.Errorf("told %+v", x)
	}
	log.grow(120)
	wantRange(t, back.take(20), 101, 120)
	s.eventually("the end of the problem", func() bool {
		status, err = s.b.Status(s.ctx)
		must(t, err)
		return !contains(status.Problems, expired)
	})
	s.restart() // that it was told is durable too, when the group has acknowledged something
	status, err = s.b.Status(s.ctx)
	must(t, err)
	for _, g := range status.Groups {
		if missed := g.Tracks[0].Missed; g.Group == "gone" && (len(missed) != 1 || missed[0].To != 100 || !missed[0].Told || !g.Expire) {
			t.Errorf("%+v", g)
		}
	}
}

// Without the action expire a group is only told about.
func TestAbandonedGroupIsToldAbout(t *testing.T) {
	s := newSiteWith(t, func(o *Options) {
		o.Limits.ExpireEvery = time.Millisecond
		o.GroupLimits = map[string]core.Limits{"g": {Backlog: 30}}
	})
	log := s.logs[firstMDT]
	must(t, s.b.CreateGroup(s.ctx, GroupSpec{Name: "g", Start: core.Earliest}))
	wantError(t, s.b.LimitGroup(s.ctx, "g", core.Limits{}), ErrConfigured)
	wantError(t, s.b.LimitGroup(s.ctx, "h", core.Limits{}), core.ErrUnknownGroup)
	s.group("other", groups.ByMDT)
	log.grow(100)
	m := s.join("other", "m", 8)
	wantRange(t, m.take(100), 1, 100)
	s.eventually("the problem", func() bool {
		status, err := s.b.Status(s.ctx)
		must(t, err)
		return contains(status.Problems, func(p wire.Problem) bool { return p.Kind == wire.GroupAbandoned && p.About == "g" })
	})
	if log.cleared() != 0 {
		t.Errorf("cleared up to %d", log.cleared())
	}
	m = s.join("g", "m", 8)
	wantRange(t, m.take(100), 1, 100)
}

func contains(list []wire.Problem, is func(wire.Problem) bool) bool {
	return slices.ContainsFunc(list, is)
}

// What happened once, and is not so any more, is shown for an hour, and then no more.
func TestWhatHappenedIsShownForAnHour(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	s.eventually("the records", func() bool {
		status, err := s.b.Status(s.ctx)
		must(t, err)
		return status.MDTs[0].Read == 100
	})
	issued := made(1, 130)
	for i := range issued {
		issued[i].Target.Oid = 7777
	}
	log.rewrite(issued...)
	s.restart() // who starts looks first
	shown := func(later time.Duration) (lost, epoch bool) {
		must(t, s.b.call(s.ctx, func(l *loop) {
			for _, p := range l.status(time.Now().Add(later)).Problems {
				lost = lost || p.Kind == wire.RecordsLost && p.About == "g"
				epoch = epoch || p.Kind == wire.NewEpoch && p.About == firstMDT
			}
		}))
		return lost, epoch
	}
	s.eventually("the loss and the new epoch", func() bool {
		lost, epoch := shown(0)
		return lost && epoch
	})
	if lost, epoch := shown(recently - time.Minute); !lost || !epoch {
		t.Errorf("after 59 minutes the loss is shown: %t, the new epoch: %t", lost, epoch)
	}
	if lost, epoch := shown(recently); lost || epoch {
		t.Errorf("after an hour the loss is shown: %t, the new epoch: %t", lost, epoch)
	}
}

package broker

import (
	"testing"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// Why: Lustre dropped what only a slow group had not acknowledged, and kept what was read last: nobody looked for
// more than that, so the group went over it and was told of nothing.
func TestPurgeOfTheOldest(t *testing.T) {
	s := newSiteWith(t, watchful)
	log := s.logs[firstMDT]
	other, err := log.log().Register(s.ctx, "other", 0)
	must(t, err)
	s.group("quick", groups.ByMDT)
	s.group("slow", groups.ByMDT)
	log.grow(100)
	quick := s.join("quick", "m", 64)
	wantRange(t, quick.take(100), 1, 100)
	s.eventually("the mark", func() bool { return s.status().Groups[0].Tracks[0].Durable == 100 })
	s.eventually("the look", func() (seen bool) {
		must(t, s.b.call(s.ctx, func(l *loop) { seen = l.core.Known(0).Recent[0].Index == 1 }))
		return seen
	})
	s.end()
	must(t, log.log().Clear(s.ctx, log.user, 50))
	must(t, log.log().Clear(s.ctx, other.ID, 50))
	s.start()
	slow := s.join("slow", "m", 0)
	if x := slow.lost(); x.From != 0 || x.To != 50 {
		t.Errorf("lost: %+v", x)
	}
	slow.credit(64)
	wantRange(t, slow.take(50), 51, 100)
}

// Why: the first record that there was had been cleared by then, as it is as long as the slow group goes on.
func TestPurgeBehindAGroupThatGoesOn(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.RecogniseEvery = time.Hour; o.BatchBytes = 1 << 10; o.Limits.Memory = 1 << 16 })
	log := s.logs[firstMDT]
	other, err := log.log().Register(s.ctx, "other", 0)
	must(t, err)
	s.group("quick", groups.ByMDT)
	s.group("slow", groups.ByMDT)
	quick, slow := s.join("quick", "m", 64), s.join("slow", "m", 1)
	log.grow(5000)
	wantRange(t, quick.take(5000), 1, 5000)
	d := slow.next()
	must(t, slow.m.Ack(s.ctx, d.Lease, 5))
	s.eventually("the clear", func() bool { return log.cleared() == 5 })
	must(t, log.log().Clear(s.ctx, log.user, 4000))
	must(t, log.log().Clear(s.ctx, other.ID, 4000))
	must(t, s.b.call(s.ctx, func(l *loop) { l.recognise(l.mdts[0], time.Now()) }))
	if x := slow.lost(); x.From != 5 || x.To != 4000 {
		t.Errorf("lost: %+v", x)
	}
}

// Why: a purge was told to the members that there were, and as lcapd starts there are none.
func TestPurgeWithoutMembers(t *testing.T) {
	s := newSiteWith(t, watchful)
	log := s.logs[firstMDT]
	s.group("g", groups.ByMDT)
	log.grow(100)
	m := s.join("g", "m", 64)
	must(t, m.m.Ack(s.ctx, m.next().Lease, 30))
	s.eventually("the clear", func() bool { return log.cleared() == 30 })
	s.end()
	_, err := log.log().ClearAll(s.ctx, log.user)
	must(t, err)
	s.start()
	s.eventually("the loss", func() bool { return s.status().Groups[0].Tracks[0].Lost == 100 })
	m = s.join("g", "m", 64)
	if x := m.lost(); x.From != 30 || x.To != 100 {
		t.Errorf("lost: %+v", x)
	}
}

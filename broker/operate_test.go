package broker

import (
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
)

func TestGroupForSomeMDTs(t *testing.T) {
	s := newSite(t, firstMDT, secondMDT)
	first, second := s.logs[firstMDT], s.logs[secondMDT]
	first.grow(20)
	second.grow(20)
	s.group("g", groups.ByMDT, secondMDT)
	m := s.join("g", "m", 8)
	d := m.next()
	if d.MDT != secondMDT {
		t.Fatalf("got records of %s", d.MDT)
	}
	m.ack(d)
	s.eventually("the clear", func() bool { return second.cleared() == 20 })
	s.restart()
	m = s.join("g", "m", 8)
	second.grow(30)
	wantRange(t, m.take(10), 21, 30)
	if c := first.cleared(); c != 0 {
		t.Errorf("%s was cleared up to %d, and no group is for it", firstMDT, c)
	}
	wantError(t, s.b.Seek(s.ctx, "g", firstMDT, 5), core.ErrUnknownMDT)
	wantError(t, s.b.SeekTo(s.ctx, "g", firstMDT, core.Latest), core.ErrUnknownMDT)
	wantError(t, s.b.CreateGroup(s.ctx, GroupSpec{Name: "h", MDTs: []string{"nowhere"}}), core.ErrUnknownMDT)
}

// A group can be for MDTs that are not served at present: it stays what it is.
func TestGroupOutlivesAnMDTThatIsNotServed(t *testing.T) {
	s := newSite(t, firstMDT, secondMDT)
	s.logs[secondMDT].grow(20)
	s.group("both", groups.ByMDT, firstMDT, secondMDT)
	s.group("second", groups.ByMDT, secondMDT)
	s.end()
	all := s.opts.MDTs
	s.opts.MDTs = all[:1]
	s.start()
	for _, name := range []string{"both", "second"} {
		must(t, s.b.PauseGroup(s.ctx, name, true))
	}
	s.group("new", groups.ByMDT) // the state is written
	s.end()
	s.opts.MDTs = all
	s.start()
	for _, name := range []string{"both", "second"} {
		must(t, s.b.PauseGroup(s.ctx, name, false))
		m := s.join(name, "m", 8)
		wantRange(t, m.take(20), 1, 20)
	}
}

func TestPauseSurvivesARestart(t *testing.T) {
	s := newSite(t)
	s.group("g", groups.ByMDT)
	s.group("other", groups.ByMDT)
	must(t, s.b.PauseGroup(s.ctx, "g", true))
	s.restart()
	m, other := s.join("g", "m", 8), s.join("other", "m", 8)
	s.logs[firstMDT].grow(20)
	wantRange(t, other.take(20), 1, 20)
	if n := len(m.inbox.messages); n > 1 { // Joined
		t.Fatalf("a paused group got %d messages", n)
	}
	list, err := s.b.Groups(s.ctx)
	must(t, err)
	if !list[0].Paused || list[1].Paused {
		t.Errorf("groups: %+v", list)
	}
	must(t, s.b.PauseGroup(s.ctx, "g", false))
	wantRange(t, m.take(20), 1, 20)
	wantError(t, s.b.PauseGroup(s.ctx, "nobody", true), core.ErrUnknownGroup)
}

func TestSeek(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	s.group("holder", groups.ByMDT)
	holder := s.join("holder", "m", 8)
	d := holder.next()
	must(t, holder.m.Ack(s.ctx, d.Lease, 40))
	m := s.join("g", "m", 8)
	wantRange(t, m.take(100), 1, 100)
	s.eventually("the clear", func() bool { return log.cleared() == 40 })

	wantError(t, s.b.Seek(s.ctx, "g", firstMDT, 39), core.ErrBelowClear)
	wantError(t, s.b.Seek(s.ctx, "nobody", firstMDT, 50), core.ErrUnknownGroup)
	wantError(t, s.b.Seek(s.ctx, "g", "nowhere", 50), core.ErrUnknownMDT)
	must(t, s.b.Seek(s.ctx, "g", firstMDT, 60))
	wantRange(t, m.take(40), 61, 100)
	must(t, s.b.SeekTo(s.ctx, "g", "", core.Earliest))
	wantRange(t, m.take(60), 41, 100)
	must(t, s.b.SeekTo(s.ctx, "g", firstMDT, core.Earliest))
	m.next()
	must(t, s.b.SeekTo(s.ctx, "g", firstMDT, core.Latest))
	must(t, holder.m.Ack(s.ctx, d.Lease, 100))
	s.eventually("the clear", func() bool { return log.cleared() == 100 })
	log.grow(110)
	holder.take(10)
	for d = m.next(); d.First <= 100; d = m.next() {
	}
	wantRange(t, indexesOf(d.Records), 101, 110)
	wantError(t, s.b.SeekTo(s.ctx, "g", "nowhere", core.Latest), core.ErrUnknownMDT)
	wantError(t, s.b.SeekTo(s.ctx, "nobody", "", core.Latest), core.ErrUnknownGroup)
}

func TestSeekSurvivesARestart(t *testing.T) {
	s := newSite(t)
	s.logs[firstMDT].grow(100)
	s.group("g", groups.ByMDT)
	s.group("holder", groups.ByMDT)
	m := s.join("g", "m", 8)
	m.take(100)
	must(t, s.b.Seek(s.ctx, "g", firstMDT, 20))
	s.restart()
	m = s.join("g", "m", 8)
	d := m.next()
	if d.First != 21 || !d.MaybeRedelivered {
		t.Errorf("got %d, maybe redelivered %v", d.First, d.MaybeRedelivered)
	}
}

func TestSkip(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	s.group("g", groups.ByMDT)
	must(t, s.b.Skip(s.ctx, "g", firstMDT, 7))
	log.grow(10)
	m := s.join("g", "m", 8)
	got := m.take(9)
	wantRange(t, got[:6], 1, 6)
	wantRange(t, got[6:], 8, 10)
	s.eventually("the clear", func() bool { return log.cleared() == 10 })
	wantError(t, s.b.Skip(s.ctx, "g", firstMDT, 7), groups.ErrAcknowledged)
	wantError(t, s.b.Skip(s.ctx, "nobody", firstMDT, 7), core.ErrUnknownGroup)
	wantError(t, s.b.Skip(s.ctx, "g", "nowhere", 7), core.ErrUnknownMDT)
}

func TestDeleteGroup(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	s.group("g", groups.ByMDT)
	s.group("other", groups.ByMDT)
	m, other := s.join("g", "m", 8), s.join("other", "m", 8)
	log.grow(10)
	other.take(10)
	m.next()
	wantError(t, s.b.DeleteGroup(s.ctx, "g", false), ErrHasMembers)
	wantError(t, s.b.DeleteGroup(s.ctx, "nobody", true), core.ErrUnknownGroup)
	must(t, s.b.DeleteGroup(s.ctx, "g", true))
	_, err := m.inbox.Next(s.ctx)
	wantError(t, err, ErrDisconnected)
	s.eventually("the clear", func() bool { return log.cleared() == 10 })
	wantError(t, s.b.CreateGroup(s.ctx, GroupSpec{Name: "other"}), core.ErrGroupExists)
	s.group("g", groups.RoundRobin) // another one of that name
	m = s.join("g", "m", 8)
	log.grow(20)
	wantRange(t, m.take(10), 11, 20)
	s.restart()
	list, err := s.b.Groups(s.ctx)
	must(t, err)
	if len(list) != 2 || list[0].Config.Distribution != groups.RoundRobin {
		t.Errorf("the groups are %+v", list)
	}
}

func TestGroupThatStartsLatest(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(50)
	s.group("holder", groups.ByMDT)
	holder := s.join("holder", "m", 8)
	holder.take(50)
	s.eventually("the clear", func() bool { return log.cleared() == 50 })
	must(t, s.b.CreateGroup(s.ctx, GroupSpec{Name: "g", Start: core.Latest}))
	m := s.join("g", "m", 8)
	log.grow(60)
	wantRange(t, m.take(10), 51, 60)
}

func TestOtherUserIsRefused(t *testing.T) {
	s := newSite(t)
	s.end()
	s.opts.MDTs[0].User = "cl2"
	s.start()
	s.b = nil
	wantError(t, <-s.ended, ErrOtherUser)
	must(t, s.store.Close())
}

package broker

import (
	"runtime"
	"testing"

	"github.com/lcapd/lcapd/groups"
)

func TestEndSendsTheLastClears(t *testing.T) {
	s := newSiteWith(t, func(o *Options) {
		o.Limits.PersistEvery, o.Limits.ClearEvery = patience, patience // not before the end
	}, firstMDT, secondMDT)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 64)
	for _, log := range s.logs {
		log.grow(50)
	}
	m.take(100)
	s.end()
	for name, log := range s.logs {
		if c := log.cleared(); c != 50 {
			t.Errorf("%s was cleared up to %d", name, c)
		}
	}
	if _, err := m.inbox.Next(s.ctx); err == nil {
		t.Error("the member is not told that lcapd has stopped")
	}
	wantError(t, m.m.Credit(s.ctx, 1, 1), ErrStopped)
	must(t, m.m.Leave())
	s.start()
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newSite(t, firstMDT, secondMDT)
	for range 3 {
		if s.b == nil {
			s.start()
		}
		m := s.join(s.anyGroup(), "m", 8)
		x, _ := s.listen(ListenOptions{})
		for _, log := range s.logs {
			info, err := log.log().Info()
			must(t, err)
			log.grow(info.Current + 100)
		}
		m.next()
		_, err := x.Next(s.ctx)
		must(t, err)
		s.end()
	}
	s.eventually("the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
}

// anyGroup makes a group if it is not there.
func (s *site) anyGroup() string {
	if list, err := s.b.Groups(s.ctx); err != nil || len(list) == 0 {
		s.group("g", groups.ByFID)
	}
	return "g"
}

package broker

import (
	"slices"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/wire"
)

// Groups of all distributions and listeners get what the filter for everybody leaves; what it
// drops lets the clear go on, to the end of a stream of which nothing is left, and after a start.
func TestFilterForEverybody(t *testing.T) {
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		t.Run(d.String(), func(t *testing.T) {
			s := newSiteWith(t, func(o *Options) { o.Everybody = Chain{Filter: `type == "RENME"`} })
			log := s.logs[firstMDT]
			s.group("g", d)
			s.chained("few", d, Chain{Filter: "index > 3000"}) // behind the filter for everybody
			x, _, err := s.b.Listen(s.ctx, ListenOptions{})
			must(t, err)
			defer x.Close()
			log.grow(4010)
			every40 := func(from, n int) (list []uint64) {
				for i := range n {
					list = append(list, uint64(from+i*40))
				}
				return list
			}
			var heard []uint64
			for len(heard) < 100 {
				shown, err := x.Next(s.ctx)
				must(t, err)
				heard = append(heard, indexesOf(shown.Records)...)
				if last := heard[len(heard)-1]; shown.Last != last || shown.Gap != nil {
					t.Fatalf("the last record is %d, not %d; gap %v", last, shown.Last, shown.Gap)
				}
			}
			for name, want := range map[string][]uint64{"g": every40(40, 100), "few": every40(3040, 25)} {
				got := s.join(name, "m", 8).take(len(want))
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Fatalf("%s got %v", name, got)
				}
			}
			if !slices.Equal(heard, every40(40, 100)) {
				t.Errorf("heard %v", heard)
			}
			s.eventually("the clear", func() bool { return log.cleared() == 4010 })
			status, err := s.b.Status(s.ctx)
			must(t, err)
			if m := status.Modules[0]; m.Group != wire.Everybody || m.MDT != firstMDT || m.In != 4010 || m.Kept != 100 || m.Dropped[1].Records != 3910 || m.State != "running" {
				t.Errorf("%+v", m)
			}
			s.restart()
			m := s.join("g", "m", 8)
			s.join("few", "m", 8)
			log.grow(4039) // nothing of it passes
			s.eventually("the clear", func() bool { return log.cleared() == 4039 })
			log.grow(4050)
			if got := m.take(1); got[0] != 4040 {
				t.Errorf("got %v", got)
			}
		})
	}
}

// What everybody's filter is may change between two runs: marks stay, what was dropped and acknowledged does not
// come again, and what lies above a mark passes the new one, also what was handed out before.
func TestFilterForEverybodyChanges(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Everybody = Chain{Filter: `index in [5, 15, 25]`} })
	log := s.logs[firstMDT]
	s.group("g", groups.ByMDT)
	s.group("behind", groups.ByMDT)
	m, behind := s.join("g", "m", 8), s.join("behind", "m", 8)
	log.grow(20)
	if got := m.take(2); !slices.Equal(got, []uint64{5, 15}) {
		t.Fatalf("got %v", got)
	}
	for handed := 0; handed < 2; { // and nothing of it is acknowledged
		handed += len(indexesOf(behind.next().Records))
	}
	s.eventually("the mark", func() bool {
		status, err := s.b.Status(s.ctx)
		must(t, err)
		return status.Groups[0].Tracks[0].Mark == 20
	})
	s.end()
	s.opts.Everybody = Chain{Filter: "index != 15 and index < 30"}
	s.start()
	m, behind = s.join("g", "m", 8), s.join("behind", "m", 8)
	log.grow(40)
	wantRange(t, m.take(9), 21, 29)
	got := behind.take(28)
	if slices.Contains(got, 15) || got[0] != 1 || got[27] != 29 {
		t.Errorf("who was behind got %v", got)
	}
	s.eventually("the clear", func() bool { return log.cleared() == 40 })
}

// Holes are those of what the MDT shows: they are looked at again although everything around
// them is dropped, and what is found late passes the filter too.
func TestLateRecordsPassTheFilterForEverybody(t *testing.T) {
	s := newSiteWith(t, func(o *Options) {
		o.Everybody = Chain{Filter: `type == "RENME"`}
		o.Limits.HoleDelay = 300_000_000
	})
	log := s.logs[firstMDT]
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 8)
	all := made(1, 130)
	log.append(all[:30]...)
	log.append(all[110:]...) // 31 to 110 are not there yet
	if got := m.take(1); got[0] != 120 {
		t.Fatalf("got %v", got)
	}
	s.eventually("the problem", func() bool { return s.problem(wire.HolePending, firstMDT, "1 ranges") })
	log.rewrite(all...) // the same records, and those that were not there
	got := m.take(2)
	if !slices.Equal(got, []uint64{40, 80}) {
		t.Errorf("got %v late", got)
	}
	s.eventually("the clear", func() bool { return log.cleared() == 130 })
}

// Modules for everybody that fail stop the reading of the MDT: what is before them is handed
// out, nothing behind is lost or cleared, and a restart by an operator tries again.
func TestModulesForEverybodyThatFail(t *testing.T) {
	fails := make(chan struct{})
	kind := modules.Kind{Name: "broken", Parse: func(*modules.Options, modules.Use) (modules.Factory, error) {
		return func(modules.Start) modules.Module {
			select {
			case <-fails:
				return new(sickModule)
			default:
				return new(brokenModule)
			}
		}, nil
	}}
	s := newSiteWith(t, func(o *Options) {
		o.Modules = append(modules.Builtin(), kind)
		o.Everybody = Chain{Modules: "[broken]"}
	}, firstMDT, secondMDT)
	log := s.logs[firstMDT]
	log.grow(30)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 8)
	wantRange(t, m.take(30), 1, 30)
	log.append(made(31, 100)...)
	s.eventually("the problem", func() bool { return s.problem(wire.MDTStopped, firstMDT, "it is broken") })
	status, err := s.b.Status(s.ctx)
	must(t, err)
	if x := status.Modules[0]; x.State != "failing" || x.Error == "" || status.Modules[1].State != "running" || log.cleared() > 30 {
		t.Errorf("%+v, cleared %d", status.Modules, log.cleared())
	}
	close(fails)
	must(t, s.b.Restart(s.ctx, firstMDT))
	wantRange(t, m.take(70), 31, 100)
	s.eventually("the clear", func() bool { return log.cleared() == 100 })
	s.eventually("a module that lets all pass", func() bool { return s.problem(wire.ModuleDisabled, firstMDT, "it is broken") })
}

// What holds records back is refused for everybody.
func TestModulesThatHoldForEverybody(t *testing.T) {
	for _, c := range []Chain{{Modules: "[coalesce]", Consumers: "state"}, {Filter: "uid = 5"}, {Modules: "[{rate: {records: 5}}]"}, {Consumers: "some"}} {
		if plan, err := (Options{}).withDefaults().PlanEverybody(c); err == nil {
			t.Errorf("%+v is %v", c, plan)
		}
	}
	if plan, err := (Options{}).withDefaults().PlanEverybody(Chain{}); plan != nil || err != nil {
		t.Errorf("nothing is %v, %v", plan, err)
	}
}

// An MDT that comes back with other records than it had shown is found out by those that the
// filter has dropped, too.
func TestDroppedRecordsTellAReset(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Everybody = Chain{Filter: `index == 0`} })
	log := s.logs[firstMDT]
	s.group("g", groups.ByMDT)
	s.join("g", "m", 8)
	log.append(made(1, 20)...)
	s.eventually("the clear", func() bool { return log.cleared() == 20 })
	known := func() (k core.MDTState) {
		must(t, s.b.call(s.ctx, func(l *loop) { k = l.core.Known(l.mdts[0].id) }))
		return k
	}
	if ids := known().Recent; len(ids) == 0 || ids[len(ids)-1].Index != 20 || ids[len(ids)-1].Type != changelog.TypeClose && ids[len(ids)-1].Type != changelog.TypeRenme {
		t.Errorf("known by %v", ids)
	}
}

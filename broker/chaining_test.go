package broker

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/wire"
)

func (s *site) chained(name string, d groups.Distribution, c Chain) {
	s.t.Helper()
	must(s.t, s.b.CreateGroup(s.ctx, GroupSpec{Name: name, Distribution: d, Start: core.Earliest, Chain: c}))
}

// A group gets what its filter lets pass, and a stream of which nothing passes is cleared.
func TestFilterOfAGroup(t *testing.T) {
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		t.Run(d.String(), func(t *testing.T) {
			s := newSite(t)
			log := s.logs[firstMDT]
			log.grow(4000)
			s.chained("renames", d, Chain{Filter: `type == "RENME"`})
			s.chained("nothing", d, Chain{Modules: `[{filter: {types: MARK}}]`})
			s.join("nothing", "m", 8)
			m := s.join("renames", "m", 8)
			got := m.take(100)
			slices.Sort(got) // in turns the order does not hold
			for i, index := range got {
				if index != uint64(i+1)*40 {
					t.Fatalf("got %v", got)
				}
			}
			s.eventually("the clear", func() bool { return log.cleared() == 4000 })
			s.restart()
			s.join("nothing", "m", 8)
			m = s.join("renames", "m", 8)
			log.grow(4100)
			if got := m.take(2); got[0] != 4040 || got[1] != 4080 {
				t.Errorf("got %v", got)
			}
			s.eventually("the clear", func() bool { return log.cleared() == 4100 })
		})
	}
}

// What a module holds back holds the mark, until time lets it go in a stream that is quiet.
func TestHeldRecordsComeInTime(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	s.chained("g", groups.ByMDT, Chain{Modules: `[{coalesce: {age: 300ms}}]`, Consumers: "state"})
	m := s.join("g", "m", 8)
	log.append(made(1, 1)...)
	log.append(made(2, 39)...)
	if got := m.take(39); got[38] != 39 {
		t.Errorf("got %v", got)
	}
	s.eventually("the clear", func() bool { return log.cleared() == 39 })
	status, err := s.b.Status(s.ctx)
	must(t, err)
	if len(status.Modules) != 1 || status.Modules[0].In != 39 || status.Modules[0].Kept != 39 || status.Modules[0].State != "running" {
		t.Errorf("%+v", status.Modules)
	}
}

// broken fails at the record with index 50.
func broken() modules.Kind {
	return modules.Kind{Name: "broken", Parse: func(*modules.Options, modules.Use) (modules.Factory, error) {
		return func(modules.Start) modules.Module { return new(brokenModule) }, nil
	}}
}

type brokenModule struct{ modules.Stateless }

var errBroken = errors.New("it is broken")

// Push implements [modules.Module].
func (*brokenModule) Push(r changelog.Record, out *modules.Out) {
	if r.Index() == 50 {
		out.Fail(errBroken)
	}
	out.Keep(r)
}

// A chain that fails keeps its group waiting and the clear back, says so, and is tried again; what it
// failed at is lost neither then nor when the group gets another chain.
func TestChainThatFails(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Modules = append(modules.Builtin(), broken()) })
	log := s.logs[firstMDT]
	log.grow(30)
	s.chained("g", groups.ByMDT, Chain{Modules: "[broken]"})
	m := s.join("g", "m", 8)
	wantRange(t, m.take(30), 1, 30)
	log.append(made(31, 100)...)
	failing := func() bool { return s.problem(wire.ChainFailing, "g", "it is broken") }
	s.eventually("the problem", failing)
	if log.cleared() > 30 {
		t.Errorf("%d is cleared", log.cleared())
	}
	err := s.b.SetChain(s.ctx, "g", Chain{})
	wantError(t, err, ErrHasMembers)
	must(t, m.m.Leave())
	wantError(t, s.b.SetChain(s.ctx, "g", Chain{Modules: "[nonsense]"}), ErrChain)
	wantError(t, s.b.SetChain(s.ctx, "nobody", Chain{}), core.ErrUnknownGroup)
	must(t, s.b.SetChain(s.ctx, "g", Chain{}))
	m = s.join("g", "m", 8)
	wantRange(t, m.take(70), 31, 100)
	s.eventually("the end of the problem", func() bool { return !failing() })
	s.eventually("the clear", func() bool { return log.cleared() == 100 })
}

// problem tells whether the status has a problem whose text has a word.
func (s *site) problem(kind wire.ProblemKind, about, word string) bool {
	status, err := s.b.Status(s.ctx)
	must(s.t, err)
	return slices.ContainsFunc(status.Problems, func(p wire.Problem) bool {
		return p.Kind == kind && p.About == about && strings.Contains(p.Text, word)
	})
}

// A chain that was stored and cannot be any more keeps only its group waiting.
func TestStoredChainThatCannotBeAnyMore(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Modules = append(modules.Builtin(), broken()) })
	s.logs[firstMDT].grow(30)
	s.chained("g", groups.ByMDT, Chain{Filter: `type != "MARK"`, Modules: "[broken]"})
	s.group("other", groups.ByMDT)
	s.end()
	s.opts.Modules = modules.Builtin()
	s.start()
	s.join("g", "m", 8)
	other := s.join("other", "m", 8)
	wantRange(t, other.take(30), 1, 30)
	s.eventually("the problem", func() bool { return s.problem(wire.ChainFailing, "g", `no module "broken"`) })
	g, err := s.b.Groups(s.ctx)
	must(t, err)
	if g[0].Filter != `type != "MARK"` || g[0].Modules != `["broken"]` {
		t.Errorf("%+v", g[0])
	}
}

// A member may say what filter it takes its group to have, and make the group with it.
func TestJoinWithFilter(t *testing.T) {
	s := newSite(t)
	join := func(filter string) error {
		_, err := s.b.Join(s.ctx, JoinOptions{Group: "g", Name: "m" + filter, Session: "s", Filter: filter, Create: true}, s.b.NewInbox())
		return err
	}
	wantError(t, join("uid = 5"), ErrChain)
	must(t, join("uid == 5"))
	must(t, join(""))
	wantError(t, join("uid == 6"), core.ErrGroupExists)
	s.group("plain", groups.ByMDT)
	_, err := s.b.Join(s.ctx, JoinOptions{Group: "plain", Name: "m", Session: "s", Filter: "uid == 5"}, s.b.NewInbox())
	wantError(t, err, core.ErrGroupExists)
}

// A large hand-out of what was held is cut into batches that members can take.
func TestDerivedBatchesAreCut(t *testing.T) {
	packed, count := []byte(nil), 0
	for _, f := range made(1, 20_000) {
		var err error
		packed, err = f.Append(packed)
		must(t, err)
		count++
	}
	for _, most := range []int{derivedBytes, 16 << 10} {
		t.Run(strconv.Itoa(most), func(t *testing.T) { checkDerived(t, packed, count, most) })
	}
}

func checkDerived(t *testing.T, packed []byte, count, most int) {
	x := &transformer{o: core.OpenChain{Epoch: 3}, slots: true, most: most}
	list := x.derive(modules.Batch{From: 0, To: 20_100, Records: packed, Count: count})
	from, records := uint64(0), 0
	for i, b := range list {
		if b.From != from || cap(b.Records) > most || b.Epoch != 3 || b.Slots == nil {
			t.Fatalf("batch %d: (%d,%d] with %d bytes behind %d", i, b.From, b.To, len(b.Records), from)
		}
		got := indexesOf(b.Records)
		if got[0] <= b.From || got[len(got)-1] > b.To || len(got) != b.Count {
			t.Fatalf("batch %d: (%d,%d] has records %d to %d", i, b.From, b.To, got[0], got[len(got)-1])
		}
		from, records = b.To, records+b.Count
	}
	last := list[len(list)-1]
	if from != 20_100 || records != count || last.LastRecord() != 20_000 {
		t.Errorf("%d of %d records up to %d, the last one %d", records, count, from, last.LastRecord())
	}
	if len(list) < 10 {
		t.Errorf("only %d batches", len(list))
	}
}

// Windows that may hold more than half of the memory are refused, all groups and MDTs together, and who
// makes room for others may have his.
func TestWindowsThatDoNotFit(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Memory = 64 << 20 }, firstMDT, secondMDT)
	windows := func(bytes string) Chain {
		return Chain{Modules: `[cancel, {coalesce: {bytes: ` + bytes + `}}]`, Consumers: "state"}
	}
	create := func(name string, c Chain, mdts ...string) error {
		return s.b.CreateGroup(s.ctx, GroupSpec{Name: name, Distribution: groups.ByMDT, MDTs: mdts, Chain: c})
	}
	refused := func(err error, words ...string) {
		t.Helper()
		wantError(t, err, ErrWindows)
		wantError(t, err, ErrChain)
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
	must(t, create("first", windows("2MiB"))) // 20 MiB
	refused(create("second", windows("8MiB")), "group second:", "52MiB", "64MiB", "second 16MiB in each of 2 MDTs, first 10MiB in each of 2 MDTs", "raise memory to 104MiB")
	must(t, create("second", windows("1MiB"), firstMDT)) // 9 MiB
	must(t, create("third", Chain{Filter: "uid == 5"}))
	refused(s.b.SetChain(s.ctx, "third", windows("64KiB")), "45.125MiB")
	must(t, s.b.SetChain(s.ctx, "third", Chain{Modules: `[{coalesce: {records: 400}}]`, Consumers: "state"})) // of 1 KiB and more
	refused(create("fourth", Chain{Modules: "[coalesce]", Consumers: "state"}), "raise memory to")
	s.restart() // what is stored counts
	refused(create("fourth", Chain{Modules: "[coalesce]", Consumers: "state"}), "raise memory to")
	wantError(t, create("first", windows("8MiB")), core.ErrGroupExists)
	must(t, s.b.SetChain(s.ctx, "first", windows("1MiB")))
	refused(s.b.SetChain(s.ctx, "first", windows("4MiB")), "group first:")
	must(t, s.b.DeleteGroup(s.ctx, "first", false))
	must(t, create("fourth", Chain{Modules: "[coalesce]", Consumers: "state"}))
}

// sick lets every record pass, and says that it should not have.
func sick() modules.Kind {
	return modules.Kind{Name: "sick", Parse: func(*modules.Options, modules.Use) (modules.Factory, error) {
		return func(modules.Start) modules.Module { return new(sickModule) }, nil
	}}
}

type sickModule struct{ modules.Stateless }

// Push implements [modules.Module].
func (*sickModule) Push(r changelog.Record, out *modules.Out) { out.Keep(r) }

// Health implements [modules.Doctor].
func (*sickModule) Health() error { return errBroken }

// A module that fails and lets everything pass is shown for as long as it does.
func TestModuleThatIsDisabled(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Modules = append(modules.Builtin(), sick()) })
	s.logs[firstMDT].grow(30)
	s.chained("g", groups.ByMDT, Chain{Modules: "[sick]"})
	m := s.join("g", "m", 8)
	wantRange(t, m.take(30), 1, 30)
	s.eventually("the problem", func() bool { return s.problem(wire.ModuleDisabled, "g", "it is broken") })
	status, err := s.b.Status(s.ctx)
	must(t, err)
	if x := status.Modules[0]; x.State != "disabled" || x.Error != "it is broken" {
		t.Errorf("%+v", x)
	}
}

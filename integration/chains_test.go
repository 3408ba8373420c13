package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

var (
	chainsFor  = flag.Duration("chains.for", 15*time.Second, "how long TestChains kills processes")
	chainsSeed = flag.Uint64("chains.seed", uint64(time.Now().UnixNano()), "whom TestChains kills when")
)

// TestChains kills lcapd and members of groups that have filters and modules, again and again, while
// two local changelogs grow. In the end
//
//   - everything is cleared, so nothing that was dropped or held back was in the way;
//   - the group with a filter has done exactly what the filter lets pass;
//   - the group with cancel and coalesce misses only what their rules let it miss, and has
//     heard of the death of everything of whose birth it has heard.
func TestChains(t *testing.T) {
	t.Parallel() // it waits more than it works
	t.Logf("again with -chains.seed %d, as far as real processes allow", *chainsSeed)
	s := newChainSite(t)
	s.startAll()
	for end := time.Now().Add(*chainsFor); time.Now().Before(end); time.Sleep(time.Duration(s.rng.IntN(100)) * time.Millisecond) {
		for _, l := range s.logs {
			l.grow(t, 1+s.rng.IntN(400))
		}
		if s.rng.IntN(8) == 0 {
			name := s.names[s.rng.IntN(len(s.names))]
			s.kill(name)
			s.start(name)
			s.kills++
		}
	}
	for _, l := range s.logs {
		s.waitUntilCleared(l)
	}
	s.stop()
	s.check()
}

type chainSite struct {
	*processes
	rng   *rand.Rand
	logs  []*grownLog
	kills int
}

// grownLog is a local changelog of which all records are known.
type grownLog struct {
	name     string
	log      *llog.Log
	appender *llog.Appender
	work     *upstream.Workload
	records  []changelog.Record // by index, from 1 on
}

const chainSiteConfig = `
listen: [%q]
state: %s/state
http: ""
upstream:
  - {mdt: a-MDT0000, driver: llog, path: %[2]s/a-MDT0000, user: cl1}
  - {mdt: b-MDT0000, driver: llog, path: %[2]s/b-MDT0000, user: cl1}
groups:
  - {name: filter, distribution: fid, filter: 'type in ["CREAT", "UNLNK", "SATTR"]'}
  - {name: policy, distribution: mdt, consumers: state, modules: [{filter: {types: "-OPEN -NOPEN -GXATR"}}, {cancel: {age: 500ms}}, {coalesce: {age: 300ms}}]}
`

func newChainSite(t *testing.T) *chainSite {
	s := &chainSite{
		processes: newProcesses(t, "lcapd", "filter-1", "filter-2", "policy-1", "policy-2"),
		rng:       rand.New(rand.NewPCG(*chainsSeed, 0)),
	}
	for i, name := range []string{"a-MDT0000", "b-MDT0000"} {
		log, err := llog.Create(filepath.Join(s.dir, name), name)
		must(t, err)
		_, err = log.Register(t.Context(), "lcapd", 0)
		must(t, err)
		a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
		must(t, err)
		t.Cleanup(func() { must(t, a.Close()) })
		work := upstream.NewWorkload(upstream.WorkloadOptions{Seed: s.rng.Uint64(), MDT: uint16(i)})
		s.logs = append(s.logs, &grownLog{name: name, log: log, appender: a, work: work})
	}
	s.init(fmt.Sprintf(chainSiteConfig, s.addr, s.dir))
	return s
}

func (l *grownLog) grow(t *testing.T, n int) {
	var packed []byte
	for range n {
		packed = l.work.Append(packed, time.Now())
	}
	_, err := l.appender.AppendNew(t.Context(), packed)
	must(t, err)
	for scan := changelog.NewScanner(packed); scan.Scan(); {
		l.records = append(l.records, scan.Record().Clone())
	}
}

func (s *chainSite) waitUntilCleared(l *grownLog) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		info, err := l.log.Info()
		must(s.t, err)
		if len(info.Users) == 1 && info.Users[0].Cleared >= uint64(len(l.records)) {
			return
		}
		if time.Now().After(end) {
			s.describe()
			s.t.Fatalf("after %s %s of %d records is cleared up to %+v", patience, l.name, len(l.records), info.Users)
		}
	}
}

// check compares what the groups did with what there was.
func (s *chainSite) check() {
	filtered, policy := s.done("filter"), s.done("policy")
	missing, born := 0, 0
	for _, l := range s.logs {
		for i, r := range l.records {
			index := uint64(i + 1)
			wanted := r.Type() == changelog.TypeCreat || r.Type() == changelog.TypeUnlnk || r.Type() == changelog.TypeSattr
			if _, did := filtered[l.name][index]; did != wanted {
				s.t.Errorf("filter: record %d of %s, %s: done %v, wanted %v", index, l.name, r.Type(), did, wanted)
			}
		}
		for _, life := range livesOf(l.records) {
			if _, known := policy[l.name][life.birth]; known {
				born++
			}
			missing += s.checkLife(l, life, policy[l.name])
		}
	}
	s.t.Logf("%d kills, %d and %d records; policy missed %d, and was told of %d births", s.kills, len(s.logs[0].records), len(s.logs[1].records), missing, born)
	if missing < 100 || born < 100 || s.kills < 5 {
		s.t.Error("this is no test")
	}
}

// done returns the types of the records that a group did, by MDT and index.
func (s *chainSite) done(group string) map[string]map[uint64]changelog.Type {
	done := make(map[string]map[uint64]changelog.Type)
	for e := range s.entries(group) {
		if done[e.MDT] == nil {
			done[e.MDT] = make(map[uint64]changelog.Type)
		}
		if was, again := done[e.MDT][e.Index]; !again || was != changelog.TypeUnlnk { // a death may have become a refresh of its parent, once
			done[e.MDT][e.Index] = changelog.Type(e.Type)
		}
	}
	return done
}

// life is what a changelog tells of one object: indexes, in their order. Birth is 0 if it
// does not tell of it, death likewise.
type life struct {
	birth, death uint64
	all          []uint64
}

func livesOf(records []changelog.Record) map[changelog.FID]*life {
	lives := make(map[changelog.FID]*life)
	for i, r := range records {
		subject := r.Target()
		if source, moved := r.Source(); moved && !source.IsZero() {
			subject = source
		}
		x := lives[subject]
		if x == nil {
			x = new(life)
			lives[subject] = x
		}
		x.all = append(x.all, uint64(i+1))
		switch last, _ := r.IsLastUnlink(); {
		case r.Type() == changelog.TypeCreat, r.Type() == changelog.TypeMknod, r.Type() == changelog.TypeSlink:
			x.birth = uint64(i + 1)
		case last && r.Type() == changelog.TypeUnlnk:
			x.death = uint64(i + 1)
		}
	}
	return lives
}

// checkLife demands that what a group has missed of an object it may miss: all of a life of whose
// birth it has not heard, and refreshes that later ones follow.
func (s *chainSite) checkLife(l *grownLog, x *life, done map[uint64]changelog.Type) (missing int) {
	heard := func(index uint64) bool { _, ok := done[index]; return ok }
	if x.birth != 0 && x.death != 0 && heard(x.birth) && done[x.death] != changelog.TypeUnlnk {
		s.t.Errorf("policy: of %s it was told of the birth at %d, and not of the death at %d", l.name, x.birth, x.death)
	}
	unseen := x.birth != 0 && x.death != 0 && !heard(x.birth)
	for n, index := range x.all {
		kind := l.records[index-1].Type()
		refresh := kind == changelog.TypeClose || kind == changelog.TypeMtime || kind == changelog.TypeTrunc || kind == changelog.TypeCtime ||
			kind == changelog.TypeSattr || kind == changelog.TypeAtime || kind == changelog.TypeXattr || kind == changelog.TypeHSM || kind == changelog.TypeLyout
		filtered := kind == changelog.TypeOpen || kind == changelog.TypeNopen || kind == changelog.TypeGxatr
		switch {
		case heard(index):
		case filtered, unseen, refresh && n < len(x.all)-1:
			missing++
		default:
			s.t.Errorf("policy: record %d of %s, %s, is missing", index, l.name, kind)
		}
	}
	return missing
}

package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// base is what the tables below start from: two groups on two MDTs, in epoch 2.
func base() Update {
	u := fullUpdate(2, 2, 100)
	for i := range u.Tracks {
		u.Tracks[i].Epoch = 2
	}
	for i := range u.MDTs {
		u.MDTs[i].Epoch, u.MDTs[i].Cleared = 2, 80
		u.Recent[i].Epoch = 2
	}
	return u
}

// track returns a track of base, changed.
func track(changed func(t *Track)) []Track {
	t := base().Tracks[0]
	changed(&t)
	return []Track{t}
}

func TestWriteRefuses(t *testing.T) {
	group := func(change func(g *Group)) Update {
		g := testGroup(0)
		change(&g)
		return Update{Groups: []Group{g}}
	}
	mdt := func(change func(m *MDT)) Update {
		m := base().MDTs[0]
		change(&m)
		return Update{MDTs: []MDT{m}}
	}
	records := func(n int) []RecordID {
		r := make([]RecordID, n)
		for i := range r {
			r[i].Index = uint64(i)
		}
		return r
	}
	for _, tt := range []struct {
		name   string
		update Update
		want   error
		says   string
	}{
		{"mark", Update{Tracks: track(func(t *Track) { t.Mark = 99 })}, ErrBackwards, "mark 100 → 99"},
		{"ceiling", Update{Tracks: track(func(t *Track) { t.Ceiling-- })}, ErrBackwards, "ceiling 1100 → 1099"},
		{"mark at the end", Update{Ended: true, Tracks: track(func(t *Track) { t.Mark = 99 })}, ErrBackwards, "mark 100 → 99"},
		{"ceiling, seek", Update{Seeks: track(func(t *Track) { t.Ceiling-- })}, ErrBackwards, "ceiling"},
		{"epoch of a track", Update{Tracks: track(func(t *Track) { t.Epoch = 1; t.Mark = 200 })}, ErrBackwards, "epoch 2 → 1"},
		{"epoch of a track, seek", Update{Seeks: track(func(t *Track) { t.Epoch = 1 })}, ErrBackwards, "epoch 2 → 1"},
		{"epoch of an MDT", mdt(func(m *MDT) { m.Epoch = 1; m.Cleared = 90 }), ErrBackwards, "epoch 2 → 1"},
		{"last clear", mdt(func(m *MDT) { m.Cleared = 79 }), ErrBackwards, "last clear 80 → 79"},
		{"mark within the update", Update{Tracks: append(
			track(func(t *Track) { t.Mark = 150 }), track(func(t *Track) { t.Mark = 149 })...)}, ErrBackwards, "150 → 149"},

		{"clear above a mark", mdt(func(m *MDT) { m.Cleared = 101 }), ErrInvalid, "the mark 100 is below the last clear, 101"},
		{"seek below the clear", Update{Seeks: track(func(t *Track) { t.Mark = 79 })}, ErrInvalid, "below the last clear, 80"},
		{"new group below the clear", Update{
			Groups: []Group{testGroup(7)}, Tracks: track(func(t *Track) { t.Group = groupName(7); t.Mark = 0 }),
		}, ErrInvalid, "below the last clear, 80"},

		{"unknown group", Update{Tracks: track(func(t *Track) { t.Group = "nobody" })}, ErrInvalid, "nobody"},
		{"unknown MDT", Update{Tracks: track(func(t *Track) { t.MDT = "nothing" })}, ErrInvalid, "nothing"},
		{"unknown MDT", mdt(func(m *MDT) { m.Name = "nothing" }), ErrInvalid, "nothing"},
		{"unknown MDT", Update{Recent: []Recent{{MDT: "nothing"}}}, ErrInvalid, "nothing"},
		{"track of a group deleted with it", Update{Deleted: []string{groupName(0)}, Tracks: base().Tracks[:1]}, ErrInvalid, groupName(0)},
		{"removing nothing", Update{Removed: []string{"nothing"}}, ErrInvalid, "nothing"},
		{"deleting nobody", Update{Deleted: []string{"nobody"}}, ErrInvalid, "nobody"},
		{"deleting twice", Update{Deleted: []string{groupName(0), groupName(0)}}, ErrInvalid, groupName(0)},

		{"many recent", Update{Recent: []Recent{{MDT: mdtName(0), Records: records(MaxRecent + 1)}}}, ErrInvalid, "at most 64"},
		{"recent in disorder", Update{Recent: []Recent{{MDT: mdtName(0), Records: []RecordID{{Index: 2}, {Index: 1}}}}}, ErrInvalid, "order"},
		{"recent twice", Update{Recent: []Recent{{MDT: mdtName(0), Records: []RecordID{{Index: 2}, {Index: 2}}}}}, ErrInvalid, "order"},

		{"another distribution", group(func(g *Group) { g.Distribution = 0 }), ErrInvalid, "cannot be changed"},
		{"another start", group(func(g *Group) { g.Start = Latest }), ErrInvalid, "cannot be changed"},
		{"other MDTs", group(func(g *Group) { g.MDTs = []string{mdtName(0)} }), ErrInvalid, "cannot be changed"},
		{"created again", group(func(g *Group) { g.Created = g.Created.Add(1) }), ErrInvalid, "cannot be changed"},
		{"group without name", group(func(g *Group) { g.Name = "" }), ErrInvalid, "no name"},
		{"long name", group(func(g *Group) { g.Name = strings.Repeat("x", MaxName+1) }), ErrInvalid, "at most 255"},
		{"zero byte", group(func(g *Group) { g.Name = "a\x00b" }), ErrInvalid, "plain text"},
		{"unknown start", group(func(g *Group) { g.Start = "now" }), ErrInvalid, "now"},
		{"unknown distribution", group(func(g *Group) { g.Distribution = 9 }), ErrInvalid, "Distribution(9)"},
		{"filter", group(func(g *Group) { g.Filter = "\xff" }), ErrInvalid, "filter"},
		{"chain", group(func(g *Group) { g.Chain = "\xff" }), ErrInvalid, "chain"},
		{"year", group(func(g *Group) { g.Name = "new"; g.Created = g.Created.AddDate(10000, 0, 0) }), ErrInvalid, "new"},
		{"MDT of a group", group(func(g *Group) { g.Name = "new"; g.MDTs = []string{""} }), ErrInvalid, "new"},
		{"upstream without a user", Update{Upstream: []Upstream{{"m", ""}}}, ErrInvalid, "user of MDT m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t, 2)
			check(t, s.Write(base()))
			want := mustLoad(t, s)
			// What would be right in the same update is not stored either.
			tt.update.Upstream = append([]Upstream{{"another", "cl9"}}, tt.update.Upstream...)
			err := s.Write(tt.update)
			checkIs(t, err, tt.want)
			checkSays(t, err, tt.says)
			checkEqual(t, "content", mustLoad(t, s), want)
			checkEqual(t, "content after opening again", mustLoad(t, reopen(t, s)), want)
		})
	}
}

func TestWriteAllows(t *testing.T) {
	for _, tt := range []struct {
		name   string
		update Update
	}{
		{"nothing", Update{}},
		{"the same again", base()},
		{"a lower ceiling at the end", Update{Ended: true, Tracks: track(func(t *Track) { t.Ceiling-- })}},
		{"seek back", Update{Seeks: track(func(t *Track) { t.Mark = 80 })}},
		{"seek forth", Update{Seeks: track(func(t *Track) { t.Mark = 5000 })}},
		{"mark above the ceiling", Update{Tracks: track(func(t *Track) { t.Mark = 5000 })}}, // what is filtered is never handed out
		{"a new epoch", Update{Tracks: track(func(t *Track) { *t = Track{Group: t.Group, MDT: t.MDT, Epoch: 3, Mark: 4} })}},
		{"a new epoch of an MDT, its groups to follow", Update{MDTs: []MDT{{Name: mdtName(0), Epoch: 3}}}},
		{"clear at the smallest mark", Update{MDTs: []MDT{{Name: mdtName(0), Epoch: 2, Cleared: 100, Read: 101}}}},
		{"another user", Update{Upstream: []Upstream{{mdtName(0), "cl77"}}}},
		{"filter, chain, paused", Update{Groups: []Group{func() Group {
			g := testGroup(0)
			g.Filter, g.Chain, g.Paused = "f", "c", true
			return g
		}()}}},
		{"delete", Update{Deleted: []string{groupName(0)}}},
		{"delete the slowest and clear on", Update{Deleted: []string{groupName(0), groupName(1)}, MDTs: []MDT{{Name: mdtName(0), Epoch: 2, Cleared: 4000, Read: 4000}}}},
		{"delete and create", Update{
			Deleted: []string{groupName(0)},
			Groups:  []Group{{Name: groupName(0), Start: Latest, Created: testTime.AddDate(1, 0, 0)}},
			Tracks:  track(func(t *Track) { t.Mark, t.Ceiling = 90, 90 }),
		}},
		{"remove an MDT", Update{Removed: []string{mdtName(0)}}},
		{"remove an MDT and add it again", Update{Removed: []string{mdtName(0)}, MDTs: []MDT{{Name: mdtName(0)}}, Tracks: track(func(t *Track) {
			*t = Track{Group: t.Group, MDT: t.MDT}
		})}},
		{"remove an MDT of a group that is deleted", Update{Deleted: []string{groupName(0)}, Removed: []string{mdtName(0), mdtName(0)}}},
		{"fewer recent", Update{Recent: []Recent{{MDT: mdtName(0), Epoch: 3}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t, 2)
			check(t, s.Write(base()))
			m := newModel(mustLoad(t, s))
			check(t, s.Write(tt.update))
			m.apply(tt.update)
			checkEqual(t, "content", mustLoad(t, s), m.snapshot())
			checkEqual(t, "content after opening again", mustLoad(t, reopen(t, s)), m.snapshot())
		})
	}
}

// A seek may lower a mark, and is forgotten: the next one rises again.
func TestSeekIsOnce(t *testing.T) {
	s := newStore(t, 2)
	check(t, s.Write(base()))
	check(t, s.Write(Update{Seeks: track(func(t *Track) { t.Mark = 90 })}))
	checkIs(t, s.Write(Update{Tracks: track(func(t *Track) { t.Mark = 89 })}), ErrBackwards)
	check(t, s.Write(Update{Tracks: track(func(t *Track) { t.Mark = 91 })}))
}

// What does not change is not written.
func TestWriteOfNothingNew(t *testing.T) {
	s := newStore(t, 2)
	check(t, s.Write(base()))
	txid := s.bolt.txid
	check(t, s.Write(base()))
	check(t, s.Write(Update{}))
	checkEqual(t, "transaction", s.bolt.txid, txid)
}

// A running lcapd does not write where nobody will find it, nor over what somebody
// else put there.
func TestFileReplacedUnderneath(t *testing.T) {
	s := newStore(t, 2)
	check(t, s.Write(base()))
	want := mustLoad(t, s)
	path := filepath.Join(s.dir, fileName)
	update := Update{Tracks: track(func(t *Track) { t.Mark++ })}
	refused := func() {
		t.Helper()
		checkIs(t, s.Write(update), ErrNotStored)
		checkEqual(t, "content", mustLoad(t, s), want)
	}
	check(t, os.Rename(path, path+".away"))
	refused()
	data, err := os.ReadFile(path + ".away")
	check(t, err)
	check(t, os.WriteFile(path, data, 0o644))
	refused()
	check(t, os.Rename(path+".away", path))
	check(t, s.Write(update))
	checkEqual(t, "mark", mustLoad(t, reopen(t, s)).Tracks[0].Mark, uint64(101))
}

// model is a state in plain maps.
type model struct {
	identity Identity
	upstream map[string]string
	mdts     map[string]MDT
	recent   map[string]Recent
	groups   map[string]Group
	tracks   map[[2]string]Track
}

func newModel(from Snapshot) *model {
	m := &model{from.Identity, map[string]string{}, map[string]MDT{}, map[string]Recent{}, map[string]Group{}, map[[2]string]Track{}}
	m.apply(Update{Upstream: from.Identity.Upstream, Groups: from.Groups, MDTs: from.MDTs, Recent: from.Recent, Tracks: from.Tracks})
	return m
}

func (m *model) apply(u Update) {
	for _, x := range u.Upstream {
		m.upstream[x.MDT] = x.User
	}
	for _, name := range u.Deleted {
		delete(m.groups, name)
		maps.DeleteFunc(m.tracks, func(key [2]string, _ Track) bool { return key[0] == name })
	}
	for _, name := range u.Removed {
		delete(m.mdts, name)
		delete(m.recent, name)
		maps.DeleteFunc(m.tracks, func(key [2]string, _ Track) bool { return key[1] == name })
	}
	for _, g := range u.Groups {
		m.groups[g.Name] = g
	}
	for _, x := range u.MDTs {
		m.mdts[x.Name] = x
	}
	for _, x := range u.Recent {
		m.recent[x.MDT] = x
	}
	for _, x := range slices.Concat(u.Tracks, u.Seeks) {
		m.tracks[[2]string{x.Group, x.MDT}] = x
	}
}

// sorted returns the values in the order of their keys.
func sorted[V any](m map[string]V) (values []V) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[key])
	}
	return values
}

func (m *model) snapshot() Snapshot {
	all := Snapshot{Identity: m.identity, MDTs: sorted(m.mdts), Recent: sorted(m.recent), Groups: sorted(m.groups)}
	all.Identity.Upstream = nil
	for _, mdt := range slices.Sorted(maps.Keys(m.upstream)) {
		all.Identity.Upstream = append(all.Identity.Upstream, Upstream{mdt, m.upstream[mdt]})
	}
	for _, group := range slices.Sorted(maps.Keys(m.groups)) {
		for _, mdt := range slices.Sorted(maps.Keys(m.upstream)) {
			if x, ok := m.tracks[[2]string{group, mdt}]; ok {
				all.Tracks = append(all.Tracks, x)
			}
		}
	}
	return all
}

// random returns an update that must be allowed.
func (m *model) random(rng *rand.Rand) (u Update) {
	if rng.IntN(5) == 0 {
		u.Upstream = append(u.Upstream, Upstream{mdtName(rng.IntN(12)), fmt.Sprint("cl", rng.IntN(100))})
	}
	if names := sorted(m.groups); len(names) > 0 && rng.IntN(6) == 0 {
		u.Deleted = append(u.Deleted, names[rng.IntN(len(names))].Name)
	}
	if mdts := sorted(m.mdts); len(mdts) > 0 && rng.IntN(10) == 0 {
		u.Removed = append(u.Removed, mdts[rng.IntN(len(mdts))].Name)
	}
	if rng.IntN(4) == 0 {
		g := testGroup(rng.IntN(30))
		if _, exists := m.groups[g.Name]; exists || rng.IntN(3) == 0 {
			g.Filter, g.Paused = strings.Repeat("f", rng.IntN(9000)), rng.IntN(2) == 0
		}
		u.Groups = append(u.Groups, g)
	}
	after := newModel(m.snapshot())
	after.apply(u)
	mdts := slices.Sorted(maps.Keys(after.upstream))
	for range rng.IntN(40) {
		if len(after.groups) == 0 {
			break
		}
		group, mdt := sorted(after.groups)[rng.IntN(len(after.groups))].Name, mdts[rng.IntN(len(mdts))]
		x := after.tracks[[2]string{group, mdt}]
		x.Group, x.MDT = group, mdt
		x.Mark += rng.Uint64N(100)
		x.Ceiling = max(x.Ceiling, x.Mark+rng.Uint64N(50))
		after.apply(Update{Tracks: []Track{x}})
		u.Tracks = append(u.Tracks, x)
	}
	for range rng.IntN(3) {
		mdt := mdts[rng.IntN(len(mdts))]
		recent := Recent{MDT: mdt, Epoch: rng.Uint32()}
		for i := range rng.IntN(MaxRecent + 1) {
			recent.Records = append(recent.Records, testRecord(uint64(i*i)))
		}
		u.Recent = append(u.Recent, recent)
		u.MDTs = append(u.MDTs, MDT{Name: mdt, Epoch: after.mdts[mdt].Epoch + 1, Cleared: rng.Uint64(), Read: rng.Uint64()})
		after.apply(Update{MDTs: u.MDTs})
	}
	return u
}

// Whatever is written, in memory and on disk there is the same as in plain maps, and
// bolt finds nothing wrong with its file.
func TestRandomUpdates(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	s := newStore(t, 3)
	m := newModel(mustLoad(t, s))
	for round := range 600 {
		u := m.random(rng)
		check(t, s.Write(u))
		m.apply(u)
		if round%20 == 0 {
			checkBolt(t, s)
			checkEqual(t, "content", mustLoad(t, s), m.snapshot())
			s = reopen(t, s)
			checkEqual(t, "content after opening again", mustLoad(t, s), m.snapshot())
		}
	}
}

// checkBolt runs bolt's own check.
func checkBolt(t *testing.T, s *Store) {
	t.Helper()
	tx, err := s.bolt.db.Begin(false)
	check(t, err)
	for err := range tx.Check() {
		t.Error(err)
	}
	check(t, tx.Rollback())
	checkStray(t, filepath.Join(s.dir, fileName), false)
}

// checkStray looks whether bolt may go on with a file that it has made.
func checkStray(t *testing.T, path string, want bool) {
	t.Helper()
	found, err := readFile(path, thisSchema())
	if errors.Is(err, ErrVersion) {
		return // of a later lcapd
	}
	check(t, err)
	checkEqual(t, "stray", found.stray, want)
}

package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

const mdt = "test-MDT0000"

var (
	root = upstream.RootFID
	now  = time.Unix(1_800_000_000, 0)
)

// id returns a FID for tests.
func id(n uint32) changelog.FID { return changelog.FID{Seq: 0x200000401, Oid: n} }

// event is a record of the given type; options fill in the rest.
func event(t changelog.Type, target, parent changelog.FID, name string, options ...func(*changelog.Fields)) changelog.Fields {
	f := changelog.Fields{Type: t, Target: target, Parent: parent, Name: name, UID: 1000, GID: 100, Time: changelog.TimeOf(now)}
	f.Format = changelog.Format{Flags: changelog.FlagVersion | changelog.FlagExtra, Extra: changelog.ExtraUIDGID}
	for _, o := range options {
		o(&f)
	}
	return f
}

func last(f *changelog.Fields) { f.Payload |= changelog.FlagLastLink }

func from(source, parent changelog.FID, name string) func(*changelog.Fields) {
	return func(f *changelog.Fields) {
		f.Format.Flags |= changelog.FlagRename
		f.Source, f.SourceParent, f.SourceName = source, parent, name
	}
}

func payload(p changelog.Flags) func(*changelog.Fields) {
	return func(f *changelog.Fields) { f.Payload = p }
}

// pack numbers records from 1 on.
func pack(t testing.TB, events []changelog.Fields) []changelog.Record {
	t.Helper()
	var records []changelog.Record
	for i, f := range events {
		f.Index = uint64(i + 1)
		b, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := changelog.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

var none changelog.FID

// cases are what can happen to names. The file system is empty before.
var cases = []struct {
	name   string
	events []changelog.Fields
	want   upstream.Tree
}{
	{"create", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
	}, upstream.Tree{{Parent: root, Name: "a"}: {FID: id(1), Made: changelog.TypeCreat, Links: 1}}},
	{"unlink of the last link", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeUnlnk, id(1), root, "a", last),
		event(changelog.TypeClose, id(1), none, "", payload(changelog.Flags(changelog.OpenWrite))), // it was open
	}, upstream.Tree{}},
	{"hard links", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeHlink, id(1), root, "b"),
		event(changelog.TypeHlink, id(1), root, "c"),
		event(changelog.TypeUnlnk, id(1), root, "a"),
	}, upstream.Tree{
		{Parent: root, Name: "b"}: {FID: id(1), Made: changelog.TypeCreat, Links: 2},
		{Parent: root, Name: "c"}: {FID: id(1), Made: changelog.TypeCreat, Links: 2},
	}},
	{"a name used again", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeUnlnk, id(1), root, "a", last),
		event(changelog.TypeSlink, id(2), root, "a"),
	}, upstream.Tree{{Parent: root, Name: "a"}: {FID: id(2), Made: changelog.TypeSlink, Links: 1}}},
	{"rename there and back", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeRenme, none, root, "b", from(id(1), root, "a")),
		event(changelog.TypeRenme, none, root, "a", from(id(1), root, "b")),
	}, upstream.Tree{{Parent: root, Name: "a"}: {FID: id(1), Made: changelog.TypeCreat, Links: 1}}},
	{"rename over the last link", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeCreat, id(2), root, "b"),
		event(changelog.TypeRenme, id(2), root, "b", from(id(1), root, "a"), last),
		event(changelog.TypeCreat, id(3), root, "a"),
	}, upstream.Tree{
		{Parent: root, Name: "b"}: {FID: id(1), Made: changelog.TypeCreat, Links: 1},
		{Parent: root, Name: "a"}: {FID: id(3), Made: changelog.TypeCreat, Links: 1},
	}},
	{"rename over one of two links", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeCreat, id(2), root, "b"),
		event(changelog.TypeHlink, id(2), root, "c"),
		event(changelog.TypeRenme, id(2), root, "b", from(id(1), root, "a")),
	}, upstream.Tree{
		{Parent: root, Name: "b"}: {FID: id(1), Made: changelog.TypeCreat, Links: 1},
		{Parent: root, Name: "c"}: {FID: id(2), Made: changelog.TypeCreat, Links: 1},
	}},
	{"rmdir", []changelog.Fields{
		event(changelog.TypeMkdir, id(1), root, "d"),
		event(changelog.TypeCreat, id(2), id(1), "a"),
		event(changelog.TypeUnlnk, id(2), id(1), "a", last),
		event(changelog.TypeRmdir, id(1), root, "d", last),
	}, upstream.Tree{}},
	{"rename of a directory", []changelog.Fields{
		event(changelog.TypeMkdir, id(1), root, "d"),
		event(changelog.TypeMkdir, id(2), root, "e"),
		event(changelog.TypeCreat, id(3), id(1), "a"),
		event(changelog.TypeRenme, none, id(2), "d", from(id(1), root, "d")),
		event(changelog.TypeCreat, id(4), id(1), "b"),
	}, upstream.Tree{
		{Parent: root, Name: "e"}:  {FID: id(2), Made: changelog.TypeMkdir, Links: 1},
		{Parent: id(2), Name: "d"}: {FID: id(1), Made: changelog.TypeMkdir, Links: 1},
		{Parent: id(1), Name: "a"}: {FID: id(3), Made: changelog.TypeCreat, Links: 1},
		{Parent: id(1), Name: "b"}: {FID: id(4), Made: changelog.TypeCreat, Links: 1},
	}},
	{"rename of a directory over an empty one", []changelog.Fields{
		event(changelog.TypeMkdir, id(1), root, "d"),
		event(changelog.TypeMkdir, id(2), root, "e"),
		event(changelog.TypeRenme, id(2), root, "e", from(id(1), root, "d"), last),
	}, upstream.Tree{{Parent: root, Name: "e"}: {FID: id(1), Made: changelog.TypeMkdir, Links: 1}}},
	{"migration", []changelog.Fields{
		event(changelog.TypeMkdir, id(9), root, "d"),
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeMigrt, id(2), root, "a", from(id(1), id(9), "a")),
	}, upstream.Tree{
		{Parent: root, Name: "d"}:  {FID: id(9), Made: changelog.TypeMkdir, Links: 1},
		{Parent: id(9), Name: "a"}: {FID: id(2), Made: changelog.TypeCreat, Links: 1},
	}},
	{"a name that is no text", []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "\xff\xfe\n\t'"),
	}, upstream.Tree{{Parent: root, Name: "\xff\xfe\n\t'"}: {FID: id(1), Made: changelog.TypeCreat, Links: 1}}},
	{"made before the first record", []changelog.Fields{
		event(changelog.TypeSattr, id(1), none, "", payload(changelog.Flags(changelog.AttrMode))),
		event(changelog.TypeHlink, id(1), root, "b"),
		event(changelog.TypeUnlnk, id(1), root, "a"),
		event(changelog.TypeUnlnk, id(2), root, "c", last),
	}, upstream.Tree{{Parent: root, Name: "b"}: {FID: id(1), Links: 1}}},
}

// world is all that is kept, in memory.
type world files

func (w world) apply(r changelog.Record) (repeated int) {
	target, source := fidsOf(r)
	for _, fid := range []changelog.FID{target, source} {
		if w[fid] == nil {
			w[fid] = newFile()
		}
	}
	return files(w).apply(mdt, 1, r)
}

func (w world) tree(t testing.TB) upstream.Tree {
	t.Helper()
	tree := upstream.Tree{}
	for fid, f := range w {
		for p := range f.names {
			at := upstream.Place{Parent: p.parent, Name: p.name}
			if other, taken := tree[at]; taken {
				t.Errorf("%q in %s is both %s and %s", p.name, p.parent, other.FID, fid)
			}
			tree[at] = upstream.Node{FID: fid, Made: f.kind, Links: len(f.names)}
		}
		if !f.exists && len(f.names) > 0 {
			t.Errorf("%s is gone and has names", fid)
		}
	}
	return tree
}

func compare(t testing.TB, got, want upstream.Tree) {
	t.Helper()
	for at, node := range want {
		if got[at] != node {
			t.Errorf("%q in %s is %+v, want %+v", at.Name, at.Parent, got[at], node)
		}
	}
	for at, node := range got {
		if _, there := want[at]; !there {
			t.Errorf("%q in %s is %+v and should not be", at.Name, at.Parent, node)
		}
	}
}

func TestRules(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			records := pack(t, c.events)
			t.Run("once", func(t *testing.T) {
				w := world{}
				for _, r := range records {
					if n := w.apply(r); n > 0 {
						t.Errorf("record %d is new and was passed over", r.Index())
					}
				}
				compare(t, w.tree(t), c.want)
			})
			t.Run("each twice", func(t *testing.T) {
				w := world{}
				for _, r := range records {
					w.apply(r)
					w.apply(r)
				}
				compare(t, w.tree(t), c.want)
			})
			t.Run("replays from everywhere", func(t *testing.T) {
				w := world{}
				for i := range records {
					for _, r := range records[:i] {
						w.apply(r)
					}
				}
				for i := range records {
					for _, r := range records[i:] {
						w.apply(r)
					}
				}
				compare(t, w.tree(t), c.want)
			})
			t.Run("members in any order", func(t *testing.T) {
				for seed := range uint64(50) {
					w := world{}
					deliver(w, records, rand.New(rand.NewPCG(seed, 0)))
					compare(t, w.tree(t), c.want)
				}
			})
		})
	}
}

// What a generator of name spaces makes, its own model of them has.
func TestRulesOnWorkload(t *testing.T) {
	for seed := range uint64(5) {
		records, tree := workload(t, seed, 3000)
		w := world{}
		deliver(w, records, rand.New(rand.NewPCG(seed, 1)))
		compare(t, w.tree(t), tree)
	}
}

// workload returns the first records of a workload, and the tree that they make.
func workload(t testing.TB, seed uint64, n int) ([]changelog.Record, upstream.Tree) {
	t.Helper()
	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: seed, Names: 200})
	var records []changelog.Record
	for i := range n {
		b := w.Append(nil, now)
		changelog.SetIndex(b, uint64(i+1))
		r, _, err := changelog.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records, w.Tree()
}

// deliver applies records in a random order that fid distribution allows: in order for
// each FID, with replays; and with sleepers, who apply what they once got at any later time.
func deliver(w world, records []changelog.Record, rng *rand.Rand) {
	queues := map[changelog.FID][]int{} // what of each FID is to come
	for i, r := range records {
		target, source := fidsOf(r)
		for _, fid := range []changelog.FID{target, source} {
			if !fid.IsZero() {
				queues[fid] = append(queues[fid], i)
			}
		}
	}
	fids := slices.SortedFunc(maps.Keys(queues), func(a, b changelog.FID) int { return int(a.Oid) - int(b.Oid) })
	done := []int{}
	for len(fids) > 0 {
		k := rng.IntN(len(fids))
		fid := fids[k]
		if len(queues[fid]) == 0 {
			fids = slices.Delete(fids, k, k+1)
			continue
		}
		i := queues[fid][0]
		target, source := fidsOf(records[i])
		if !isFirst(queues[target], i) || !isFirst(queues[source], i) {
			continue // the other FID is not so far
		}
		for _, f := range []changelog.FID{target, source} {
			if !f.IsZero() {
				queues[f] = queues[f][1:]
			}
		}
		w.apply(records[i])
		done = append(done, i)
		if rng.IntN(4) == 0 { // a sleeper awakes
			w.apply(records[done[rng.IntN(len(done))]])
		}
	}
}

// isFirst tells whether record i is the next of a FID, or not of it at all.
func isFirst(queue []int, i int) bool { return !slices.Contains(queue, i) || queue[0] == i }

func TestAttributes(t *testing.T) {
	later := func(f *changelog.Fields) { f.Time, f.UID = changelog.TimeOf(now.Add(time.Hour)), 7 }
	made, changed := now.Unix(), now.Add(time.Hour).Unix()
	for _, c := range []struct {
		name string
		what changelog.Fields
		want attrs
	}{
		{"written", event(changelog.TypeClose, id(1), none, "", payload(changelog.Flags(changelog.OpenWrite)), later),
			attrs{changelog.TypeCreat, 1000, 100, changed, 7, changed}},
		{"only read", event(changelog.TypeClose, id(1), none, "", payload(changelog.Flags(changelog.OpenRead)), later),
			attrs{changelog.TypeCreat, 1000, 100, made, 1000, made}},
		{"other mode", event(changelog.TypeSattr, id(1), none, "", payload(changelog.Flags(changelog.AttrMode)), later),
			attrs{changelog.TypeCreat, 1000, 100, changed, 7, made}},
		{"other owner", event(changelog.TypeSattr, id(1), none, "", payload(changelog.Flags(changelog.AttrUID)), later),
			attrs{changelog.TypeCreat, unknown, 100, changed, 7, made}},
		{"truncated", event(changelog.TypeTrunc, id(1), none, "", payload(changelog.Flags(changelog.AttrSize)), later),
			attrs{changelog.TypeCreat, 1000, 100, changed, 7, changed}},
		{"looked at", event(changelog.TypeAtime, id(1), none, "", payload(changelog.Flags(changelog.AttrAtime)), later),
			attrs{changelog.TypeCreat, 1000, 100, made, 1000, made}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := world{}
			for _, r := range pack(t, []changelog.Fields{event(changelog.TypeCreat, id(1), root, "a"), c.what}) {
				w.apply(r)
			}
			if got := w[id(1)].attrs; got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// A changelog that begins anew has small indexes again.
func TestEpochs(t *testing.T) {
	r := pack(t, []changelog.Fields{event(changelog.TypeCreat, id(1), root, "a"), event(changelog.TypeUnlnk, id(1), root, "a", last)})
	fs := files{id(1): newFile()}
	for _, step := range []struct {
		epoch    uint32
		record   int
		repeated int
	}{{1, 0, 0}, {1, 1, 0}, {1, 0, 1}, {2, 0, 0}, {1, 1, 1}} {
		if got := fs.apply(mdt, step.epoch, r[step.record]); got != step.repeated {
			t.Errorf("%+v: %d", step, got)
		}
	}
	if got := fmt.Sprint(fs[id(1)].exists, fs[id(1)].applied); got != "true map[test-MDT0000:{2 1}]" {
		t.Error(got)
	}
}

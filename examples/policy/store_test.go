package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

func openStore(t testing.TB, file string) *store {
	t.Helper()
	s, err := open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func applyAll(t testing.TB, s *store, records []changelog.Record) (repeated int) {
	t.Helper()
	repeated, err := s.apply(t.Context(), batch{mdt, 1, slices.Values(records), time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return repeated
}

// treeOf reads what names prints.
func treeOf(t testing.TB, s *store) upstream.Tree {
	t.Helper()
	var out bytes.Buffer
	if err := names(t.Context(), s, options{}, &out, &out); err != nil {
		t.Fatal(err)
	}
	tree := upstream.Tree{}
	for line := range strings.Lines(out.String()) {
		part := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(part) != 5 {
			t.Fatalf("%q", line)
		}
		name, err1 := strconv.Unquote(part[1])
		parent, err2 := changelog.ParseFID(part[0])
		fid, err3 := changelog.ParseFID(part[2])
		links, err4 := strconv.Atoi(part[4])
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		tree[upstream.Place{Parent: parent, Name: name}] = upstream.Node{FID: fid, Made: kinds[part[3]], Links: links}
	}
	return tree
}

// What is kept in the database is what the rules say.
func TestStore(t *testing.T) {
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t, filepath.Join(t.TempDir(), fmt.Sprint(i, " a%b?c.db")))
			records := pack(t, c.events)
			for _, r := range records {
				applyAll(t, s, []changelog.Record{r})
			}
			compare(t, treeOf(t, s), c.want)
			applyAll(t, s, records)     // a replay
			applyAll(t, s, records[:1]) // a sleeper
			compare(t, treeOf(t, s), c.want)
		})
	}
}

// Two instances with one database, who get the same records.
func TestTwoStores(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.db")
	records, tree := workload(t, 1, 5000)
	one, other := openStore(t, file), openStore(t, file)
	failed := make(chan error)
	for _, s := range []*store{one, other} {
		go func() {
			for chunk := range slices.Chunk(records, 500) {
				if _, err := s.apply(t.Context(), batch{mdt, 1, slices.Values(chunk), time.Now()}); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	compare(t, treeOf(t, one), tree)
}

func TestSleeper(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "policy.db"))
	b := batch{mdt, 1, slices.Values(pack(t, cases[0].events)), time.Now().Add(-2 * mostAge)}
	if _, err := s.apply(t.Context(), b); !errors.Is(err, errSlept) {
		t.Errorf("applied a batch that is too old: %v", err)
	}
	compare(t, treeOf(t, s), upstream.Tree{})
}

func TestPurge(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "policy.db"))
	applyAll(t, s, pack(t, []changelog.Fields{
		event(changelog.TypeCreat, id(1), root, "a"),
		event(changelog.TypeCreat, id(2), root, "b"),
		event(changelog.TypeUnlnk, id(1), root, "a", last),
	}))
	count := func() (n int) {
		if err := s.db.QueryRow(`SELECT count(*) FROM applied`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := s.purge(t.Context(), time.Hour); err == nil {
		t.Error("purge took what is too young")
	}
	if n, err := s.purge(t.Context(), leastPurge); n != 0 || err != nil || count() != 2 {
		t.Errorf("purged %d, %v; %d are left", n, err, count())
	}
	if _, err := s.db.Exec(`UPDATE applied SET at = at - 90000`); err != nil {
		t.Fatal(err)
	}
	if n, err := s.purge(t.Context(), leastPurge); n != 1 || err != nil || count() != 1 {
		t.Errorf("purged %d, %v; %d are left", n, err, count())
	}
}

func TestCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.db")
	s := openStore(t, file)
	applyAll(t, s, pack(t, []changelog.Fields{
		event(changelog.TypeMkdir, id(1), root, "d"),
		event(changelog.TypeCreat, id(2), id(1), "old"),
		event(changelog.TypeCreat, id(3), id(1), "new", func(f *changelog.Fields) { f.Time = changelog.TimeOf(now.Add(2000 * 24 * time.Hour * 10)) }),
		event(changelog.TypeCreat, id(4), id(1), "other's", func(f *changelog.Fields) { f.UID = 7 }),
		event(changelog.TypeHlink, id(5), id(77), "far"),
	}))
	if err := s.lose(t.Context(), mdt, 1, 5, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(`UPDATE files SET changed = 1000 WHERE fid = ?`, id(2).String()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want []string // in the output; ! before what must not be
		err  string
	}{
		{"query -db FILE -older 30d -owner 1000", []string{`"/d/old"`, "1970-01-01T00:16:40Z", "records were lost 1 times", "!new", "!other"}, ""},
		{"query -db FILE -older 1m -limit 1", []string{"/d/old", "!other"}, ""},
		{"names -db FILE", []string{"\t\"old\"\t", "[0x200000401:0x4d:0x0]\t\"far\"\t[0x200000401:0x5:0x0]\t\t1"}, ""},
		{"purge -db FILE -older 2d", []string{"forgot 0 files"}, ""},
		{"purge -db FILE -older 2h", nil, "less than 24h"},
		{"query -older x", nil, "usage"},
		{"fetch", nil, "usage"},
		{"names more", nil, "usage"},
		{"", nil, "usage"},
	} {
		t.Run(c.args, func(t *testing.T) {
			var out bytes.Buffer
			err := command(context.Background(), strings.Fields(strings.Replace(c.args, "FILE", file, 1)), &out, &out)
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			for _, want := range c.want {
				text, not := strings.CutPrefix(want, "!")
				if strings.Contains(out.String(), text) == not {
					t.Errorf("%q in the output: %t\n%s", text, !not, &out)
				}
			}
		})
	}
}

// The price of a batch as lcapd hands it out, commit included.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := openStore(b, filepath.Join(b.TempDir(), "policy.db"))
			w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
			var packed []byte
			index := uint64(0)
			n := 0
			for b.Loop() {
				packed = packed[:0]
				for range size {
					at := len(packed)
					packed = w.Append(packed, now)
					index++
					changelog.SetIndex(packed[at:], index)
				}
				var records []changelog.Record
				for scan := changelog.NewScanner(packed); scan.Scan(); {
					records = append(records, scan.Record())
				}
				applyAll(b, s, records)
				n += size
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

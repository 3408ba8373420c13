package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkIs fails the test unless err matches all of the targets.
func checkIs(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("the error is %v, want one that is %v", err, target)
		}
	}
}

// checkSays fails the test unless the text of err has all the words.
func checkSays(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Fatalf("the error is %q, want one that says %q", err, word)
		}
	}
}

// checkEqual fails the test unless both are equal, and shows where they begin to differ.
func checkEqual(t testing.TB, what string, got, want any) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want)
	same := 0
	for same < min(len(g), len(w)) && g[same] == w[same] {
		same++
	}
	from := max(0, same-100)
	t.Fatalf("%s, from character %d:\n got (%T) %.300s\nwant (%T) %.300s", what, from, got, g[from:], want, w[from:])
}

// memoryDir returns a new directory in memory, if the machine has one: for tests
// that write a lot and are not about durability.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "state")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return dir
}

var testTime = time.Date(2026, 3, 1, 12, 30, 0, 123456789, time.UTC)

func mdtName(i int) string { return fmt.Sprintf("lustre-MDT%04x", i) }

func groupName(i int) string { return fmt.Sprintf("group%02d", i) }

// testIdentity has the given number of MDTs.
func testIdentity(mdts int) Identity {
	id := Identity{FileSystem: "lustre", ID: "0123456789abcdef", Created: testTime}
	for i := range mdts {
		id.Upstream = append(id.Upstream, Upstream{mdtName(i), fmt.Sprint("cl", i+1)})
	}
	return id
}

func testGroup(i int) Group {
	return Group{Name: groupName(i), Distribution: groups.ByMDT, Start: Earliest, Created: testTime}
}

func testRecord(index uint64) RecordID {
	return RecordID{
		Index: index, Time: changelog.TimeOf(testTime) + changelog.Time(index), Type: changelog.TypeCreat,
		Target: changelog.FID{Seq: 0x200000401, Oid: uint32(index)},
	}
}

func testTrack(group, mdt int, mark uint64) Track {
	return Track{
		Group: groupName(group), MDT: mdtName(mdt), Epoch: 1,
		Mark: mark, Ceiling: mark + 1000, Start: 3,
	}
}

// fullUpdate makes groups and gives everything of them the mark.
func fullUpdate(ngroups, mdts int, mark uint64) Update {
	var u Update
	for g := range ngroups {
		u.Groups = append(u.Groups, testGroup(g))
		for m := range mdts {
			u.Tracks = append(u.Tracks, testTrack(g, m, mark))
		}
	}
	for m := range mdts {
		u.MDTs = append(u.MDTs, MDT{Name: mdtName(m), Epoch: 1, Cleared: mark, Read: mark + 5})
		recent := Recent{MDT: mdtName(m), Epoch: 1}
		for i := range uint64(MaxRecent) {
			recent.Records = append(recent.Records, testRecord(mark+1+i))
		}
		u.Recent = append(u.Recent, recent)
	}
	return u
}

// initDir makes a state in a directory of its own.
func initDir(t testing.TB, parent string, mdts int) string {
	t.Helper()
	dir := filepath.Join(parent, "state")
	check(t, Init(dir, testIdentity(mdts)))
	return dir
}

// mustOpen opens a store that is closed with the test.
func mustOpen(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func mustLoad(t testing.TB, s *Store) Snapshot {
	t.Helper()
	all, err := s.Load()
	check(t, err)
	return all
}

// newStore returns an empty store in memory.
func newStore(t testing.TB, mdts int) *Store {
	t.Helper()
	return mustOpen(t, initDir(t, memoryDir(t), mdts))
}

// reopen closes the store and opens it again.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	check(t, s.Close())
	return mustOpen(t, s.dir)
}

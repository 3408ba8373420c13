package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lcapd/lcapd/groups"
)

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	before := time.Now().Add(-time.Second)
	check(t, Init(dir, Identity{FileSystem: "lustre", Upstream: []Upstream{{"lustre-MDT0001", "cl3"}, {"lustre-MDT0000", "cl1"}}}))
	s := mustOpen(t, dir)
	all := mustLoad(t, s)
	id := all.Identity
	if len(id.ID) != 32 || id.Created.Before(before) || id.Created.After(time.Now()) {
		t.Errorf("made up: id %q, created %v", id.ID, id.Created)
	}
	checkEqual(t, "upstream", id.Upstream, []Upstream{{"lustre-MDT0000", "cl1"}, {"lustre-MDT0001", "cl3"}})
	checkEqual(t, "file system", id.FileSystem, "lustre")
	checkEqual(t, "the rest", Snapshot{Identity: id}, all)

	err := Init(dir, testIdentity(1))
	checkIs(t, err, ErrExists)
	checkSays(t, err, dir)
	checkEqual(t, "content after a second Init", mustLoad(t, reopen(t, s)), all)

	other := filepath.Join(t.TempDir(), "state")
	check(t, Init(other, Identity{FileSystem: "lustre"}))
	if mustLoad(t, mustOpen(t, other)).Identity.ID == id.ID {
		t.Error("two installations have one id")
	}
}

// What lcapd keeps beside the state does not keep it from being made.
func TestInitBesideOthers(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "spool"), 0o755))
	check(t, Init(dir, testIdentity(1)))
	mustOpen(t, dir)
}

func TestInitRefusesNonsense(t *testing.T) {
	for name, id := range map[string]Identity{
		"no file system":    {},
		"zero byte":         {FileSystem: "a\x00b"},
		"not UTF-8":         {FileSystem: "a\xff"},
		"long":              {FileSystem: strings.Repeat("x", MaxName+1)},
		"id":                {FileSystem: "a", ID: "\xff"},
		"year":              {FileSystem: "a", Created: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
		"MDT without name":  {FileSystem: "a", Upstream: []Upstream{{"", "cl1"}}},
		"user without name": {FileSystem: "a", Upstream: []Upstream{{"m", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			checkIs(t, Init(dir, id), ErrInvalid)
			if _, err := os.Stat(dir); err == nil {
				t.Error("it left a directory")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	write := func(path string, data []byte) error { return os.WriteFile(path, data, 0o644) }
	for _, tt := range []struct {
		name string
		make func(dir string) error
		want error
		says string
	}{
		{"missing", func(dir string) error { return os.Remove(dir) }, ErrNotInitialised, "lcapd init"},
		{"empty", func(dir string) error { return nil }, ErrNotInitialised, "lcapd init"},
		{"left by a failed init", func(dir string) error {
			return errors.Join(write(filepath.Join(dir, lockName), nil), write(filepath.Join(dir, tmpName), []byte("half")))
		}, ErrNotInitialised, "lcapd init"},
		{"other files", func(dir string) error { return write(filepath.Join(dir, "passwd"), nil) }, ErrForeign, "passwd"},
		{"a file", func(dir string) error { return errors.Join(os.Remove(dir), write(dir, []byte("x"))) }, ErrForeign, "not a directory"},
		{"a directory of that name", func(dir string) error { return os.Mkdir(filepath.Join(dir, fileName), 0o755) }, ErrForeign, "regular"},
		{"a pipe of that name", func(dir string) error { return exec.Command("mkfifo", filepath.Join(dir, fileName)).Run() }, ErrForeign, "regular"},
		{"an empty file", func(dir string) error { return write(filepath.Join(dir, fileName), nil) }, ErrForeign, "restore"},
		{"text", func(dir string) error {
			return write(filepath.Join(dir, fileName), bytes.Repeat([]byte("text\n"), 5000))
		}, ErrForeign, "not a bolt file"},
		{"a bolt file", func(dir string) error { return makeBolt(filepath.Join(dir, fileName), false) }, ErrForeign, "another program"},
		{"a bolt file with other pages", func(dir string) error {
			db, err := bbolt.Open(filepath.Join(dir, fileName), 0o600, &bbolt.Options{PageSize: 8192})
			return errors.Join(err, db.Close())
		}, ErrForeign, "pages of 8192 bytes"},
		{"a bolt file with our bucket", func(dir string) error { return makeBolt(filepath.Join(dir, fileName), true) }, ErrDamaged, "another program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			check(t, os.Mkdir(dir, 0o755))
			check(t, tt.make(dir))
			before := names(dir)
			s, err := Open(dir)
			checkIs(t, err, tt.want)
			checkSays(t, err, dir, tt.says)
			if s != nil {
				t.Error("there is a store")
			}
			if after := strings.Replace(names(dir), "state.lock ", "", 1); after != strings.Replace(before, "state.lock ", "", 1) {
				t.Errorf("files: %s before, %s after", before, after)
			}
		})
	}
}

func names(dir string) string {
	entries, _ := os.ReadDir(dir)
	var all string
	for _, e := range entries {
		all += e.Name() + " "
	}
	return all
}

// makeBolt makes a bolt file of another program, which may have a bucket like ours.
func makeBolt(path string, ours bool) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		name := "things"
		if ours {
			name = bucketLcapd
		}
		b, err := tx.CreateBucket([]byte(name))
		if err != nil {
			return err
		}
		return b.Put([]byte("key"), []byte("value"))
	})
	return errors.Join(err, db.Close())
}

// One directory serves one lcapd: this process knows no exception.
func TestLocked(t *testing.T) {
	t.Parallel()
	s := newStore(t, 1)
	copied := backup(t, s)
	refused := func(want string) {
		t.Helper()
		_, err := Open(s.dir)
		for _, err := range []error{err, restoreFrom(s.dir, bytes.NewReader(copied))} {
			checkIs(t, err, ErrLocked)
			checkSays(t, err, s.dir, want)
		}
	}
	refused(fmt.Sprintf("process %d on ", os.Getpid()))
	check(t, s.Write(Update{Groups: []Group{testGroup(0)}}))
	check(t, os.Truncate(filepath.Join(s.dir, lockName), 0)) // as if the disk had been full
	refused("another process")
	check(t, os.WriteFile(filepath.Join(s.dir, lockName), []byte("nonsense\n"), 0o644))
	refused("another process")

	// Without the lock file bolt's own lock holds.
	check(t, os.Remove(filepath.Join(s.dir, lockName)))
	_, err := Open(s.dir)
	checkIs(t, err, ErrLocked)
	s = reopen(t, s)
	checkEqual(t, "groups", len(mustLoad(t, s).Groups), 1)
}

// The lock is that of the process, and goes with it.
func TestLockedByAnotherProcess(t *testing.T) {
	dir := initDir(t, memoryDir(t), 1)
	c := startChild(t, "hold", dir)
	c.await(t, "held")
	_, err := Open(dir)
	checkIs(t, err, ErrLocked)
	checkSays(t, err, fmt.Sprintf("process %d on ", c.cmd.Process.Pid))
	c.kill(t)
	mustOpen(t, dir)
}

func TestClosed(t *testing.T) {
	s := newStore(t, 1)
	check(t, s.Close())
	check(t, s.Close())
	_, err := s.Load()
	for _, err := range []error{err, s.Write(Update{}), s.Backup(&bytes.Buffer{})} {
		checkIs(t, err, ErrClosed)
	}
}

// A bolt tool that only looks keeps lcapd out as long as it does; one that writes is
// noticed.
func TestOpenAfterBoltTool(t *testing.T) {
	t.Parallel()
	s := newStore(t, 3)
	check(t, s.Close())
	path := filepath.Join(s.dir, fileName)
	looking, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	check(t, err)
	_, err = Open(s.dir)
	checkIs(t, err, ErrLocked)
	check(t, looking.Close())
	s, err = Open(s.dir)
	check(t, err)
	check(t, s.Close())

	writing, err := bbolt.Open(path, 0o600, nil) // adds a list of free pages
	check(t, err)
	check(t, writing.Close())
	_, err = Open(s.dir)
	checkIs(t, err, ErrDamaged)
	checkSays(t, err, "another program")
}

func TestGroupRoundTrip(t *testing.T) {
	s := newStore(t, 2)
	var want []Group
	for i, d := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		g := Group{Name: fmt.Sprint("g ", i, " <&> ü"), Distribution: d, Start: Latest, Created: testTime}
		want = append(want, g)
	}
	want[1].MDTs = []string{mdtName(1), mdtName(0)}
	want[1].Filter = "type == \"CREAT\" && name != '<x>\n'"
	want[2].Chain = "coalesce | cancel"
	want[2].Paused = true
	check(t, s.Write(Update{Groups: want}))
	checkEqual(t, "groups", mustLoad(t, s).Groups, want)
	s = reopen(t, s)
	checkEqual(t, "groups after opening again", mustLoad(t, s).Groups, want)
}

package llog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

func TestRegister(t *testing.T) {
	l := newLog(t)
	ctx := context.Background()
	before := time.Now()
	names := []string{"", "a", "audit", "Robin_Hood-2", "abcdefghijklmno", ""}
	for i, name := range names {
		mask := changelog.Mask(i)
		got, err := l.Register(ctx, name, mask)
		check(t, err)
		if got.ID != llog.UserID(i+1) || got.Name != name || got.Mask != mask || got.Cleared != 0 {
			t.Errorf("register %q: got %+v", name, got)
		}
		if got.Touched.Before(before) || got.Touched.After(time.Now()) {
			t.Errorf("register %q: touched at %v", name, got.Touched)
		}
		if kept := user(t, reopen(t, l), got.ID); kept != got {
			t.Errorf("stored is %+v, answered was %+v", kept, got)
		}
	}
}

// The initial cursor is the last index issued (ABI 10.1).
func TestRegisterOwesNothingOfThePast(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 7)
	late := register(t, l, "late")
	checkEqual(t, "cursor", user(t, l, late).Cleared, 7)
	checkLog(t, l, upTo(1, 7)) // the first user still holds them
	fill(t, l, llog.AppendOptions{}, 20, 21)
	later := register(t, l, "later")
	checkEqual(t, "cursor behind a gap", user(t, l, later).Cleared, 21)
}

func TestRegisterRefuses(t *testing.T) {
	l := newLog(t)
	register(t, l, "taken")
	for _, tt := range []struct {
		name  string
		want  error
		errno error
		says  string
	}{
		{"taken", llog.ErrUserExists, syscall.EEXIST, "cl1"},
		{"1st", llog.ErrUserName, syscall.EINVAL, "1st"},
		{"-a", llog.ErrUserName, syscall.EINVAL, "a letter"},
		{"_a", llog.ErrUserName, syscall.EINVAL, ""},
		{"a b", llog.ErrUserName, syscall.EINVAL, ""},
		{"a.b", llog.ErrUserName, syscall.EINVAL, ""},
		{"a\n", llog.ErrUserName, syscall.EINVAL, ""},
		{"a\x00", llog.ErrUserName, syscall.EINVAL, ""},
		{"grün", llog.ErrUserName, syscall.EINVAL, ""},
		{strings.Repeat("x", 16), llog.ErrUserName, syscall.EINVAL, "at most 15"},
	} {
		_, err := l.Register(context.Background(), tt.name, 0)
		checkIs(t, err, tt.want, tt.errno)
		checkSays(t, err, tt.says)
	}
	checkEqual(t, "id after the refusals", register(t, l, "next"), 2)
}

func TestDeregisterPurges(t *testing.T) {
	l := newLog(t)
	slow, fast := register(t, l, "slow"), register(t, l, "fast")
	fill(t, l, llog.AppendOptions{}, 1, 10)
	clearTo(t, l, slow, 3)
	clearTo(t, l, fast, 7)
	checkLog(t, l, upTo(4, 10))
	deregister(t, l, slow)
	checkLog(t, l, upTo(8, 10))
	deregister(t, l, fast)
	checkLog(t, l, nil)
	checkEqual(t, "current index", current(t, l), 10)
}

func TestDeregisterUnknown(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	deregister(t, l, id)
	for _, id := range []llog.UserID{id, 0, 77} {
		err := l.Deregister(context.Background(), id)
		checkIs(t, err, llog.ErrUnknownUser, syscall.ENOENT)
		checkSays(t, err, id.String(), l.MDT(), "lcapcli llog users")
	}
}

func TestUserIDsAreNeverReused(t *testing.T) {
	l := newLog(t)
	for i := range 3 {
		checkEqual(t, "id", register(t, l, fmt.Sprint("u", i)), llog.UserID(i+1))
	}
	deregister(t, l, 3)
	deregister(t, l, 2)
	l = reopen(t, l)
	checkEqual(t, "id after the newest users left", register(t, l, ""), 4)
	deregister(t, l, 1)
	deregister(t, l, 4)
	l = reopen(t, l)
	checkEqual(t, "id after all users left", register(t, l, ""), 5)
}

func TestRegisterTogether(t *testing.T) {
	const workers, each = 8, 10
	l := memoryLog(t)
	ids := make(chan llog.UserID, workers*each)
	twins := make(chan error, workers)
	var group sync.WaitGroup
	for range workers {
		mine := reopen(t, l)
		group.Go(func() {
			for range each {
				u, err := mine.Register(context.Background(), "", 0)
				if err != nil {
					t.Error(err)
				}
				ids <- u.ID
			}
			_, err := mine.Register(context.Background(), "twin", 0)
			twins <- err
		})
	}
	group.Wait()
	close(ids)
	close(twins)
	seen := map[llog.UserID]bool{}
	for id := range ids {
		if seen[id] || id == 0 || id > workers*each+1 {
			t.Errorf("%s was given out wrongly", id)
		}
		seen[id] = true
	}
	taken := 0
	for err := range twins {
		if errors.Is(err, llog.ErrUserExists) {
			taken++
		}
	}
	checkEqual(t, "refused twins", taken, workers-1)
	info, err := l.Info()
	check(t, err)
	checkEqual(t, "users", len(info.Users), workers*each+1)
}

// Who holds the state lock is waited for as long as the caller wants to.
func TestRegisterWaitsForTheLock(t *testing.T) {
	l := newLog(t)
	lock := lockState(t, l)
	enough := errors.New("waited enough")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 20*time.Millisecond, enough)
	defer cancel()
	_, err := l.Register(ctx, "", 0)
	checkIs(t, err, enough)
	checkSays(t, err, filepath.Join(l.Dir(), "state.lock"))

	done := make(chan error)
	go func() {
		_, err := l.Register(context.Background(), "", 0)
		done <- err
	}()
	time.Sleep(5 * time.Millisecond)
	check(t, lock.Close())
	check(t, <-done)
}

func TestParseUserID(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want llog.UserID
	}{
		{"cl1", 1}, {"cl3-audit", 3}, {"17", 17}, {"cl4294967295", 1<<32 - 1}, {"cl2-a-b", 2},
		{"", 0}, {"cl", 0}, {"cl0", 0}, {"0", 0}, {"cl-1", 0}, {"-1", 0}, {"+1", 0}, {"cl4294967296", 0},
		{"CL1", 0}, {"clcl1", 0}, {"cl1 ", 0}, {"cl1x", 0}, {"audit", 0}, {"cl1_", 0}, {"0x1", 0}, {"1_0", 0},
	} {
		got, err := llog.ParseUserID(tt.in)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("ParseUserID(%q) = %v, %v, want %v", tt.in, got, err, tt.want)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.in)) {
			t.Errorf("ParseUserID(%q): the error does not name it: %v", tt.in, err)
		}
	}
}

func TestUserString(t *testing.T) {
	checkEqual(t, "without name", llog.User{ID: 7}.String(), "cl7")
	checkEqual(t, "with name", llog.User{ID: 2, Name: "audit"}.String(), "cl2-audit")
}

func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	l := create(t, dir)
	checkEqual(t, "dir", l.Dir(), dir)
	checkEqual(t, "MDT", reopen(t, l).MDT(), "test-MDT0000")
	info, err := l.Info()
	check(t, err)
	if info.MDT != "test-MDT0000" || info.Current != 0 || info.Records != 0 || len(info.Users) != 0 {
		t.Errorf("a new log says %+v", info)
	}
	checkLog(t, l, nil)
	create(t, t.TempDir()) // an empty directory will do
}

func TestCreateRefuses(t *testing.T) {
	used := t.TempDir()
	writeFile(t, filepath.Join(used, "precious"), []byte("data"))
	hidden := t.TempDir()
	writeFile(t, filepath.Join(hidden, ".hidden"), nil)
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	for _, tt := range []struct {
		name, dir, mdt string
		want           error
		says           string
	}{
		{"other things", used, "m", llog.ErrExists, used},
		{"hidden things", hidden, "m", llog.ErrExists, "choose a new directory"},
		{"a log", newLog(t).Dir(), "m", llog.ErrExists, "not empty"},
		{"a file", file, "m", syscall.ENOTDIR, file},
		{"no name", t.TempDir(), "", nil, "such as local-MDT0000"},
		{"bad name", t.TempDir(), "a/b", nil, `"a/b"`},
		{"dots", t.TempDir(), "..", nil, `".."`},
		{"long name", t.TempDir(), strings.Repeat("m", 128), nil, "mmm"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := entries(t, tt.dir)
			_, err := llog.Create(tt.dir, tt.mdt)
			if tt.want != nil {
				checkIs(t, err, tt.want)
			}
			checkSays(t, err, tt.says)
			if after := entries(t, tt.dir); !slices.Equal(after, before) {
				t.Errorf("left %v in the directory, before there was %v", after, before)
			}
		})
	}
}

// entries lists the names in dir; none if it is no directory.
func entries(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	found, err := os.ReadDir(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	check(t, err)
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}

// A Create that died leaves its lock, and half a state, behind: the next one goes on.
func TestCreateAfterAnInterruptedOne(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "state.lock"), nil)
	writeFile(t, filepath.Join(dir, "state.tmp"), []byte("lcapd-chan"))
	if _, err := llog.Open(dir); !errors.Is(err, llog.ErrNotALog) {
		t.Errorf("open: %v", err)
	}
	l := create(t, dir)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 2)
	checkLog(t, l, upTo(1, 2))
}

// Of several processes that create a log in one place, one does and the others
// are told.
func TestCreateTogether(t *testing.T) {
	for range 20 {
		dir := filepath.Join(memoryDir(t), "log")
		made := make(chan *llog.Log, 8)
		var group sync.WaitGroup
		for i := range cap(made) {
			group.Go(func() {
				l, err := llog.Create(dir, fmt.Sprint(strings.Repeat("long-", i), i))
				if err != nil && !errors.Is(err, llog.ErrExists) {
					t.Error(err)
				}
				made <- l
			})
		}
		group.Wait()
		close(made)
		winners := 0
		for l := range made {
			if l != nil {
				winners++
				register(t, l, "")
				checkEqual(t, "MDT", reopen(t, l).MDT(), l.MDT())
			}
		}
		checkEqual(t, "winners", winners, 1)
	}
}

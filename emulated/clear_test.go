package emulated_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/llog"
)

func cursor(t *testing.T, l *llog.Log, id llog.UserID) uint64 {
	t.Helper()
	info, err := l.Info()
	check(t, err)
	for _, u := range info.Users {
		if u.ID == id {
			return u.Cleared
		}
	}
	t.Fatalf("%s is not registered", id)
	return 0
}

// ABI 9.1, 9.2: the commands, one after the other, with what they are answered and where
// the user is then.
func TestClear(t *testing.T) {
	type step struct {
		command string
		err     error
		cursor  uint64
	}
	backwards := map[emulated.Version]error{emulated.Version218: unix.ENOENT, emulated.Version217: unix.EINVAL, emulated.Version210: unix.EINVAL}
	for version, backwardsErr := range backwards {
		t.Run(version.String(), func(t *testing.T) {
			mdt := start(t, emulatedtest.Options{Version: version}, 0)
			mdt.Register("", 0) // another one, who holds everything
			emit(mdt, 10)
			for _, s := range []step{
				{"clear:cl1:3", nil, 3},
				{"clear:cl1:3\x00", nil, 3}, // as the library writes it
				{"clear:cl1:4 and more", nil, 4},
				{"clear:cl1:2", backwardsErr, 4},
				{"clear:cl1:11", unix.EINVAL, 4},
				{"clear:cl1:18446744073709551615", unix.EINVAL, 4},
				{"clear:cl1:18446744073709551616", unix.EINVAL, 4},
				{"clear:cl9:5", unix.ENOENT, 4},
				{"clear:cl9:0", unix.ENOENT, 4},
				{"clear:cl0:5", unix.ENOENT, 4},
				{"clear:cl4294967296:5", unix.EINVAL, 4},
				{"clear:1:5", unix.EINVAL, 4},
				{"clear:cl1-name:5", unix.EINVAL, 4},
				{"clear:cl1:", unix.EINVAL, 4},
				{"clear:cl1:-5", unix.EINVAL, 4},
				{"clear:cl:5", unix.EINVAL, 4},
				{"clear:cl1", unix.EINVAL, 4},
				{"Clear:cl1:5", unix.EINVAL, 4},
				{"x", unix.EINVAL, 4},
				{"clear:cl1:5" + strings.Repeat(" ", 53), nil, 5}, // 64 bytes
				{"clear:cl1:6" + strings.Repeat(" ", 54), unix.EINVAL, 5},
				{"clear:cl1:0", nil, 10}, // everything
			} {
				if err := clearAs(mdt.Path(), s.command); err != s.err {
					t.Fatalf("%q: %v, want %v", s.command, err, s.err)
				}
				if got := cursor(t, mdt.Log(), 1); got != s.cursor {
					t.Fatalf("after %q the cursor is %d, want %d", s.command, got, s.cursor)
				}
			}
			wantIndexes(t, open(t, mdt.Path(), blocking).readAll(4096), upTo(1, 10)...)
			check(t, clearAs(mdt.Path(), "clear:cl2:7"))
			wantIndexes(t, open(t, mdt.Path(), blocking).readAll(4096), 8, 9, 10)
		})
	}
}

func TestLogOfClears(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 10)
	f := open(t, mdt.Path(), blocking)
	f.read(4 * 69)
	before := time.Now()
	check(t, clearAs(mdt.Path(), "clear:cl1:3\x00"))
	wantErrno(t, "clear of nobody", clearAs(mdt.Path(), "clear:cl7:4"), unix.ENOENT)
	f.read(4096)
	wantErrno(t, "nonsense", clearAs(mdt.Path(), "nonsense"), unix.EINVAL)
	mdt.LoseClears(1, unix.ETIMEDOUT)
	wantErrno(t, "clear whose answer is lost", clearAs(mdt.Path(), "clear:cl1:9"), unix.ETIMEDOUT)
	if got := cursor(t, mdt.Log(), 1); got != 9 {
		t.Errorf("the cursor is %d: the clear was not done", got)
	}
	mdt.FailClears(1, unix.EINPROGRESS)
	wantErrno(t, "clear that fails", clearAs(mdt.Path(), "clear:cl1:10"), unix.EINPROGRESS)

	log := mdt.Log().Dir()
	wantClears(t, mdt.Clears(), []emulated.Clear{
		{Command: "clear:cl1:3", User: 1, Index: 3, Delivered: 4, Result: "ok", Log: log},
		{Command: "clear:cl7:4", User: 7, Index: 4, Delivered: 4, Result: "ENOENT", Log: log},
		{Command: "nonsense", Delivered: 10, Result: "EINVAL", Log: log},
		{Command: "clear:cl1:9", User: 1, Index: 9, Delivered: 10, Result: "ETIMEDOUT", Log: log},
		{Command: "clear:cl1:10", User: 1, Index: 10, Delivered: 10, Result: "EINPROGRESS", Log: log},
	})
	for _, c := range mdt.Clears() {
		if c.Time.Before(before.Add(-time.Second)) || c.Time.After(time.Now().Add(time.Second)) {
			t.Errorf("at %v", c.Time)
		}
	}
}

func wantClears(t *testing.T, got, want []emulated.Clear) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) {
			t.Fatalf("%d clears, want %d: %+v", len(got), len(want), got)
		}
		want[i].Time = got[i].Time
		if got[i] != want[i] {
			t.Errorf("clear %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// What was delivered and cleared is known whatever kills the server.
func TestLogOfClearsSurvivesKill(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 10)
	open(t, mdt.Path(), blocking).read(4096)
	check(t, clearAs(mdt.Path(), "clear:cl1:3"))
	mdt.Stall()
	hanging := make(chan error)
	path := mdt.Path()
	go func() { hanging <- clearAs(path, "clear:cl1:4") }()
	for len(mdt.Clears()) < 2 {
		time.Sleep(time.Millisecond)
	}
	mdt.Kill()
	if err := <-hanging; err == nil {
		t.Error("a clear under way when the server was killed has succeeded")
	}
	mdt.Restart()
	check(t, clearAs(mdt.Path(), "clear:cl1:10"))
	log := mdt.Log().Dir()
	wantClears(t, mdt.Clears(), []emulated.Clear{
		{Command: "clear:cl1:3", User: 1, Index: 3, Delivered: 10, Result: "ok", Log: log},
		{Command: "clear:cl1:4", User: 1, Index: 4, Delivered: 10, Log: log},
		{Command: "clear:cl1:10", User: 1, Index: 10, Delivered: 10, Result: "ok", Log: log},
	})
	mdt.Kill()
	mdt.Swap(mdt.NewLog())
	mdt.Register("", 0)
	emit(mdt, 2)
	mdt.Restart()
	check(t, clearAs(mdt.Path(), "clear:cl1:1"))
	if c := mdt.Clears()[3]; c.Delivered != 0 || c.Log == log {
		t.Errorf("in another log: %+v", c)
	}
}

// ABI 10.4: who is too idle is removed when a record is stored and noticed.
func TestIdleUsersAreCollected(t *testing.T) {
	mdt := emulatedtest.Start(t, emulatedtest.Options{Idle: &llog.IdleLimits{MaxIdle: time.Hour, MaxIndexes: 5, Interval: time.Nanosecond}})
	mdt.Register("behind", 0)
	mdt.Register("abreast", 0)
	emit(mdt, 6)
	check(t, mdt.Log().Clear(t.Context(), 2, 6))
	f := open(t, mdt.Path(), blocking)
	f.follow()
	f.read(4096)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		info, err := mdt.Log().Info()
		check(t, err)
		if len(info.Users) == 1 && info.Users[0].Name == "abreast" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still there: %v", info.Users)
		}
	}
	wantErrno(t, "clear of the one removed", clearAs(mdt.Path(), "clear:cl1:6"), unix.ENOENT)
}

func TestReadClearsOfNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := emulated.ReadClears(dir + "/none"); err == nil {
		t.Error("no error for a file that is not there")
	}
	check(t, os.WriteFile(dir+"/torn", []byte(`{"id":"a","clear":{"command":"clear:cl1:1","user":1,"index":1}}`+"\n"+`{"id":"a","ans`), 0o644))
	clears, err := emulated.ReadClears(dir + "/torn")
	check(t, err)
	wantClears(t, clears, []emulated.Clear{{Command: "clear:cl1:1", User: 1, Index: 1}})
	check(t, os.WriteFile(dir+"/bad", []byte("nonsense\n"), 0o644))
	if _, err := emulated.ReadClears(dir + "/bad"); err == nil {
		t.Error("no error for nonsense")
	}
}

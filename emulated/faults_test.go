package emulated_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/llog"
)

// ABI 8.4: an error comes after what is queued and stays; another open works.
func TestErrorsStay(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3)
	for _, flags := range []int{blocking, nonblocking} {
		f := open(t, mdt.Path(), flags)
		f.follow()
		f.poll(patience)
		mdt.Evict(unix.EIO)
		wantIndexes(t, f.read(69), 1)
		wantIndexes(t, f.read(4096), 2, 3)
		for range 3 {
			_, err := f.tryRead(4096)
			wantErrno(t, "a read behind the queue", err, unix.EIO)
		}
		wantIndexes(t, open(t, mdt.Path(), blocking).readAll(4096), 1, 2, 3)
	}
}

func TestFailReads(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3)
	mdt.FailReads(2, unix.EACCES)
	for range 2 {
		_, err := open(t, mdt.Path(), blocking).tryRead(4096)
		wantErrno(t, "read", err, unix.EACCES)
	}
	f := open(t, mdt.Path(), blocking)
	f.follow()
	wantIndexes(t, f.read(4096), 1, 2, 3)
	mdt.FailReads(1, unix.ENOTCONN)
	_, err := f.tryRead(4096) // whoever waits hears of it
	wantErrno(t, "a read that waits", err, unix.ENOTCONN)
}

func TestFailOpens(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3)
	mdt.FailOpens(2, unix.EIO)
	for range 2 {
		_, err := tryOpen(mdt.Path(), blocking)
		wantErrno(t, "open", err, unix.EIO)
	}
	open(t, mdt.Path(), blocking)
}

// ABI 10.8: whoever follows goes over a record that appears after its successor, and does
// not come back; a fresh descriptor finds it.
func TestHide(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 0)
	mdt.Hide(2, 3, 6)
	emit(mdt, 4)
	f := open(t, mdt.Path(), blocking)
	f.follow()
	wantIndexes(t, f.read(4096), 1, 4)
	emit(mdt, 2)
	wantIndexes(t, f.read(4096), 5)
	if events := f.poll(30 * time.Millisecond); events != 0 {
		t.Errorf("with the last record hidden: %#x", events)
	}
	wantIndexes(t, open(t, mdt.Path(), blocking).readAll(4096), 1, 4, 5)
	mdt.Reveal()
	wantIndexes(t, f.read(4096), 6) // nothing behind it was seen
	emit(mdt, 1)
	wantIndexes(t, f.read(4096), 7)
	wantIndexes(t, open(t, mdt.Path(), blocking).readAll(4096), upTo(1, 7)...)
}

func TestShortReads(t *testing.T) {
	const n = 2000
	mdt := start(t, emulatedtest.Options{ShortReads: true, Seed: 7}, n)
	read := func() (counts []int) {
		f := open(t, mdt.Path(), blocking)
		next := uint64(1)
		for {
			got := indexes(t, f.read(4096))
			if len(got) == 0 {
				break
			}
			if got[0] != next {
				t.Fatalf("%d, want %d", got[0], next)
			}
			next += uint64(len(got))
			counts = append(counts, len(got))
		}
		if next != n+1 {
			t.Fatalf("the end came before %d", next)
		}
		return counts
	}
	short := read()
	mdt.ShortReads(false)
	if long := read(); len(short) < len(long)*5/4 {
		t.Errorf("%d short reads instead of %d", len(short), len(long))
	}
}

// While the MDT is silent what is queued is read, and nothing else happens.
func TestStall(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 2)
	f := open(t, mdt.Path(), nonblocking)
	f.follow()
	f.poll(patience)
	mdt.Stall()
	emit(mdt, 1)
	wantIndexes(t, f.read(4096), 1, 2)
	if events := f.poll(30 * time.Millisecond); events != 0 {
		t.Errorf("events of a silent MDT: %#x", events)
	}
	done := make(chan error)
	path := mdt.Path()
	go func() { done <- clearAs(path, "clear:cl1:2") }()
	select {
	case err := <-done:
		t.Error("a clear of a silent MDT:", err)
	case <-time.After(30 * time.Millisecond):
	}
	mdt.Resume()
	check(t, <-done)
	f.poll(patience)
	wantIndexes(t, f.read(4096), 3)

	mdt.StallFor(30 * time.Millisecond)
	check(t, clearAs(mdt.Path(), "clear:cl1:3"))
	mdt.Stall()
	go func() { done <- clearAs(path, "clear:cl1:3") }()
	mdt.FailReads(0, unix.EIO) // any order is carried out meanwhile
	mdt.Unmount()
	if err := <-done; err == nil {
		t.Error("a clear of a device that is gone has succeeded")
	}
	mdt.Resume()
}

// ABI 10.8: the index starts again at 1.
func TestSwapResetsIndex(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 5)
	f := open(t, mdt.Path(), nonblocking)
	f.follow()
	f.poll(patience)
	wantIndexes(t, f.read(4096), upTo(1, 5)...)
	mdt.Swap(mdt.NewLog())
	mdt.Register("", 0)
	emit(mdt, 3)
	if events := f.poll(30 * time.Millisecond); events != 0 {
		t.Errorf("a position beyond the current one is not silent: %#x", events)
	}
	wantErrno(t, "clear beyond", clearAs(mdt.Path(), "clear:cl1:5"), unix.EINVAL)
	wantIndexes(t, open(t, mdt.Path(), blocking).readAll(4096), 1, 2, 3)
	emit(mdt, 4)
	f.poll(patience)
	wantIndexes(t, f.read(4096), 6, 7)
}

// A directory that was replaced by hand is served from the next open on.
func TestReplacedDirectory(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 5)
	f := open(t, mdt.Path(), blocking)
	f.follow()
	f.read(4096)
	mdt.ReleaseAppender()
	dir := mdt.Log().Dir()
	check(t, os.RemoveAll(dir))
	l, err := llog.Create(dir, mdt.Name())
	check(t, err)
	if _, err := f.tryRead(4096); !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("the old log: %v", err)
	}
	if b := open(t, mdt.Path(), blocking).readAll(4096); len(b) != 0 {
		t.Errorf("%v in an empty log", indexes(t, b))
	}
	_, err = l.Register(context.Background(), "", 0)
	check(t, err)
	check(t, clearAs(mdt.Path(), "clear:cl1:0"))
}

// ABI 10.8: after a crash the tail is issued again, with other records.
func TestRewind(t *testing.T) {
	for name, c := range map[string]struct {
		cleared [2]uint64 // by two users
		keep    uint64
		cursors [2]uint64 // after the rewind
		kept    []uint64
		next    uint64
	}{
		"nothing cleared":           {[2]uint64{0, 0}, 6, [2]uint64{0, 0}, upTo(1, 6), 7},
		"some cleared":              {[2]uint64{3, 5}, 6, [2]uint64{3, 5}, []uint64{4, 5, 6}, 7},
		"more cleared than is left": {[2]uint64{3, 9}, 6, [2]uint64{3, 6}, []uint64{4, 5, 6}, 7},
		"all that is left cleared":  {[2]uint64{6, 9}, 6, [2]uint64{6, 6}, nil, 7},
		"all cleared, all kept":     {[2]uint64{10, 10}, 10, [2]uint64{10, 10}, nil, 11},
		"all lost":                  {[2]uint64{0, 0}, 0, [2]uint64{0, 0}, nil, 1},
		"nothing lost":              {[2]uint64{2, 3}, 99, [2]uint64{2, 3}, upTo(3, 10), 11},
	} {
		t.Run(name, func(t *testing.T) {
			mdt := start(t, emulatedtest.Options{}, 0)
			gone := mdt.Register("gone", 0)
			second := mdt.Register("audit", changelog.MaskOf(changelog.TypeCreat))
			check(t, mdt.Log().Deregister(t.Context(), gone))
			emit(mdt, 10)
			for i, id := range []llog.UserID{1, second} {
				if c.cleared[i] > 0 {
					check(t, mdt.Log().Clear(t.Context(), id, c.cleared[i]))
				}
			}
			before := open(t, mdt.Path(), blocking).readAll(4096)
			l := mdt.Rewind(c.keep)
			after := open(t, mdt.Path(), blocking).readAll(4096)
			wantIndexes(t, after, c.kept...)
			for i, id := range []llog.UserID{1, second} {
				if got := cursor(t, l, id); got != c.cursors[i] {
					t.Errorf("%s is at %d, want %d", id, got, c.cursors[i])
				}
			}
			if got := mdt.Emit(changelog.Fields{Type: changelog.TypeCreat, Name: "again"}); got.First != c.next {
				t.Errorf("the next index is %d, want %d", got.First, c.next)
			}
			info, err := l.Info()
			check(t, err)
			if u := info.Users[1]; len(info.Users) != 2 || u.Name != "audit" || u.Mask != changelog.MaskOf(changelog.TypeCreat) {
				t.Errorf("users %+v", info.Users)
			}
			if !bytes.Contains(before, after) {
				t.Error("what was kept is not what it was")
			}
		})
	}
}

// ABI 8.4, 8.1: unmounting takes the device away, and ends who has it open.
func TestUnmount(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3)
	path := filepath.Join(mdt.Dir(), "changelog-"+mdt.Name())
	reader, writer := open(t, path, nonblocking), open(t, path, unix.O_WRONLY)
	reader.follow()
	reader.poll(patience)
	mdt.Unmount()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the device is still there:", err)
	}
	wantIndexes(t, reader.read(4096), 1, 2, 3)
	_, err := reader.tryRead(4096)
	wantErrno(t, "read", err, unix.ENODEV)
	_, err = unix.Write(writer.n, []byte("clear:cl1:1"))
	wantErrno(t, "clear", err, unix.ENODEV)
	mdt.Mount()
	_, err = unix.Write(writer.n, []byte("clear:cl1:1"))
	wantErrno(t, "clear by the old file", err, unix.ENODEV)
	if got := mdt.Clears(); len(got) > 0 {
		t.Errorf("the MDT has received %v", got)
	}
	wantIndexes(t, open(t, path, blocking).readAll(4096), 1, 2, 3)
	_, err = reader.tryRead(4096)
	wantErrno(t, "read of the old file", err, unix.ENODEV)
	for range 3 {
		mdt.Unmount()
		mdt.Mount()
	}
	check(t, clearAs(path, "clear:cl1:1"))
}

// The death of the server ends who has the device open; another server goes on.
func TestKillAndRestart(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3)
	path := filepath.Join(mdt.Dir(), "changelog-"+mdt.Name())
	reader := open(t, path, blocking)
	reader.follow()
	reader.read(4096)
	ended := make(chan error)
	go func() {
		_, err := reader.tryRead(4096)
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond) // as a rule it waits by now
	mdt.Kill()
	if err := <-ended; err != unix.ENOTCONN && err != unix.ECONNABORTED {
		t.Error("a read that waited:", err)
	}
	if _, err := tryOpen(path, blocking); err != unix.ENOENT {
		t.Error("open without a server:", err)
	}
	emit(mdt, 1)
	mdt.Restart()
	wantIndexes(t, open(t, path, blocking).readAll(4096), 1, 2, 3, 4)
	mdt.Restart()
	wantIndexes(t, open(t, path, blocking).readAll(4096), 1, 2, 3, 4)
}

// Damage of the log reads as the MDT would report its own (ABI 8.4).
func TestDamagedLog(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 50)
	mdt.ReleaseAppender()
	segments, err := filepath.Glob(filepath.Join(mdt.Log().Dir(), "*.seg"))
	check(t, err)
	data, err := os.ReadFile(segments[0])
	check(t, err)
	data[len(data)/2] ^= 1
	check(t, os.WriteFile(segments[0], data, 0o644))
	f := open(t, mdt.Path(), blocking)
	wantIndexes(t, f.read(10*69), upTo(1, 10)...)
	for {
		b, err := f.tryRead(4096)
		if err == unix.EINVAL {
			return
		}
		check(t, err)
		if len(b) == 0 {
			t.Fatal("the end, instead of damage")
		}
	}
}

func TestRewindOfNothing(t *testing.T) {
	dir := t.TempDir()
	from, err := llog.Create(dir+"/from", "fs-MDT0000")
	check(t, err)
	to, err := emulated.MakeRewound(t.Context(), from, dir+"/to", 5)
	check(t, err)
	if info, err := to.Info(); err != nil || info.Current != 0 || info.MDT != "fs-MDT0000" {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := emulated.MakeRewound(t.Context(), from, dir+"/to", 5); !errors.Is(err, llog.ErrExists) {
		t.Error(err)
	}
}

package llog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lcapd/lcapd/llog"
)

// next reads the next records, waiting for them, in a buffer for one.
func next(t testing.TB, r *llog.Reader) []byte {
	t.Helper()
	buf := make([]byte, llog.MinRead)
	for {
		n, err := r.Read(buf)
		if err == io.EOF {
			check(t, r.Wait(within(t)))
			continue
		}
		check(t, err)
		return buf[:n]
	}
}

// blocks fails the test if Wait, once it has been woken for what was before,
// returns without a reason.
func blocks(t testing.TB, r *llog.Reader) {
	t.Helper()
	for range 50 { // wake-ups for what is already read
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		err := r.Wait(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		check(t, err)
		if _, err := readOn(r, llog.MinRead); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("Wait does not wait")
}

// woken is next for a reader that something must have woken since blocks: without a
// wake-up it fails, though there is something to read.
func woken(t testing.TB, r *llog.Reader) []byte {
	t.Helper()
	check(t, r.Wait(within(t)))
	return next(t, r)
}

func TestWaitWakes(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	r := newReader(t, l, 0, nil)
	blocks(t, r)
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 300})
	for i := uint64(1); i <= 20; i++ { // every third one in a new segment
		got := make(chan []byte)
		go func() { got <- next(t, r) }()
		time.Sleep(time.Millisecond) // as a rule it waits by now
		appendRange(t, a, i, i)
		checkRange(t, <-got, i, i)
	}
	clearTo(t, l, id, 20) // purges what it stands in
	blocks(t, r)
	appendRange(t, a, 21, 21)
	checkRange(t, woken(t, r), 21, 21)
	check(t, a.Close())
	blocks(t, r)
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 22, 22)
	checkRange(t, woken(t, r), 22, 22)
}

// What is appended between a read and the wait is not missed.
func TestWaitMissesNothing(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 2000, Sync: llog.SyncNever})
	r := newReader(t, l, 0, nil)
	const n = 2000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(1); i <= n; i++ {
			if _, err := a.Append(context.Background(), rec(i)); err != nil {
				t.Error(err)
			}
		}
	}()
	var got []byte
	for r.Next() <= n {
		got = append(got, next(t, r)...)
	}
	checkRange(t, got, 1, n)
	<-done
}

func TestWaitEnds(t *testing.T) {
	l := newLog(t)
	r := newReader(t, l, 0, nil)
	blocks(t, r)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	go cancel(why)
	checkIs(t, r.Wait(ctx), why)
	checkIs(t, r.Wait(ctx), why)
	blocks(t, r) // the reader is as good as before
}

func TestWaitEndsWithTheBell(t *testing.T) {
	l := newLog(t)
	bell, err := llog.NewBell()
	check(t, err)
	r, late := newReader(t, l, 0, bell), newReader(t, l, 0, bell)
	blocks(t, r)
	done := make(chan error)
	go func() { done <- r.Wait(context.Background()) }()
	check(t, bell.Close())
	checkIs(t, <-done, llog.ErrClosed)
	checkIs(t, r.Wait(context.Background()), llog.ErrClosed)
	checkIs(t, late.Wait(context.Background()), llog.ErrClosed)
	checkIs(t, late.Wait(context.Background()), llog.ErrClosed)
	check(t, bell.Close())
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 1)
	got, err := readOn(r, llog.MinRead) // reading needs no bell
	check(t, err)
	checkRange(t, got, 1, 1)
}

func TestBellClosesTogether(t *testing.T) {
	bell, err := llog.NewBell()
	check(t, err)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := bell.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// One bell serves any number of logs with one inotify instance: a user has 128.
func TestOneBellForManyLogs(t *testing.T) {
	const n = 300
	dir := memoryDir(t)
	before := inotifies(t)
	bell, err := llog.NewBell()
	check(t, err)
	defer func() { check(t, bell.Close()) }()
	logs, readers := make([]*llog.Log, n), make([]*llog.Reader, n)
	for i := range n {
		logs[i] = create(t, filepath.Join(dir, fmt.Sprint(i)))
		register(t, logs[i], "")
		readers[i] = newReader(t, logs[i], 0, bell)
		check(t, readers[i].Wait(within(t)))
	}
	checkEqual(t, "inotify instances", inotifies(t)-before, 1)
	blocks(t, readers[n-1])
	who := make(chan int)
	for i, r := range readers {
		go func() {
			next(t, r)
			who <- i
		}()
	}
	for i := n - 1; i >= 0; i-- {
		fill(t, logs[i], llog.AppendOptions{}, 1, 1)
		checkEqual(t, "woken reader", <-who, i)
	}
}

func inotifies(t testing.TB) int {
	t.Helper()
	n := 0
	for _, name := range entries(t, "/proc/self/fd") {
		if to, err := os.Readlink("/proc/self/fd/" + name); err == nil && strings.Contains(to, "inotify") {
			n++
		}
	}
	return n
}

// Readers that know one log by different names, with one bell, all wake.
func TestBellAndSymbolicLinks(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	link := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink(l.Dir(), link))
	linked, err := llog.Open(link)
	check(t, err)
	t.Chdir(filepath.Dir(l.Dir()))
	relative, err := llog.Open("log")
	check(t, err)
	bell, err := llog.NewBell()
	check(t, err)
	defer func() { check(t, bell.Close()) }()
	readers := []*llog.Reader{newReader(t, l, 0, bell), newReader(t, linked, 0, bell), newReader(t, relative, 0, bell)}
	a := newAppender(t, l, llog.AppendOptions{})
	for i := uint64(1); i <= 3; i++ {
		for _, r := range readers {
			blocks(t, r)
		}
		appendRange(t, a, i, i)
		for _, r := range readers {
			checkRange(t, woken(t, r), i, i)
		}
		check(t, readers[i-1].Close()) // and the others go on
		readers[i-1] = newReader(t, l, i+1, bell)
	}
}

// A reader of a log that took the place of another one wakes, although somebody
// with the same bell still listens to the old one.
func TestBellAndReplacedLog(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			register(t, l, "")
			bell, err := llog.NewBell()
			check(t, err)
			defer func() { check(t, bell.Close()) }()
			old := newReader(t, l, 0, bell)
			blocks(t, old)
			check(t, remove(l.Dir()))
			check(t, old.Wait(within(t)))
			_, err = old.Read(make([]byte, llog.MinRead))
			checkIs(t, err, llog.ErrNotALog)
			l = create(t, l.Dir())
			register(t, l, "")
			r := newReader(t, l, 0, bell)
			blocks(t, r)
			fill(t, l, llog.AppendOptions{}, 1, 1)
			checkRange(t, woken(t, r), 1, 1)
			_, err = old.Read(make([]byte, llog.MinRead))
			checkIs(t, err, llog.ErrReplaced)
		})
	}
}

// A Wait that cannot listen says so, every time, and works once it can.
func TestWaitWithoutDirectory(t *testing.T) {
	l := newLog(t)
	r := newReader(t, l, 0, nil)
	away := l.Dir() + ".away"
	check(t, os.Rename(l.Dir(), away))
	for range 3 {
		err := r.Wait(within(t))
		checkIs(t, err, os.ErrNotExist)
		checkSays(t, err, l.Dir())
	}
	check(t, os.Rename(away, l.Dir()))
	blocks(t, r)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 1)
	checkRange(t, woken(t, r), 1, 1)
}

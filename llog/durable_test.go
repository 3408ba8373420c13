package llog_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/llog"
)

// disk knows, from the calls of the process, what a machine that dies now may lose.
type disk struct {
	t      *testing.T
	frames map[string]bool // files with frames that are not durable
	marks  map[string]bool // files with a checkpoint that is not durable
	names  bool            // a name in the directory is not durable
}

func newDisk(t *testing.T) *disk {
	return &disk{t: t, frames: map[string]bool{}, marks: map[string]bool{}}
}

// follow takes the calls in, and fails the test where their order is wrong.
func (d *disk) follow(calls []call) {
	d.t.Helper()
	for i, c := range calls {
		switch {
		case c.name == "pwrite" && strings.HasSuffix(c.path, ".seg"):
			d.pwrite(calls[:i+1], c)
		case c.name == "fdatasync" || c.name == "fsync":
			delete(d.frames, c.path)
			delete(d.marks, c.path)
			if filepath.Ext(c.path) == "" {
				d.names = false // the directory, in these tests
			}
		case c.name == "rename":
			d.rename(calls[:i+1], c)
		}
	}
}

func (d *disk) pwrite(calls []call, c call) {
	d.t.Helper()
	if c.off >= llog.SegmentHeader {
		if d.names {
			d.t.Fatalf("records are written to a file whose name is not durable: %v", calls)
		}
		d.frames[c.path] = true
		return
	}
	if d.frames[c.path] {
		d.t.Fatalf("a checkpoint vouches for records that are not durable: %v", calls)
	}
	d.marks[c.path] = true
}

func (d *disk) rename(calls []call, c call) {
	d.t.Helper()
	tmp := false
	for _, before := range calls {
		tmp = tmp || before.name == "fsync" && before.path == c.path+".tmp"
	}
	if !tmp {
		d.t.Fatalf("%s gets its name before its content is durable: %v", c.path, calls)
	}
	if strings.HasSuffix(c.path, ".seg") && len(d.frames)+len(d.marks) > 0 {
		d.t.Fatalf("%s is there before the end and the seal of the one before are durable: %v", c.path, calls)
	}
	d.names = true
}

// Under SyncEach everything acknowledged is durable, the checkpoint vouches for
// nothing that is not, and no segment has a successor before it is durably sealed.
func TestAcknowledgedIsDurable(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	l := newLog(t)
	id := register(t, l, "")
	d := newDisk(t)
	d.follow(tr.seen())
	if d.names {
		t.Fatal("the registration is not durable")
	}
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1500})
	for i := uint64(1); i < 60; i += 6 {
		appendRange(t, a, i, i+5)
		d.follow(tr.seen())
		if len(d.frames) > 0 || d.names {
			t.Fatalf("acknowledged, but not durable: %v, names %t", d.frames, d.names)
		}
		clearTo(t, l, id, i)
		d.follow(tr.seen())
		if d.names {
			t.Fatal("the clear is not durable")
		}
	}
	check(t, a.Close())
	d.follow(tr.seen())
}

// Under the other policies nothing is forced before its time: after the interval,
// at the seal, at the close, or when somebody asks.
func TestSyncPolicies(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	l := newLog(t)
	register(t, l, "")
	count := func(names ...string) (n int) {
		for _, c := range tr.seen() {
			for _, name := range names {
				if c.name == name {
					n++
				}
			}
		}
		return n
	}
	tr.seen()
	a, err := l.NewAppender(llog.AppendOptions{Sync: llog.SyncNever, SegmentSize: 1})
	check(t, err)
	appendRange(t, a, 1, 5)
	checkEqual(t, "forced under SyncNever", count("fdatasync", "fsync", "syncfs"), 0)
	check(t, a.Sync(context.Background()))
	checkEqual(t, "forced by Sync", count("syncfs"), 1) // the earlier segments with it
	check(t, a.Sync(context.Background()))
	checkEqual(t, "forced with nothing new", count("fdatasync", "fsync", "syncfs"), 0)
	appendRange(t, a, 6, 6)
	check(t, a.Close())
	checkEqual(t, "forced by the close under SyncNever", count("fdatasync", "fsync", "syncfs"), 0)

	a, err = l.NewAppender(llog.AppendOptions{Sync: llog.SyncEvery(time.Hour)})
	check(t, err)
	appendRange(t, a, 7, 7)
	tr.seen() // a new segment
	for i := uint64(8); i < 20; i++ {
		appendRange(t, a, i, i)
	}
	checkEqual(t, "forced within the interval", count("fdatasync", "fsync", "syncfs"), 0)
	check(t, a.Sync(context.Background()))
	checkEqual(t, "forced by Sync", count("fdatasync"), 1)
	appendRange(t, a, 20, 20)
	check(t, a.Close())
	checkEqual(t, "forced by the close", count("fdatasync"), 1)

	a, err = l.NewAppender(llog.AppendOptions{Sync: llog.SyncEvery(time.Millisecond)})
	check(t, err)
	appendRange(t, a, 21, 21)
	eventually(t, "forced after the interval", func() bool { return count("fdatasync") > 0 })
	check(t, a.Close())
	checkLog(t, l, upTo(1, 21))
}

// An append whose data did not reach the disk is never acknowledged, and the
// appender is done for.
func TestFailedSync(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	for name, opts := range map[string]llog.AppendOptions{
		"each":           {},
		"each, rolling":  {SegmentSize: 1},
		"never, by Sync": {Sync: llog.SyncNever},
	} {
		t.Run(name, func(t *testing.T) {
			tr.failing()
			l := newLog(t)
			register(t, l, "")
			a, err := l.NewAppender(opts)
			check(t, err)
			appendRange(t, a, 1, 3)
			before := readFile(t, segmentPath(l, segments(t, l)[0]))[:llog.SegmentHeader]
			tr.failing("fdatasync", "syncfs")
			got, err := a.Append(context.Background(), recs(4, 5))
			if opts.Sync == llog.SyncNever {
				check(t, err)
				err = a.Sync(context.Background())
			} else {
				checkEqual(t, "acknowledged", got.Records, 0)
			}
			for range 2 {
				checkIs(t, err, llog.ErrFailed, unix.EIO)
				checkSays(t, err, l.Dir(), "open it again")
				_, err = a.Append(context.Background(), recs(6, 6))
			}
			checkIs(t, a.Sync(context.Background()), llog.ErrFailed)
			checkIs(t, a.Close(), llog.ErrFailed, unix.EIO)
			if after := readFile(t, segmentPath(l, segments(t, l)[0]))[:llog.SegmentHeader]; string(after) != string(before) {
				t.Error("the checkpoint vouches for what did not reach the disk")
			}
			tr.failing()
			last := current(t, l) // 3 or 5: both are right
			fill(t, l, opts, last+1, last+2)
			checkLog(t, l, upTo(1, last+2))
		})
	}
}

// Of several requests in one commit, those that were in an earlier segment than
// the one whose sync failed are not acknowledged either.
func TestFailedSyncOfAGroup(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	l := newLog(t)
	register(t, l, "")
	refused := rec(9)[:30]
	tr.failing("fdatasync")
	got, errs := l.CommitTogether(llog.AppendOptions{SegmentSize: 400}, rec(1), refused, recs(2, 9), rec(10))
	for i, err := range errs {
		if i == 1 {
			checkSays(t, err, "truncated record") // its own trouble
			continue
		}
		checkIs(t, err, llog.ErrFailed, unix.EIO)
		checkEqual(t, "acknowledged", got[i].Records, 0)
	}
}

// The sync that comes by itself fails when nobody is there to be told: the next
// append, or the close, tells.
func TestFailedSyncLater(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	for _, interval := range []time.Duration{time.Millisecond, time.Hour} {
		tr.failing()
		l := newLog(t)
		register(t, l, "")
		a, err := l.NewAppender(llog.AppendOptions{Sync: llog.SyncEvery(interval)})
		check(t, err)
		appendRange(t, a, 1, 1)
		tr.seen()
		tr.failing("fdatasync")
		appendRange(t, a, 2, 2)
		if interval < time.Second {
			eventually(t, "the sync", func() bool {
				for _, c := range tr.seen() {
					if c.name == "fdatasync" {
						return true
					}
				}
				return false
			})
			eventually(t, "the failure", func() bool {
				_, err := a.Append(context.Background(), nil)
				return errors.Is(err, llog.ErrFailed)
			})
		}
		checkIs(t, a.Close(), llog.ErrFailed, unix.EIO)
		tr.failing()
		fill(t, l, llog.AppendOptions{}, 3, 3)
	}
}

// A state that did not reach the disk does not take the place of the one that is
// there.
func TestFailedStateSync(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	l := newLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 5)
	before := readFile(t, filepath.Join(l.Dir(), "state"))
	for _, broken := range []string{"fsync", "rename"} {
		tr.failing(broken)
		_, err := l.Register(context.Background(), "", 0)
		for _, err := range []error{err, l.Clear(context.Background(), id, 3), l.Deregister(context.Background(), id)} {
			checkIs(t, err, unix.EIO)
			checkSays(t, err, filepath.Join(l.Dir(), "state"))
		}
		tr.failing()
		if string(readFile(t, filepath.Join(l.Dir(), "state"))) != string(before) {
			t.Errorf("with a failed %s the state has changed", broken)
		}
		checkLog(t, l, upTo(1, 5))
	}
	clearTo(t, l, id, 3)
	checkLog(t, l, upTo(4, 5))
}

// A segment that cannot be made is no end: the append fails, and the next one may
// work.
func TestFailedRoll(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	for _, sync := range []llog.SyncPolicy{llog.SyncEach, llog.SyncNever, llog.SyncEvery(time.Hour)} {
		l := newLog(t)
		register(t, l, "")
		a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1, Sync: sync})
		appendRange(t, a, 1, 2)
		tr.failing("rename")
		got, err := a.Append(context.Background(), recs(3, 4))
		checkIs(t, err, unix.EIO)
		checkSays(t, err, llog.SegmentName(3))
		checkEqual(t, "stored", got.Records, 0)
		check(t, a.Sync(context.Background())) // there is no segment to be written to
		tr.failing()
		appendRange(t, a, 3, 4)
		checkLog(t, l, upTo(1, 4))
	}
}

// A truncate that fails after a short write leaves the end unknown, for who has
// the file open; the next appender cuts it.
func TestFailedTruncate(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	for name, sync := range map[string]llog.SyncPolicy{"each": llog.SyncEach, "never": llog.SyncNever} {
		t.Run(name, func(t *testing.T) {
			tr.failing()
			l := newLog(t)
			register(t, l, "")
			a, err := l.NewAppender(llog.AppendOptions{Sync: sync})
			check(t, err)
			appendRange(t, a, 1, 3)
			ends := frameStarts(1, 6)
			tr.failing("truncate")
			undo := limitFiles(t, ends[5]+10)
			got, err := a.Append(context.Background(), recs(4, 6))
			undo()
			if sync == llog.SyncEach {
				checkIs(t, err, llog.ErrFailed)
				checkEqual(t, "stored", got.Records, 0)
			} else {
				checkIs(t, err, unix.EFBIG)
				checkEqual(t, "stored", got.Records, 2)
			}
			_, err = a.Append(context.Background(), rec(7))
			checkIs(t, err, llog.ErrFailed)
			checkIs(t, a.Close(), llog.ErrFailed)
			tr.failing()
			checkLog(t, l, upTo(1, 5))
			a = newAppender(t, l, llog.AppendOptions{})
			if torn := a.TornTail(); torn == nil || torn.Bytes != 10 || torn.After != 5 {
				t.Errorf("torn: %+v", torn)
			}
			appendRange(t, a, 6, 6)
			checkLog(t, l, upTo(1, 6))
		})
	}
}

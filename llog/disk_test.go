package llog_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// occupy fills the file system of dir but for about the given number of bytes, and
// returns the file to be removed to make room.
func occupy(t *testing.T, dir string, leave int64) string {
	t.Helper()
	var stat unix.Statfs_t
	check(t, unix.Statfs(dir, &stat))
	path := filepath.Join(dir, "ballast")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	check(t, err)
	info, err := f.Stat()
	check(t, err)
	check(t, unix.Fallocate(int(f.Fd()), 0, info.Size(), int64(stat.Bavail)*stat.Bsize-leave))
	check(t, f.Close())
	return path
}

// checkPrefix fails the test unless the log holds the first n of the test's records.
func checkPrefix(t *testing.T, l *llog.Log, n uint64) {
	t.Helper()
	checkLog(t, l, upTo(1, n))
	checkEqual(t, "current index", current(t, l), n)
}

// On a full disk, what fits is stored and counted; when there is room again,
// indexes go on without gap or repetition.
func TestFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	for name, opts := range map[string]llog.AppendOptions{
		"one segment":       {},
		"small segments":    {SegmentSize: 3000},
		"segments of one":   {SegmentSize: 1},
		"no sync":           {Sync: llog.SyncNever},
		"no sync, segments": {Sync: llog.SyncNever, SegmentSize: 3000},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mountMemory(t, "1m")
			l := create(t, filepath.Join(dir, "log"))
			register(t, l, "")
			a := newAppender(t, l, opts)
			appendRange(t, a, 1, 3)
			r := newReader(t, l, 1, nil)
			last := uint64(3)
			for round := range 4 {
				ballast := occupy(t, dir, 40<<10)
				last = fillUp(t, l, a, last)
				checkPrefix(t, l, last)
				check(t, os.Remove(ballast))
				appendRange(t, a, last+1, last+3)
				last += 3
				checkPrefix(t, l, last)
				if round == 1 { // no traces for the next appender either
					check(t, a.Close())
					a = newAppender(t, l, opts)
					if torn := a.TornTail(); torn != nil {
						t.Errorf("torn: %+v", torn)
					}
				}
			}
			got, err := readOn(r, 5000)
			check(t, err)
			checkRange(t, got, 1, last)
		})
	}
}

// fillUp appends until the disk is full, alternately many records at once and few,
// and returns the last index stored.
func fillUp(t *testing.T, l *llog.Log, a *llog.Appender, last uint64) uint64 {
	t.Helper()
	for failures := 0; failures < 5; {
		n := uint64(1000)
		if failures > 0 {
			n = 5 - uint64(failures)
		}
		got, err := a.Append(context.Background(), recs(last+1, last+n))
		if err == nil {
			checkEqual(t, "stored", got.Records, int(n))
			last = got.Last
			continue
		}
		checkIs(t, err, unix.ENOSPC)
		checkSays(t, err, l.MDT(), l.Dir(), "no space left")
		if errors.Is(err, llog.ErrFailed) {
			t.Fatal(err)
		}
		if got.Records > 0 {
			checkEqual(t, "first", got.First, last+1)
			checkEqual(t, "last", got.Last, last+uint64(got.Records))
			last = got.Last
		}
		failures++
		checkEqual(t, "current index", current(t, l), last)
	}
	return last
}

// Several requests of one commit that does not fit: each is told what of it is
// there, and none is stored behind one that is not.
func TestFullDiskTogether(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountMemory(t, "1m")
	l := create(t, filepath.Join(dir, "log"))
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 20 << 10})
	for range 5 {
		ballast := occupy(t, dir, 60<<10)
		before := current(t, l)
		results := make(chan llog.Appended, 20)
		for range cap(results) {
			go func() {
				got, err := a.AppendNew(context.Background(), recs(1, 100))
				if (err == nil) != (got.Records == 100) || err != nil && !errors.Is(err, unix.ENOSPC) {
					t.Errorf("%+v, %v", got, err)
				}
				results <- got
			}()
		}
		var stored []llog.Appended
		for range cap(results) {
			if got := <-results; got.Records > 0 {
				stored = append(stored, got)
			}
		}
		slices.SortFunc(stored, func(a, b llog.Appended) int { return int(a.First) - int(b.First) })
		last := before
		for _, got := range stored { // without gaps
			checkEqual(t, "first", got.First, last+1)
			checkEqual(t, "last", got.Last, last+uint64(got.Records))
			last = got.Last
		}
		checkEqual(t, "current index", current(t, l), last)
		if got := indexes(t, readFrom(t, l, 0)); !slices.Equal(got, upTo(1, last)) {
			t.Fatalf("%d records up to %d", len(got), last)
		}
		check(t, os.Remove(ballast))
	}
}

// A write that ends at any byte: the whole records before it stay and are counted,
// not a byte more stays in the file, and the next append goes on from there.
func TestShortWrites(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	const first, n = 5, 3 // records that the short write would append
	frames := frameStarts(1, first+n-1)
	start, end := frames[first-1], frames[first+n-1]
	for limit := start; limit <= end; limit++ {
		l := memoryLog(t)
		register(t, l, "")
		a := newAppender(t, l, llog.AppendOptions{})
		appendRange(t, a, 1, first-1)
		r := newReader(t, l, 0, nil)
		undo := limitFiles(t, limit)
		got, err := a.Append(context.Background(), recs(first, first+n-1))
		undo()
		stored := uint64(0)
		for stored < n && frames[first+stored] <= limit {
			stored++
		}
		if got.Records != int(stored) {
			t.Fatalf("limit %d, frames %v: got %+v, %v", limit, frames, got, err)
		}
		if stored == n {
			check(t, err)
		} else {
			checkIs(t, err, unix.EFBIG)
			checkSays(t, err, segmentPath(l, 1))
		}
		if stored > 0 && (got.First != first || got.Last != first+stored-1) {
			t.Fatalf("limit %d: got %+v", limit, got)
		}
		info, err := os.Stat(segmentPath(l, 1))
		check(t, err)
		checkEqual(t, "size", info.Size(), frames[first-1+stored])
		last := first - 1 + stored
		checkPrefix(t, l, last)
		appendRange(t, a, last+1, last+2)
		checkPrefix(t, l, last+2)
		read, err := readOn(r, llog.MinRead)
		check(t, err)
		checkRange(t, read, 1, last+2)
	}
}

// Nothing is stored behind what did not fit, though the next segment had room.
func TestShortWriteEndsTheCommit(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	opts := llog.AppendOptions{SegmentSize: 2000}
	for name, add := range map[string]func(l *llog.Log) []llog.Appended{
		"one append": func(l *llog.Log) []llog.Appended {
			a := newAppender(t, l, opts)
			got, err := a.Append(context.Background(), recs(1, 60))
			checkIs(t, err, unix.EFBIG)
			return []llog.Appended{got}
		},
		"several at once": func(l *llog.Log) []llog.Appended {
			got, errs := l.CommitTogether(opts, recs(1, 3), recs(4, 40), recs(41, 60))
			checkEqual(t, "error of the first", errs[0], nil)
			checkIs(t, errs[1], unix.EFBIG)
			checkIs(t, errs[2], unix.EFBIG)
			return got
		},
	} {
		l := memoryLog(t)
		register(t, l, "")
		undo := limitFiles(t, 1000)
		results := add(l)
		undo()
		stored := 0
		for _, got := range results {
			stored += got.Records
		}
		if stored == 0 || stored > 20 {
			t.Fatalf("%s: stored %d", name, stored)
		}
		checkPrefix(t, l, uint64(stored))
		checkEqual(t, name+": segments", len(segments(t, l)), 1)
	}
}

// limitFiles lets no file of the process grow beyond size bytes, until undo.
func limitFiles(t *testing.T, size int64) (undo func()) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ) // so that it is an error like any other
	var before unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	check(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(size), Max: before.Max}))
	return func() { check(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before)) }
}

// A record whose segment could be made but not written: everybody, in this process
// and the next, takes the indexes below it for issued, and nobody loses a record.
func TestShortWriteAtAGap(t *testing.T) {
	if !apart(t, nil) {
		return
	}
	l := memoryLog(t)
	id := register(t, l, "")
	a, err := l.NewAppender(llog.AppendOptions{SegmentSize: 1})
	check(t, err)
	appendRange(t, a, 1, 5)
	undo := limitFiles(t, llog.SegmentHeader+20)
	got, err := a.Append(context.Background(), rec(100))
	undo()
	checkIs(t, err, unix.EFBIG)
	checkEqual(t, "stored", got.Records, 0)
	checkEqual(t, "last segment", segments(t, l)[len(segments(t, l))-1], 100)
	checkLog(t, l, upTo(1, 5))
	checkEqual(t, "current index", current(t, l), 99)
	_, err = a.Append(context.Background(), rec(60))
	checkIs(t, err, changelog.ErrIndexOrder)
	check(t, a.Close())
	a = newAppender(t, l, llog.AppendOptions{SegmentSize: 1})
	_, err = a.Append(context.Background(), rec(60))
	checkIs(t, err, changelog.ErrIndexOrder)
	late := register(t, l, "late")
	checkEqual(t, "cursor", user(t, l, late).Cleared, 99)
	appendRange(t, a, 100, 101)
	checkLog(t, l, []uint64{1, 2, 3, 4, 5, 100, 101})
	clearTo(t, l, id, 99)
	checkLog(t, l, []uint64{100, 101})
	checkEqual(t, "first segment", segments(t, l)[0], 100)
}

// The state is whole, and as it was, when it cannot be replaced.
func TestStateOnAFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountMemory(t, "1m")
	l := create(t, filepath.Join(dir, "log"))
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 10)
	state := filepath.Join(l.Dir(), "state")
	before := readFile(t, state)
	ballast := occupy(t, dir, 0)
	_, registerErr := l.Register(context.Background(), "late", 0)
	_, clearAllErr := l.ClearAll(context.Background(), id)
	for _, err := range []error{l.Clear(context.Background(), id, 5), registerErr, clearAllErr, l.Deregister(context.Background(), id)} {
		checkIs(t, err, unix.ENOSPC)
		checkSays(t, err, state)
	}
	_, err := llog.Create(filepath.Join(dir, "another"), "m")
	checkIs(t, err, unix.ENOSPC)
	if !bytes.Equal(readFile(t, state), before) {
		t.Error("the state has changed")
	}
	checkLog(t, reopen(t, l), upTo(1, 10))
	check(t, os.Remove(ballast))
	clearTo(t, l, id, 5)
	checkLog(t, l, upTo(6, 10))
	checkEqual(t, "id of the next user", register(t, l, ""), 2)
	create(t, filepath.Join(dir, "another")) // the failed one left nothing in its way
}

// A full disk is made empty by clearing.
func TestClearMakesRoom(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountMemory(t, "1m")
	l := create(t, filepath.Join(dir, "log"))
	id := register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 16 << 10})
	occupyRest := occupy(t, dir, 100<<10)
	last := fillUp(t, l, a, 0)
	check(t, os.Remove(occupyRest)) // the state needs room for its next version
	clearTo(t, l, id, last-1)
	appendRange(t, a, last+1, last+50)
	checkLog(t, l, upTo(last, last+50))
}

// With the file system read-only all changes fail, naming the file; reading and
// looking go on, also for processes that come new.
func TestReadOnlyDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountMemory(t, "1m")
	l := create(t, filepath.Join(dir, "log"))
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 500}, 1, 20)
	damaged := segmentPath(l, segments(t, l)[1])
	whole := readFile(t, damaged)
	damage(t, damaged, flip(llog.SegmentHeader+5))
	readOnly := func(flag uintptr) { check(t, unix.Mount("", dir, "", unix.MS_REMOUNT|flag, "")) }
	readOnly(unix.MS_RDONLY)
	ctx := context.Background()
	_, registerErr := l.Register(ctx, "x", 0)
	_, clearErr := l.ClearAll(ctx, id)
	_, appendErr := l.NewAppender(llog.AppendOptions{})
	_, repairErr := l.Repair(ctx)
	_, createErr := llog.Create(filepath.Join(dir, "new"), "m")
	for _, tt := range []struct {
		err  error
		file string
	}{
		{registerErr, "state.lock"}, {clearErr, "state.lock"}, {l.Clear(ctx, id, 3), "state.lock"}, {l.Deregister(ctx, id), "state.lock"},
		{appendErr, "appender.lock"}, {repairErr, "appender.lock"}, {createErr, "new"},
	} {
		checkIs(t, tt.err, unix.EROFS)
		checkSays(t, tt.err, dir, tt.file)
	}
	readOnly(0)
	writeFile(t, damaged, whole)
	readOnly(unix.MS_RDONLY)
	l = reopen(t, l)
	checkLog(t, l, upTo(1, 20))
	r := newReader(t, l, 5, nil)
	got, err := readOn(r, 2000)
	check(t, err)
	checkRange(t, got, 5, 20)
	blocks(t, r)
	readOnly(0)
	fill(t, l, llog.AppendOptions{}, 21, 21)
	checkRange(t, woken(t, r), 21, 21)
}

// An appender that is caught by a read-only file system says which file it is.
func TestAppenderOnAReadOnlyDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountMemory(t, "1m")
	l := create(t, filepath.Join(dir, "log"))
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1})
	appendRange(t, a, 1, 2)
	// Files open for writing forbid a read-only remount, so only the directory:
	// its entries cannot be made, and appending needs a new segment.
	log := l.Dir()
	check(t, unix.Mount(log, log, "", unix.MS_BIND, ""))
	check(t, unix.Mount("", log, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	got, err := a.Append(context.Background(), recs(3, 4))
	checkIs(t, err, unix.EROFS)
	checkSays(t, err, llog.SegmentName(3))
	checkEqual(t, "stored", got.Records, 0)
	checkLog(t, l, upTo(1, 2))
	check(t, unix.Unmount(log, 0))
	appendRange(t, a, 3, 4)
	checkLog(t, l, upTo(1, 4))
}

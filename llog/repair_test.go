package llog_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"

	"github.com/lcapd/lcapd/llog"
)

// damage changes the bytes of a file.
func damage(t testing.TB, path string, change func(b []byte) []byte) {
	t.Helper()
	writeFile(t, path, change(readFile(t, path)))
}

// flip flips one bit of the byte at off.
func flip(off int64) func([]byte) []byte {
	return func(b []byte) []byte {
		b[off] ^= 0x10
		return b
	}
}

// files returns the contents of the log's segments.
func files(t testing.TB, l *llog.Log) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, base := range segments(t, l) {
		all[segmentPath(l, base)] = string(readFile(t, segmentPath(l, base)))
	}
	return all
}

// Everything that can be read is kept, whatever is damaged, and the log goes on.
func TestRepair(t *testing.T) {
	const last = 12
	starts := frameStarts(5, 8)
	size := func(i uint64) int64 { return int64(len(rec(i)) + llog.FrameOverhead) }
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		lost   []uint64 // of 5..8, which the damaged segment holds
		bytes  int64    // given up
	}{
		{"first record", flip(starts[0] + 30), []uint64{5}, size(5)},
		{"record in the middle", flip(starts[1] + 30), []uint64{6}, size(6)},
		{"last record", flip(starts[3] + 30), []uint64{8}, size(8)},
		{"a length", flip(starts[1]), []uint64{6}, size(6)},
		{"a length at the end of a frame", flip(starts[2] - 1), []uint64{6}, size(6)},
		{"two records", func(b []byte) []byte { return flip(starts[3] + 8)(flip(starts[1] + 8)(b)) }, []uint64{6, 8}, size(6) + size(8)},
		{"all records", func(b []byte) []byte {
			return append(b[:llog.SegmentHeader], make([]byte, len(b)-llog.SegmentHeader)...)
		}, []uint64{5, 6, 7, 8}, starts[4] - starts[0]},
		{"header", flip(3), nil, 0},
		{"header and a record", func(b []byte) []byte { return flip(starts[0] + 9)(flip(30)(b)) }, []uint64{5}, size(5)},
		{"whole header", func(b []byte) []byte { return append(make([]byte, llog.SegmentHeader), b[llog.SegmentHeader:]...) }, nil, 0},
		{"end cut off", func(b []byte) []byte { return b[:starts[2]+5] }, []uint64{7, 8}, 5},
		{"cut within the header", func(b []byte) []byte { return b[:50] }, []uint64{5, 6, 7, 8}, 0},
		{"empty file", func(b []byte) []byte { return nil }, []uint64{5, 6, 7, 8}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := memoryLog(t)
			register(t, l, "")
			fill(t, l, llog.AppendOptions{}, 1, 4)
			fill(t, l, llog.AppendOptions{SegmentSize: 1}, 5, 5)
			fill(t, l, llog.AppendOptions{}, 6, 8)
			fill(t, l, llog.AppendOptions{SegmentSize: 1}, 9, 9)
			fill(t, l, llog.AppendOptions{}, 10, last)
			damage(t, segmentPath(l, 5), tt.change)
			before := files(t, l)
			repaired, err := l.Repair(context.Background())
			check(t, err)
			want := llog.Repaired{File: segmentPath(l, 5), Records: uint64(4 - len(tt.lost)), Bytes: tt.bytes}
			if len(repaired) != 1 || repaired[0] != want {
				t.Errorf("repaired %+v, want %+v", repaired, want)
			}
			for path, content := range files(t, l) {
				if path != want.File && content != before[path] {
					t.Errorf("%s was whole, but changed", path)
				}
			}
			left := slices.DeleteFunc(upTo(1, last), func(i uint64) bool { return slices.Contains(tt.lost, i) })
			checkLog(t, l, left)
			again, err := l.Repair(context.Background())
			if err != nil || len(again) > 0 {
				t.Errorf("the second time: %v, %v", again, err)
			}
			fill(t, l, llog.AppendOptions{SegmentSize: 1}, last+1, last+2)
			checkLog(t, l, append(left, last+1, last+2))
			clearTo(t, l, 1, 8)
			if got := segments(t, l); got[0] != 9 {
				t.Errorf("after a clear of 8: segments %v", got)
			}
		})
	}
}

func TestRepairNothing(t *testing.T) {
	l := memoryLog(t)
	if repaired, err := l.Repair(context.Background()); err != nil || len(repaired) > 0 {
		t.Errorf("an empty log: %v, %v", repaired, err)
	}
	register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 400}, 1, 10)
	damage(t, segmentPath(l, segments(t, l)[1]), flip(llog.CheckpointStart)) // costs nothing
	damage(t, segmentPath(l, segments(t, l)[len(segments(t, l))-1]), func(b []byte) []byte {
		return append(unvouch(b), "torn"...) // which the appender cuts
	})
	before := files(t, l)
	repaired, err := l.Repair(context.Background())
	if err != nil || len(repaired) > 0 {
		t.Errorf("a whole log: %v, %v", repaired, err)
	}
	for path, content := range files(t, l) {
		if content != before[path] {
			t.Errorf("%s changed", path)
		}
	}
}

// What a repair gave up was issued: those indexes do not come again, through any
// number of openings, and may still be cleared by who had read them.
func TestRepairKeepsTheIndexCounter(t *testing.T) {
	l := memoryLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 10)
	path := segmentPath(l, 1)
	damage(t, path, func(b []byte) []byte { return b[:frameStarts(1, 6)[6]] })
	_, err := l.Repair(context.Background())
	check(t, err)
	for range 2 { // a torn append in between must not forget it either
		checkEqual(t, "current index", current(t, l), 10)
		checkLog(t, l, upTo(1, 6))
		damage(t, path, func(b []byte) []byte { return append(b, "torn"...) })
		a, err := l.NewAppender(llog.AppendOptions{})
		check(t, err)
		checkEqual(t, "torn after", a.TornTail().After, 6)
		check(t, a.Close())
	}
	clearTo(t, l, id, 9)
	got, err := newAppender(t, l, llog.AppendOptions{}).AppendNew(context.Background(), rec(0))
	check(t, err)
	checkEqual(t, "next index", got.First, 11)
}

// With the last records also their segment's checkpoint may be gone: the name of
// the segment still tells what was issued before.
func TestRepairOfALostSegment(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 9)
	damage(t, segmentPath(l, 9), func([]byte) []byte { return nil })
	_, err := l.Repair(context.Background())
	check(t, err)
	checkLog(t, l, upTo(1, 8))
	got, err := newAppender(t, l, llog.AppendOptions{}).AppendNew(context.Background(), rec(0))
	check(t, err)
	checkEqual(t, "next index", got.First, 9)
}

func TestRepairIsAlone(t *testing.T) {
	l, path, _ := segmentWith(t, 3)
	a, err := l.NewAppender(llog.AppendOptions{})
	check(t, err)
	damage(t, path, flip(200))
	before := readFile(t, path)
	_, err = l.Repair(context.Background())
	checkIs(t, err, llog.ErrBusy)
	if !bytes.Equal(readFile(t, path), before) {
		t.Error("it repaired beside an appender")
	}
	check(t, a.Close())
	repaired, err := l.Repair(context.Background())
	check(t, err)
	checkEqual(t, "repaired", len(repaired), 1)
	newAppender(t, l, llog.AppendOptions{}) // the lock is free again
}

// Readers go on after a repair, wherever they stood.
func TestRepairUnderReaders(t *testing.T) {
	l, path, _ := segmentWith(t, 8)
	starts := frameStarts(1, 8)
	follower := newReader(t, l, 0, nil)
	_, err := readOn(follower, llog.MinRead)
	check(t, err)
	blocks(t, follower)

	damage(t, path, flip(starts[2]+30)) // behind the follower, before the others
	stuck := newReader(t, l, 0, nil)
	_, err = readOn(stuck, llog.MinRead)
	checkIs(t, err, llog.ErrCorrupt)
	begun := newReader(t, l, 7, nil)

	_, err = l.Repair(context.Background())
	check(t, err)
	got, err := readOn(stuck, llog.MinRead)
	check(t, err)
	checkRange(t, got, 4, 8)
	fill(t, l, llog.AppendOptions{}, 9, 9)
	checkRange(t, woken(t, follower), 9, 9)
	checkRange(t, next(t, stuck), 9, 9)
	got, err = readOn(begun, llog.MinRead)
	check(t, err)
	checkRange(t, got, 7, 9)
}

// A follower at the end of a file that is repaired moves to the new one, also when
// its own file has a torn tail for ever, or another name in a backup.
func TestRepairUnderAFollowerAtATornTail(t *testing.T) {
	l, path, whole := segmentWith(t, 8)
	starts := frameStarts(1, 8)
	writeFile(t, path, append(unvouch(whole), "this was to be the ninth record"...))
	follower := newReader(t, l, 0, nil)
	_, err := readOn(follower, llog.MinRead)
	check(t, err)
	blocks(t, follower)
	check(t, os.Link(path, path+".backup"))
	damage(t, path, func(b []byte) []byte { return flip(llog.SegmentHeader - 100)(flip(starts[2] + 30)(b)) })
	repaired, err := l.Repair(context.Background())
	check(t, err)
	checkEqual(t, "repaired", len(repaired), 1)
	fill(t, l, llog.AppendOptions{}, 9, 9)
	checkRange(t, woken(t, follower), 9, 9)
}

// A damaged state says what was acknowledged: there is nothing to repair it from.
func TestRepairOfTheState(t *testing.T) {
	l, _, _ := segmentWith(t, 3)
	damage(t, l.Dir()+"/state", flip(60))
	_, err := l.Repair(context.Background())
	checkIs(t, err, llog.ErrCorrupt)
	checkSays(t, err, l.Dir()+"/state", "restore the file from a backup")
}

func TestRepairWaitsForTheState(t *testing.T) {
	l, _, _ := segmentWith(t, 3)
	ctx, cancel := context.WithCancel(context.Background())
	lock := lockState(t, l)
	cancel()
	_, err := l.Repair(ctx)
	checkIs(t, err, context.Canceled)
	check(t, lock.Close())
	_, err = l.Repair(ctx) // nothing to wait for
	check(t, err)
}

package llog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lcapd/lcapd/llog"
)

// frameStarts returns where the frames of the test's records from..to stand in
// their segment, and where the last one ends.
func frameStarts(from, to uint64) []int64 {
	starts := []int64{llog.SegmentHeader}
	for i := from; i <= to; i++ {
		starts = append(starts, starts[len(starts)-1]+int64(len(rec(i))+llog.FrameOverhead))
	}
	return starts
}

// unvouch sets the checkpoint of a segment back to that of an empty one, as it is
// when the appender died before it could vouch for anything.
func unvouch(segment []byte) []byte {
	b := bytes.Clone(segment)
	c := b[llog.CheckpointStart : llog.CheckpointStart+llog.CheckpointSize]
	copy(c, make([]byte, len(c)))
	binary.LittleEndian.PutUint64(c, llog.SegmentHeader)
	binary.LittleEndian.PutUint32(c[28:], crc32.Checksum(c[:28], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// An append that a crash cut off at any byte: readers see the end of the log there,
// the next appender cuts it off, says so, and goes on behind the last whole record.
func TestTornTail(t *testing.T) {
	const last, sure = 6, 3 // what is behind sure is torn somewhere
	l := memoryLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, last)
	path := segmentPath(l, 1)
	whole := unvouch(readFile(t, path))
	starts := frameStarts(1, last)
	for size := starts[sure]; size <= starts[last]; size++ {
		writeFile(t, path, whole[:size])
		kept := uint64(sure)
		for starts[kept+1] <= size {
			kept++
			if kept == last {
				break
			}
		}
		checkLog(t, l, upTo(1, kept))
		checkEqual(t, "current index", current(t, l), kept)
		a, err := l.NewAppender(llog.AppendOptions{})
		check(t, err)
		want := llog.TornTail{File: path, Offset: starts[kept], Bytes: size - starts[kept], After: kept}
		switch torn := a.TornTail(); {
		case size == starts[kept] && torn != nil:
			t.Fatalf("size %d: nothing is torn, but it says %+v", size, torn)
		case size != starts[kept] && (torn == nil || *torn != want):
			t.Fatalf("size %d: torn is %+v, want %+v", size, torn, want)
		}
		got, err := a.AppendNew(context.Background(), rec(0))
		check(t, err)
		checkEqual(t, "next index", got.First, kept+1)
		check(t, a.Close())
	}
}

// A torn tail in a log whose first append it was.
func TestTornTailOfTheFirstRecord(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 1)
	path := segmentPath(l, 1)
	writeFile(t, path, unvouch(readFile(t, path))[:llog.SegmentHeader+10])
	checkLog(t, l, nil)
	a := newAppender(t, l, llog.AppendOptions{})
	want := llog.TornTail{File: path, Offset: llog.SegmentHeader, Bytes: 10}
	if torn := a.TornTail(); torn == nil || *torn != want {
		t.Errorf("torn is %+v, want %+v", torn, want)
	}
	appendRange(t, a, 1, 2)
	checkLog(t, l, upTo(1, 2))
}

// A reader that stands before a torn tail gets what takes its place.
func TestReaderAtATornTail(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 3)
	path := segmentPath(l, 1)
	whole := unvouch(readFile(t, path))
	writeFile(t, path, whole[:len(whole)-1])
	r := newReader(t, l, 0, nil)
	got, err := readOn(r, llog.MinRead)
	check(t, err)
	checkRange(t, got, 1, 2)
	blocks(t, r)
	a := newAppender(t, l, llog.AppendOptions{})
	appendRange(t, a, 4, 4) // not 3
	checkRange(t, woken(t, r), 4, 4)
	checkEqual(t, "torn after", a.TornTail().After, 2)
}

// segmentWith returns a log with the records 1..last in one segment and its path.
func segmentWith(t *testing.T, last uint64) (l *llog.Log, path string, whole []byte) {
	l = memoryLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, last)
	path = segmentPath(l, 1)
	return l, path, readFile(t, path)
}

// checkDamage fails the test unless a reader gets the records before bad and then
// the error that names it, again and again.
func checkDamage(t *testing.T, l *llog.Log, want llog.CorruptError, first, bad uint64) {
	t.Helper()
	r := newReader(t, l, first, nil)
	got, err := readOn(r, llog.MinRead)
	if !bytes.Equal(got, recs(first, bad-1)) {
		t.Fatalf("a reader got %v, want %d to %d", indexes(t, got), first, bad-1)
	}
	for range 2 {
		checkIs(t, err, llog.ErrCorrupt)
		var damage *llog.CorruptError
		if !errors.As(err, &damage) {
			t.Fatalf("%v is no CorruptError", err)
		}
		if damage.File != want.File || damage.Offset != want.Offset || damage.After != want.After || !damage.Repairable {
			t.Fatalf("got %+v, want file %s, offset %d, after %d", damage, want.File, want.Offset, want.After)
		}
		if want.Bytes != nil && !bytes.Equal(damage.Bytes, want.Bytes) {
			t.Fatalf("the bytes there are %x, not %x", want.Bytes, damage.Bytes)
		}
		_, err = r.Read(make([]byte, llog.MinRead))
	}
	check(t, r.Close())
}

// One bit flipped anywhere in the records: reader and appender say where, nobody
// gets a wrong record, nobody misses one without being told.
func TestFlippedFrames(t *testing.T) {
	const last = 4
	l, path, whole := segmentWith(t, last)
	starts := frameStarts(1, last)
	checkEqual(t, "size", int64(len(whole)), starts[last])
	for i := llog.SegmentHeader; i < len(whole); i++ {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			writeFile(t, path, b)
			k, found := slices.BinarySearch(starts, int64(i))
			if !found {
				k--
			}
			bad := uint64(k + 1)
			want := llog.CorruptError{File: path, Offset: starts[k], After: bad - 1, Bytes: b[starts[k]:min(starts[k]+64, int64(len(b)))]}
			checkDamage(t, l, want, 1, bad)
			checkAppenderRefuses(t, l, path, b, want)
			if bit == i%8 {
				checkTailRefuses(t, l, bad, want)
			}
		}
	}
	writeFile(t, path, whole)
	checkLog(t, l, upTo(1, last))
}

// checkAppenderRefuses fails the test unless no appender can be made, and the file
// is as it was.
func checkAppenderRefuses(t *testing.T, l *llog.Log, path string, content []byte, want llog.CorruptError) {
	t.Helper()
	_, err := l.NewAppender(llog.AppendOptions{})
	var damage *llog.CorruptError
	if !errors.As(err, &damage) || damage.File != want.File || damage.Offset != want.Offset || damage.After != want.After {
		t.Fatalf("NewAppender: %v, want damage in %s at %d after %d", err, want.File, want.Offset, want.After)
	}
	if !bytes.Equal(readFile(t, path), content) {
		t.Fatal("the refused appender changed the segment")
	}
}

// checkTailRefuses fails the test unless Tail gives what is behind the bad record,
// and not more.
func checkTailRefuses(t *testing.T, l *llog.Log, bad uint64, want llog.CorruptError) {
	t.Helper()
	last := current(t, l)
	good := int(last - bad)
	if last < bad {
		return // the counter cannot tell how many come behind
	}
	got, err := l.Tail(good)
	check(t, err)
	checkEqual(t, "tail", len(got), good)
	_, err = l.Tail(good + 1)
	var damage *llog.CorruptError
	if !errors.As(err, &damage) || damage.Offset != want.Offset || damage.After != want.After {
		t.Fatalf("Tail: %v, want damage at %d after %d", err, want.Offset, want.After)
	}
}

// Without a checkpoint, a bad frame before the last is still damage: a good one
// stands at the end. Only the last itself cannot be told from a torn tail.
func TestFlippedFramesUnvouched(t *testing.T) {
	const last = 4
	l, path, whole := segmentWith(t, last)
	whole = unvouch(whole)
	starts := frameStarts(1, last)
	for i := llog.SegmentHeader; i < len(whole); i++ {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		writeFile(t, path, b)
		k, found := slices.BinarySearch(starts, int64(i))
		if !found {
			k--
		}
		bad := uint64(k + 1)
		if bad < last {
			want := llog.CorruptError{File: path, Offset: starts[k], After: bad - 1}
			checkDamage(t, l, want, 1, bad)
			checkAppenderRefuses(t, l, path, b, want)
			_, err := l.Tail(1)
			checkIs(t, err, llog.ErrCorrupt)
			continue
		}
		checkLog(t, l, upTo(1, bad-1))
		a, err := l.NewAppender(llog.AppendOptions{})
		check(t, err)
		if torn := a.TornTail(); torn == nil || torn.After != bad-1 {
			t.Fatalf("torn is %+v", torn)
		}
		check(t, a.Close())
	}
}

// Damage in a later segment names the record before it, though that is in another
// file, and also to a reader that wanted only later ones.
func TestDamageInALaterSegment(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 4)
	fill(t, l, llog.AppendOptions{}, 5, 9)
	path := segmentPath(l, 4)
	b := readFile(t, path)
	starts := frameStarts(4, 9)
	b[starts[0]+20] ^= 1
	writeFile(t, path, b)
	checkDamage(t, l, llog.CorruptError{File: path, Offset: starts[0], After: 3}, 1, 4)
	b[starts[0]+20] ^= 1
	b[starts[2]+20] ^= 1 // the record 6
	writeFile(t, path, b)
	checkDamage(t, l, llog.CorruptError{File: path, Offset: starts[2], After: 5}, 1, 6)
	r := newReader(t, l, 8, nil)
	_, err := readOn(r, 64<<10)
	var damage *llog.CorruptError
	if !errors.As(err, &damage) || damage.After != 5 {
		t.Errorf("a reader from 8 on: %v", err)
	}
}

// A segment that lost its end is damaged if that end was vouched for.
func TestTruncatedSegment(t *testing.T) {
	const last = 4
	l, path, whole := segmentWith(t, last)
	starts := frameStarts(1, last)
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 5, 6) // which seals it
	sealed := readFile(t, path)
	for size := int64(llog.SegmentHeader); size < starts[last]; size++ {
		k, found := slices.BinarySearch(starts, size)
		if !found {
			k--
		}
		want := llog.CorruptError{File: path, Offset: starts[k], After: uint64(k)}
		writeFile(t, path, sealed[:size])
		checkDamage(t, l, want, 1, uint64(k+1))
	}
	removeSegments(t, l)
	for size := int64(llog.SegmentHeader); size < starts[last]; size++ {
		k, found := slices.BinarySearch(starts, size)
		if !found {
			k--
		}
		want := llog.CorruptError{File: path, Offset: starts[k], After: uint64(k)}
		writeFile(t, path, whole[:size]) // the last segment: vouched for, not sealed
		checkDamage(t, l, want, 1, uint64(k+1))
		checkAppenderRefuses(t, l, path, whole[:size], want)
	}
}

// Bits flipped in a segment's header are noticed by everybody, but for those that
// mean nothing.
func TestFlippedHeader(t *testing.T) {
	l, path, whole := segmentWith(t, 3)
	for i := range llog.CheckpointStart {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			writeFile(t, path, b)
			got, err := readOn(newReader(t, l, 0, nil), llog.MinRead)
			if i >= 60 { // reserved
				check(t, err)
				checkRange(t, got, 1, 3)
				continue
			}
			if len(got) > 0 {
				t.Fatalf("byte %d: a reader got %v", i, indexes(t, got))
			}
			_, appendErr := l.NewAppender(llog.AppendOptions{})
			_, tailErr := l.Tail(1)
			_, infoErr := l.Info()
			_, registerErr := l.Register(context.Background(), "", 0)
			for _, err := range []error{err, appendErr, tailErr, infoErr, registerErr} {
				if !errors.Is(err, llog.ErrCorrupt) && (!errors.Is(err, llog.ErrVersion) || i < 8 || i >= 12) {
					t.Fatalf("byte %d: %v", i, err)
				}
				checkSays(t, err, path)
			}
			if !bytes.Equal(readFile(t, path), b) {
				t.Fatalf("byte %d: somebody changed the segment", i)
			}
		}
	}
}

func TestShortHeader(t *testing.T) {
	l, path, whole := segmentWith(t, 3)
	for size := range llog.SegmentHeader {
		writeFile(t, path, whole[:size])
		_, err := readOn(newReader(t, l, 0, nil), llog.MinRead)
		checkIs(t, err, llog.ErrCorrupt)
		_, err = l.NewAppender(llog.AppendOptions{})
		checkIs(t, err, llog.ErrCorrupt)
		checkSays(t, err, path, "lcapcli llog repair")
	}
}

// The checkpoint only vouches: without it everything goes on, in the last segment
// and in those before.
func TestFlippedCheckpoint(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	opts := llog.AppendOptions{SegmentSize: 600}
	fill(t, l, opts, 1, 9)
	bases := segments(t, l)
	last := uint64(9)
	for _, base := range bases {
		path := segmentPath(l, base)
		for i := llog.CheckpointStart; i < llog.CheckpointStart+llog.CheckpointSize; i++ {
			b := readFile(t, path)
			b[i] ^= 1 << (i % 8)
			writeFile(t, path, b)
			checkLog(t, l, upTo(1, last))
			checkEqual(t, "current index", current(t, l), last)
			a, err := l.NewAppender(opts)
			check(t, err)
			if torn := a.TornTail(); torn != nil {
				t.Fatalf("torn: %+v", torn)
			}
			if i%8 == 0 {
				last++
				appendRange(t, a, last, last)
			}
			check(t, a.Close())
			if base != bases[len(bases)-1] {
				b[i] ^= 1 << (i % 8)
				writeFile(t, path, b)
			}
		}
	}
	checkLog(t, l, upTo(1, last))
}

// A follower crosses over segments although their checkpoints are unreadable.
func TestFollowWithoutCheckpoints(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 600}, 1, 20)
	for _, base := range segments(t, l) {
		b := readFile(t, segmentPath(l, base))
		b[llog.CheckpointStart] ^= 1
		writeFile(t, segmentPath(l, base), b)
	}
	r := newReader(t, l, 0, nil)
	for r.Next() <= 20 {
		next(t, r)
	}
	blocks(t, r)
	fill(t, l, llog.AppendOptions{SegmentSize: 600}, 21, 30)
	for r.Next() <= 30 {
		next(t, r)
	}
}

// A segment that others follow was sealed before they were made. One that says it
// was not is from another time than they are: what is missing cannot be known.
func TestUnsealedSegmentInTheMiddle(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 3)
	path := segmentPath(l, 1)
	unsealed := readFile(t, path)
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 4, 5)
	writeFile(t, path, unsealed)
	end := frameStarts(1, 3)[3]
	checkDamage(t, l, llog.CorruptError{File: path, Offset: end, After: 3}, 1, 4)
	repaired, err := l.Repair(context.Background())
	check(t, err)
	if len(repaired) != 1 || repaired[0] != (llog.Repaired{File: path, Records: 3}) {
		t.Errorf("repaired %+v", repaired)
	}
	checkLog(t, l, upTo(1, 5))
}

// Not one bit of the state may change without notice: it decides what is gone.
func TestFlippedState(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "audit")
	register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 5)
	r := newReader(t, l, 0, nil)
	path := filepath.Join(l.Dir(), "state")
	whole := readFile(t, path)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			check(t, os.Remove(path))
			writeFile(t, path, b)
			_, openErr := llog.Open(l.Dir())
			_, readErr := r.Read(make([]byte, llog.MinRead))
			clearErr := l.Clear(context.Background(), 1, 5)
			for _, err := range []error{openErr, readErr, clearErr} {
				if !errors.Is(err, llog.ErrCorrupt) && !errors.Is(err, llog.ErrVersion) {
					t.Fatalf("byte %d (%q), bit %d: %v", i, whole[i], bit, err)
				}
				checkSays(t, err, path)
			}
			if !bytes.Equal(readFile(t, path), b) {
				t.Fatalf("byte %d: somebody changed the state", i)
			}
		}
	}
	check(t, os.Remove(path))
	writeFile(t, path, whole)
	got, err := readOn(r, llog.MinRead)
	check(t, err)
	checkRange(t, got, 1, 5)
}

func TestTruncatedState(t *testing.T) {
	l := memoryLog(t)
	path := filepath.Join(l.Dir(), "state")
	whole := readFile(t, path)
	for size := range whole {
		writeFile(t, path, whole[:size])
		_, err := llog.Open(l.Dir())
		if !errors.Is(err, llog.ErrCorrupt) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		var damage *llog.CorruptError
		if !errors.As(err, &damage) || damage.File != path || damage.Repairable {
			t.Fatalf("%d bytes: %+v", size, damage)
		}
	}
	writeFile(t, path, append(whole, '\n'))
	if _, err := llog.Open(l.Dir()); !errors.Is(err, llog.ErrCorrupt) {
		t.Fatalf("with a byte more: %v", err)
	}
}

func TestForeignVersions(t *testing.T) {
	l, path, whole := segmentWith(t, 3)
	binary.LittleEndian.PutUint32(whole[8:], 2)
	writeFile(t, path, whole)
	_, readErr := readOn(newReader(t, l, 0, nil), llog.MinRead)
	_, appendErr := l.NewAppender(llog.AppendOptions{})
	_, repairErr := l.Repair(context.Background())
	_, infoErr := l.Info()
	for _, err := range []error{readErr, appendErr, repairErr, infoErr, l.Clear(context.Background(), 1, 1)} {
		checkIs(t, err, llog.ErrVersion)
		checkSays(t, err, path, "version: 2", "knows 1", "newer lcapd")
	}
	if !bytes.Equal(readFile(t, path), whole) {
		t.Error("somebody changed the segment")
	}
	state := filepath.Join(l.Dir(), "state")
	writeFile(t, state, bytes.Replace(readFile(t, state), []byte("lcapd-changelog 1 "), []byte("lcapd-changelog 2 "), 1))
	_, err := llog.Open(l.Dir())
	checkIs(t, err, llog.ErrVersion)
	checkSays(t, err, state, "version: 2", "knows 1")
}

// A segment that belongs elsewhere is refused, and stays so through a repair: its
// records are not those of this log.
func TestSegmentOfAnotherLog(t *testing.T) {
	other, _, _ := segmentWith(t, 5)
	for name, foreign := range map[string][]byte{
		"another log":   readFile(t, segmentPath(other, 1)),
		"another index": nil,
	} {
		t.Run(name, func(t *testing.T) {
			l := memoryLog(t)
			register(t, l, "")
			fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 2)
			if foreign == nil {
				foreign = readFile(t, segmentPath(l, 2))
			}
			path := segmentPath(l, 1)
			writeFile(t, path, foreign)
			_, readErr := readOn(newReader(t, l, 0, nil), llog.MinRead)
			_, repairErr := l.Repair(context.Background())
			for _, err := range []error{readErr, repairErr} {
				checkIs(t, err, llog.ErrCorrupt)
				checkSays(t, err, path, "restore the file")
			}
			if !bytes.Equal(readFile(t, path), foreign) {
				t.Error("the repair changed it")
			}
		})
	}
}

func TestOpenWhatIsNoLog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	writeFile(t, file, []byte("x"))
	crowded := t.TempDir()
	writeFile(t, filepath.Join(crowded, "00000000000000000001.seg"), []byte("x"))
	for name, path := range map[string]string{"missing": filepath.Join(dir, "missing"), "file": file, "empty": t.TempDir(), "no state": crowded} {
		t.Run(name, func(t *testing.T) {
			_, err := llog.Open(path)
			checkIs(t, err, llog.ErrNotALog)
			checkSays(t, err, path, "lcapcli llog create")
		})
	}
	noFile := t.TempDir()
	check(t, os.Mkdir(filepath.Join(noFile, "state"), 0o755))
	_, err := llog.Open(noFile)
	checkSays(t, err, filepath.Join(noFile, "state"), "directory")
}

// Another log in the place of the one that was opened is nobody's business but of
// those who open it anew.
func TestReplacedLog(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			id := register(t, l, "")
			a := newAppender(t, l, llog.AppendOptions{})
			appendRange(t, a, 1, 5)
			begun, idle := newReader(t, l, 0, nil), newReader(t, l, 0, nil)
			_, err := begun.Read(make([]byte, llog.MinRead))
			check(t, err)
			check(t, remove(l.Dir()))
			for range 2 {
				_, err = begun.Read(make([]byte, llog.MinRead))
				checkIs(t, err, llog.ErrNotALog)
			}
			successor := create(t, l.Dir())
			register(t, successor, "")
			fill(t, successor, llog.AppendOptions{}, 1, 2)

			buf := make([]byte, llog.MinRead)
			_, err1 := begun.Read(buf)
			_, err2 := idle.Read(buf)
			_, err3 := a.Append(context.Background(), rec(6))
			_, err4 := l.Register(context.Background(), "", 0)
			_, err5 := l.Tail(1)
			_, err6 := l.Info()
			_, err7 := l.NewReader(0, nil)
			_, err8 := l.NewAppender(llog.AppendOptions{})
			_, err9 := l.Repair(context.Background())
			_, err10 := l.CollectIdle(context.Background(), llog.DefaultIdleLimits, user(t, successor, 1).Touched)
			for i, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, l.Clear(context.Background(), id, 1), l.Deregister(context.Background(), id)} {
				if !errors.Is(err, llog.ErrReplaced) {
					t.Errorf("%d: %v", i+1, err)
				}
				checkSays(t, err, l.Dir(), "open it again")
			}
			checkLog(t, successor, upTo(1, 2))
			checkEqual(t, "cursor", user(t, successor, 1).Cleared, 0)
		})
	}
}

// What a crash in the middle of a replacement leaves behind harms nobody.
func TestLeftovers(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	for _, name := range []string{"state.tmp", llog.SegmentName(1) + ".tmp", llog.SegmentName(3) + ".tmp"} {
		writeFile(t, filepath.Join(l.Dir(), name), bytes.Repeat([]byte("left over "), 1000))
	}
	for _, name := range []string{"1.seg", "x.seg", ".seg", "00000000000000000000.seg", "00000000000000000002.segment", "99999999999999999999.seg", "+0000000000000000002.seg", "lost+found"} {
		writeFile(t, filepath.Join(l.Dir(), name), []byte("not ours"))
	}
	l = reopen(t, l)
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1})
	appendRange(t, a, 1, 4)
	checkLog(t, l, upTo(1, 4))
	clearTo(t, l, id, 2)
	checkLog(t, l, upTo(3, 4))
	if got := segments(t, l); !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("segments %v", got)
	}
	repaired, err := l.Repair(context.Background())
	checkIs(t, err, llog.ErrBusy)
	checkEqual(t, "repaired", len(repaired), 0)
}

// A segment file that is not there is missed by everybody who would read it, and
// by nobody else.
func TestMissingSegment(t *testing.T) {
	for _, tt := range []struct {
		name    string
		missing []uint64 // of the segments 1, 2, ... 6
		after   uint64   // the last record before it
		next    uint64   // the first one behind it
	}{
		{"first", []uint64{1}, 0, 2},
		{"first two", []uint64{1, 2}, 0, 3},
		{"in the middle", []uint64{3}, 2, 4},
		{"several", []uint64{2, 3, 4}, 1, 5},
		{"last but one", []uint64{5}, 4, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := memoryLog(t)
			id := register(t, l, "")
			fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 6)
			ahead := newReader(t, l, tt.next, nil)
			for _, base := range tt.missing {
				check(t, os.Remove(segmentPath(l, base)))
			}
			file := segmentPath(l, tt.missing[len(tt.missing)-1])
			checkDamage(t, l, llog.CorruptError{File: file, After: tt.after}, 1, tt.after+1)
			_, tailErr := l.Tail(6)
			_, infoErr := l.Info()
			for _, err := range []error{tailErr, infoErr} {
				checkIs(t, err, llog.ErrCorrupt)
				checkSays(t, err, file, "missing", fmt.Sprint("index ", tt.next), "lcapcli llog repair")
			}
			tail, err := l.Tail(int(6 - tt.next + 1))
			check(t, err)
			checkEqual(t, "first of the tail", tail[0].Index(), tt.next)
			got, err := readOn(ahead, llog.MinRead)
			check(t, err)
			checkRange(t, got, tt.next, 6)
			repaired, err := l.Repair(context.Background())
			check(t, err)
			if len(repaired) != 1 || repaired[0] != (llog.Repaired{File: segmentPath(l, tt.next), Records: 1}) {
				t.Errorf("repaired %+v", repaired)
			}
			left := append(upTo(1, tt.after), upTo(tt.next, 6)...)
			checkLog(t, l, left)
			fill(t, l, llog.AppendOptions{SegmentSize: 1}, 7, 8)
			checkLog(t, l, append(left, 7, 8))
			clearTo(t, l, id, 6)
			checkLog(t, l, upTo(7, 8))
		})
	}
}

// Nor is a segment forgiven of which only a part was purged.
func TestMissingSegmentPartlyPurged(t *testing.T) {
	l := memoryLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 4)
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 5, 6)
	clearTo(t, l, id, 2)
	check(t, os.Remove(segmentPath(l, 1)))
	_, infoErr := l.Info()
	_, tailErr := l.Tail(3)
	_, readErr := readOn(newReader(t, l, 0, nil), llog.MinRead)
	for _, err := range []error{infoErr, tailErr, readErr} {
		checkIs(t, err, llog.ErrCorrupt)
		checkSays(t, err, segmentPath(l, 1), "missing")
	}
	checkRange(t, readFrom(t, l, 5), 5, 6)
	clearTo(t, l, id, 4)
	checkLog(t, l, upTo(5, 6))
}

// Segments that were purged are not missing, even if only a part of the purge came
// to its end.
func TestPurgedSegmentsAreNotMissing(t *testing.T) {
	l := memoryLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 6)
	left := files(t, l)
	clearTo(t, l, id, 4)
	for _, base := range []uint64{2, 4} { // as if they had not been removed
		writeFile(t, segmentPath(l, base), []byte(left[segmentPath(l, base)]))
	}
	checkLog(t, l, upTo(5, 6))
	for start := range uint64(7) {
		checkRange(t, readFrom(t, l, start), max(start, 5), 6)
	}
	if repaired, err := l.Repair(context.Background()); err != nil || len(repaired) > 0 {
		t.Errorf("repaired %v, %v", repaired, err)
	}
}

// A segment that is listed but not there is missed, not passed over; nothing spins.
func TestVanishedSegment(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 3)
	path := segmentPath(l, 2)
	check(t, os.Rename(path, path+".elsewhere"))
	check(t, os.Symlink("nowhere", path)) // as a disk that is not mounted
	_, readErr := readOn(newReader(t, l, 0, nil), llog.MinRead)
	_, infoErr := l.Info()
	_, tailErr := l.Tail(3)
	for _, err := range []error{readErr, infoErr, tailErr} {
		checkIs(t, err, os.ErrNotExist)
		checkSays(t, err, path, "restore")
	}
	check(t, os.Rename(path+".elsewhere", path))
	checkLog(t, l, upTo(1, 3))
}

func TestCorruptErrorText(t *testing.T) {
	err := &llog.CorruptError{File: "/log/1.seg", Offset: 128, After: 7, What: "it is broken"}
	checkEqual(t, "text", err.Error(), "/log/1.seg: damaged at offset 128, after index 7: it is broken; restore the file from a backup")
	err.Repairable = true
	checkSays(t, err, "or run 'lcapcli llog repair DIR'")
	checkIs(t, fmt.Errorf("wrapped: %w", err), llog.ErrCorrupt)
}

package llog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// fuzzRecord returns a small record with the given index.
func fuzzRecord(index uint64) []byte {
	f := changelog.Fields{Type: changelog.TypeCreat, Index: index, Name: strings.Repeat("n", int(index%9)), Target: changelog.FID{Oid: uint32(index)}}
	b, err := f.Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// fuzzFrames returns the frames of the records from..to as they stand at off.
func fuzzFrames(off int64, from, to uint64) []byte {
	var b []byte
	for i := from; i <= to; i++ {
		b = appendFrame(b, off+int64(len(b)), fuzzRecord(i), i)
	}
	return b
}

func FuzzParseFrame(f *testing.F) {
	whole := fuzzFrames(1<<40, 1, 2)
	f.Add(whole, int64(1<<40))
	f.Add(whole, int64(128))
	f.Add(whole[:50], int64(1<<40))
	f.Add(whole[:3], int64(0))
	f.Add(bytes.Repeat([]byte{0xff}, 100), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, off int64) {
		rec, index, state := parseFrame(b, off)
		switch state {
		case frameWhole:
			if again := appendFrame(nil, off, bytes.Clone(rec), index); len(again) != len(rec)+frameOverhead {
				t.Fatalf("a frame of %d bytes around a record of %d", len(again), len(rec))
			}
			if len(rec) < changelog.HeaderSize || len(rec) > changelog.MaxRecordSize || len(b) < len(rec)+frameOverhead {
				t.Fatalf("a record of %d bytes in %d", len(rec), len(b))
			}
			if _, _, elsewhere := parseFrame(b, off+1); elsewhere == frameWhole {
				t.Fatal("the frame is valid where it was not written")
			}
			if _, _, cut := parseFrame(b[:len(rec)+frameOverhead-1], off); cut != frameShort {
				t.Fatal("the frame is whole without its last byte")
			}
		case frameShort, frameBad:
			if rec != nil || index != 0 {
				t.Fatalf("no frame, but record %x, index %d", rec, index)
			}
		}
	})
}

// Every frame comes back as it went in, and no other bytes with the same length
// and index do.
func FuzzFrameRoundTrip(f *testing.F) {
	f.Add(fuzzRecord(7), uint64(7), int64(128), uint(5), byte(1))
	f.Fuzz(func(t *testing.T, rec []byte, index uint64, off int64, at uint, change byte) {
		if len(rec) < changelog.HeaderSize || len(rec) > changelog.MaxRecordSize {
			return
		}
		want := bytes.Clone(rec)
		changelog.SetIndex(want, index)
		frame := appendFrame(nil, off, rec, index)
		got, gotIndex, state := parseFrame(frame, off)
		if state != frameWhole || gotIndex != index || !bytes.Equal(got, want) {
			t.Fatalf("got %v, index %d, %x", state, gotIndex, got)
		}
		frame[at%uint(len(frame))] ^= change
		if _, _, state := parseFrame(frame, off); change != 0 && state == frameWhole {
			t.Fatalf("byte %d changed, and nobody noticed", at%uint(len(frame)))
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	st := &state{MDT: "m", ID: newLogID(), Created: time.Unix(1, 2).UTC(), NextUser: 4, Purged: 7,
		Users: []User{{ID: 1, Cleared: 7, Touched: time.Unix(3, 4).UTC()}, {ID: 3, Name: "audit", Mask: 5, Cleared: 1 << 63}}}
	whole, err := st.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:40])
	f.Add([]byte(stateHead([]byte("{}")) + "\n{}"))
	f.Add([]byte(stateHead([]byte("null")) + "\nnull"))
	f.Add([]byte(stateHead([]byte(`{"id":"00"}`)) + "\n" + `{"id":"00"}`))
	f.Add([]byte("lcapd-changelog 2 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeState("somewhere/state", data)
		if err != nil {
			if got != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "somewhere/state") {
				t.Fatalf("got %v, %v", got, err)
			}
			return
		}
		again, err := got.encode()
		if err != nil {
			t.Fatal(err)
		}
		twice, err := decodeState("", again)
		if err != nil {
			t.Fatalf("what it encodes it does not decode: %v", err)
		}
		if got, _ := twice.encode(); !bytes.Equal(got, again) {
			t.Fatalf("%s became %s", again, got)
		}
	})
}

func FuzzDecodeCheckpoint(f *testing.F) {
	f.Add(checkpoint{end: 4711, records: 12, last: 1 << 60, sealed: true}.encode())
	f.Add(checkpoint{end: -1}.encode())
	f.Add(make([]byte, checkpointSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < checkpointSize {
			return
		}
		c, ok := decodeCheckpoint(b)
		if !ok {
			return
		}
		again, ok := decodeCheckpoint(c.encode())
		if !ok || again != c {
			t.Fatalf("%+v became %+v, %t", c, again, ok)
		}
	})
}

func FuzzParseUserID(f *testing.F) {
	for _, s := range []string{"cl1", "cl2-audit", "3", "", "cl", "cl0", "cl4294967296", "clcl1", "cl-1", "cl１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseUserID(s)
		if (err == nil) != (id != 0) {
			t.Fatalf("%q: %v, %v", s, id, err)
		}
		if err == nil {
			if again, err := ParseUserID(id.String()); again != id || err != nil {
				t.Fatalf("%q is %s, and that is %s, %v", s, id, again, err)
			}
		}
	})
}

// fuzzLog makes a log in memory, with one user.
func fuzzLog(f *testing.F) *Log {
	dir, err := os.MkdirTemp("/dev/shm", "llog-fuzz")
	if err != nil {
		dir = f.TempDir()
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := Create(filepath.Join(dir, "log"), "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	if _, err := l.Register(context.Background(), "", 0); err != nil {
		f.Fatal(err)
	}
	return l
}

// fuzzSegment gives the log one segment, with the given body and the checkpoint c,
// or one that cannot be read.
func fuzzSegment(t *testing.T, l *Log, body []byte, c *checkpoint) {
	bases, err := listSegments(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range bases {
		if err := os.Remove(filepath.Join(l.dir, segmentName(base))); err != nil {
			t.Fatal(err)
		}
	}
	data := make([]byte, segmentHeader)
	putSegmentHeader(data, l.id, 1, 0)
	if c != nil {
		copy(data[checkpointStart:], c.encode())
	}
	if err := os.WriteFile(filepath.Join(l.dir, segmentName(1)), append(data, body...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fuzzRead reads all there is. Every error but damage fails the test, and so does
// a reader that comes to no end.
func fuzzRead(t *testing.T, l *Log, size int) (got []byte, damaged bool) {
	r, err := l.NewReader(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	buf := make([]byte, size)
	for range 1 << 16 {
		n, err := r.Read(buf)
		got = append(got, buf[:n]...)
		switch {
		case err == io.EOF:
			return got, false
		case errors.Is(err, ErrCorrupt):
			return got, true
		case err != nil:
			t.Fatal(err)
		case n == 0:
			t.Fatal("read nothing, without an error")
		}
	}
	t.Fatal("there is no end")
	return nil, false
}

// wholeFrames returns the records of the frames that body begins with.
func wholeFrames(body []byte) (packed []byte) {
	for end := int64(segmentHeader); ; {
		rec, _, state := parseFrame(body[end-segmentHeader:], end)
		if state != frameWhole {
			return packed
		}
		end += int64(len(rec) + frameOverhead)
		packed = append(packed, rec...)
	}
}

// fuzzBody builds the body of a segment as the plan says: whole frames, which chance
// would never find, and worse. raw follows.
func fuzzBody(plan, raw []byte) []byte {
	var body []byte
	index := uint64(0)
	for _, step := range plan {
		index++
		if step%8 == 4 {
			index += uint64(step / 8) // a gap
		}
		frame := appendFrame(nil, segmentHeader+int64(len(body)), fuzzRecord(index), index)
		switch step % 8 {
		case 5:
			frame[int(step/8)%len(frame)] ^= 1
		case 6:
			frame = frame[:int(step)*len(frame)/256]
		case 7:
			frame = bytes.Repeat([]byte{step}, int(step/8))
		}
		body = append(body, frame...)
	}
	return append(body, raw...)
}

// Arbitrary bytes behind the header of a segment: reader, appender and repair come
// to an end, and nobody gets what was not written as a record.
func FuzzSegment(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, []byte{}, int64(300), uint64(4), true, uint16(0))
	f.Add([]byte{0, 1, 5, 0}, []byte{}, int64(0), uint64(0), false, uint16(100))
	f.Add([]byte{0, 12, 0, 6}, []byte("garbage"), int64(0), uint64(9), false, uint16(7))
	f.Add([]byte{0, 0x74, 0x75, 0x76, 0x77, 0}, []byte{}, int64(100), uint64(2), true, uint16(1000))
	f.Add([]byte{}, []byte{}, int64(-200), uint64(1)<<63, true, uint16(1))
	f.Add([]byte{}, bytes.Repeat([]byte{0}, 500), int64(1)<<62, uint64(3), true, uint16(2))
	l := fuzzLog(f)
	f.Fuzz(func(t *testing.T, plan, raw []byte, end int64, last uint64, vouch bool, size uint16) {
		if last > 1<<63 || len(plan) > 100 {
			return // no appender lets indexes come near the end
		}
		body := fuzzBody(plan, raw)
		var c *checkpoint
		if vouch {
			c = &checkpoint{end: segmentHeader + end, records: last, last: last, sealed: last%2 == 1}
		}
		fuzzSegment(t, l, body, c)
		want := wholeFrames(body)
		got, _ := fuzzRead(t, l, MinRead+int(size))
		if !bytes.Equal(got, want) {
			t.Fatalf("read %x, want %x", got, want)
		}
		if _, err := l.Info(); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if _, err := l.Tail(3); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		fuzzAppend(t, l, true)
		if _, err := l.Repair(context.Background()); err != nil {
			t.Fatal(err)
		}
		got, damaged := fuzzRead(t, l, MinRead+int(size))
		if damaged || !bytes.HasPrefix(got, want) && len(got) < len(want) {
			t.Fatalf("after the repair read %x, want %x and more; damaged: %t", got, want, damaged)
		}
		fuzzAppend(t, l, false)
	})
}

// fuzzAppend appends a record. If the log may be damaged the appender may refuse,
// but then it changes nothing.
func fuzzAppend(t *testing.T, l *Log, mayRefuse bool) {
	before, err := os.ReadFile(filepath.Join(l.dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	// Without the appender's goroutine, which would make the coverage a matter of chance.
	done, errs := l.CommitTogether(AppendOptions{Sync: SyncNever}, fuzzRecord(0))
	if errors.Is(errs[0], ErrCorrupt) && mayRefuse {
		after, err := os.ReadFile(filepath.Join(l.dir, segmentName(1)))
		if err != nil || !bytes.Equal(after, before) {
			t.Fatalf("the refused appender changed the segment, %v", err)
		}
		return
	}
	if errs[0] != nil || done[0].Records != 1 {
		t.Fatalf("%+v, %v", done, errs)
	}
	if got, damaged := fuzzRead(t, l, MinRead); damaged || !bytes.Contains(got, fuzzRecord(0)[16:]) {
		t.Fatalf("what was appended cannot be read, damaged: %t", damaged)
	}
}

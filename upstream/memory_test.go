package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/sourcetest"
)

func newMemory(t testing.TB) *upstream.Memory {
	m := upstream.NewMemory()
	t.Cleanup(func() { check(t, m.Close()) })
	return m
}

// readAll reads what there is from start on.
func readAll(t testing.TB, s upstream.Source, start uint64) []byte {
	t.Helper()
	r, err := s.Open(context.Background(), start)
	check(t, err)
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if errors.Is(err, io.EOF) {
			check(t, r.Close())
			return all
		}
		check(t, err)
		all = append(all, buf[:n]...)
	}
}

func TestMemoryNumbers(t *testing.T) {
	m := newMemory(t)
	ctx := context.Background()
	check(t, m.Append(ctx, sourcetest.Records(5, 7)))
	done, err := m.AppendNew(ctx, sourcetest.Records(1, 3))
	check(t, err)
	if done.Records != 3 || done.First != 8 || done.Last != 10 {
		t.Errorf("got %+v", done)
	}
	want := sourcetest.Records(5, 7)
	again := sourcetest.Records(1, 3)
	index := uint64(7)
	for rest := again; len(rest) > 0; {
		index++
		changelog.SetIndex(rest, index)
		r, behind, err := changelog.Next(rest)
		check(t, err)
		want, rest = append(want, r.Bytes()...), behind
	}
	if !bytes.Equal(readAll(t, m, 1), want) {
		t.Error("other records")
	}
}

func TestMemoryRefuses(t *testing.T) {
	m := newMemory(t)
	ctx := context.Background()
	check(t, m.Append(ctx, nil))
	check(t, m.Append(ctx, sourcetest.Records(1, 3)))
	if err := m.Append(ctx, sourcetest.Records(3, 4)); !errors.Is(err, changelog.ErrIndexOrder) {
		t.Errorf("the same index again: %v", err)
	}
	if err := m.Append(ctx, sourcetest.Records(4, 4)[:70]); !errors.Is(err, changelog.ErrTruncated) {
		t.Errorf("half a record: %v", err)
	}
	for _, junk := range [][]byte{{1}, sourcetest.Records(1, 1)[:20], append(sourcetest.Records(1, 1), 0)} {
		if _, err := m.AppendNew(ctx, junk); err == nil {
			t.Errorf("%d bytes of junk were taken", len(junk))
		}
	}
	if !bytes.Equal(readAll(t, m, 0), sourcetest.Records(1, 3)) {
		t.Error("what was refused is there")
	}
}

func TestMemoryCloses(t *testing.T) {
	m := upstream.NewMemory()
	ctx := context.Background()
	r, err := m.Open(ctx, 1)
	check(t, err)
	waited := make(chan error)
	go func() { waited <- r.Wait(ctx) }()
	check(t, m.Close())
	check(t, m.Close())
	if err := <-waited; !errors.Is(err, upstream.ErrClosed) {
		t.Errorf("the wait ended with %v", err)
	}
	_, openErr := m.Open(ctx, 1)
	for _, err := range []error{openErr, m.Clear(ctx, 1), m.Append(ctx, sourcetest.Records(1, 1))} {
		if !errors.Is(err, upstream.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	check(t, r.Close())
}

func TestShortBuffer(t *testing.T) {
	m := newMemory(t)
	c, err := upstream.NewCycle(sourcetest.Records(1, 1), 0)
	check(t, err)
	defer c.Close()
	for _, s := range []upstream.Source{m, c} {
		r, err := s.Open(context.Background(), 1)
		check(t, err)
		if _, err := r.Read(make([]byte, 100)); !errors.Is(err, io.ErrShortBuffer) {
			t.Errorf("the error is %v", err)
		}
		check(t, r.Close())
		if _, err := r.Read(make([]byte, 1<<16)); !errors.Is(err, upstream.ErrClosed) {
			t.Errorf("the error is %v", err)
		}
		if err := r.Wait(context.Background()); !errors.Is(err, upstream.ErrClosed) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestCycle(t *testing.T) {
	c, err := upstream.NewCycle(sourcetest.Records(1, 7), 1000)
	check(t, err)
	defer c.Close()
	all := readAll(t, c, 1)
	scan := changelog.NewScanner(all)
	scan.Ordered = true
	n := uint64(0)
	for scan.Scan() {
		n++
		r := scan.Record()
		if r.Index() != n || r.Target().Oid != uint32((n-1)%7+1) {
			t.Fatalf("record %d is\n%s", n, r.AppendLFS(nil))
		}
	}
	check(t, scan.Err())
	if n != 1000 {
		t.Errorf("%d records", n)
	}
	if rest := readAll(t, c, 500); !bytes.HasSuffix(all, rest) || bytes.Count(rest, nil) == 0 {
		t.Error("from 500 on come others")
	}
	check(t, c.Clear(context.Background(), 990))
	if rest := readAll(t, c, 1); !bytes.HasSuffix(all, rest) || len(rest) > 11*changelog.MaxRecordSize {
		t.Error("what was cleared is there")
	}
	if err := c.Clear(context.Background(), 1001); !errors.Is(err, llog.ErrBeyondEnd) || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("the error is %v", err)
	}
	if err := c.Append(context.Background(), sourcetest.Records(1001, 1001)); err == nil {
		t.Error("a cycle was appended to")
	}
	if _, err := c.AppendNew(context.Background(), sourcetest.Records(1, 1)); err == nil {
		t.Error("a cycle was appended to")
	}
}

func TestCycleWithoutEnd(t *testing.T) {
	c, err := upstream.NewCycle(sourcetest.Records(1, 7), 0)
	check(t, err)
	defer c.Close()
	check(t, c.Clear(context.Background(), 1e18))
	r, err := c.Open(context.Background(), 1)
	check(t, err)
	defer r.Close()
	buf := make([]byte, 64<<10)
	n, err := r.Read(buf)
	check(t, err)
	first, _, err := changelog.Next(buf[:n])
	check(t, err)
	if first.Index() != 1e18+1 {
		t.Errorf("the first index is %d", first.Index())
	}
	check(t, r.Wait(context.Background()))
	if end := readAll(t, c, math.MaxUint64-3); len(end) == 0 {
		t.Error("the last indexes are missing")
	}
}

func TestCycleEnds(t *testing.T) {
	c, err := upstream.NewCycle(sourcetest.Records(1, 1), 1)
	check(t, err)
	r, err := c.Open(context.Background(), 2)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	check(t, c.Close())
	if err := r.Wait(context.Background()); !errors.Is(err, upstream.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
	for _, junk := range [][]byte{nil, {1, 2}} {
		if _, err := upstream.NewCycle(junk, 1); err == nil {
			t.Errorf("%d bytes of junk are repeated", len(junk))
		}
	}
}

// A paced cycle shows records one after the other, with the time at which it showed them, to
// each reader the same.
func TestPacedCycle(t *testing.T) {
	const total = 25
	m, err := upstream.NewPacedCycle(sourcetest.Records(1, 7))
	check(t, err)
	t.Cleanup(func() { check(t, m.Close()) })
	ctx := context.Background()
	early, err := m.Open(ctx, 1)
	check(t, err)
	before := changelog.TimeOf(time.Now())
	check(t, m.Show(ctx, upstream.Pace{Rate: 1000, Records: total}))
	after := changelog.TimeOf(time.Now())
	late, err := m.Open(ctx, 10)
	check(t, err)
	for r, next := range map[upstream.Reader]uint64{early: 1, late: 10} {
		buf := make([]byte, changelog.MaxRecordSize)
		last := before
		for {
			check(t, r.Wait(ctx))
			n, err := r.Read(buf)
			check(t, err)
			for s := changelog.NewScanner(buf[:n]); s.Scan(); next++ {
				if rec := s.Record(); rec.Index() != next || rec.Time() < last || rec.Time() > after {
					t.Fatalf("got %d of %v, want %d of %v to %v", rec.Index(), rec.Time(), next, last, after)
				}
				last = s.Record().Time()
			}
			if next > total {
				break
			}
		}
		if _, err := r.Read(buf); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
		check(t, r.Close())
	}
	check(t, m.Clear(ctx, total))
}

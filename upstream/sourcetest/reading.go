package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

// bufferSize is what every source must be content with.
const bufferSize = 64 << 10

// open opens a reader that the end of the test closes.
func open(t testing.TB, s upstream.Source, start uint64) upstream.Reader {
	t.Helper()
	r, err := s.Open(within(t), start)
	check(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

// collect reads until it has the record with the index last, waiting for it.
func collect(ctx context.Context, r upstream.Reader, last uint64, size int) ([]byte, error) {
	var all []byte
	buf := make([]byte, size)
	for at := uint64(0); at < last; {
		n, err := r.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return all, err
		}
		all = append(all, buf[:n]...)
		if n > 0 {
			at = lastIndex(buf[:n])
			continue
		}
		if err := r.Wait(ctx); err != nil {
			return all, err
		}
	}
	return all, nil
}

// lastIndex returns the index of the last whole record.
func lastIndex(records []byte) uint64 {
	scan := changelog.NewScanner(records)
	for scan.Scan() {
		continue
	}
	if scan.Err() != nil || scan.Offset() == 0 {
		return 0
	}
	return scan.Last
}

// expect reads up to the last record of want and compares.
func expect(t testing.TB, r upstream.Reader, want []byte) {
	t.Helper()
	got, err := collect(within(t), r, lastIndex(want), bufferSize)
	check(t, err)
	same(t, got, want)
}

// same fails the test at the first record in which got and want differ.
func same(t testing.TB, got, want []byte) {
	t.Helper()
	for len(got) > 0 && len(want) > 0 {
		g, gotRest, err := changelog.Next(got)
		check(t, err)
		w, wantRest, err := changelog.Next(want)
		check(t, err)
		if !bytes.Equal(g.Bytes(), w.Bytes()) {
			t.Fatalf("got\n%swant\n%s", g.AppendLFS(nil), w.AppendLFS(nil))
		}
		got, want = gotRest, wantRest
	}
	if len(got) != len(want) {
		t.Fatalf("%d bytes of records too many, %d missing", len(got), len(want))
	}
}

// nothing fails the test unless the reader is at the end.
func nothing(t testing.TB, r upstream.Reader) {
	t.Helper()
	if n, err := some(within(t), r, make([]byte, bufferSize)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d bytes, error %v; want none and EOF", n, err)
	}
}

// some reads until the reader has something, or knows that it has nothing.
func some(ctx context.Context, r upstream.Reader, buf []byte) (int, error) {
	for {
		if n, err := r.Read(buf); n != 0 || err != nil {
			return n, err
		}
		if err := r.Wait(ctx); err != nil {
			return 0, err
		}
	}
}

// pause lets others run, for as long as something must not happen.
func pause(d time.Duration) { <-time.After(d) }

func goroutines() int {
	runtime.Gosched()
	return runtime.NumGoroutine()
}

// settles fails the test if goroutines remain that were not there before.
func settles(t testing.TB, before int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for goroutines() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", goroutines(), before, stacks[:runtime.Stack(stacks, true)])
		}
		pause(time.Millisecond)
	}
}

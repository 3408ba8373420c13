package sourcetest

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

func order(t *testing.T, h Harness) {
	r := open(t, h.Source, 1)
	nothing(t, r)
	want := Records(1, 2000)
	h.Append(t, Records(1, 700))
	h.Append(t, Records(701, 701))
	h.Append(t, Records(702, 2000))
	expect(t, r, want)
	nothing(t, r)
	expect(t, open(t, h.Source, 1), want)
}

// sizes: records are whole whatever the size of the buffer.
func sizes(t *testing.T, h Harness) {
	const last = 3000
	h.Append(t, Records(1, last))
	for _, size := range []int{bufferSize, bufferSize + 1, bufferSize + 997, 1 << 20} {
		r := open(t, h.Source, 1)
		got, err := collect(within(t), r, last, size)
		check(t, err)
		same(t, got, Records(1, last))
	}
}

func seek(t *testing.T, h Harness) {
	h.Append(t, Records(1, 500))
	h.Append(t, Records(501, 1000))
	for _, start := range []uint64{0, 1, 2, 499, 500, 501, 502, 777, 999, 1000} {
		expect(t, open(t, h.Source, start), Records(max(start, 1), 1000))
	}
}

// seekBeyond: a reader that starts above the last record waits for its start.
func seekBeyond(t *testing.T, h Harness) {
	h.Append(t, Records(1, 10))
	next, far := open(t, h.Source, 11), open(t, h.Source, 15)
	nothing(t, next)
	nothing(t, far)
	h.Append(t, Records(11, 20))
	expect(t, next, Records(11, 20))
	expect(t, far, Records(15, 20))
}

// holes: indexes that are missing are no reason to stop, nor to wait.
func holes(t *testing.T, h Harness) {
	want := slices.Concat(Records(3, 5), Records(9, 9), Records(1_000_000_007, 1_000_000_010))
	h.Append(t, slices.Concat(Records(3, 5), Records(9, 9)))
	h.Append(t, Records(1_000_000_007, 1_000_000_010))
	expect(t, open(t, h.Source, 0), want)
	expect(t, open(t, h.Source, 6), want[len(Records(3, 5)):])
	expect(t, open(t, h.Source, 10), Records(1_000_000_007, 1_000_000_010))
}

// follow: a reader that waits is woken by each record that comes.
func follow(t *testing.T, h Harness) {
	r := open(t, h.Source, 1)
	for i := uint64(1); i <= 50; i++ {
		got := collecting(t, r, i)
		if i%5 == 0 {
			pause(time.Millisecond) // as a rule it waits by now
		}
		h.Append(t, Records(i, i))
		same(t, <-got, Records(i, i))
	}
}

// collecting is collect in a goroutine, which ends when it has the record last, or
// with the test's patience.
func collecting(t testing.TB, r upstream.Reader, last uint64) <-chan []byte {
	done := make(chan []byte)
	ctx := within(t)
	go func() {
		defer close(done)
		got, err := collect(ctx, r, last, bufferSize)
		if err != nil {
			t.Errorf("while it waits for record %d: %v", last, err)
		}
		done <- got
	}()
	return done
}

// followMissesNothing: what comes between a read and the wait wakes too.
func followMissesNothing(t *testing.T, h Harness) {
	const last = 1000
	r := open(t, h.Source, 1)
	got := collecting(t, r, last)
	for i := uint64(1); i <= last; i++ {
		h.Append(t, Records(i, i))
	}
	same(t, <-got, Records(1, last))
}

// waitsWithoutPolling: nothing happens, so nobody wakes. Wait may return early for
// what was there before, but not again and again.
func waitsWithoutPolling(t *testing.T, h Harness) {
	h.Append(t, Records(1, 10))
	r := open(t, h.Source, 1)
	expect(t, r, Records(1, 10))
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	early := 0
	for ; r.Wait(ctx) == nil; early++ {
		nothing(t, r)
	}
	if early > cmp.Or(h.InVain, 10) {
		t.Errorf("Wait returned %d times though nothing happened", early)
	}
	h.Append(t, Records(11, 11))
	expect(t, r, Records(11, 11))
}

// reopen: readers cost nothing when they are closed.
func reopen(t *testing.T, h Harness) {
	const last = 200
	h.Append(t, Records(1, last))
	buf := make([]byte, bufferSize)
	for i := range cmp.Or(h.Reopens, 1000) {
		start := uint64(i%last) + 1
		r, err := h.Source.Open(context.Background(), start)
		check(t, err)
		n, err := some(within(t), r, buf)
		check(t, err)
		first, _, err := changelog.Next(buf[:n])
		check(t, err)
		if first.Index() != start {
			t.Fatalf("opening %d began at %d, not at %d", i, first.Index(), start)
		}
		if i%100 == 0 { // a subscription is given back too
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = r.Wait(ctx)
		}
		check(t, r.Close())
	}
}

// manyReaders: each reads everything from its place on, while the log grows.
func manyReaders(t *testing.T, h Harness) {
	const readers, last = 8, 2000
	h.Append(t, Records(1, last/2))
	var got [readers]<-chan []byte
	for i := range got {
		got[i] = collecting(t, open(t, h.Source, startOf(i)), last)
	}
	for i := uint64(last/2 + 1); i <= last; i += 10 {
		h.Append(t, Records(i, i+9))
	}
	for i := range got {
		same(t, <-got[i], Records(startOf(i), last))
	}
}

// startOf spreads readers over the log, some of them over what is not there yet.
func startOf(reader int) uint64 { return uint64(1 + reader*200) }

// broken: an error of the device ends a reader, not the source, and not before what was
// there is read.
func broken(t *testing.T, h Harness) {
	if h.Break == nil {
		return // this source does not fail
	}
	const last = 1000
	h.Append(t, Records(1, last))
	r, next := open(t, h.Source, 1), uint64(1)
	buf := make([]byte, bufferSize)
	n, err := some(within(t), r, buf)
	check(t, err)
	next = lastIndex(buf[:n]) + 1
	h.Break(t, syscall.EIO)
	for err == nil || errors.Is(err, io.EOF) {
		if n, err = some(within(t), r, buf); n > 0 {
			same(t, buf[:n], Records(next, lastIndex(buf[:n])))
			next = lastIndex(buf[:n]) + 1
		} else if errors.Is(err, io.EOF) {
			check(t, r.Wait(within(t)))
		}
	}
	for range 3 { // it stays so
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("a reader of a broken device: %v; want EIO", err)
		}
		_, err = some(within(t), r, buf)
	}
	h.Append(t, Records(last+1, last+10))
	expect(t, open(t, h.Source, next), Records(next, last+10))
}

package sourcetest

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

// clearAdvances: what the only user has cleared is gone for who opens next.
func clearAdvances(t *testing.T, h Harness) {
	h.Append(t, Records(1, 100))
	for _, to := range []uint64{1, 2, 50, 50, 99} { // the same again is fine
		check(t, h.Source.Clear(within(t), to))
		for _, start := range []uint64{0, 1, to, to + 1} {
			expect(t, open(t, h.Source, start), Records(to+1, 100))
		}
	}
}

// clearRefused: what an MDT refuses is refused with its errno, and changes nothing.
func clearRefused(t *testing.T, h Harness) {
	refused(t, h, 1, syscall.EINVAL) // there is nothing yet
	h.Append(t, Records(1, 100))
	check(t, h.Source.Clear(within(t), 50))
	refused(t, h, 101, syscall.EINVAL)
	refused(t, h, 1<<63, syscall.EINVAL)
	refused(t, h, 49, syscall.EINVAL, syscall.ENOENT) // by version
	refused(t, h, 0, syscall.EINVAL)                  // it would clear everything
	expect(t, open(t, h.Source, 1), Records(51, 100))
	check(t, h.Source.Clear(within(t), 51))
}

// clearIf: a clear that somebody has a doubt about is not done, and says which.
func clearIf(t *testing.T, h Harness) {
	h.Append(t, Records(1, 100))
	another := errors.New("another one")
	if err := h.Source.ClearIf(within(t), 50, func() error { return another }); !errors.Is(err, another) {
		t.Fatalf("cleared in spite of a doubt: %v", err)
	}
	expect(t, open(t, h.Source, 1), Records(1, 100))
	looked := 0
	check(t, h.Source.ClearIf(within(t), 50, func() error {
		looked++
		expect(t, open(t, h.Source, 1), Records(1, 100)) // who looks may read
		return nil
	}))
	if looked != 1 {
		t.Errorf("looked %d times", looked)
	}
	expect(t, open(t, h.Source, 1), Records(51, 100))
}

// refused clears an index and fails the test unless it is refused with one of the errnos.
func refused(t *testing.T, h Harness, index uint64, errnos ...syscall.Errno) {
	t.Helper()
	err := h.Source.Clear(within(t), index)
	for _, errno := range errnos {
		if errors.Is(err, errno) {
			return
		}
	}
	t.Fatalf("clear %d: %v; want one of %v", index, err, errnos)
}

func clearUnknownUser(t *testing.T, h Harness) {
	if h.Deregister == nil {
		return // this source has a user in any case
	}
	h.Append(t, Records(1, 3))
	h.Deregister(t)
	refused(t, h, 1, syscall.ENOENT)
}

// purgeUnderReader: a reader that stands in what is cleared goes on with what is left.
func purgeUnderReader(t *testing.T, h Harness) {
	h.Append(t, Records(1, 500))
	r := open(t, h.Source, 1)
	buf := make([]byte, bufferSize)
	n, err := some(within(t), r, buf)
	check(t, err)
	read := lastIndex(buf[:n])
	check(t, h.Source.Clear(within(t), 400))
	h.Append(t, Records(501, 3000))
	check(t, h.Source.Clear(within(t), 1500))
	got, err := collect(within(t), r, 3000, bufferSize)
	check(t, err)
	first, _, err := changelog.Next(got)
	check(t, err)
	if first.Index() <= read || !h.KeepsCleared && first.Index() <= 1500 {
		t.Errorf("after record %d came %d", read, first.Index())
	}
	if first.Index() > max(read, 1500)+1 {
		t.Errorf("after record %d came %d, though only those to 1500 are cleared", read, first.Index())
	}
	fetched := before(t, got, 1501)
	if len(fetched) > 0 {
		same(t, fetched, Records(first.Index(), lastIndex(fetched)))
	}
	same(t, got[len(fetched):], Records(max(first.Index(), 1501), 3000))
}

// before returns the records below an index that packed begins with.
func before(t *testing.T, packed []byte, index uint64) []byte {
	for rest := packed; len(rest) > 0; {
		r, after, err := changelog.Next(rest)
		check(t, err)
		if r.Index() >= index {
			return packed[:len(packed)-len(rest)]
		}
		rest = after
	}
	return packed
}

// purgeOfAll: indexes go on behind what is gone.
func purgeOfAll(t *testing.T, h Harness) {
	r := open(t, h.Source, 1)
	h.Append(t, Records(1, 100))
	expect(t, r, Records(1, 100))
	check(t, h.Source.Clear(within(t), 100))
	nothing(t, r)
	nothing(t, open(t, h.Source, 1))
	got := collecting(t, r, 101)
	pause(time.Millisecond)
	h.Append(t, Records(101, 101))
	same(t, <-got, Records(101, 101))
	expect(t, open(t, h.Source, 1), Records(101, 101))
}

// cancelled: who waits comes back with the reason, and can go on afterwards.
func cancelled(t *testing.T, h Harness) {
	h.Append(t, Records(1, 1))
	r := open(t, h.Source, 1)
	expect(t, r, Records(1, 1))
	why := errors.New("enough")
	for range 20 {
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Millisecond, why)
		err := waitOut(ctx, r)
		cancel()
		if !errors.Is(err, why) {
			t.Fatalf("Wait returned %v", err)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if other, err := h.Source.Open(ctx, 1); err == nil {
		check(t, other.Close()) // it may not need to wait for anything
	}
	h.Append(t, Records(2, 2))
	expect(t, r, Records(2, 2))
}

// waitOut waits until ctx ends, however often there is nothing to wake for.
func waitOut(ctx context.Context, r upstream.Reader) error {
	for {
		if err := r.Wait(ctx); err != nil {
			return err
		}
	}
}

func closeTwice(t *testing.T, h Harness) {
	h.Append(t, Records(1, 1))
	r, err := h.Source.Open(within(t), 1)
	check(t, err)
	check(t, r.Close())
	check(t, r.Close())
	if n, err := r.Read(make([]byte, bufferSize)); n != 0 || err == nil {
		t.Errorf("read %d bytes of a closed reader, error %v", n, err)
	}
	expect(t, open(t, h.Source, 1), Records(1, 1))
}

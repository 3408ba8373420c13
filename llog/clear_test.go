package llog_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/llog"
)

// The cases of ABI 9.2, row by row: 10 records, the user at 4, another one at 2.
func TestClearRules(t *testing.T) {
	const cursor, last = 4, 10
	for _, tt := range []struct {
		name       string
		user       llog.UserID
		index      uint64
		want       error // nil for success
		errno      error
		says       []string
		wantCursor uint64
		wantFirst  uint64
	}{
		{name: "beyond the end", user: 1, index: last + 1, want: llog.ErrBeyondEnd, errno: syscall.EINVAL, says: []string{"clear 11", "cl1", "the last one is 10"}},
		{name: "far beyond the end", user: 1, index: math.MaxUint64, want: llog.ErrBeyondEnd, errno: syscall.EINVAL, says: []string{"test-MDT0000"}},
		{name: "unknown user", user: 3, index: 5, want: llog.ErrUnknownUser, errno: syscall.ENOENT, says: []string{"cl3", "lcapcli llog users"}},
		{name: "unknown user, index beyond the end", user: 9, index: 50, want: llog.ErrUnknownUser, errno: syscall.ENOENT},
		{name: "user 0", user: 0, index: 5, want: llog.ErrUnknownUser, errno: syscall.ENOENT},
		{name: "backwards", user: 1, index: cursor - 1, want: llog.ErrBackwards, errno: syscall.EINVAL, says: []string{"clear 3", "cl1", "that is 4"}},
		{name: "backwards to the start", user: 1, index: 1, want: llog.ErrBackwards, errno: syscall.EINVAL},
		{name: "the same again", user: 1, index: cursor, wantCursor: cursor, wantFirst: 3},
		{name: "forward", user: 1, index: 7, wantCursor: 7, wantFirst: 3},
		{name: "to the end", user: 1, index: last, wantCursor: last, wantFirst: 3},
		{name: "the hindmost, behind the other", user: 2, index: 3, wantCursor: 3, wantFirst: 4},
		{name: "the hindmost, past the other", user: 2, index: 9, wantCursor: 9, wantFirst: 5},
		{name: "index 0", user: 1, index: 0, want: llog.ErrZeroIndex, errno: syscall.EINVAL, says: []string{"cl1", "--all"}},
		{name: "index 0, unknown user", user: 9, index: 0, want: llog.ErrZeroIndex, errno: syscall.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := memoryLog(t)
			register(t, l, "one")
			register(t, l, "two")
			fill(t, l, llog.AppendOptions{}, 1, last)
			clearTo(t, l, 1, cursor)
			clearTo(t, l, 2, 2)
			before, err := l.Info()
			check(t, err)
			err = l.Clear(context.Background(), tt.user, tt.index)
			if tt.want != nil {
				checkIs(t, err, tt.want, tt.errno)
				checkSays(t, err, tt.says...)
				after, err := l.Info()
				check(t, err)
				if !slices.Equal(after.Users, before.Users) || after.First != before.First {
					t.Errorf("it changed %+v to %+v", before, after)
				}
				return
			}
			check(t, err)
			checkEqual(t, "cursor", user(t, l, tt.user).Cleared, tt.wantCursor)
			checkEqual(t, "the other cursor", user(t, l, 3-tt.user).Cleared, []uint64{cursor, 2}[2-tt.user])
			checkLog(t, l, upTo(tt.wantFirst, last))
		})
	}
}

// Our errors of clear say no more than one thing each.
func TestClearErrorsDiffer(t *testing.T) {
	all := []error{llog.ErrUnknownUser, llog.ErrBeyondEnd, llog.ErrBackwards, llog.ErrZeroIndex, llog.ErrUserExists, llog.ErrUserName}
	errnos := []error{syscall.ENOENT, syscall.EINVAL, syscall.EINVAL, syscall.EINVAL, syscall.EEXIST, syscall.EINVAL}
	for i, err := range all {
		wrapped := fmt.Errorf("somewhere: %w", err)
		checkIs(t, wrapped, err, errnos[i])
		for j, other := range all {
			if i != j && errors.Is(wrapped, other) {
				t.Errorf("%v is also %v", err, other)
			}
		}
		for _, other := range []error{syscall.ENOENT, syscall.EINVAL, syscall.EEXIST, syscall.EIO} {
			if other != errnos[i] && errors.Is(wrapped, other) {
				t.Errorf("%v is also %v", err, other)
			}
		}
	}
}

func TestClearAll(t *testing.T) {
	l := newLog(t)
	one, two := register(t, l, ""), register(t, l, "")
	clearAll := func(id llog.UserID, want uint64) {
		t.Helper()
		got, err := l.ClearAll(context.Background(), id)
		check(t, err)
		checkEqual(t, "cleared up to", got, want)
		checkEqual(t, "cursor", user(t, l, id).Cleared, want)
	}
	clearAll(one, 0)
	fill(t, l, llog.AppendOptions{}, 1, 5)
	clearAll(one, 5)
	checkLog(t, l, upTo(1, 5)) // the other user holds them
	clearTo(t, l, two, 2)
	checkLog(t, l, upTo(3, 5))
	clearAll(two, 5)
	checkLog(t, l, nil)
	clearAll(two, 5)
	_, err := l.ClearAll(context.Background(), 9)
	checkIs(t, err, llog.ErrUnknownUser, syscall.ENOENT)
}

func TestClearInEmptyLog(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	checkIs(t, l.Clear(context.Background(), id, 1), llog.ErrBeyondEnd)
}

// An index in a gap is cleared like any other; it need not have a record.
func TestClearInAGap(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1})
	for _, i := range []uint64{10, 20, 30} {
		appendRange(t, a, i, i)
	}
	for _, step := range []struct {
		index uint64
		left  []uint64
	}{{1, []uint64{10, 20, 30}}, {9, []uint64{10, 20, 30}}, {10, []uint64{20, 30}}, {15, []uint64{20, 30}}, {19, []uint64{20, 30}}, {25, []uint64{30}}, {30, nil}} {
		clearTo(t, l, id, step.index)
		checkLog(t, l, step.left)
		checkEqual(t, "current index", current(t, l), 30)
	}
}

// An equal clear shows that the user is alive (ABI 9.2); reading does not count.
func TestClearRefreshesTheIdleClock(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 3)
	touched := user(t, l, id).Touched
	step := func(what string, refreshes bool, do func() error) {
		t.Helper()
		time.Sleep(2 * time.Millisecond)
		check(t, do())
		now := user(t, l, id).Touched
		if now.After(touched) != refreshes || now.After(time.Now()) {
			t.Errorf("%s: touched at %v, before at %v", what, now, touched)
		}
		touched = now
	}
	step("clear", true, func() error { return l.Clear(context.Background(), id, 2) })
	step("equal clear", true, func() error { return l.Clear(context.Background(), id, 2) })
	step("clear of all", true, func() error { _, err := l.ClearAll(context.Background(), id); return err })
	step("reading", false, func() error { readFrom(t, l, 0); return nil })
	step("another user's clear", false, func() error {
		u, err := l.Register(context.Background(), "", 0)
		check(t, err)
		return l.Clear(context.Background(), u.ID, 3)
	})
}

// Space is freed in whole segments; the last one stays.
func TestClearFreesSegments(t *testing.T) {
	l := memoryLog(t)
	id := register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{SegmentSize: 1000})
	appendRange(t, a, 1, 50)
	bases := segments(t, l)
	if len(bases) < 4 {
		t.Fatalf("only %v", bases)
	}
	for i := uint64(1); i <= 50; i++ {
		clearTo(t, l, id, i)
		var want []uint64 // a segment goes when the record before the next one's first is cleared
		for j, base := range bases {
			if j == len(bases)-1 || bases[j+1]-1 > i {
				want = append(want, base)
			}
		}
		if got := segments(t, l); !slices.Equal(got, want) {
			t.Fatalf("cleared %d: segments %v, want %v of %v", i, got, want, bases)
		}
		checkLog(t, l, upTo(i+1, 50))
	}
}

// What a crash kept from being freed is freed by the next change of any kind.
func TestFreeingIsTakenUpAgain(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 5)
	left := readFile(t, segmentPath(l, 2))
	clearTo(t, l, id, 4)
	writeFile(t, segmentPath(l, 2), left) // as if it had not been removed
	checkLog(t, l, upTo(5, 5))
	if got := readFrom(t, l, 2); len(got) != len(rec(5)) {
		t.Errorf("a reader got %v", indexes(t, got))
	}
	register(t, l, "")
	if got := segments(t, l); !slices.Equal(got, []uint64{5}) {
		t.Errorf("segments %v", got)
	}
}

// Nothing that any user has not cleared is ever gone, nothing else is ever there.
func TestClearRespectsAllUsers(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 4))
		l := memoryLog(t)
		cursors := make([]uint64, 4)
		for range cursors {
			register(t, l, "")
		}
		const last = 40
		fill(t, l, llog.AppendOptions{SegmentSize: 1 + rng.Int64N(1000)}, 1, last)
		for range 60 {
			u := rng.IntN(len(cursors))
			cursors[u] += rng.Uint64N(min(8, last-cursors[u]+1))
			if cursors[u] == 0 {
				continue
			}
			clearTo(t, l, llog.UserID(u+1), cursors[u])
			checkLog(t, l, upTo(slices.Min(cursors)+1, last))
		}
	}
}

// Whatever happened to the records, indexes go on.
func TestIndexesGoOn(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	last := uint64(0)
	for round, size := range []int64{1, 1 << 20, 500, 1 << 20, 1} {
		a, err := l.NewAppender(llog.AppendOptions{SegmentSize: size})
		check(t, err)
		got, err := a.AppendNew(context.Background(), recs(1, 5))
		check(t, err)
		checkEqual(t, "first index", got.First, last+1)
		last = got.Last
		_, err = a.Append(context.Background(), rec(last))
		checkSays(t, err, fmt.Sprint("follows index ", last))
		if round%2 == 0 {
			check(t, a.Close())
		}
		_, err = l.ClearAll(context.Background(), id)
		check(t, err)
		deregister(t, l, id)
		if round%2 == 1 {
			check(t, a.Close())
		}
		l = reopen(t, l)
		checkEqual(t, "current index", current(t, l), last)
		id = register(t, l, "")
		checkEqual(t, "cursor", user(t, l, id).Cleared, last)
	}
}

// Even with every segment file gone, the cursors keep indexes from coming twice.
func TestIndexesGoOnWithoutSegments(t *testing.T) {
	l := newLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1, 9)
	clearTo(t, l, id, 9)
	removeSegments(t, l)
	checkEqual(t, "current index", current(t, l), 9)
	deregister(t, l, id) // the state knows it without the cursor too
	checkEqual(t, "current index", current(t, reopen(t, l)), 9)
	register(t, l, "")
	got, err := newAppender(t, l, llog.AppendOptions{}).AppendNew(context.Background(), rec(0))
	check(t, err)
	checkEqual(t, "next index", got.First, 10)
}

package llog_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/llog"
)

const day = 24 * time.Hour

func TestDefaultIdleLimits(t *testing.T) {
	want := llog.IdleLimits{MaxIdle: 2592000 * time.Second, MaxIndexes: 2097446912, Interval: 3600 * time.Second}
	checkEqual(t, "limits (ABI 10.4)", llog.DefaultIdleLimits, want)
}

// Who is too idle (ABI 10.4): by time, by indexes, or by their product.
func TestCollectIdle(t *testing.T) {
	const maxIndexes = 2097446912
	for _, tt := range []struct {
		name   string
		behind uint64
		idle   time.Duration
		want   bool
	}{
		{"fresh", 1, 0, false},
		{"30 days", 1, 30 * day, false},
		{"over 30 days", 1, 30*day + time.Minute, true},
		{"nothing outstanding", 0, 1000 * day, false},
		{"many behind", maxIndexes, 0, false},
		{"too many behind", maxIndexes + 1, 0, true},
		{"product: 430 M behind, 10 days", 430e6, 10 * day, true},
		{"product: 429 M behind, 10 days", 429e6, 10 * day, false},
		{"product: just 2^32 for a day", 1 << 31, day, true}, // over the indexes, to be sure
		{"product: 2^30 behind, 4 days", 1 << 30, 4 * day, false},
		{"product: 2^30 behind, over 4 days", 1 << 30, 4*day + time.Minute, true},
		{"clock gone backwards", 1000, -1000 * day, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := memoryLog(t)
			id := register(t, l, "")
			fill(t, l, llog.AppendOptions{}, 1, 1)
			if tt.behind > 1 {
				fill(t, l, llog.AppendOptions{}, tt.behind+1, tt.behind+1)
				clearTo(t, l, id, 1)
			} else if tt.behind == 0 {
				clearTo(t, l, id, 1)
			}
			u := user(t, l, id)
			got, err := l.CollectIdle(context.Background(), llog.DefaultIdleLimits, u.Touched.Add(tt.idle))
			check(t, err)
			if tt.want && !slices.Equal(got, []llog.User{u}) || !tt.want && len(got) > 0 {
				t.Fatalf("collected %v, want %t", got, tt.want)
			}
			info, err := l.Info()
			check(t, err)
			checkEqual(t, "users left", len(info.Users) == 0, tt.want)
		})
	}
}

// The product is reckoned in full, though it goes beyond 64 bits.
func TestCollectIdleByAHugeProduct(t *testing.T) {
	l := memoryLog(t)
	id := register(t, l, "")
	fill(t, l, llog.AppendOptions{}, 1<<40, 1<<40)
	limits := llog.IdleLimits{MaxIdle: 1000 * day, MaxIndexes: 1 << 50}
	got, err := l.CollectIdle(context.Background(), limits, user(t, l, id).Touched.Add(1<<24*time.Second))
	check(t, err)
	checkEqual(t, "collected", len(got), 1)
}

// Collecting frees what only the idle users held, the hindmost user first.
func TestCollectIdlePurges(t *testing.T) {
	l := memoryLog(t)
	ids := []llog.UserID{register(t, l, "a"), register(t, l, "b"), register(t, l, "c"), register(t, l, "d")}
	fill(t, l, llog.AppendOptions{SegmentSize: 1}, 1, 10)
	clearTo(t, l, ids[0], 5)
	clearTo(t, l, ids[1], 2)
	clearTo(t, l, ids[2], 10)
	clearTo(t, l, ids[3], 7)
	limits := llog.IdleLimits{MaxIdle: time.Hour, MaxIndexes: 4}
	got, err := l.CollectIdle(context.Background(), limits, time.Now())
	check(t, err)
	if len(got) != 2 || got[0].Name != "b" || got[1].Name != "a" {
		t.Fatalf("collected %v", got)
	}
	checkLog(t, l, upTo(8, 10))
	checkEqual(t, "first segment", segments(t, l)[0], 8)
	got, err = l.CollectIdle(context.Background(), limits, time.Now().Add(2*time.Hour))
	check(t, err)
	if len(got) != 1 || got[0].Name != "d" {
		t.Fatalf("collected %v", got)
	}
	checkLog(t, l, nil)
}

// An appender looks with its first append, and then at most once per interval.
func TestAppenderCollectsIdle(t *testing.T) {
	l := newLog(t)
	slow, quick := register(t, l, "slow"), register(t, l, "quick")
	fill(t, l, llog.AppendOptions{}, 1, 5)
	clearTo(t, l, quick, 5)
	limits := llog.IdleLimits{MaxIdle: time.Hour, MaxIndexes: 5, Interval: time.Hour}
	a := newAppender(t, l, llog.AppendOptions{Idle: &limits})
	got, err := a.Append(context.Background(), rec(6))
	check(t, err)
	if len(got.Collected) != 1 || got.Collected[0].ID != slow || got.CollectErr != nil {
		t.Fatalf("collected %v, %v", got.Collected, got.CollectErr)
	}
	checkLog(t, l, upTo(6, 6))
	got, err = a.Append(context.Background(), recs(7, 20)) // now quick is too far behind
	check(t, err)
	if len(got.Collected) != 0 || got.CollectErr != nil {
		t.Fatalf("collected again within the interval: %v, %v", got.Collected, got.CollectErr)
	}
	checkEqual(t, "cursor", user(t, l, quick).Cleared, 5)
}

// The last user may be collected too; then there is nobody to append for.
func TestAppenderCollectsTheLastUser(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{Idle: &llog.IdleLimits{MaxIdle: time.Hour, MaxIndexes: 2}})
	appendRange(t, a, 1, 2)
	got, err := a.Append(context.Background(), rec(3))
	check(t, err)
	checkEqual(t, "stored", got.Records, 1)
	checkEqual(t, "collected", len(got.Collected), 1)
	_, err = a.Append(context.Background(), rec(4))
	checkIs(t, err, llog.ErrNoUsers)
}

// A process that holds the state lock, stopped maybe, does not hold up appends.
func TestCollectIdleDoesNotHoldUpAppends(t *testing.T) {
	l := newLog(t)
	register(t, l, "slow")
	fill(t, l, llog.AppendOptions{}, 1, 2)
	a := newAppender(t, l, llog.AppendOptions{Idle: &llog.IdleLimits{MaxIdle: time.Hour, MaxIndexes: 1, Interval: time.Hour}})
	lock := lockState(t, l)
	appends := func(from, to uint64) llog.Appended {
		t.Helper()
		got, err := a.Append(within(t), recs(from, to))
		check(t, err)
		check(t, got.CollectErr)
		return got
	}
	for i := uint64(3); i < 7; i++ {
		checkEqual(t, "collected", len(appends(i, i).Collected), 0)
	}
	check(t, lock.Close())
	checkEqual(t, "collected once the lock is free", len(appends(7, 7).Collected), 1)
}

// That users could not be collected is told, but is no failure of the append.
func TestCollectErr(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	a := newAppender(t, l, llog.AppendOptions{Idle: &llog.IdleLimits{MaxIdle: time.Hour, MaxIndexes: 1}})
	appendRange(t, a, 1, 1)
	check(t, os.Mkdir(filepath.Join(l.Dir(), "state.tmp"), 0o755)) // where the new state would be written
	got, err := a.Append(context.Background(), recs(2, 4))
	check(t, err)
	checkEqual(t, "stored", got.Records, 3)
	checkIs(t, got.CollectErr, unix.EISDIR)
	checkSays(t, got.CollectErr, "state.tmp")
	check(t, os.Remove(filepath.Join(l.Dir(), "state.tmp")))
	got, err = a.Append(context.Background(), rec(5))
	check(t, err)
	checkEqual(t, "collected", len(got.Collected), 1)
}

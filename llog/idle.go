package llog

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
	"time"
)

// IdleLimits say when an MDT takes a user for dead and removes it (ABI 10.4).
type IdleLimits struct {
	// MaxIdle is the longest time between clears.
	MaxIdle time.Duration
	// MaxIndexes is how many indexes a user may be behind.
	MaxIndexes uint64
	// Interval is the shortest time between two looks.
	Interval time.Duration
}

// DefaultIdleLimits are the defaults of an MDT.
var DefaultIdleLimits = IdleLimits{MaxIdle: 30 * 24 * time.Hour, MaxIndexes: 2097446912, Interval: time.Hour}

// exceeded tells whether u is too idle at now, when the last index is last. A
// user who has cleared everything never is.
func (l IdleLimits) exceeded(u User, last uint64, now time.Time) bool {
	if u.Cleared >= last {
		return false
	}
	behind := last - u.Cleared
	idle := now.Sub(u.Touched)
	// Both together count too: seconds times indexes above a day times 2^32.
	hi, lo := bits.Mul64(behind, uint64(max(idle, 0)/time.Second))
	return behind > l.MaxIndexes || idle > l.MaxIdle || hi > 0 || lo > 86400<<32
}

// CollectIdle removes the users that exceed limits, that with the smallest cursor
// first, as an MDT does, and returns them.
func (l *Log) CollectIdle(ctx context.Context, limits IdleLimits, now time.Time) ([]User, error) {
	idle := false
	err := l.look(func(st *state, bases []uint64) error {
		last, err := l.last(st, bases)
		idle = slices.ContainsFunc(st.Users, func(u User) bool { return limits.exceeded(u, last, now) })
		return err
	})
	if err != nil || !idle {
		return nil, err // the usual case changes nothing and takes no lock
	}
	var collected []User
	err = l.update(ctx, func(st *state, last uint64) error {
		for _, u := range slices.Clone(st.Users) {
			if limits.exceeded(u, last, now) {
				collected = append(collected, u)
			}
		}
		slices.SortFunc(collected, func(a, b User) int { return cmp.Compare(a.Cleared, b.Cleared) })
		for _, u := range collected {
			if err := st.remove(u.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return collected, err
}

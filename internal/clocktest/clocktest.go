// Package clocktest gives tests the times that a program sees when somebody sets the clock
// while it runs. The wall clock of a machine belongs to everybody, so tests cannot set it.
package clocktest

import (
	"fmt"
	"time"
	"unsafe"
)

// The parts of the first word of a [time.Time] that has a monotonic reading: a bit that says so,
// 33 bits of seconds and 30 of nanoseconds of the wall clock.
const (
	hasMonotonic = 1 << 63
	secondShift  = 30
	secondMask   = 1<<33 - 1
)

// Set is a time that [time.Now] returned, or one reckoned from it, as it would be had the wall clock
// been set ahead by whole seconds before, or back: its monotonic reading is the same. It
// panics where time.Time is made in another way, or the time has no monotonic reading.
func Set(t time.Time, ahead time.Duration) time.Time {
	moved := t
	word := (*uint64)(unsafe.Pointer(&moved))
	if *word&hasMonotonic == 0 {
		panic(fmt.Sprintf("%v has no monotonic reading", t))
	}
	seconds := int64(*word>>secondShift&secondMask) + int64(ahead/time.Second)
	*word = *word&^(secondMask<<secondShift) | uint64(seconds)&secondMask<<secondShift
	if moved.Sub(t) != 0 || moved.Round(0).Sub(t.Round(0)) != ahead.Truncate(time.Second) {
		panic("time.Time is made in another way by now")
	}
	return moved
}

package core

import (
	"testing"
	"time"
)

// An orderly end stops the hand-out, but a group that no operator has paused is not called paused.
func TestDrainIsNoPause(t *testing.T) {
	c := newClocked(t, Limits{}, func(now time.Time) time.Time { return now })
	isPaused := func() bool { return c.Snapshot().Groups[0].Paused }
	if c.Drain(); isPaused() {
		t.Error("a group is called paused as lcapd ends")
	}
	if err := c.Do(PauseGroup{Group: "g", Paused: true}); err != nil || !isPaused() {
		t.Errorf("an operator has paused the group, and it is called so: %v, %v", isPaused(), err)
	}
}

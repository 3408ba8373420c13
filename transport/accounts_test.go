package transport

import (
	"errors"
	"testing"
)

func TestRoom(t *testing.T) {
	r := room{maxMessages: 3, maxBytes: 100}
	take := func(size int, want error) {
		t.Helper()
		if err := r.take(size); !errors.Is(err, want) {
			t.Errorf("take %d: %v", size, err)
		}
	}
	take(1000, nil) // larger than all, but alone
	take(1, ErrFull)
	r.give(1000)
	take(60, nil)
	take(41, ErrFull)
	take(40, nil)
	take(0, nil)
	take(0, ErrFull) // three messages
	if n, bytes := r.load(); n != 3 || bytes != 100 {
		t.Errorf("%d messages of %d bytes", n, bytes)
	}
	r.give(40)
	if left := r.close(); left != 2 {
		t.Errorf("%d messages are left", left)
	}
	take(0, ErrClosed)
	r.give(60)
	r.give(0)
	take(0, ErrClosed)
	if n, bytes := r.load(); n != 0 || bytes != 0 {
		t.Errorf("%d messages of %d bytes", n, bytes)
	}
}

func TestBudget(t *testing.T) {
	b := &budget{max: 10}
	if !b.take(10) || b.take(1) {
		t.Error("the limit does not hold")
	}
	b.give(1)
	if !b.take(1) {
		t.Error("what is given back cannot be taken")
	}
	var none *budget
	if !none.take(1 << 40) {
		t.Error("no budget is a limit")
	}
	none.give(1)
}

package groups

import (
	"errors"
	"fmt"
	"time"
)

// MDT is the broker's number for an MDT.
type MDT uint32

// MemberID is one connection of a member. It is never used again.
type MemberID uint64

// LeaseID is one hand-out to a member. It is never used again by its group.
type LeaseID uint64

// Distribution says how a group's records are shared out among its members.
type Distribution uint8

// The distributions; docs/ordering-and-acks.md says what order each keeps.
const (
	RoundRobin Distribution = iota
	ByMDT
	ByFID
)

var distributionNames = []string{"round-robin", "mdt", "fid"}

// String returns the name that configuration and command line use.
func (d Distribution) String() string {
	if int(d) < len(distributionNames) {
		return distributionNames[d]
	}
	return fmt.Sprintf("Distribution(%d)", d)
}

// Config is what a group is. It does not change while the group has members.
type Config struct {
	Name         string
	Distribution Distribution
	// InFlight is how many bytes of handed-out records the frontier may lead the mark by.
	InFlight int64
	// Lease is after how long without a sign of life a member is given up.
	Lease time.Duration
	// AckTimeout, if not 0, is how long a lease may make no progress.
	AckTimeout time.Duration
	// MaxDeliveries, if not 0, is how often a range is delivered before it pauses its keys.
	MaxDeliveries int
}

// Piece describes the batch that covers a place, without its records.
type Piece struct {
	From, To uint64 // the range (From, To]
	Bytes    int64  // of packed records
	// Slots are those that have records in the batch; nil stands for all.
	Slots *Slots
	// Pairs are the barrier records in the batch, by index.
	Pairs []Pair
}

// Pair is a record with two keys: a barrier for both.
type Pair struct {
	Index       uint64
	Home, Other Slot
}

// Delivery is one hand-out: the records of a batch within (From, To] whose home
// slot is in Slots go to Member.
type Delivery struct {
	Member   MemberID
	Lease    LeaseID
	MDT      MDT
	From, To uint64
	Slots    *Slots // nil stands for all
	Count    int    // 1 for the first delivery since the group was loaded
}

// Blocked says what a stream waits for.
type Blocked uint8

// What a stream can wait for.
const (
	Ready        Blocked = iota // nothing: it can hand out
	NoMember                    // nobody serves it
	NoCredit                    // its owner, or every member, has no credit
	Draining                    // its keys move: the old owner must acknowledge first
	Barrier                     // a record with two keys: the other lane must acknowledge first
	InFlight                    // the group has handed out as much as it may ahead of its mark
	Paused                      // an operator paused the group
	Poisoned                    // records were delivered max_deliveries times
	Delayed                     // a nack asked for a delay
	NeedsCeiling                // the hand-out ceiling on disk is too low
	Empty                       // a pool has no returned range
)

var blockedNames = []string{"ready", "no member", "no credit", "draining", "barrier", "in flight", "paused", "poisoned", "delayed", "ceiling", "empty"}

// String returns the word that operators see.
func (b Blocked) String() string { return blockedNames[b] }

// Errors that a member is told.
var (
	// ErrLeaseLost: the lease ended: it was acknowledged, given back, or lost.
	ErrLeaseLost = errors.New("lease-lost")
	// ErrNameInUse: another session is a member under that name.
	ErrNameInUse = errors.New("name-in-use")
	// ErrUnknownMember: no such member.
	ErrUnknownMember = errors.New("unknown member")
	// ErrUnknownMDT: the group has no track there.
	ErrUnknownMDT = errors.New("unknown MDT")
)

// tries remembers how often the ranges ahead of a cursor were delivered already:
// ascending ends, each with a count that holds from the end before it.
type tries []try

type try struct {
	to uint64
	n  int
}

// at returns how often what follows cursor was delivered, and up to where that
// holds; 0 and no end for new records.
func (t tries) at(cursor uint64) (n int, to uint64) {
	for _, x := range t {
		if x.to > cursor {
			return x.n, x.to
		}
	}
	return 0, ^uint64(0)
}

// after drops what lies at or below cursor.
func (t tries) after(cursor uint64) tries {
	for len(t) > 0 && t[0].to <= cursor {
		t = t[1:]
	}
	return t
}

// before returns a copy of what lies at or below end.
func (t tries) before(end uint64) tries {
	var cut tries
	for _, x := range t {
		cut = cut.push(min(x.to, end), x.n)
		if x.to >= end {
			break
		}
	}
	return cut
}

// push appends a range; a count that stays the same extends the last one.
func (t tries) push(to uint64, n int) tries {
	if last := len(t) - 1; last >= 0 && (t[last].n == n || t[last].to >= to) {
		t[last].to = max(t[last].to, to)
		t[last].n = max(t[last].n, n)
		return t
	}
	return append(t, try{to, n})
}

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
	// InFlight is how many bytes of records the foremost cursor may lead the mark by
	// (rule 7); 0 for no limit.
	InFlight int64
	// Lease is after how long without a sign of life a member is given up.
	Lease time.Duration
	// AckTimeout, if not 0, is how long a lease may make no progress.
	AckTimeout time.Duration
	// MaxDeliveries, if not 0, is how often a range is delivered before it pauses its keys.
	MaxDeliveries int
	// CreditBatches and CreditBytes, if not 0, are the most credit that a member can
	// have at once: what is given beyond it is ignored.
	CreditBatches int
	CreditBytes   int64
}

// Piece describes the batch that covers a place, without its records. One without
// bytes or without slots holds no record: streams step over it, it is no delivery.
type Piece struct {
	From, To uint64 // the range (From, To]
	Bytes    int64  // of packed records
	// Slots are those that have records in the batch, home or not; nil stands for all.
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
	Slots    *Slots // nil stands for all; shared, not to be changed
	Count    int    // 1 for the first delivery since the group was loaded or sought
	// Bytes is what the member was charged for it: an estimate, see [Group.Measured].
	Bytes int64
	// Late tells that the record was found in a hole: order does not hold for it.
	Late bool
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
	Empty                       // a pool has no returned range, or the stream is gone
	Merging                     // another lane of its owner is behind, or both drain to become one
	Elsewhere                   // the batch does not cover the stream's place any more: ask it again
)

var blockedNames = []string{"ready", "no member", "no credit", "draining", "barrier", "in flight", "paused", "poisoned", "delayed", "ceiling", "empty", "merging", "elsewhere"}

// String returns the word that operators see.
func (b Blocked) String() string {
	if int(b) < len(blockedNames) {
		return blockedNames[b]
	}
	return fmt.Sprintf("Blocked(%d)", b)
}

// Errors that a member or an operator is told.
var (
	// ErrLeaseLost: the lease ended: it was acknowledged, given back, or lost.
	ErrLeaseLost = errors.New("lease-lost")
	// ErrNameInUse: another session is a member under that name.
	ErrNameInUse = errors.New("name-in-use")
	// ErrUnknownMember: no such member.
	ErrUnknownMember = errors.New("unknown member")
	// ErrUnknownMDT: the group has no track there.
	ErrUnknownMDT = errors.New("unknown MDT")
	// ErrAcknowledged: the record to pass over is acknowledged already.
	ErrAcknowledged = errors.New("acknowledged already")
)

package core

import (
	"time"

	"github.com/lcapd/lcapd/groups"
)

// ReaderID is one reading of an MDT: the live one or a catch-up. Never used again.
type ReaderID uint64

// Peer is one connection. It is the member's id in its group. Never used again.
type Peer = groups.MemberID

// Event is something that happened. Step applies it.
type Event interface{ apply(c *Core) }

// Output is something that must be done now, outside. The order of outputs counts.
type Output interface{ output() }

// What readers and sources report.
type (
	// BatchRead: a reader has sealed a batch, within what it was granted.
	BatchRead struct {
		Reader ReaderID
		Batch  *Batch
	}
	// ReaderEnded: a reader came to its end (Until) or failed; it is closed. Stopped
	// says that the stream itself is bad: reading it again does not help.
	ReaderEnded struct {
		Reader  ReaderID
		Err     error
		Stopped bool
	}
	// Cleared answers a Clear. Refused says that the MDT itself said no (EINVAL,
	// ENOENT), as opposed to an error that may pass.
	Cleared struct {
		MDT     groups.MDT
		Epoch   Epoch
		Index   uint64
		Err     error
		Refused bool
	}
	// Purged: Lustre itself dropped records at or below To that we had not cleared.
	Purged struct {
		MDT groups.MDT
		To  uint64
	}
	// Reset: the MDT counts its indexes anew. What it had is gone; Epoch is the new
	// one, above that before.
	Reset struct {
		MDT   groups.MDT
		Epoch Epoch
	}
	// HoleChecked answers a CheckHole: what a fresh reading found there, in the
	// form of batches within the range, none if the hole is empty.
	HoleChecked struct {
		MDT   groups.MDT
		Hole  Range
		Found []*Batch
		Err   error
	}
)

// What the state store reports.
type (
	// Persisted answers a Persist: everything in it is on disk, or nothing is.
	Persisted struct {
		Seq uint64
		Err error
	}
)

// What members ask.
type (
	// Join makes a peer a member of a group.
	Join struct {
		Peer                 Peer
		Group, Name, Session string
		Serves               []groups.MDT // nil stands for all
	}
	// Credit lets a member take more.
	Credit struct {
		Peer    Peer
		Batches int
		Bytes   int64
	}
	// Ack acknowledges a lease up to and with an index.
	Ack struct {
		Peer  Peer
		Lease groups.LeaseID
		UpTo  uint64
	}
	// Nack gives back a lease from an index on.
	Nack struct {
		Peer  Peer
		Lease groups.LeaseID
		From  uint64
		Delay time.Duration
	}
	// Heartbeat says that a member is alive.
	Heartbeat struct{ Peer Peer }
	// Sent: the peer's writer has let go of a delivery.
	Sent struct {
		Peer  Peer
		Bytes int64
	}
	// Down: a connection ended, cleanly or not.
	Down struct{ Peer Peer }
)

// What time and operators do.
type (
	// Tick lets time pass. It should come several times a second.
	Tick struct{ Now time.Time }
	// CreateGroup makes a group; it exists when Created says so.
	CreateGroup struct {
		Config groups.Config
		Start  Start
	}
	// DeleteGroup ends a group and its hold on the changelogs.
	DeleteGroup struct{ Group string }
	// AddMDT starts to serve an MDT; every group gets it from the earliest position.
	AddMDT struct{ State MDTState }
	// RemoveMDT stops to serve an MDT. Nothing of it is cleared any more.
	RemoveMDT struct{ MDT groups.MDT }
	// Restart has an MDT read again after a reader was stopped by bad records.
	Restart struct{ MDT groups.MDT }
	// PauseGroup stops or resumes all hand-out of a group.
	PauseGroup struct {
		Group  string
		Paused bool
	}
	// Seek sets where a group goes on in an MDT; never below what was cleared.
	Seek struct {
		Group string
		MDT   groups.MDT
		Index uint64
	}
	// Skip has a group pass over one record.
	Skip struct {
		Group string
		MDT   groups.MDT
		Index uint64
	}
)

// Start says where a new group begins.
type Start uint8

// The starts.
const (
	Latest   Start = iota // behind the last record read
	Earliest              // at the first record not yet cleared
)

// What is to be done.
type (
	// OpenReader starts a reading of an MDT behind From. A catch-up ends at Until,
	// the live reading (Until 0) never.
	OpenReader struct {
		Reader      ReaderID
		MDT         groups.MDT
		From, Until uint64
	}
	// CloseReader ends a reading; what it still delivers is ignored.
	CloseReader struct{ Reader ReaderID }
	// Grant lets a reader deliver batches of so much more weight; one may overdraw it.
	Grant struct {
		Reader ReaderID
		Bytes  int64
	}
	// Deliver hands a part of a batch to a member: the records within (From, To]
	// whose home slot is in Slots.
	Deliver struct {
		groups.Delivery
		Epoch Epoch
		Batch *Batch
		// MaybeRedelivered: an earlier run of lcapd may have delivered it.
		MaybeRedelivered bool
	}
	// Welcome answers a Join: where the group stands in each MDT. The group is on disk.
	Welcome struct {
		Peer  Peer
		Marks map[groups.MDT]uint64
	}
	// Refuse answers a request that cannot be granted.
	Refuse struct {
		Peer Peer
		Err  error
	}
	// Disconnect ends a connection.
	Disconnect struct {
		Peer   Peer
		Reason string
	}
	// Publish shows a batch of the live reading to the listeners.
	Publish struct{ Batch *Batch }
	// Lost tells a group that records it had not acknowledged are gone: Lustre purged
	// them, or the MDT was reset.
	Lost struct {
		Group string
		MDT   groups.MDT
		Epoch Epoch
		Range Range
	}
	// Persist writes to the state, all or nothing. One is under way at a time.
	Persist struct {
		Seq    uint64
		Update Update
	}
	// Clear acknowledges to the MDT. One is under way at a time for each MDT.
	Clear struct {
		MDT   groups.MDT
		Epoch Epoch
		Index uint64
	}
	// CheckHole reads a hole again, with a fresh reader.
	CheckHole struct {
		MDT   groups.MDT
		Epoch Epoch
		Hole  Range
	}
	// Alarm is something that an operator should know.
	Alarm struct {
		MDT  groups.MDT
		Text string
	}
)

func (OpenReader) output()  {}
func (CloseReader) output() {}
func (Grant) output()       {}
func (Deliver) output()     {}
func (Welcome) output()     {}
func (Refuse) output()      {}
func (Disconnect) output()  {}
func (Publish) output()     {}
func (Lost) output()        {}
func (Persist) output()     {}
func (Clear) output()       {}
func (CheckHole) output()   {}
func (Alarm) output()       {}

// Update is what a Persist writes.
type Update struct {
	Deleted []string     // groups; before those created, which may have the same name
	Groups  []GroupState // created
	Removed []groups.MDT // before those in MDTs
	MDTs    []MDTState   // changed or added
	Marks   []MarkState
}

// GroupState is what of a group is durable, besides its marks.
type GroupState struct {
	Config groups.Config
	Start  Start
}

// MarkState is what of a track is durable.
type MarkState struct {
	Group   string
	MDT     groups.MDT
	Epoch   Epoch
	Mark    uint64
	Ceiling uint64
	Seek    bool // the mark may be lower than before: an operator said so
}

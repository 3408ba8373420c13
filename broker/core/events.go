package core

import (
	"time"

	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
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
	// ReaderStarted: a reader was opened.
	ReaderStarted struct{ Reader ReaderID }
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
	// Who looked took those up to Cleared for cleared: if more was cleared meanwhile, it
	// may be that, and who looks again will see.
	Purged struct {
		MDT     groups.MDT
		Epoch   Epoch
		To      uint64
		Cleared uint64
	}
	// Oldest: the first record that the MDT shows. If it is not cleared it should stay there.
	Oldest struct {
		MDT    groups.MDT
		Epoch  Epoch
		Record RecordID
	}
	// Reset: the MDT counts its indexes anew. What it had is gone; Epoch is the new
	// one, above that before.
	Reset struct {
		MDT   groups.MDT
		Epoch Epoch
	}
	// HoleChecked answers a CheckHole: what a fresh reading found there, none if the
	// hole is empty. Else Found covers it from its start; what Found does not cover
	// is to be checked again. Late are the records in Found.
	HoleChecked struct {
		MDT   groups.MDT
		Epoch Epoch
		Hole  Range
		Found []*Batch
		Late  []groups.LateRecord
		Err   error
	}
)

// What the stages of chains report.
type (
	// Processed tells what an instance of a chain has let go: batches that follow each
	// other and what came before, and may be none. With Taken it answers the oldest [Process]
	// that is not answered, else time has passed. After an error nothing comes any more.
	Processed struct {
		Chain   ChainID
		Taken   bool
		Batches []*Batch
		Held    Held
		Err     error
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
		// Repacked: it gets records with blocks cut away, so what it gets is measured when
		// that is done.
		Repacked bool
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
	// Sent: the peer's writer has let go of a delivery of the batch, or will never
	// take it. It comes once for each Deliver.
	Sent struct {
		Peer  Peer
		Batch *Batch
	}
	// Copied: the records of a delivery are not bytes of its batch but of Copy, a batch
	// that only writers hold. Sent names Copy then.
	Copied struct {
		Peer        Peer
		Batch, Copy *Batch
	}
	// Measured tells what a delivery held when it was cut out of its batch: so many
	// bytes, the last record at index Last; 0 and 0 if there was none, and the member
	// does not get it. It comes once for each Deliver that is not Whole, and for one that is if its
	// lease has ended before the member got it: see [Core.Holds].
	Measured struct {
		Delivery groups.Delivery
		Bytes    int64
		Last     uint64
	}
	// Down: a connection ended, cleanly or not.
	Down struct{ Peer Peer }
)

// Tick lets time pass. It should come several times a second.
type Tick struct{ Now time.Time }

// Request is what an operator asks for. Do grants it, or says why not.
type Request interface{ do(c *Core) error }

// What operators ask for.
type (
	// CreateGroup makes a group. It counts for every clear from now on, and exists
	// for members when it is on disk: see GroupStored. [ErrGroupExists].
	CreateGroup struct{ GroupState }
	// DeleteGroup ends a group and its hold on the changelogs. [ErrUnknownGroup].
	DeleteGroup struct{ Group string }
	// AddMDT starts to serve an MDT; every group that is for all
	// MDTs gets it from the earliest position. [ErrMDTExists].
	AddMDT struct{ State MDTState }
	// RemoveMDT stops to serve an MDT. Nothing of it is cleared any more. [ErrUnknownMDT].
	RemoveMDT struct{ MDT groups.MDT }
	// Restart has an MDT read again after a reader was stopped by bad records, and chains of
	// modules begin again there that failed. [ErrUnknownMDT].
	Restart struct{ MDT groups.MDT }
	// PauseGroup stops or resumes all hand-out of a group; it outlives lcapd.
	// Resuming also lets go on what was delivered too often. [ErrUnknownGroup].
	PauseGroup struct {
		Group  string
		Paused bool
	}
	// SetChain changes what is done with records before a group is handed them: Filter is an
	// expression, Modules a list of modules, Consumers what the consumers need; texts that
	// whoever asks has checked. [ErrUnknownGroup], [ErrHasMembers].
	SetChain struct {
		Group                      string
		Filter, Modules, Consumers string
	}
	// Seek sets where a group goes on in an MDT. [ErrUnknownGroup], [ErrUnknownMDT],
	// [ErrBelowClear].
	Seek struct {
		Group string
		MDT   groups.MDT
		Index uint64
	}
	// Skip has a group pass over one record. [ErrUnknownGroup], [ErrUnknownMDT],
	// [groups.ErrAcknowledged].
	Skip struct {
		Group string
		MDT   groups.MDT
		Index uint64
	}
)

// Start says where a new group begins.
type Start uint8

// String returns the word that configuration and command line use.
func (s Start) String() string {
	if s == Earliest {
		return "earliest"
	}
	return "latest"
}

// The starts.
const (
	Latest   Start = iota // behind the last record read
	Earliest              // at the first record not yet cleared
)

// All tells whether the delivery has all records of its batch.
func (d Deliver) All() bool {
	return d.Slots == nil && d.From <= d.Batch.From && d.To >= d.Batch.To
}

// Whole tells whether the delivery is its batch as it is: then there is nothing to cut.
func (d Deliver) Whole() bool { return !d.Repacked && d.All() }

// What is to be done.
type (
	// OpenReader starts a reading of an MDT behind From. A catch-up ends at Until,
	// the live reading (Until 0) never. Before it begins the live reading looks for
	// the records in Known, of which those above Cleared should be there, and tells
	// what it found by a Reset or Purged.
	OpenReader struct {
		Reader      ReaderID
		MDT         groups.MDT
		Epoch       Epoch
		From, Until uint64
		Known       []RecordID
		Cleared     uint64
	}
	// CloseReader ends a reading; what it still delivers is ignored.
	CloseReader struct{ Reader ReaderID }
	// Grant lets a reader deliver batches of so much more weight; one may overdraw it.
	Grant struct {
		Reader ReaderID
		Bytes  int64
	}
	// OpenChain starts an instance of the chain of a group in an MDT: what it is given first
	// lies above After, and up to Ceiling somebody may have been handed records.
	OpenChain struct {
		Chain          ChainID
		Group          string
		MDT            groups.MDT
		Epoch          Epoch
		After, Ceiling uint64
	}
	// Process gives an instance of a chain what of a batch lies above After: where the one
	// before ended. There are [MostUnanswered] at most that are not answered by a [Processed].
	Process struct {
		Chain ChainID
		After uint64
		Batch *Batch
	}
	// CloseChain ends an instance; what it still tells is ignored.
	CloseChain struct{ Chain ChainID }
	// Deliver hands a part of a batch to a member: the records within (From, To]
	// whose home slot is in Slots.
	Deliver struct {
		groups.Delivery
		Epoch Epoch
		Batch *Batch
		// Repacked: the member gets the records with blocks cut away.
		Repacked bool
		// MaybeRedelivered: an earlier run of lcapd may have delivered it.
		MaybeRedelivered bool
	}
	// Welcome answers a Join: where the group stands in each MDT. The group is on disk.
	Welcome struct {
		Peer  Peer
		Marks map[groups.MDT]uint64
	}
	// Refuse answers a request that cannot be granted; Lease is the one that an ack or
	// nack was about, else 0. With [groups.ErrLeaseLost] it also tells, unasked, that a
	// lease has ended: what it held comes again.
	Refuse struct {
		Peer  Peer
		Lease groups.LeaseID
		Err   error
	}
	// Disconnect ends a connection.
	Disconnect struct {
		Peer   Peer
		Reason string
	}
	// GroupStored: a group that was created or changed is on disk, as it is now.
	GroupStored struct{ Group string }
	// Publish shows a batch to the listeners: of the live reading, or records that
	// were found late.
	Publish struct {
		Batch *Batch
		Late  bool
	}
	// Free says that a batch is in no window any more, and that writers have let go of it:
	// whoever else it was shown to apart, nobody reads it, now or later. It comes once for
	// each batch that was kept.
	Free struct{ Batch *Batch }
	// Restarted: an MDT counts its indexes anew; listeners may have missed anything.
	Restarted struct {
		MDT   groups.MDT
		Epoch Epoch
	}
	// Lost tells a group that records it had not acknowledged are gone: Lustre purged
	// them, or the MDT was reset; or, Expired, the group was abandoned and gave them up.
	// That is told to Peer alone, if not 0, who has just joined.
	Lost struct {
		Peer    Peer
		Group   string
		MDT     groups.MDT
		Epoch   Epoch
		Range   Range
		Expired bool
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
		Kind    wire.ProblemKind // of reading, clearing or writing one of several: Err tells which
		MDT     groups.MDT
		General bool   // it is about no MDT
		Group   string // it is about a group, there
		Stopped bool   // the MDT is not read any more
		Text    string
		Err     error // what failed, if anything
	}
)

func (OpenReader) output()  {}
func (CloseReader) output() {}
func (Grant) output()       {}
func (OpenChain) output()   {}
func (Process) output()     {}
func (CloseChain) output()  {}
func (Deliver) output()     {}
func (Welcome) output()     {}
func (Refuse) output()      {}
func (Disconnect) output()  {}
func (GroupStored) output() {}
func (Publish) output()     {}
func (Free) output()        {}
func (Restarted) output()   {}
func (Lost) output()        {}
func (Persist) output()     {}
func (Clear) output()       {}
func (CheckHole) output()   {}
func (Alarm) output()       {}

// Update is what a Persist writes.
type Update struct {
	Deleted []string     // groups; before those created, which may have the same name
	Groups  []GroupState // created or changed
	Removed []groups.MDT // before those in MDTs
	MDTs    []MDTState   // changed or added
	Marks   []MarkState
	Ended   bool // nothing is handed out any more, so ceilings may fall to what was
}

// GroupState is what of a group is durable, besides its marks.
type GroupState struct {
	Config groups.Config
	Start  Start
	Limits Limits
	// Filter and Modules say what is done with records before they are handed out, Consumers
	// what the consumers need; empty for nothing, and for everything.
	Filter, Modules, Consumers string
	MDTs                       []groups.MDT // that it is for; nil stands for all
	Paused                     bool
}

// MarkState is what of a track is durable.
type MarkState struct {
	Group   string
	MDT     groups.MDT
	Epoch   Epoch
	Mark    uint64
	Ceiling uint64
	Seek    bool // the mark may be lower than before: an operator said so
	// Since is since when nothing was acknowledged although something waited, as the mark was
	// written; zero if nothing waited.
	Since  time.Time
	Missed []Missed // what the group gave up there, the oldest first; not to be changed
}

package state

import (
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// Identity is the installation: what `lcapd init` fixed.
type Identity struct {
	// FileSystem is the name of the file system, as in lustre-MDT0000.
	FileSystem string
	// ID tells one installation from another; random. [Init] makes one if it is empty.
	ID string
	// Created is when the installation was made. [Init] takes the present if it is zero.
	Created time.Time
	// Upstream are the MDTs, by name.
	Upstream []Upstream
}

// Upstream is an MDT and the changelog user that lcapd is there.
type Upstream struct {
	MDT  string // lustre-MDT0000
	User string // cl1
}

// RecordID is what a record is recognised by when the MDT shows it again.
// The zero value stands for no record.
type RecordID struct {
	Index  uint64
	Time   changelog.Time
	Type   changelog.Type
	Target changelog.FID
}

// MDT is how far lcapd itself has come with an MDT.
type MDT struct {
	Name string
	// Epoch counts the resets of the MDT's indexes. It never falls.
	Epoch uint32
	// Cleared is the index of the last clear that was sent, 0 if none was. It never
	// falls within an epoch, and is above no mark of the epoch.
	Cleared uint64
	// Read is the last index read.
	Read uint64
}

// MaxRecent is how many records of an MDT can be kept in [Recent].
const MaxRecent = 64

// Recent are the last records read from an MDT, at most [MaxRecent], by ascending index.
type Recent struct {
	MDT     string
	Epoch   uint32
	Records []RecordID
}

// Start says where a new group begins.
type Start string

// The starts; docs/ordering-and-acks.md says where exactly they are.
const (
	Latest   Start = "latest"
	Earliest Start = "earliest"
)

// Group is a persistent consumer group.
type Group struct {
	Name string

	// These are fixed when the group is created.
	Distribution groups.Distribution
	Start        Start
	MDTs         []string // none stands for all
	Created      time.Time

	// These an operator may change; the first three only while the group has no
	// members, which is not known here.
	Filter    string // empty passes everything
	Chain     string // of modules; empty has none
	Consumers string // what they need at most; empty for every record
	Paused    bool
	Limits    Limits
}

// Limits say when a group counts as abandoned, MDT by MDT; 0 is no limit.
type Limits struct {
	Backlog uint64        // indexes that are not acknowledged
	Idle    time.Duration // without an acknowledgement, while something waits for one
	Expire  bool          // it gives up its hold on the clear then
}

// Track is how far a group has come with an MDT.
type Track struct {
	Group, MDT string
	// Epoch is the one of all indexes here. It never falls.
	Epoch uint32
	// Mark: nothing of the group at or below it is unacknowledged. Within an epoch
	// only an operator's seek lowers it.
	Mark uint64
	// Ceiling: no record above it was ever handed out. It never falls within an epoch.
	Ceiling uint64
	// Start is the mark that the group started with.
	Start uint64
	// Since is since when nothing was acknowledged although something waited, as the mark was
	// written; zero if nothing waited.
	Since time.Time
	// Missed are ranges that the group gave up, the oldest first.
	Missed []Missed
}

// Missed is a range (From, To] that a group gave up, as it was abandoned.
type Missed struct {
	Epoch    uint32
	From, To uint64
	At       time.Time
	Told     bool // its members know
}

// Snapshot is everything that is stored, in the order of names.
type Snapshot struct {
	Identity Identity
	MDTs     []MDT // those that something was written for
	Recent   []Recent
	Groups   []Group
	Tracks   []Track // by group, then MDT
}

// Update is a batch of changes. They are stored together or not at all, and count
// in the order of the fields: a group can be deleted and created in one Update.
type Update struct {
	// Upstream are MDTs that are new, or have a new user.
	Upstream []Upstream
	// Deleted are names of groups. Their tracks go with them.
	Deleted []string
	// Removed are names of MDTs. What is stored of them goes, and the tracks that
	// groups have there, but not who lcapd is there.
	Removed []string
	// Groups are new, or were changed.
	Groups []Group
	MDTs   []MDT
	Recent []Recent
	Tracks []Track
	// Seeks are tracks that an operator moved: their marks may fall, not below what
	// was cleared.
	Seeks []Track
	// Ended tells that nothing is handed out any more. So ceilings may fall to what was.
	Ended bool
}

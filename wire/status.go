package wire

import "time"

// Everybody stands for the name of a group where modules are told that all records pass before
// anybody is given them. No group has such a name.
const Everybody = "*"

// What replies to operators' requests hold, as JSON. The names are stable: scripts use
// them. Indexes are those of the changelog, times are RFC 3339, durations nanoseconds.
type (
	// Status answers OpStatus: the whole.
	Status struct {
		Version string    `json:"version"`
		Broker  string    `json:"broker"` // the id of its state
		Started time.Time `json:"started"`
		Ready   bool      `json:"ready"` // nothing in Problems keeps it from serving
		Memory  Memory    `json:"memory"`
		// Problems are what endangers a promise, each with since when and a remedy.
		Problems  []Problem        `json:"problems"`
		MDTs      []MDTStatus      `json:"mdts"`
		Groups    []GroupStatus    `json:"groups"`
		Listeners []ListenerStatus `json:"listeners"`
		// Modules are those for everybody and those of all groups, by group, MDT and place in the chain.
		Modules []ModuleStatus `json:"modules"`
		// ListenerGaps is how many gaps listeners were told, since the start.
		ListenerGaps uint64 `json:"listener_gaps"`
		// ListenerFiltered is how many records listeners' filters and modules left out, since the start.
		ListenerFiltered uint64 `json:"listener_filtered"`
		Views            Views  `json:"views"`
	}
	// Memory is what is kept, in bytes.
	Memory struct {
		Limit    int64 `json:"limit"`
		Batches  int64 `json:"batches"` // in the windows of all readings
		Pinned   int64 `json:"pinned"`  // held by writers only
		Granted  int64 `json:"granted"` // that readers may still deliver
		Chained  int64 `json:"chained"` // that modules have to work on, or hold back
		Listened int64 `json:"history"` // kept for listeners
		Views    int64 `json:"views"`   // filtered or cut for those who want less, and what they were made of
	}
	// Views is what was filtered or cut for those who want less than all, since the start: each batch
	// once for all who want the same.
	Views struct {
		Batches uint64 `json:"batches"`
		Records uint64 `json:"records"` // in them, before
	}
	// Problem is something that an operator should know.
	Problem struct {
		Kind   ProblemKind `json:"kind"`
		About  string      `json:"about"` // an MDT, a group, "groups", "memory" or "state"
		Text   string      `json:"text"`
		Since  time.Time   `json:"since"`
		Remedy string      `json:"remedy"`
	}
	// MDTStatus is an MDT. OpMDTs answers with a list of these.
	MDTStatus struct {
		MDT     string `json:"mdt"`
		User    string `json:"user"`
		Epoch   uint32 `json:"epoch"`
		Read    uint64 `json:"read"`    // the last index read
		Cleared uint64 `json:"cleared"` // the last index acknowledged to the MDT; 0 for none
		// HeldBy is the group that holds the clear back.
		HeldBy   string          `json:"held_by,omitempty"`
		State    string          `json:"state"` // reading, failing or stopped
		Error    string          `json:"error,omitempty"`
		Since    time.Time       `json:"since,omitzero"` // when it began to fail
		Holes    int             `json:"holes"`          // that hold the clear back until they are looked at again
		Window   Window          `json:"window"`
		CatchUps []CatchUpStatus `json:"catch_ups"`
	}
	// Window is what is kept of the live reading.
	Window struct {
		From    uint64 `json:"from"` // the range (From, To]
		To      uint64 `json:"to"`
		Batches int    `json:"batches"`
		Bytes   int64  `json:"bytes"`
	}
	// CatchUpStatus is a second reading, for groups that are behind the window.
	CatchUpStatus struct {
		At    uint64 `json:"at"`
		Until uint64 `json:"until"`
		Users int    `json:"users"` // streams that it serves
	}
	// GroupStatus is a group. OpGroups answers with a list of these, OpGroup with one.
	GroupStatus struct {
		Group        string         `json:"group"`
		Distribution string         `json:"distribution"`
		Start        string         `json:"start"`
		Paused       bool           `json:"paused"`
		Stored       bool           `json:"stored"` // it is on disk
		Lag          uint64         `json:"lag"`    // indexes read and not acknowledged, all MDTs together
		InFlight     int64          `json:"in_flight"`
		Members      []MemberStatus `json:"members"`
		Tracks       []TrackStatus  `json:"tracks"` // by MDT
		// Beyond these, for an MDT, the group counts as abandoned; 0 for no limit. Expire:
		// it gives up its hold on the clear then.
		MaxBacklog uint64        `json:"max_backlog,omitempty"`
		MaxIdle    time.Duration `json:"max_idle,omitempty"`
		Expire     bool          `json:"expire,omitempty"`
		// What is done with records before the group is handed them: an expression, a list of modules
		// as JSON; and what its consumers need: empty for every record.
		Filter    string `json:"filter,omitempty"`
		Modules   string `json:"modules,omitempty"`
		Consumers string `json:"consumers,omitempty"`
	}
	// ModuleStatus is a module of a group in an MDT, or for [Everybody]. OpModules answers with a list of these. The counters
	// are those since the start, and count records again that were read again.
	ModuleStatus struct {
		Group    string        `json:"group"`
		MDT      string        `json:"mdt"`
		Position int           `json:"position"` // in the chain; the filter of the group comes first
		Module   string        `json:"module"`
		In       uint64        `json:"in"` // records that it was given
		Kept     uint64        `json:"kept"`
		Changed  uint64        `json:"changed"` // of those kept
		Dropped  []RuleCount   `json:"dropped"` // by rule
		Held     int           `json:"held"`    // records that it holds back
		Bytes    int64         `json:"held_bytes"`
		Oldest   uint64        `json:"oldest,omitempty"` // the lowest index held
		Age      time.Duration `json:"age,omitempty"`    // of that one
		State    string        `json:"state"`            // running, resting (nobody asks for records), failing or disabled
		Error    string        `json:"error,omitempty"`
	}
	// RuleCount is how many records a rule dropped.
	RuleCount struct {
		Rule    string `json:"rule"`
		Records uint64 `json:"records"`
	}
	// TrackStatus is a group's way through an MDT.
	TrackStatus struct {
		MDT     string `json:"mdt"`
		Epoch   uint32 `json:"epoch"`
		Mark    uint64 `json:"mark"`    // everything up to it is acknowledged
		Durable uint64 `json:"durable"` // what of that is on disk
		Read    uint64 `json:"read"`    // the last index read of the MDT
		Lag     uint64 `json:"lag"`
		Handed  uint64 `json:"handed"`         // the highest index handed out
		Late    int    `json:"late"`           // records found in holes that are not acknowledged
		Lost    uint64 `json:"lost,omitempty"` // up to where records were gone before the group got them
		// Missed is what the group gave up as it was abandoned, the oldest first.
		Missed []Missed `json:"missed"`
		// Waits are the streams that wait for more than records: for whom, for what.
		Waits []Wait `json:"waits"`
		// Oldest is the lease that was handed out longest ago.
		Oldest   *LeaseStatus `json:"oldest,omitempty"`
		Poisoned []Range      `json:"poisoned"` // delivered too often
		Skips    []uint64     `json:"skips"`    // indexes that are passed over
	}
	// Wait says why a stream hands nothing out.
	Wait struct {
		Owner  string `json:"owner,omitempty"` // the member that has the stream
		At     uint64 `json:"at"`              // where it stands
		Keys   int    `json:"keys,omitempty"`  // slots of a lane of fid
		Reason string `json:"reason"`          // no member, no credit, barrier ...
		For    string `json:"for,omitempty"`   // the member it waits for
		Until  uint64 `json:"until,omitempty"` // the index that must be acknowledged first
	}
	// LeaseStatus is a lease.
	LeaseStatus struct {
		Lease    uint64        `json:"lease"`
		Member   string        `json:"member"`
		From     uint64        `json:"from"` // the range (From, To]
		To       uint64        `json:"to"`
		Acked    uint64        `json:"acked"`
		Delivery int           `json:"delivery"`
		Age      time.Duration `json:"age"`
		Idle     time.Duration `json:"idle"` // since it made progress
	}
	// Range is (From, To].
	Range struct {
		From uint64 `json:"from"`
		To   uint64 `json:"to"`
	}
	// Missed is a range (From, To] that a group gave up.
	Missed struct {
		Epoch uint32    `json:"epoch"`
		From  uint64    `json:"from"`
		To    uint64    `json:"to"`
		At    time.Time `json:"at"`
		Told  bool      `json:"told"` // its members know
	}
	// MemberStatus is a member. OpMembers answers with a list of these.
	MemberStatus struct {
		Group    string        `json:"group"`
		Name     string        `json:"name"`
		Remote   string        `json:"remote"`
		Joined   time.Time     `json:"joined"`
		MDTs     []string      `json:"mdts"`   // that it serves; none for all
		Fields   string        `json:"fields"` // that it wants: as [Form.Names]
		Lanes    int           `json:"lanes"`
		Leases   int           `json:"leases"`
		InFlight int64         `json:"in_flight"` // bytes of them
		Credit   int           `json:"credit"`    // hand-outs
		Records  uint64        `json:"records"`   // delivered since it joined
		Bytes    uint64        `json:"bytes"`
		Idle     time.Duration `json:"idle"` // since its last sign of life
	}
	// ListenerStatus is a listener. OpListeners answers with a list of these.
	ListenerStatus struct {
		Name    string    `json:"name"`
		Remote  string    `json:"remote"`
		Since   time.Time `json:"since"`
		MDTs    []string  `json:"mdts"`   // none for all
		Fields  string    `json:"fields"` // that it wants: as [Form.Names]
		Filter  string    `json:"filter,omitempty"`
		Modules string    `json:"modules,omitempty"`
		Records uint64    `json:"records"`
		Bytes   uint64    `json:"bytes"`
		Gaps    uint64    `json:"gaps"`
		Missed  uint64    `json:"missed"` // records in those gaps, as far as known
		// Filtered is how many records its filter and modules left out.
		Filtered uint64 `json:"filtered"`
	}
	// Done answers requests that change something: OpCreate, OpDelete, OpSeek and so on.
	Done struct {
		OK bool `json:"ok"`
	}
)

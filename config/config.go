package config

import "time"

// Config is a whole configuration. It is complete and valid, and must not be changed.
type Config struct {
	// Listen are the addresses to serve peers at, each with what peers may do there.
	Listen []Listen
	// HTTP is the address, host:port, of metrics, health and status; empty for none.
	HTTP string
	// Profile has the HTTP address serve Go's profiles, too.
	Profile bool
	// State is the directory of durable marks and groups.
	State string
	// Memory is how many bytes of records may be kept, all MDTs together: at least
	// [MinMemory].
	Memory int64
	// Batch is how many bytes of records a batch holds at most, but for one of one record: from
	// [MinBatch] to [MaxBatch], [MaxChangedBatch] if Everybody has modules. 0 leaves it to lcapd.
	Batch int64
	// CreateGroups says whether a join may create a group that does not exist.
	CreateGroups bool
	// ClearWithoutGroups makes the clear follow the reader while there is no group.
	ClearWithoutGroups bool
	// UnknownExtra says what to do with extra flags that a newer server may set.
	UnknownExtra UnknownExtra
	// DeviceDir is where the changelog devices are.
	DeviceDir string
	// LogLevel is one of trace, debug, info, warn, error; LogFormat console or json.
	LogLevel, LogFormat string
	// Upstream are the MDTs to read, by different names.
	Upstream []Upstream
	// OneMDT says that each file system has one MDT and does not get another.
	OneMDT bool
	// Everybody is what records pass before any group or listener is given them.
	Everybody Passing
	// Groups exist from the start, by different names.
	Groups []Group
	// Limits keep one peer from costing the others too much.
	Limits Limits
	// Lease is after how long without a sign of life a member is given up, Heartbeat
	// how often it gives one: at most half of Lease.
	Lease, Heartbeat time.Duration
	// Shutdown is how long an ending daemon waits for its peers and readers.
	Shutdown time.Duration
}

// Passing is what records pass. It is not checked by this package whether the filter and the
// modules are there.
type Passing struct {
	// Filter is an expression that records must match, Modules a list of modules behind it as
	// text, Consumers what whoever gets the records needs. Empty for none, and for every record.
	Filter, Modules string
	Consumers       Consumers
}

// MinMemory is the least Memory, in bytes: a daemon with some MDTs needs room for
// a few batches of each.
const MinMemory = 64 << 20

// The bounds of Batch, in bytes. With smaller batches the headers and acknowledgements cost more
// than the records; larger ones do not fit into a frame as any client takes it.
const (
	MinBatch = 16 << 10
	MaxBatch = 4 << 20
	// MaxChangedBatch is for records that modules may make larger: a frame takes whatever
	// becomes of them.
	MaxChangedBatch = 256 << 10
)

// UnknownExtra is what to do with a record whose extra flags are unknown.
type UnknownExtra string

// The ways to treat unknown extra flags.
const (
	// StopAtUnknown ends the reading of that MDT: nothing is guessed.
	StopAtUnknown UnknownExtra = "stop"
	// AssumeEmpty takes them to add no bytes to a record.
	AssumeEmpty UnknownExtra = "assume-empty"
)

// Limits are what peers may cost.
type Limits struct {
	// Connections is how many peers may be connected at once, PerAddress how many of
	// one address: 1 to Connections.
	Connections, PerAddress int
	// Frame is the largest message that is taken from a peer, in bytes.
	Frame int64
	// InFlight is how many bytes of records a group's hand-out may lead its mark by,
	// if the group says nothing else; 0 for no limit.
	InFlight int64
}

package config

import (
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"time"
)

// Group is a consumer group that exists from the start. What is stored of a group
// must agree with it.
type Group struct {
	Name         string
	Distribution Distribution
	Start        Start
	// MDTs are those that the group reads; none stands for all.
	MDTs []string
	// InFlight is how many bytes of records the hand-out may lead the mark by, 0 for no
	// limit. It is that of [Limits] where the group says nothing.
	InFlight int64
	// AckTimeout is how long a lease may make no progress; 0 for any time.
	AckTimeout time.Duration
	// MaxDeliveries is how often a range is delivered before its keys are paused;
	// 0 for any number.
	MaxDeliveries int
	// MaxBacklog is how many indexes of an MDT the group may have unacknowledged before it
	// counts as abandoned, MaxIdle for how long it may acknowledge nothing while something
	// waits; 0 for no limit.
	MaxBacklog uint64
	MaxIdle    time.Duration
	// Abandoned says what is done about it then.
	Abandoned Abandoned
	// Filter is an expression that records must match, Modules a list of modules behind it as
	// text; Consumers is what the consumers need. Empty for none, and for every record.
	Filter, Modules string
	Consumers       Consumers
}

// Consumers says what the consumers of a group need.
type Consumers string

// What consumers may need.
const (
	NeedEveryRecord Consumers = "every-record"
	NeedChanges     Consumers = "changes"
	NeedState       Consumers = "state"
)

// Abandoned says what is done about a group that is beyond its limits.
type Abandoned string

// What is done about abandoned groups.
const (
	WarnAbandoned   Abandoned = "warn"
	ExpireAbandoned Abandoned = "expire"
)

// Distribution says how a group shares out its records among its members.
type Distribution string

// The distributions.
const (
	RoundRobin Distribution = "round-robin"
	ByMDT      Distribution = "mdt"
	ByFID      Distribution = "fid"
)

// Start says where a new group begins.
type Start string

// The starts.
const (
	Earliest Start = "earliest" // at the first record not yet cleared
	Latest   Start = "latest"   // behind the last record read
)

// inFlightOfLimits stands for a group's InFlight until that of the limits is known.
const inFlightOfLimits = -1

// minInFlight is the least limit of bytes handed out: some batches.
const minInFlight = 1 << 20

// maxAckTimeout and maxLease are where a time is a mistake rather than patience.
const (
	maxAckTimeout = 7 * 24 * time.Hour
	maxLease      = time.Hour
	minMaxIdle    = time.Second
	maxMaxIdle    = 366 * 24 * time.Hour
)

var groupSettings = []setting[Group]{
	{key: "name", required: true, doc: "how members call it", field: of(func(g *Group) *string { return &g.Name }, groupName)},
	{key: "distribution", doc: "round-robin (the default: any member gets any batch), mdt (order per MDT) or fid (order per file)", field: of(func(g *Group) *Distribution { return &g.Distribution }, oneOf(RoundRobin, ByMDT, ByFID))},
	{key: "start", doc: "earliest (the default: the first record not yet cleared) or latest", field: of(func(g *Group) *Start { return &g.Start }, oneOf(Earliest, Latest))},
	{key: "mdts", doc: "the MDTs that it reads; all if left out", field: ofList(func(g *Group) *[]string { return &g.MDTs }, listOf(mdt, "a list of names of MDTs"))},
	{key: "in_flight", doc: "how many bytes may be handed out and not acknowledged; that of limits if left out", field: of(func(g *Group) *int64 { return &g.InFlight }, size(minInFlight, math.MaxInt64, true))},
	{key: "ack_timeout", doc: "a member that acknowledges nothing for so long loses what it was handed; 0 for never", field: of(func(g *Group) *time.Duration { return &g.AckTimeout }, duration(time.Second, maxAckTimeout, true))},
	{key: "max_deliveries", doc: "what was delivered so often waits for an operator; 0 for never", field: of(func(g *Group) *int { return &g.MaxDeliveries }, integer[int](0, math.MaxInt32))},
	{key: "max_backlog", doc: "a group that has not acknowledged more indexes of an MDT is abandoned; 0 for any number", field: of(func(g *Group) *uint64 { return &g.MaxBacklog }, integer[uint64](0, math.MaxInt64))},
	{key: "max_idle", doc: "a group that acknowledges nothing for so long, while something waits, is abandoned; 0 for never", field: of(func(g *Group) *time.Duration { return &g.MaxIdle }, duration(minMaxIdle, maxMaxIdle, true))},
	{key: "abandoned", doc: "warn (the default), or expire: an abandoned group gives up its hold on the clear, and its members are told what they missed", field: of(func(g *Group) *Abandoned { return &g.Abandoned }, oneOf(WarnAbandoned, ExpireAbandoned))},
	{key: "filter", doc: "an expression that the records must match", field: of(func(g *Group) *string { return &g.Filter }, expression)},
	{key: "modules", doc: "a list of modules that the records pass behind the filter", field: of(func(g *Group) *string { return &g.Modules }, modules)},
	{key: "consumers", doc: "what its consumers need: every-record (the default), changes or state; modules that drop records ask for it", field: of(func(g *Group) *Consumers { return &g.Consumers }, oneOf(NeedEveryRecord, NeedChanges, NeedState))},
}

// expression takes a filter. What it says is not for this package to judge.
var expression = text(2048, "an expression such as uid >= 1000")

// modules takes a list of modules, or its text, and returns a text. What the modules are
// is not for this package to judge.
func modules(s spot, v any) (string, bool) {
	const allowed = "a list of modules such as [{filter: {types: CREAT}}, coalesce]"
	switch list := v.(type) {
	case nil:
		return "", true
	case string:
		if strings.TrimSpace(list) == "[]" {
			return "", true
		}
		return list, true
	case []any:
		if len(list) == 0 {
			return "", true
		}
		b, err := json.Marshal(list)
		if err == nil {
			return string(b), true
		}
	}
	return "", s.refuse(v, allowed)
}

var groupName = matching(regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`).MatchString,
	"up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit")

// groupItem takes one group.
func groupItem(s spot, v any) (Group, bool) {
	g, ok := section(s, v, groupSettings, Group{Distribution: RoundRobin, Start: Earliest, InFlight: inFlightOfLimits, Abandoned: WarnAbandoned})
	if ok && g.Abandoned == ExpireAbandoned && g.MaxBacklog == 0 && g.MaxIdle == 0 {
		return g, s.child("abandoned").refuse("expire", "warn; expire needs max_backlog or max_idle")
	}
	return g, ok
}

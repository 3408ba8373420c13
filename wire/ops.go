package wire

// Op is what an operator wants of a [Request]. Servers answer one that they do not know with [Refused].
type Op string

// The operations, with the fields of the request that count; the others are ignored.
const (
	OpStatus    Op = "status"    // the whole: MDTs, groups, memory
	OpMDTs      Op = "mdts"      // all MDTs
	OpGroups    Op = "groups"    // all groups
	OpGroup     Op = "group"     // one group: Group
	OpMembers   Op = "members"   // the members of one group, or all: Group or none
	OpListeners Op = "listeners" // all listeners
	OpCreate    Op = "create"    // make a group: Group, Distribution, Start, MDT (several by commas, none for all), Filter, Modules, Consumers, MaxBacklog, MaxIdleMS, Expire
	OpLimit     Op = "limit"     // say when a group counts as abandoned: Group, MaxBacklog, MaxIdleMS, Expire
	OpSet       Op = "set"       // change a group without members: Group, Filter, Modules, Consumers; empty for none
	OpModules   Op = "modules"   // what the modules of one group, or of all, have done: Group or none
	OpDelete    Op = "delete"    // end a group and its hold: Group, Force
	OpSeek      Op = "seek"      // move a group: Group, MDT or none for all, Start, or Index if that is empty
	OpPause     Op = "pause"     // pause or resume a group: Group, Paused
	OpSkip      Op = "skip"      // pass over one record: Group, MDT, Index
	OpRestart   Op = "restart"   // read an MDT again that bad records stopped: MDT
	OpBackup    Op = "backup"    // a copy of the state
)

package wire

// ProblemKind says what a [Problem] is, for programs. It is stable; the text beside it is not.
type ProblemKind string

// The kinds of problems. docs/guarantees.md tells what each endangers.
const (
	// About an MDT.
	MDTUnreachable   ProblemKind = "mdt-unreachable"   // it cannot be read, at present
	DeviceMissing    ProblemKind = "device-missing"    // its device is not there
	DevicePermission ProblemKind = "device-permission" // its device may not be opened
	MDTStopped       ProblemKind = "mdt-stopped"       // what it shows are no records, or the modules for everybody fail
	ReadingBehind    ProblemKind = "reading-behind"    // it has more than was read, for some time
	UserDeregistered ProblemKind = "user-deregistered" // a clear was refused: no such changelog user
	ClearRefused     ProblemKind = "clear-refused"     // a clear was refused for another reason
	ClearFailing     ProblemKind = "clear-failing"     // clears fail, and are tried again
	HolePending      ProblemKind = "hole-pending"      // indexes without records hold the clear back
	LateRecords      ProblemKind = "late-records"      // records appeared late, and are not acknowledged
	CatchUpRunning   ProblemKind = "catch-up-running"  // groups behind the window are served by readings of their own
	NewEpoch         ProblemKind = "new-epoch"         // it counts its indexes anew, in the last hour

	// About a group; the last one about an MDT, too.
	MemberStuck     ProblemKind = "member-stuck"         // a member acknowledges nothing of what it has
	GroupWithout    ProblemKind = "group-without-member" // records wait, and nobody is there
	GroupHoldsClear ProblemKind = "group-holds-clear"    // it acknowledges nothing, and the clear waits for it
	MDTUnserved     ProblemKind = "mdt-unserved"         // none of its members serves an MDT
	GroupPaused     ProblemKind = "group-paused"         // by an operator
	RecordsPoisoned ProblemKind = "records-poisoned"     // delivered too often
	RecordsLost     ProblemKind = "records-lost"         // gone before it had them, in the last hour
	GroupAbandoned  ProblemKind = "group-abandoned"      // it is beyond its limits
	GroupExpired    ProblemKind = "group-expired"        // it gave records up, and no member knows

	ChainFailing   ProblemKind = "chain-failing"   // its filter or modules fail: nothing is handed out, it is tried again
	ModuleDisabled ProblemKind = "module-disabled" // a module failed and lets everything pass

	// About the whole: "groups", "memory" or "state".
	NoGroups        ProblemKind = "no-groups"        // so nothing is cleared
	MemoryFull      ProblemKind = "memory-full"      // reading waits for memory
	WritersPinning  ProblemKind = "writers-pinning"  // peers do not read what they are sent
	DiskFull        ProblemKind = "disk-full"        // the state cannot be written
	StateUnwritable ProblemKind = "state-unwritable" // nor for another reason
	StateSlow       ProblemKind = "state-slow"       // a write takes long
)

// ProblemKinds are all kinds by what they are about.
var ProblemKinds = struct {
	MDT, Group []ProblemKind
	Whole      map[ProblemKind]string
}{
	MDT: []ProblemKind{MDTUnreachable, DeviceMissing, DevicePermission, MDTStopped, ReadingBehind, UserDeregistered, ClearRefused,
		ClearFailing, HolePending, LateRecords, CatchUpRunning, NewEpoch, ModuleDisabled},
	Group: []ProblemKind{MemberStuck, GroupWithout, GroupHoldsClear, MDTUnserved, GroupPaused, RecordsPoisoned, RecordsLost,
		GroupAbandoned, GroupExpired, ChainFailing, ModuleDisabled},
	Whole: map[ProblemKind]string{NoGroups: "groups", MemoryFull: "memory", WritersPinning: "memory",
		DiskFull: "state", StateUnwritable: "state", StateSlow: "state"},
}

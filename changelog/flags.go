package changelog

import (
	"fmt"
	"strings"
)

// Flags is the flags word of a record: four format bits that say which blocks
// the record has, and twelve payload bits whose meaning depends on the type
// (ABI 3).
type Flags uint16

// The format bits of [Flags] (ABI 3.1).
const (
	// FlagVersion adds nothing. Servers set it on all records but renames;
	// the client library sets it on every record.
	FlagVersion Flags = 0x1000
	// FlagRename adds the rename block and a second name.
	FlagRename Flags = 0x2000
	// FlagJobID adds the job identifier.
	FlagJobID Flags = 0x4000
	// FlagExtra adds the extra-flags word, whose bits may add blocks of their own.
	FlagExtra Flags = 0x8000

	// FlagsFormat are the format bits.
	FlagsFormat Flags = 0xf000
	// FlagsPayload are the bits whose meaning depends on the type.
	FlagsPayload Flags = 0x0fff
)

// Payload bits of UNLNK, RMDIR and RENME (ABI 3.3). For a rename they speak of
// the object that was overwritten.
const (
	// FlagLastLink: the object lost its last link. It is gone, or an open orphan.
	FlagLastLink Flags = 0x001
	// FlagArchived: an HSM copy of the dead object exists. Only with FlagLastLink.
	FlagArchived Flags = 0x002
)

// Extra is the extra-flags word (ABI 3.2). Bits outside [ExtraKnown] add no
// bytes today; a future server may change that, so a reader that must not guess
// refuses them (see [Scanner.StrictExtra]).
type Extra uint64

// The bits of [Extra].
const (
	ExtraUIDGID Extra = 0x01 // adds uid and gid
	ExtraNID    Extra = 0x02 // adds the client's network identifier
	ExtraOpen   Extra = 0x04 // adds the open flags
	ExtraXattr  Extra = 0x08 // adds the name of an extended attribute
	ExtraNIDBE  Extra = 0x10 // adds nothing: the NID is in its large form

	// ExtraKnown are the bits that this package understands.
	ExtraKnown Extra = 0x1f
)

// Format says which blocks a record has, or which a consumer wants. Extra
// counts only where Flags has [FlagExtra].
type Format struct {
	Flags Flags // format bits only
	Extra Extra
}

// FormatAll holds every block and bit that this package knows.
var FormatAll = Format{Flags: FlagsFormat, Extra: ExtraKnown}

// formatNames are the names of the wanted-fields option, one for each bit that a
// consumer can ask for. FlagVersion is not among them: it adds nothing.
var formatNames = []struct {
	name string
	bit  Format
}{
	{"rename", Format{Flags: FlagRename}},
	{"jobid", Format{Flags: FlagJobID}},
	{"extra", Format{Flags: FlagExtra}},
	{"uidgid", Format{Extra: ExtraUIDGID}},
	{"nid", Format{Extra: ExtraNID}},
	{"nid_be", Format{Extra: ExtraNIDBE}},
	{"openmode", Format{Extra: ExtraOpen}},
	{"xattr", Format{Extra: ExtraXattr}},
}

// FormatNames returns the names that [ParseFormat] takes, in the order of the bits.
func FormatNames() []string {
	names := make([]string, len(formatNames))
	for i, f := range formatNames {
		names[i] = f.name
	}
	return names
}

// ParseFormat returns the format that wants exactly the named fields: rename,
// jobid, extra, uidgid, nid, nid_be, openmode, xattr. No name wants the bare
// record. Each name is one bit and implies no other: see [Format.Pitfall].
func ParseFormat(names []string) (Format, error) {
	want := Format{Flags: FlagVersion}
next:
	for _, name := range names {
		for _, f := range formatNames {
			if name == f.name {
				want.Flags |= f.bit.Flags
				want.Extra |= f.bit.Extra
				continue next
			}
		}
		return Format{}, fmt.Errorf("field %q is unknown; the fields are %s", name, strings.Join(FormatNames(), ", "))
	}
	return want, nil
}

// String returns the names of the wanted fields, separated by commas.
func (f Format) String() string {
	var names []string
	for _, n := range formatNames {
		if f.Flags&n.bit.Flags != 0 || f.Extra&n.bit.Extra != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// Pitfall describes why a consumer that asks for f will not get what it
// expects, or returns "" when there is nothing to say. The pitfalls are those of
// the format itself (ABI 7.1): blocks of the extra word without the word, and
// NIDs whose form can no longer be told.
func (f Format) Pitfall() string {
	switch {
	case f.Extra&ExtraKnown != 0 && f.Flags&FlagExtra == 0:
		return Format{Extra: f.Extra}.String() + " without extra gives nothing: these fields are part of the extra block; add extra"
	case f.Extra&ExtraNIDBE != 0 && f.Extra&ExtraNID == 0:
		return "nid_be without nid gives nothing: it only says in which form the NID is; add nid"
	case f.Extra&ExtraNID != 0 && f.Extra&ExtraNIDBE == 0:
		return "nid without nid_be makes NIDs in the large form unreadable, because the record no longer says so; add nid_be"
	}
	return ""
}

// MarkerFlags are the flags of a MARK record, kept in the first four bytes of
// its target FID (ABI 3.3).
type MarkerFlags uint32

// The bits of [MarkerFlags].
const (
	MarkerRecording   MarkerFlags = 0x1
	MarkerError       MarkerFlags = 0x2
	MarkerStart       MarkerFlags = 0x10000
	MarkerStop        MarkerFlags = 0x20000
	MarkerPurge       MarkerFlags = 0x40000
	MarkerCleanupDone MarkerFlags = 0x80000
	MarkerInitialised MarkerFlags = 0x100000
)

// Attrs are the attributes that a TRUNC, SATTR, MTIME, CTIME or ATIME record
// says were set: the low 12 bits of the server's mask (ABI 3.3). A change of the
// project id shows as no bit at all.
type Attrs uint16

// The bits of [Attrs].
const (
	AttrAtime  Attrs = 0x001
	AttrMtime  Attrs = 0x002
	AttrCtime  Attrs = 0x004
	AttrSize   Attrs = 0x008
	AttrMode   Attrs = 0x010
	AttrUID    Attrs = 0x020
	AttrGID    Attrs = 0x040
	AttrBlocks Attrs = 0x080
	AttrType   Attrs = 0x100
	AttrFlags  Attrs = 0x200
	AttrNlink  Attrs = 0x400
	AttrRdev   Attrs = 0x800
)

// OpenFlags are the low 12 bits of the MDS open flags, in the payload of OPEN,
// NOPEN and CLOSE, and in the open block (ABI 3.3). In the block servers leave
// format bits above them (ABI 4.3); [Record.OpenMode] returns it as stored.
type OpenFlags uint32

// The bits of [OpenFlags].
const (
	OpenRead      OpenFlags = 0x001
	OpenWrite     OpenFlags = 0x002
	OpenExec      OpenFlags = 0x004 // permission to execute
	OpenCreated   OpenFlags = 0x008 // the file was created by this open
	OpenExecve    OpenFlags = 0x010 // opened by execve
	OpenCreate    OpenFlags = 0x040
	OpenExclusive OpenFlags = 0x080
	OpenNoctty    OpenFlags = 0x100
	OpenTruncate  OpenFlags = 0x200
	OpenAppend    OpenFlags = 0x400
	OpenNonblock  OpenFlags = 0x800

	// OpenMeaningful are the bits that mean something in the open block.
	OpenMeaningful OpenFlags = 0xfff
)

// String returns the three letters that lfs prints: "--x" for execution, else r
// and w where they hold (ABI 11).
func (f OpenFlags) String() string {
	const anyWrite = OpenWrite | OpenTruncate | OpenAppend
	switch {
	case f&OpenExec != 0:
		return "--x"
	case f&OpenRead != 0 && f&anyWrite != 0:
		return "rw-"
	case f&OpenRead != 0:
		return "r--"
	case f&anyWrite != 0:
		return "-w-"
	}
	return "---"
}

// HSMEvent is the event that an HSM record reports (ABI 3.3).
type HSMEvent uint8

// The events of HSM records.
const (
	HSMArchive HSMEvent = 0
	HSMRestore HSMEvent = 1
	HSMCancel  HSMEvent = 2
	HSMRelease HSMEvent = 3
	HSMRemove  HSMEvent = 4
	HSMState   HSMEvent = 5
)

// HSM is the payload of an HSM record, unpacked (ABI 3.3).
type HSM struct {
	// Errno is 0 for success, 1..0x7e an errno, 0x7f an errno that did not fit.
	Errno uint8
	Event HSMEvent
	// Dirty: the file changed since it was archived.
	Dirty bool
}

// Flags packs h as payload bits.
func (h HSM) Flags() Flags {
	f := Flags(h.Errno&0x7f) | Flags(h.Event&7)<<7
	if h.Dirty {
		f |= 0x400
	}
	return f
}

func hsmOf(f Flags) HSM {
	return HSM{Errno: uint8(f & 0x7f), Event: HSMEvent(f>>7) & 7, Dirty: f&0x400 != 0}
}

package changelog

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Fields is a record taken apart: what a producer fills in, and what a consumer
// keeps that wants values instead of a view. Format says which optional blocks
// there are; a value whose block is not in Format must be zero.
type Fields struct {
	Type Type
	// Payload holds the bits whose meaning depends on the type.
	Payload Flags
	// Format says which blocks there are. Its unknown extra bits are kept.
	Format Format

	Index  uint64
	Prev   uint64
	Time   Time
	Target FID // for MARK: see MarkerTarget
	Parent FID

	// Name is the target name, at most 255 bytes without NUL.
	Name string

	// With FlagRename: what was moved, from where, under which name.
	Source       FID
	SourceParent FID
	SourceName   string

	JobID string // with FlagJobID: at most 31 bytes without NUL

	// With FlagExtra and the bit of each:
	UID, GID  uint64
	NID       NID
	OpenMode  OpenFlags
	XattrName string // at most 255 bytes without NUL
}

// MarkerTarget returns the target FID that carries the flags of a MARK record.
func MarkerTarget(f MarkerFlags) FID { return FID{Seq: uint64(f)} }

// Fields takes the record apart. Undefined bytes are not kept: packing the
// result again gives the same record with zeros in their place. Nor is a second
// name in a record that has lost its rename block (ABI 7.1).
func (r Record) Fields() Fields {
	f := Fields{
		Type:    r.Type(),
		Payload: r.Flags() & FlagsPayload,
		Format:  r.Format(),
		Index:   r.Index(),
		Prev:    r.Prev(),
		Time:    r.Time(),
		Target:  r.Target(),
		Parent:  r.Parent(),
		Name:    string(r.Name()),
	}
	f.Source, _ = r.Source()
	f.SourceParent, _ = r.SourceParent()
	if name, ok := r.SourceName(); ok {
		f.SourceName = string(name)
	}
	jobID, _ := r.JobID()
	f.JobID = string(jobID)
	f.UID, f.GID, _ = r.Owner()
	f.NID, _ = r.NID()
	f.OpenMode, _ = r.OpenMode()
	xattr, _ := r.XattrName()
	f.XattrName = string(xattr)
	return f
}

// Append packs the record and appends it to dst. On error dst is returned as it
// was, and the error names the field.
func (f *Fields) Append(dst []byte) ([]byte, error) {
	if err := f.check(); err != nil {
		return dst, fmt.Errorf("build %s record %d: %w", f.Type, f.Index, err)
	}
	start := len(dst)
	dst = f.appendHeader(dst)
	if f.Format.Flags&FlagRename != 0 {
		dst = appendFID(appendFID(dst, f.Source), f.SourceParent)
	}
	if f.Format.Flags&FlagJobID != 0 {
		dst = appendCString(dst, f.JobID, jobIDSize)
	}
	if f.Format.Flags&FlagExtra != 0 {
		var err error
		if dst, err = f.appendExtra(dst); err != nil {
			return dst[:start], fmt.Errorf("build %s record %d: %w", f.Type, f.Index, err)
		}
	}
	dst = append(dst, f.Name...)
	if f.hasSourceName() {
		dst = append(append(dst, 0), f.SourceName...)
	}
	return dst, nil
}

// hasSourceName tells whether there is a second name, though it may be empty. A
// rename block that names no source is one that was only added to fit a format
// (ABI 7.2): such records have one name.
func (f *Fields) hasSourceName() bool {
	return f.Format.Flags&FlagRename != 0 && (!f.Source.IsZero() || f.SourceName != "")
}

// check refuses what the packed form cannot carry.
func (f *Fields) check() error {
	for _, s := range []struct {
		what, value string
		limit       int
	}{
		{"name", f.Name, MaxName},
		{"source name", f.SourceName, MaxName},
		{"job id", f.JobID, jobIDSize - 1}, // C programs rely on the NUL behind these two
		{"attribute name", f.XattrName, xattrSize - 1},
	} {
		if len(s.value) > s.limit {
			return fmt.Errorf("%s has %d bytes, at most %d fit", s.what, len(s.value), s.limit)
		}
		if strings.IndexByte(s.value, 0) >= 0 {
			return fmt.Errorf("%s %q has a NUL byte", s.what, s.value)
		}
	}
	if f.Payload&^FlagsPayload != 0 || f.Format.Flags&^FlagsFormat != 0 {
		return fmt.Errorf("payload %#x and format %#x mix payload and format bits", uint16(f.Payload), uint16(f.Format.Flags))
	}
	return f.checkBlocks()
}

// checkBlocks refuses values that would be lost because their block is missing.
func (f *Fields) checkBlocks() error {
	extra := f.Format.Extra
	if f.Format.Flags&FlagExtra == 0 {
		extra = 0
	}
	hasRename := f.Format.Flags&FlagRename != 0
	switch {
	case !hasRename && (f.Source != FID{} || f.SourceParent != FID{} || f.SourceName != ""):
		return fmt.Errorf("source fields are set without FlagRename")
	case f.Format.Flags&FlagJobID == 0 && f.JobID != "":
		return fmt.Errorf("job id is set without FlagJobID")
	case f.Format.Extra != extra:
		return fmt.Errorf("extra bits %#x are set without FlagExtra", uint64(f.Format.Extra))
	case extra&ExtraUIDGID == 0 && (f.UID != 0 || f.GID != 0):
		return fmt.Errorf("uid or gid is set without ExtraUIDGID")
	case extra&ExtraNID == 0 && f.NID != NID{}:
		return fmt.Errorf("NID is set without ExtraNID")
	case extra&ExtraOpen == 0 && f.OpenMode != 0:
		return fmt.Errorf("open mode is set without ExtraOpen")
	case extra&ExtraXattr == 0 && f.XattrName != "":
		return fmt.Errorf("attribute name is set without ExtraXattr")
	}
	return nil
}

func (f *Fields) appendHeader(dst []byte) []byte {
	namelen := len(f.Name)
	if f.hasSourceName() {
		namelen += 1 + len(f.SourceName)
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(namelen))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(f.Format.Flags|f.Payload))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(f.Type))
	dst = binary.LittleEndian.AppendUint64(dst, f.Index)
	dst = binary.LittleEndian.AppendUint64(dst, f.Prev)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.Time))
	return appendFID(appendFID(dst, f.Target), f.Parent)
}

func (f *Fields) appendExtra(dst []byte) ([]byte, error) {
	extra := f.Format.Extra
	dst = binary.LittleEndian.AppendUint64(dst, uint64(extra))
	if extra&ExtraUIDGID != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, f.UID)
		dst = binary.LittleEndian.AppendUint64(dst, f.GID)
	}
	if extra&ExtraNID != 0 {
		var err error
		if dst, err = appendNID(dst, f.NID, extra&ExtraNIDBE != 0); err != nil {
			return dst, err
		}
	}
	if extra&ExtraOpen != 0 {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(f.OpenMode))
	}
	if extra&ExtraXattr != 0 {
		dst = appendCString(dst, f.XattrName, xattrSize)
	}
	return dst, nil
}

var zeros [xattrSize]byte

// appendCString appends s and zeros up to size bytes.
func appendCString(dst []byte, s string, size int) []byte {
	dst = append(dst, s...)
	return append(dst, zeros[:size-len(s)]...)
}

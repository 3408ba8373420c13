package changelog

import (
	"bytes"
	"encoding/binary"
)

// Sizes of a packed record in bytes (ABI 1, 4, 5).
const (
	// HeaderSize is the size of the fixed header, and of the smallest record.
	HeaderSize = 64
	// MaxNameArea is the largest name area: two names of 255 bytes and the NUL
	// between them.
	MaxNameArea = 511
	// MaxRecordSize is the size of a record with every block and the largest names.
	MaxRecordSize = maxNameOffset + MaxNameArea
	// MaxName is the largest name in bytes.
	MaxName = 255

	renameSize    = 2 * fidSize
	jobIDSize     = 32
	extraWordSize = 8
	ownerSize     = 16
	openSize      = 4
	xattrSize     = 256

	maxNameOffset = HeaderSize + renameSize + jobIDSize + extraWordSize + ownerSize + nidBlockSize + openSize + xattrSize
)

// Record is a view over the bytes of one packed record. It is made by [Next],
// [Scanner] or [Reader], which check that the record is whole, so no accessor
// can fail. It copies nothing: it is valid, and constant, as long as the buffer
// beneath it. The zero Record is not valid; its accessors panic.
//
// A field that sits in an optional block comes with a bool that says whether the
// record has that block. A block that is there may still say nothing: consumers
// must take a zero source FID, an empty job id and an empty attribute name for
// absent (ABI 7.2).
type Record struct{ b []byte }

// Bytes returns the packed record. The caller must not change it.
func (r Record) Bytes() []byte { return r.b }

// Size returns the number of bytes of the packed record.
func (r Record) Size() int { return len(r.b) }

// Clone returns the record over a copy of its bytes.
func (r Record) Clone() Record { return Record{bytes.Clone(r.b)} }

// Flags returns the whole flags word: format and payload bits.
func (r Record) Flags() Flags { return Flags(binary.LittleEndian.Uint16(r.b[2:])) }

// Type returns the kind of operation.
func (r Record) Type() Type { return Type(binary.LittleEndian.Uint32(r.b[4:])) }

// Index returns the record's number: unique and increasing on its MDT, though
// not without gaps (ABI 10.8).
func (r Record) Index() uint64 { return binary.LittleEndian.Uint64(r.b[8:]) }

// Prev returns a field that no server fills in (ABI 1.1).
func (r Record) Prev() uint64 { return binary.LittleEndian.Uint64(r.b[16:]) }

// Time returns the server's time when the record was built.
func (r Record) Time() Time { return Time(binary.LittleEndian.Uint64(r.b[24:])) }

// Target returns the FID of the object. In a rename that is the object which was
// overwritten, or zero; in a MARK record it holds marker flags instead.
func (r Record) Target() FID { return readFID(r.b[32:]) }

// Parent returns the FID of the directory of the target name. Trust it for the
// types 1-9 and 20 only: for others servers may leave an unrelated one (ABI 10.7).
func (r Record) Parent() FID { return readFID(r.b[48:]) }

// Marker returns the flags of a MARK record; ok is false for other types.
func (r Record) Marker() (flags MarkerFlags, ok bool) {
	return MarkerFlags(binary.LittleEndian.Uint32(r.b[32:])), r.Type() == TypeMark
}

// Format returns which blocks the record has, with extra bits as stored.
func (r Record) Format() Format {
	extra, _ := r.Extra()
	return Format{Flags: r.Flags() & FlagsFormat, Extra: extra}
}

// block returns the n bytes of a block that starts at off, and whether it is there.
func (r Record) block(off, n int, ok bool) ([]byte, bool) {
	if !ok {
		return nil, false
	}
	return r.b[off : off+n : off+n], true
}

// renameBlock returns source FID and source parent FID, packed.
func (r Record) renameBlock() ([]byte, bool) {
	return r.block(HeaderSize, renameSize, r.Flags()&FlagRename != 0)
}

// Source returns the FID of what a rename moved, or the old FID of what was
// migrated. It may be zero although the block is there.
func (r Record) Source() (FID, bool) {
	b, ok := r.renameBlock()
	if !ok {
		return FID{}, false
	}
	return readFID(b), true
}

// SourceParent returns the FID of the directory of the source name.
func (r Record) SourceParent() (FID, bool) {
	b, ok := r.renameBlock()
	if !ok {
		return FID{}, false
	}
	return readFID(b[fidSize:]), true
}

func (r Record) jobIDBlock() ([]byte, bool) {
	f := r.Flags()
	return r.block(int(fixedSizes[f&FlagRename>>12]), jobIDSize, f&FlagJobID != 0)
}

// JobID returns the job identifier, an opaque byte string that the client set
// (ABI 4.2).
func (r Record) JobID() ([]byte, bool) {
	b, ok := r.jobIDBlock()
	return cString(b), ok
}

// extraWord returns the extra-flags word and the offset behind it.
func (r Record) extraWord() (word Extra, end int, ok bool) {
	f := r.Flags()
	if f&FlagExtra == 0 {
		return 0, 0, false
	}
	end = int(fixedSizes[f>>12])
	return Extra(binary.LittleEndian.Uint64(r.b[end-extraWordSize:])), end, true
}

// Extra returns the extra-flags word, unknown bits included.
func (r Record) Extra() (Extra, bool) {
	word, _, ok := r.extraWord()
	return word, ok
}

func (r Record) ownerBlock() ([]byte, bool) {
	word, off, _ := r.extraWord()
	return r.block(off, ownerSize, word&ExtraUIDGID != 0)
}

// Owner returns uid and gid of the caller, as the MDT sees them (ABI 4.4).
func (r Record) Owner() (uid, gid uint64, ok bool) {
	b, ok := r.ownerBlock()
	if !ok {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), true
}

func (r Record) nidBlock() ([]byte, bool) {
	word, off, _ := r.extraWord()
	return r.block(off+int(extraSizes[word&ExtraUIDGID]), nidBlockSize, word&ExtraNID != 0)
}

// NID returns the network identifier of the client that did it.
func (r Record) NID() (NID, bool) {
	b, ok := r.nidBlock()
	if !ok {
		return NID{}, false
	}
	word, _, _ := r.extraWord()
	return readNID(b, word&ExtraNIDBE != 0), true
}

func (r Record) openBlock() ([]byte, bool) {
	word, off, _ := r.extraWord()
	return r.block(off+int(extraSizes[word&(ExtraUIDGID|ExtraNID)]), openSize, word&ExtraOpen != 0)
}

// OpenMode returns the open block as stored. Servers leave format bits in it:
// only [OpenMeaningful] says something (ABI 4.3).
func (r Record) OpenMode() (OpenFlags, bool) {
	b, ok := r.openBlock()
	if !ok {
		return 0, false
	}
	return OpenFlags(binary.LittleEndian.Uint32(b)), true
}

func (r Record) xattrBlock() ([]byte, bool) {
	word, off, _ := r.extraWord()
	return r.block(off+int(extraSizes[word&(ExtraUIDGID|ExtraNID|ExtraOpen)]), xattrSize, word&ExtraXattr != 0)
}

// XattrName returns the name of the extended attribute.
func (r Record) XattrName() ([]byte, bool) {
	b, ok := r.xattrBlock()
	return cString(b), ok
}

// NameArea returns the bytes behind the blocks: one name, or for a record with
// [FlagRename] two names with a NUL between them.
func (r Record) NameArea() []byte {
	return r.b[len(r.b)-int(binary.LittleEndian.Uint16(r.b)):]
}

// Name returns the target name: bytes without NUL, not necessarily UTF-8. It is
// empty when the record has none.
func (r Record) Name() []byte {
	name, _ := cutNames(r.NameArea())
	return name
}

// SourceName returns the old name of a rename or migration; ok says that the
// record has [FlagRename]. It is empty in a normalised record of an old server.
func (r Record) SourceName() (name []byte, ok bool) {
	if r.Flags()&FlagRename == 0 {
		return nil, false
	}
	_, name = cutNames(r.NameArea())
	return name, true
}

// cutNames splits a name area at its first NUL, which is looked for in its first
// 256 bytes only (ABI 5). Without one, source is nil.
func cutNames(area []byte) (target, source []byte) {
	i := bytes.IndexByte(area[:min(len(area), MaxName+1)], 0)
	if i < 0 {
		return area, nil
	}
	return area[:i:i], area[i+1:]
}

// cString returns b up to its first NUL. What follows is undefined (ABI 4.1).
func cString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i:i]
	}
	return b
}

// IsLastUnlink tells whether an UNLNK or RMDIR removed the last link of its
// target, and whether an HSM copy of it remains. Both are false for other types.
func (r Record) IsLastUnlink() (last, archived bool) {
	if t := r.Type(); t != TypeUnlnk && t != TypeRmdir {
		return false, false
	}
	return r.lastLink()
}

// IsLastRename tells whether a RENME overwrote the last link of its target, and
// whether an HSM copy of it remains. Both are false for other types.
func (r Record) IsLastRename() (last, archived bool) {
	if r.Type() != TypeRenme {
		return false, false
	}
	return r.lastLink()
}

func (r Record) lastLink() (last, archived bool) {
	f := r.Flags()
	last = f&FlagLastLink != 0
	return last, last && f&FlagArchived != 0
}

// HSM returns the payload of an HSM record; ok is false for other types.
func (r Record) HSM() (h HSM, ok bool) {
	if r.Type() != TypeHSM {
		return HSM{}, false
	}
	return hsmOf(r.Flags()), true
}

// Attrs returns which attributes changed; ok is false for types other than
// TRUNC, SATTR, MTIME, CTIME and ATIME.
func (r Record) Attrs() (a Attrs, ok bool) {
	switch r.Type() {
	case TypeTrunc, TypeSattr, TypeMtime, TypeCtime, TypeAtime:
		return Attrs(r.Flags() & FlagsPayload), true
	}
	return 0, false
}

// OpenFlags returns how the file was opened; ok is false for types other than
// OPEN, NOPEN and CLOSE.
func (r Record) OpenFlags() (f OpenFlags, ok bool) {
	switch r.Type() {
	case TypeOpen, TypeNopen, TypeClose:
		return OpenFlags(r.Flags() & FlagsPayload), true
	}
	return 0, false
}

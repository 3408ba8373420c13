package changelog

import "encoding/binary"

// AppendRepacked appends the record with only the wanted blocks, as the client
// library of Lustre 2.16 and newer does it (ABI 7.1). Nothing that the record
// lacks is added; FlagVersion is always set; unknown extra bits are dropped; both
// names stay even where the rename block goes.
//
// A large NID whose NID_BE bit is not wanted is copied unchanged, as the library
// does: whoever wants the NID should want NID_BE too.
func (r Record) AppendRepacked(dst []byte, want Format) []byte {
	keep, word := r.kept(want)
	dst = appendHeaderWith(dst, r, r.Flags()&FlagsPayload|keep)
	dst = appendIf(dst, keep&FlagRename != 0, r.renameBlock)
	dst = appendIf(dst, keep&FlagJobID != 0, r.jobIDBlock)
	if keep&FlagExtra != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(word))
		dst = appendIf(dst, word&ExtraUIDGID != 0, r.ownerBlock)
		dst = appendIf(dst, word&ExtraNID != 0, r.nidBlock)
		dst = appendIf(dst, word&ExtraOpen != 0, r.openBlock)
		dst = appendIf(dst, word&ExtraXattr != 0, r.xattrBlock)
	}
	return append(dst, r.NameArea()...)
}

// kept returns the format bits of the repacked record, and its extra-flags word.
func (r Record) kept(want Format) (flags Flags, word Extra) {
	word, _ = r.Extra()
	word &= want.Extra & ExtraKnown
	if word&ExtraNID == 0 {
		word &^= ExtraNIDBE
	}
	return r.Flags()&want.Flags&FlagsFormat | FlagVersion, word
}

// RepackedSize returns how many bytes [Record.AppendRepacked] appends, and whether they
// are the record's own: then there is nothing to cut.
func (r Record) RepackedSize(want Format) (size int, same bool) {
	flags, word := r.kept(want)
	size = int(fixedSizes[flags>>12]) + int(binary.LittleEndian.Uint16(r.b))
	same = flags == r.Flags()&FlagsFormat
	if flags&FlagExtra != 0 {
		size += int(extraSizes[word])
		have, _ := r.Extra()
		same = same && word == have
	}
	return size, same
}

// Repacking returns the format that stands for all those that repack every record as f
// does: with the version bit, which repacked records have, wanted or not, without unknown
// bits, without bits of the extra word that count for nothing.
func (f Format) Repacking() Format {
	f.Flags = f.Flags&FlagsFormat | FlagVersion
	f.Extra &= ExtraKnown
	if f.Flags&FlagExtra == 0 {
		f.Extra = 0
	}
	if f.Extra&ExtraNID == 0 {
		f.Extra &^= ExtraNIDBE
	}
	return f
}

func appendHeaderWith(dst []byte, r Record, flags Flags) []byte {
	start := len(dst)
	dst = append(dst, r.b[:HeaderSize]...)
	binary.LittleEndian.PutUint16(dst[start+2:], uint16(flags))
	return dst
}

func appendIf(dst []byte, wanted bool, block func() ([]byte, bool)) []byte {
	if !wanted {
		return dst
	}
	b, _ := block()
	return append(dst, b...)
}

// extraClassic are the extra bits that clients before 2.16 know.
const extraClassic = ExtraUIDGID | ExtraNID | ExtraOpen | ExtraXattr

// FormatClassic is everything that a 2.11-2.15 client can ask for.
var FormatClassic = Format{Flags: FlagsFormat, Extra: extraClassic}

// AppendNormalized appends the record with exactly the wanted blocks, as the
// client library of Lustre 2.7 to 2.15 delivers it (ABI 7.2): unwanted blocks are
// removed, missing ones added, filled with zeros. Extra bits that such a library
// does not know stay as they are. For real fidelity the record must have been
// through [Record.AppendTrimmed] for the same generation.
//
// Where the record has no extra word at all the real library leaves the added
// blocks uninitialised; here they are zero.
func (r Record) AppendNormalized(dst []byte, want Format) []byte {
	flags := want.Flags&FlagsFormat | FlagVersion
	dst = appendHeaderWith(dst, r, r.Flags()&FlagsPayload|flags)
	dst = appendOrZero(dst, flags&FlagRename != 0, renameSize, r.renameBlock)
	dst = appendOrZero(dst, flags&FlagJobID != 0, jobIDSize, r.jobIDBlock)
	if flags&FlagExtra != 0 {
		word, _ := r.Extra()
		word = word&^extraClassic | want.Extra&extraClassic
		dst = binary.LittleEndian.AppendUint64(dst, uint64(word))
		dst = appendOrZero(dst, word&ExtraUIDGID != 0, ownerSize, r.ownerBlock)
		dst = appendOrZero(dst, word&ExtraNID != 0, nidBlockSize, r.nidBlock)
		dst = appendOrZero(dst, word&ExtraOpen != 0, openSize, r.openBlock)
		dst = appendOrZero(dst, word&ExtraXattr != 0, xattrSize, r.xattrBlock)
	}
	return append(dst, r.NameArea()...)
}

func appendOrZero(dst []byte, wanted bool, size int, block func() ([]byte, bool)) []byte {
	if !wanted {
		return dst
	}
	if b, ok := block(); ok {
		return append(dst, b...)
	}
	return append(dst, zeros[:size]...)
}

// Generation is a generation of Lustre clients, by the blocks that they tell the
// server they understand (ABI 7.3).
type Generation int

// The generations, newest first.
const (
	// Generation216 is a client of 2.16 or newer that set NID_BE on the device.
	Generation216 Generation = iota
	// Generation211 is a client of 2.11-2.15, or a newer one without NID_BE.
	Generation211
	// Generation27 is a client of 2.7-2.10: no extra block.
	Generation27
	// Generation24 is a client of 2.4-2.6: no job id either.
	Generation24
)

// AppendTrimmed appends the record as a server sends it to a client of the given
// generation (ABI 7.3). The server only removes; where a large NID does not fit
// into the 64-bit form it becomes zero with its block still there.
func (r Record) AppendTrimmed(dst []byte, g Generation) []byte {
	flags := r.Flags()
	switch {
	case g >= Generation24:
		flags &^= FlagJobID | FlagExtra
	case g >= Generation27:
		flags &^= FlagExtra
	case g >= Generation211:
		return r.appendSmallNID(dst)
	default:
		return append(dst, r.b...)
	}
	dst = appendHeaderWith(dst, r, flags)
	dst = appendIf(dst, flags&FlagRename != 0, r.renameBlock)
	dst = appendIf(dst, flags&FlagJobID != 0, r.jobIDBlock)
	return append(dst, r.NameArea()...)
}

// appendSmallNID appends the record with its NID in the 64-bit form.
func (r Record) appendSmallNID(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, r.b...)
	word, end, ok := r.extraWord()
	if !ok || word&ExtraNIDBE == 0 {
		return dst
	}
	out := Record{dst[start:]}
	if block, ok := out.nidBlock(); ok {
		if nid := readLargeNID(block); nid.Len == 4 {
			binary.LittleEndian.PutUint64(block, nid.small())
		} else {
			clear(block) // the wildcard, or too large
		}
	}
	binary.LittleEndian.PutUint64(out.b[end-extraWordSize:], uint64(word&^ExtraNIDBE))
	return dst
}

package watch

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/lcapd/lcapd/changelog"
)

// handle is what the kernel calls a file handle: the name of an inode of one file
// system, which no other inode of it ever has, not even after this one is gone.
type handle struct {
	kind  int32
	bytes string
}

// shape is what all handles of a file system that are equally long have in common.
type shape struct {
	kind int32
	size int
}

// fitting is the longest handle that a FID holds as it is, in bytes: those of ext4 (8),
// xfs, tmpfs and f2fs (12) fit. Of longer ones, such as those of btrfs (20), the FID
// holds a hash of 96 bits: with a thousand million files the probability that two of
// them share one is below 10^-11. Such a FID cannot be opened: directories, which must
// be, keep their handles beside it.
const fitting = 12

// identifiers turns handles into FIDs and back.
//
// The upper half of the sequence is a number made of the file system and the handle's
// shape, with the highest bit set, so that no FID of Lustre's is the same; what remains
// are 96 bits for the handle: the lower half of the sequence, oid and version.
type identifiers struct {
	system uint64           // of the file system, as it was when the tree was first watched
	tags   map[shape]uint32 // each shape met so far
	shapes map[uint32]shape // the same the other way round
}

func newIdentifiers(system uint64) *identifiers {
	return &identifiers{system, map[shape]uint32{}, map[uint32]shape{}}
}

// tag returns the number of a shape.
func (ids *identifiers) tag(s shape) uint32 {
	if tag, ok := ids.tags[s]; ok {
		return tag
	}
	var b [20]byte
	binary.LittleEndian.PutUint64(b[:], ids.system)
	binary.LittleEndian.PutUint32(b[8:], uint32(s.kind))
	binary.LittleEndian.PutUint64(b[12:], uint64(s.size))
	sum := sha256.Sum256(b[:])
	tag := binary.LittleEndian.Uint32(sum[:]) | 1<<31
	ids.tags[s], ids.shapes[tag] = tag, s
	return tag
}

// fid returns the FID of a handle.
func (ids *identifiers) fid(h handle) changelog.FID {
	var b [fitting]byte
	if len(h.bytes) <= fitting {
		copy(b[:], h.bytes)
	} else {
		sum := sha256.Sum256([]byte(h.bytes))
		copy(b[:], sum[:])
	}
	return changelog.FID{
		Seq: uint64(ids.tag(shape{h.kind, len(h.bytes)}))<<32 | uint64(binary.LittleEndian.Uint32(b[:])),
		Oid: binary.LittleEndian.Uint32(b[4:]),
		Ver: binary.LittleEndian.Uint32(b[8:]),
	}
}

// handle returns the handle that a FID holds; false if it holds a hash only.
func (ids *identifiers) handle(fid changelog.FID) (handle, bool) {
	s, ok := ids.shapes[uint32(fid.Seq>>32)]
	if !ok || s.size > fitting {
		return handle{}, false
	}
	var b [fitting]byte
	binary.LittleEndian.PutUint32(b[:], uint32(fid.Seq))
	binary.LittleEndian.PutUint32(b[4:], fid.Oid)
	binary.LittleEndian.PutUint32(b[8:], fid.Ver)
	return handle{s.kind, string(b[:s.size])}, true
}

// kind returns the kind of the handle that a FID was made of; false if none of that shape
// was met since the start.
func (ids *identifiers) kind(fid changelog.FID) (int32, bool) {
	s, ok := ids.shapes[uint32(fid.Seq>>32)]
	return s.kind, ok
}

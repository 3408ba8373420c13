package llog

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/lcapd/lcapd/changelog"
)

const (
	frameHead     = 16
	frameTail     = 12
	frameOverhead = frameHead + frameTail
	maxFrame      = changelog.MaxRecordSize + frameOverhead
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameSum is the checksum of a frame at offset off of its file: over index and
// record, starting from offset and length.
func frameSum(off int64, frame []byte) uint32 {
	length := binary.LittleEndian.Uint32(frame)
	start := uint32(off) ^ uint32(off>>32) ^ length
	return crc32.Update(start, castagnoli, frame[8:frameHead+int(length)])
}

// appendFrame appends rec, under the given index, as the frame that will stand
// at offset off.
func appendFrame(dst []byte, off int64, rec []byte, index uint64) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rec)))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, index)
	dst = append(dst, rec...)
	changelog.SetIndex(dst[start+frameHead:], index)
	dst = binary.LittleEndian.AppendUint64(dst, index)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rec)))
	binary.LittleEndian.PutUint32(dst[start+4:], frameSum(off, dst[start:]))
	return dst
}

// frameState is what [parseFrame] finds.
type frameState int

const (
	frameWhole frameState = iota
	frameShort            // the bytes end before the frame does
	frameBad              // these bytes are no frame
)

// parseFrame looks at the frame that starts at b, which stands at offset off of
// its file. rec and index are set only when it is whole.
func parseFrame(b []byte, off int64) (rec []byte, index uint64, state frameState) {
	if len(b) < frameHead {
		return nil, 0, frameShort
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < changelog.HeaderSize || n > changelog.MaxRecordSize {
		return nil, 0, frameBad
	}
	if len(b) < n+frameOverhead {
		return nil, 0, frameShort
	}
	index = binary.LittleEndian.Uint64(b[8:])
	tail := b[frameHead+n:]
	if binary.LittleEndian.Uint64(tail) != index || binary.LittleEndian.Uint32(tail[8:]) != uint32(n) {
		return nil, 0, frameBad
	}
	if frameSum(off, b) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, 0, frameBad
	}
	return b[frameHead : frameHead+n], index, frameWhole
}

package emulated

import (
	"bytes"
	"encoding/binary"

	"github.com/lcapd/lcapd/changelog"
)

// makeDirty fills the places of a packed record that servers do not clear, with what an
// earlier record might have left there: the parent of records that have none (ABI 10.7),
// and what lies behind the NUL of job id and attribute name (ABI 4.1). A record gets the
// same each time: a real one is stored that way.
func makeDirty(packed []byte) {
	rec, _, err := changelog.Next(packed)
	if err != nil {
		return
	}
	stale := rec.Index()*0x9e3779b97f4a7c15 + 1
	if hasNoParent(rec.Type()) && rec.Parent().IsZero() {
		const parentOffset = 48
		b := binary.LittleEndian.AppendUint64(packed[:parentOffset], 0x200000400+stale>>60)
		binary.LittleEndian.AppendUint64(b, stale>>32&0xffff|1)
	}
	const blockJobID, blockRename, blockXattr = 32, 32, 256
	if flags := rec.Flags(); flags&changelog.FlagJobID != 0 {
		at := changelog.HeaderSize
		if flags&changelog.FlagRename != 0 {
			at += blockRename
		}
		soil(packed[at:at+blockJobID], stale)
	}
	if word, ok := rec.Extra(); ok && word&changelog.ExtraXattr != 0 {
		end := len(packed) - len(rec.NameArea())
		soil(packed[end-blockXattr:end], stale)
	}
}

// hasNoParent: the server leaves the parent of these types as it finds it.
func hasNoParent(t changelog.Type) bool {
	return t >= changelog.TypeOpen && t <= changelog.TypeAtime || t >= changelog.TypeFLRW && t <= changelog.TypeNopen
}

// soil overwrites what is behind the NUL of a string.
func soil(block []byte, stale uint64) {
	end := bytes.IndexByte(block, 0)
	if end < 0 {
		return
	}
	for i := range block[end+1:] {
		block[end+1+i] = 'a' + byte(stale>>(i%8*8))%26
	}
}

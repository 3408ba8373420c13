package ingest

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// stopHead is how much a [Stop] keeps of the bytes that it is about.
const stopHead = 64

// A Stop says where a stream stopped being records that may come next, and why.
// Everything before it was emitted; nothing behind it was looked at.
type Stop struct {
	MDT groups.MDT
	// Position is the index of the last good record; Start - 1 if there was none.
	Position uint64
	// Index of the record that is refused, as far as its header can be trusted; else 0.
	Index uint64
	// Offset is how many bytes of records were read before it.
	Offset int64
	// Reason is [changelog.ErrTruncated] or [changelog.ErrNameArea]: no record;
	// [changelog.ErrUnknownExtra]: a newer server; [changelog.ErrIndexOrder]: an
	// index that was passed already, as after a reset of the MDT.
	Reason error
	// Detail has the numbers behind the reason.
	Detail string
	// Head are the first bytes of what is refused, 64 at most.
	Head []byte
}

// Error implements error, in one line. The caller puts the name of the MDT in
// front, and [Stop.Dump] into the log.
func (e *Stop) Error() string {
	at := fmt.Sprintf("stopped after index %d, %d bytes into the reading", e.Position, e.Offset)
	if e.Index != 0 {
		at += fmt.Sprintf(", at index %d", e.Index)
	}
	return fmt.Sprintf("%s: %v: %s", at, e.Reason, e.Detail)
}

// Unwrap returns the reason.
func (e *Stop) Unwrap() error { return e.Reason }

// Dump returns the first bytes of what is refused as a hex dump, 16 in a line.
func (e *Stop) Dump() string { return hex.Dump(e.Head) }

// stop makes the error for bytes that err refuses.
func (s *Sealer) stop(err error, bad []byte) *Stop {
	e := &Stop{MDT: s.o.MDT, Position: s.last, Offset: s.taken, Reason: err, Head: append([]byte(nil), bad[:min(len(bad), stopHead)]...)}
	if frame, ok := errors.AsType[*changelog.FrameError](err); ok {
		e.Index, e.Reason, e.Detail = frame.Index, frame.Reason, frame.Detail
	}
	return e
}

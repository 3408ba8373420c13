package ingest

import (
	"fmt"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// A ModulesError says that the modules which all records pass have failed. Everything before
// the batch that they failed at was emitted; nothing behind it was looked at.
type ModulesError struct {
	MDT groups.MDT
	// Position is the index up to which everything was emitted.
	Position uint64
	Err      error
}

// Error implements error. The caller puts the name of the MDT in front.
func (e *ModulesError) Error() string {
	return fmt.Sprintf("the modules for everybody failed after index %d: %v", e.Position, e.Err)
}

// Unwrap returns the error of the modules.
func (e *ModulesError) Unwrap() error { return e.Err }

// pass fills b with what modules leave of its records, which are in the page. What the MDT
// showed b tells as if there were no modules: its range, its holes, its newest record. All of
// b that was copied is of its own size, so the page goes with it only if nothing was dropped.
func (s *Sealer) pass(b *core.Batch, records []byte) error {
	in := modules.Batch{From: b.From, To: b.To, Records: records, Count: b.Count}
	out, err := s.o.Modules.Push(time.Time{}, in) // what is decided about each record by itself is not about time
	if err == nil && (out.To != b.To || out.Permuted) {
		err = fmt.Errorf("%w: of (%d, %d] came out (%d, %d]", modules.ErrModule, b.From, b.To, out.From, out.To)
	}
	if err != nil {
		return &ModulesError{MDT: s.o.MDT, Position: b.From, Err: err}
	}
	same := len(out.Records) == len(records) && (len(records) == 0 || &out.Records[0] == &records[0])
	if !same && s.o.Until == 0 {
		b.Hidden = hidden(records, out.Records, in.Count-out.Count)
	}
	switch b.Count = out.Count; {
	case same:
		b.Records = s.own(records)
	case out.Shared:
		b.Records = s.own(out.Records)
	default:
		b.Records, s.page = out.Records, s.page[:0]
	}
	if s.o.Slots {
		s.keys.addAll(b.Records)
	}
	if in.Count > out.Count && out.Count > 0 {
		b.Last = lastOf(b.Records)
	}
	return nil
}

// hidden lists the records that are not among those kept, as they are; so many were dropped.
func hidden(shown, kept []byte, dropped int) []core.RecordID {
	list := make([]core.RecordID, 0, dropped)
	rest := changelog.NewScanner(kept)
	more := rest.Scan()
	for scan := changelog.NewScanner(shown); scan.Scan(); {
		id := identify(scan.Record())
		if more && rest.Last == id.Index {
			same := identify(rest.Record()) == id
			if more = rest.Scan(); same {
				continue
			}
		}
		list = append(list, id)
	}
	return list
}

// lastOf returns the index of the last of some packed records.
func lastOf(packed []byte) uint64 {
	scan := changelog.NewScanner(packed)
	for scan.Scan() {
	}
	return scan.Last
}

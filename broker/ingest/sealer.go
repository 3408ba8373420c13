package ingest

import (
	"bytes"
	"slices"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
)

// Sealer makes batches of packed records. Their ranges follow each other without a
// gap: the first starts right before Options.Start, each ends with its last record,
// and the last one at Options.Until. It has one owner.
//
// A batch is copied out of the reader's buffer into one of exactly its own size, so
// it keeps in memory what it counts for and nothing else. To hand over the reader's
// buffer instead, and read into a new one, takes as long: new memory is zeroed, and
// cold.
type Sealer struct {
	o      Options
	to     uint64        // where the last sealed batch ends
	last   uint64        // index of the last record taken
	taken  int64         // bytes taken since the start, for errors
	count  int           // records taken since the last seal,
	newest core.RecordID // the last of them,
	held   []byte        // their bytes, as far as they came with an earlier Add,
	holes  []core.Range
	keys   keys
	done   bool
	err    error
}

// NewSealer returns a Sealer that has seen nothing yet.
func NewSealer(o Options) *Sealer {
	o = o.withDefaults()
	return &Sealer{o: o, to: o.Start - 1, last: o.Start - 1, done: o.Until != 0 && o.Start > o.Until}
}

// Done tells whether everything up to Options.Until was sealed.
func (s *Sealer) Done() bool { return s.done }

// Position returns the index of the last record taken; Options.Start - 1 if there
// was none.
func (s *Sealer) Position() uint64 { return s.last }

// Add takes whole packed records and returns the batches that became full. It keeps
// the rest, as a copy, until there is more, or [Sealer.Seal]. A rest of half a batch
// is a batch too: to wait for more would cost a second copy.
//
// Where the bytes stop being the records that may come next, everything before is
// sealed and returned, together with a [*Stop], which stays. What lies beyond
// Options.Until is not looked at.
func (s *Sealer) Add(packed []byte) ([]*core.Batch, error) {
	if s.done || s.err != nil {
		return nil, s.err
	}
	scan := changelog.NewScanner(packed)
	scan.Ordered, scan.StrictExtra, scan.Last = true, !s.o.AssumeEmpty, s.last
	var sealed []*core.Batch
	from, end := 0, 0 // packed[from:end] was taken since the last seal
	var newest changelog.Record
	for !s.done && scan.Scan() {
		if s.o.Until != 0 && scan.Last >= s.o.Until {
			s.done = true
			if scan.Last > s.o.Until {
				break
			}
		}
		next := int(scan.Offset())
		if s.count > 0 && len(s.held)+next-from > s.o.BatchBytes {
			s.know(newest)
			sealed = append(sealed, s.seal(packed[from:end], s.last))
			from = end
		}
		newest = scan.Record()
		s.take(scan.Last)
		if s.o.Slots {
			s.keys.add(newest)
		}
		end = next
	}
	s.know(newest)
	rest, err := packed[from:end], scan.Err()
	s.taken += int64(end)
	switch {
	case s.done:
		sealed = s.finish(sealed, rest)
	case err != nil:
		if s.count > 0 {
			sealed = append(sealed, s.seal(rest, s.last))
		}
		s.err = s.stop(err, packed[end:])
	case s.count > 0 && len(s.held)+len(rest) >= s.o.BatchBytes/2:
		sealed = append(sealed, s.seal(rest, s.last))
	default:
		s.held = append(s.held, rest...)
	}
	return sealed, s.err
}

// know remembers which the last record taken is, for when its bytes are gone.
func (s *Sealer) know(r changelog.Record) {
	if r.Size() > 0 {
		s.newest = identify(r)
	}
}

// take notes the next record, and the hole before it, if there is one.
func (s *Sealer) take(index uint64) {
	if index != s.last+1 {
		s.holes = append(s.holes, core.Range{From: s.last, To: index - 1})
	}
	s.last = index
	s.count++
}

// Seal returns the records that were taken and not sealed yet as a batch, or nil if
// there are none.
func (s *Sealer) Seal() *core.Batch {
	if s.count == 0 {
		return nil
	}
	return s.seal(nil, s.last)
}

// finish seals what there is as the last batch, up to Until: it covers the indexes
// behind the last record too, and may have no record at all.
func (s *Sealer) finish(sealed []*core.Batch, rest []byte) []*core.Batch {
	if s.last < s.o.Until {
		s.holes = append(s.holes, core.Range{From: s.last, To: s.o.Until})
	}
	return append(sealed, s.seal(rest, s.o.Until))
}

// seal makes a batch up to the index to, of the records held and those in rest.
func (s *Sealer) seal(rest []byte, to uint64) *core.Batch {
	b := &core.Batch{
		MDT: s.o.MDT, Epoch: s.o.Epoch, From: s.to, To: to,
		Records: join(s.held, rest), Count: s.count, Newest: s.newest, Holes: slices.Clip(slices.Clone(s.holes)),
	}
	s.to, s.count, s.newest, s.held, s.holes = to, 0, core.RecordID{}, s.held[:0], s.holes[:0]
	if s.o.Slots {
		s.keys.moveTo(b)
	}
	return b
}

// join returns a copy of both, in a buffer of their size. Nearly always one of them
// is empty: then the copy is made in memory that is not zeroed first.
func join(a, b []byte) []byte {
	switch {
	case len(a) == 0:
		return slices.Clip(bytes.Clone(b))
	case len(b) == 0:
		return slices.Clip(bytes.Clone(a))
	}
	return append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
}

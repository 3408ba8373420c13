package ingest

import (
	"bytes"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
)

// Sealer makes batches of packed records. Their ranges follow each other without a
// gap: the first starts right before Options.Start, each ends with its last record,
// and the last one at Options.Until. It has one owner.
//
// Records are read into a page: [Sealer.Room] says where, [Sealer.Add] looks at them
// there. A page that is nearly full becomes the batch, without a copy, and the next
// records go into another one. A batch that fills less of it is a copy of exactly its
// own size, so it keeps in memory what it counts for and nothing else.
type Sealer struct {
	o      Options
	to     uint64        // where the last sealed batch ends
	last   uint64        // index of the last record taken
	taken  int64         // bytes taken since the start, for errors
	count  int           // records taken since the last seal,
	newest core.RecordID // the last of them,
	page   []byte        // their bytes, and room for more; nil when a batch has taken it
	holes  []core.Range
	keys   keys
	keyed  bool // keys are gathered as records are taken: modules leave all of them
	done   bool
	err    error

	asked, came time.Time // see [core.Batch]
}

// NewSealer returns a Sealer that has seen nothing yet.
func NewSealer(o Options) *Sealer {
	o = o.withDefaults()
	return &Sealer{o: o, to: o.Start - 1, last: o.Start - 1, keyed: o.Slots && o.Modules == nil, done: o.Until != 0 && o.Start > o.Until}
}

// Done tells whether everything up to Options.Until was sealed.
func (s *Sealer) Done() bool { return s.done }

// Position returns the index of the last record taken; Options.Start - 1 if there
// was none.
func (s *Sealer) Position() uint64 { return s.last }

// Room returns where the next records are to be written, before [Sealer.Add]. There is
// room for a record of any size.
func (s *Sealer) Room() []byte {
	if s.page == nil {
		s.page = s.o.newPage()
	}
	end := len(s.page)
	return s.page[end:min(cap(s.page), end+s.o.ReadBytes)]
}

// Read notes when a read into Room began, and that it has ended.
func (s *Sealer) Read(asked time.Time) { s.asked, s.came = asked, time.Now() }

// Add takes the whole packed records in the first n bytes of Room, and returns the
// batches that became full. It keeps the rest until there is more, or [Sealer.Seal].
//
// Where the bytes stop being the records that may come next, everything before is
// sealed and returned, together with a [*Stop], which stays. What lies beyond
// Options.Until is not looked at. Modules that fail end it likewise, with a
// [*ModulesError], at the start of the batch that they failed at.
func (s *Sealer) Add(n int) ([]*core.Batch, error) {
	if s.done || s.err != nil {
		return nil, s.err
	}
	held := len(s.page)
	page := s.page[:held+n]
	scan := changelog.NewScanner(page[held:])
	scan.Ordered, scan.StrictExtra, scan.Last = true, !s.o.AssumeEmpty, s.last
	var sealed []*core.Batch
	from, end := 0, held // page[from:end] was taken since the last seal
	var newest changelog.Record
	for !s.done && s.err == nil && scan.Scan() {
		if s.o.Until != 0 && scan.Last >= s.o.Until {
			s.done = true
			if scan.Last > s.o.Until {
				break
			}
		}
		next := held + int(scan.Offset())
		if s.count > 0 && next-from > s.o.BatchBytes {
			s.know(newest)
			sealed = s.sealTo(sealed, page[from:end], s.last)
			from = end
		}
		newest = scan.Record()
		s.take(scan.Last)
		if s.keyed {
			s.keys.add(newest)
		}
		end = next
	}
	s.know(newest)
	s.taken += int64(end - held)
	switch err := scan.Err(); {
	case s.err != nil:
	case s.done:
		sealed = s.finish(sealed, page[from:end])
	case err != nil:
		if s.count > 0 {
			sealed = s.sealTo(sealed, page[from:end], s.last)
		}
		if s.err == nil {
			s.err = s.stop(err, page[end:])
		}
	case cap(page)-(end-from) < leastRead:
		sealed = s.sealTo(sealed, page[from:end], s.last)
	default:
		s.keep(page, from, end)
	}
	return sealed, s.err
}

// keep has page[from:end] wait for what comes behind it.
func (s *Sealer) keep(page []byte, from, end int) {
	switch {
	case from == 0:
		s.page = page[:end]
	case s.page == nil: // a batch has taken it
		s.page = append(s.o.newPage(), page[from:end]...)
	default:
		s.page = append(s.page[:0], page[from:end]...)
	}
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
// there are none. The error is a [*ModulesError].
func (s *Sealer) Seal() (*core.Batch, error) {
	if s.count == 0 || s.err != nil {
		return nil, s.err
	}
	return s.seal(s.page, s.last), s.err
}

// finish seals what there is as the last batch, up to Until: it covers the indexes
// behind the last record too, and may have no record at all.
func (s *Sealer) finish(sealed []*core.Batch, rest []byte) []*core.Batch {
	if s.last < s.o.Until {
		s.holes = append(s.holes, core.Range{From: s.last, To: s.o.Until})
	}
	return s.sealTo(sealed, rest, s.o.Until)
}

// sealTo appends the batch that seal makes, if it does.
func (s *Sealer) sealTo(sealed []*core.Batch, records []byte, to uint64) []*core.Batch {
	if b := s.seal(records, to); b != nil {
		sealed = append(sealed, b)
	}
	return sealed
}

// seal makes a batch up to the index to, of records in the page. If modules fail there is
// none, but s.err.
func (s *Sealer) seal(records []byte, to uint64) *core.Batch {
	b := &core.Batch{
		MDT: s.o.MDT, Epoch: s.o.Epoch, From: s.to, To: to,
		Count: s.count, Newest: s.newest, Holes: slices.Clip(slices.Clone(s.holes)),
		Asked: s.asked, Came: s.came,
	}
	if s.o.Modules == nil {
		b.Records = s.own(records)
	} else if s.err = s.pass(b, records); s.err != nil {
		return nil
	}
	s.to, s.count, s.newest, s.holes = to, 0, core.RecordID{}, s.holes[:0]
	if s.o.Slots {
		s.keys.moveTo(b)
	}
	return b
}

// own returns records of the page as a batch has them: the page itself if they begin it
// and fill it, which is then the batch's and not ours any more, else a copy. The copy is
// made in memory that is not zeroed first.
func (s *Sealer) own(records []byte) []byte {
	if n := cap(s.page); n > 0 && cap(records) == n && len(records) > n-n/8 {
		s.page = nil
		return records
	}
	s.page = s.page[:0]
	return slices.Clip(bytes.Clone(records))
}

package ingest

import (
	"context"
	"fmt"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// Reader reads one MDT's stream from an index on. It has one owner.
type Reader interface {
	// Read fills dst with whole packed records and returns their size; [io.EOF]
	// when there is none at present. 0 without an error says that this cannot be
	// told yet: Wait, and Read again.
	Read(dst []byte) (int, error)
	// Wait blocks until Read may have more, or ctx ends. It may return early.
	Wait(ctx context.Context) error
	// Close gives back what the reader holds.
	Close() error
}

// Opener opens a reader whose first record is the first one with an index at or
// above start that still exists.
type Opener func(ctx context.Context, start uint64) (Reader, error)

// Emit takes a sealed batch. It may block, which makes the reading wait; it must
// end when ctx does.
type Emit func(ctx context.Context, b *core.Batch) error

const (
	// DefaultBatchBytes keeps batches under load between 496 and 512 KiB: what each one costs besides its
	// records is next to nothing then, and it still fits into the cache of a processor.
	DefaultBatchBytes = 512 << 10
	// DefaultReadBytes is where larger reads stop being faster.
	DefaultReadBytes = 128 << 10
	// leastRead is the least room that is read into. Any record fits, and with less a
	// read is not worth its call.
	leastRead = 16 << 10
)

// Options say what to read, and how.
type Options struct {
	MDT   groups.MDT
	Epoch core.Epoch
	// Start is the first index wanted; 0 counts as 1, which is the first that an
	// MDT ever issues.
	Start uint64
	// Until is the last index wanted: the reading ends there. 0 stands for no end.
	Until uint64
	// NoWait ends the reading with [ErrEnd] where it would wait for more records.
	NoWait bool
	// Slots makes batches carry Slots, Pairs, Homes and Sizes, which groups of the distribution
	// fid need. It costs a tenth of the sealing, and 512 bytes a batch and 4 a record; to add them
	// later, by [WithSlots], costs four times as much.
	Slots bool
	// Modules is a chain that the records of each batch pass as it is sealed, before anybody is
	// given them; nil for none. It decides about each record by itself ([modules.Plan.Pure]),
	// and begins behind Start - 1. Who made it closes it after the reading.
	Modules *modules.Chain
	// AssumeEmpty takes unknown extra flags to add no bytes to a record, instead of
	// stopping at them. A newer server may prove that wrong.
	AssumeEmpty bool
	// BatchBytes is how many bytes of records a batch holds at most, though at least
	// one record; 0 stands for [DefaultBatchBytes]. ReadBytes is the most that is read
	// at once; 0 stands for [DefaultReadBytes].
	BatchBytes, ReadBytes int
	// Spare has memory of batches that nobody uses any more: who sends it has let go of
	// it. It is read into before new memory is made. May be nil.
	Spare <-chan []byte
}

// pageBytes is the size of what batches are read into: one batch or one read, and where
// these are small, room to read more behind a batch that is not full.
func (o Options) pageBytes() int {
	n := max(o.BatchBytes, o.ReadBytes)
	if n < 8*leastRead {
		n += leastRead
	}
	return n
}

// PageBytes is the size of what batches of so many bytes are read into, with the other Options left out.
func PageBytes(batch int) int { return Options{BatchBytes: batch}.withDefaults().pageBytes() }

// newPage returns an empty page.
func (o Options) newPage() []byte {
	select {
	case page := <-o.Spare:
		if cap(page) >= o.pageBytes() {
			return page[:0]
		}
	default:
	}
	return make([]byte, 0, o.pageBytes())
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	o.Start = max(o.Start, 1)
	if o.BatchBytes <= 0 {
		o.BatchBytes = DefaultBatchBytes
	}
	if o.ReadBytes <= 0 {
		o.ReadBytes = DefaultReadBytes
	}
	return o
}

// Footprint returns how many bytes a running reader holds at most for itself, what
// it has emitted not counted: the page, what of it begins the next one, and the batches
// of one Read while Emit blocks.
func (o Options) Footprint() int64 { return 3 * int64(o.withDefaults().pageBytes()) }

// A ReadError is a failure of the source. What was read before it was emitted: a
// new reader goes on behind Position.
type ReadError struct {
	MDT groups.MDT
	// Position is the index of the last record read; Start - 1 if there was none.
	Position uint64
	Err      error
}

// Error implements error. The caller puts the name of the MDT in front.
func (e *ReadError) Error() string {
	return fmt.Sprintf("reading after index %d: %v", e.Position, e.Err)
}

// Unwrap returns the error of the source.
func (e *ReadError) Unwrap() error { return e.Err }

package upstream

import (
	"context"
	"io"

	"github.com/lcapd/lcapd/changelog"
)

// memoryReader reads the chunks of a Memory from an index on.
type memoryReader struct {
	from   *Memory
	at     *chunk
	off    int    // of the next record in at
	next   uint64 // records below it are not delivered
	closed bool
}

// Read implements Reader.
func (r *memoryReader) Read(dst []byte) (int, error) {
	if r.closed {
		return 0, ErrClosed
	}
	if len(dst) < changelog.MaxRecordSize {
		return 0, io.ErrShortBuffer
	}
	n := 0
	for r.filled() {
		r.skip()
		took := copyRecords(dst[n:], r.at.records[r.off:])
		n, r.off = n+took, r.off+took
		if r.off < len(r.at.records) {
			return n, nil // dst is full
		}
		r.at, r.off = r.at.next, 0
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// filled tells whether the chunk at hand has its records.
func (r *memoryReader) filled() bool {
	select {
	case <-r.at.filled:
		return true
	default:
		return false
	}
}

// skip passes over the records below next, which only the first chunk can have, or
// several when the reader was opened beyond the end.
func (r *memoryReader) skip() {
	if r.off > 0 || r.at.first >= r.next {
		return
	}
	for r.off < len(r.at.records) {
		rec := firstOf(r.at.records[r.off:])
		if rec.Index() >= r.next {
			return
		}
		r.off += rec.Size()
	}
}

// copyRecords copies as many whole records as there is room for, and returns their
// size.
func copyRecords(dst, records []byte) int {
	if len(records) <= len(dst) {
		return copy(dst, records)
	}
	n := 0
	for {
		size := firstOf(records[n:]).Size()
		if n+size > len(dst) {
			return copy(dst, records[:n])
		}
		n += size
	}
}

// firstOf returns the first of records that were checked when they were appended.
func firstOf(records []byte) changelog.Record {
	rec, _, err := changelog.Next(records)
	if err != nil {
		panic(err) // who appended them has changed them since
	}
	return rec
}

// Wait implements Reader.
func (r *memoryReader) Wait(ctx context.Context) error {
	if r.closed {
		return ErrClosed
	}
	select {
	case <-r.at.filled:
		return nil
	case <-r.from.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close implements Reader.
func (r *memoryReader) Close() error {
	r.closed, r.at = true, nil
	return nil
}

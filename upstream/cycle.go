package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/lcapd/lcapd/changelog"
)

// errCycle is what appending to a cycle fails with.
var errCycle = errors.New("the source repeats its records: nothing can be appended")

// cycle is a run of records that is repeated. It never changes: readers share it.
type cycle struct {
	records []byte
	offsets []int // of each record, and the end
}

// NewCycle returns a source that repeats packed records under indexes from 1 on, total
// records in all, or without end if total is 0. It keeps records, which must not
// change any more. Nothing can be appended. Close ends it.
func NewCycle(records []byte, total uint64) (*Memory, error) {
	c := &cycle{records: records}
	scan := changelog.NewScanner(records)
	for scan.Scan() {
		c.offsets = append(c.offsets, int(scan.Offset())-scan.Record().Size())
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("repeat records: %w", err)
	}
	if len(c.offsets) == 0 {
		return nil, errors.New("repeat records: there is none")
	}
	c.offsets = append(c.offsets, len(records))
	if total == 0 {
		total = math.MaxUint64 - 1 // so that the index behind it can be told
	}
	return newMemory(c, total), nil
}

func (m *Memory) openCycle(ctx context.Context, start uint64) (Reader, error) {
	r := &cycleReader{from: m}
	err := m.call(ctx, func() error {
		r.next, r.last = max(start, m.cleared+1), m.last
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// cycleReader reads a cycle. It computes what it delivers and has to wait for nobody
// before the end.
type cycleReader struct {
	from       *Memory
	next, last uint64 // the index wanted next, and the last there is
	closed     bool
}

// Read implements Reader.
func (r *cycleReader) Read(dst []byte) (int, error) {
	if r.closed {
		return 0, ErrClosed
	}
	if len(dst) < changelog.MaxRecordSize {
		return 0, io.ErrShortBuffer
	}
	c, n := r.from.cycle, 0
	for r.next <= r.last {
		i := (r.next - 1) % uint64(len(c.offsets)-1)
		rec := c.records[c.offsets[i]:c.offsets[i+1]]
		if n+len(rec) > len(dst) {
			return n, nil
		}
		copy(dst[n:], rec)
		changelog.SetIndex(dst[n:], r.next)
		n += len(rec)
		r.next++
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Wait implements Reader. At the end of a cycle nothing more comes.
func (r *cycleReader) Wait(ctx context.Context) error {
	if r.closed {
		return ErrClosed
	}
	if r.next <= r.last {
		return nil
	}
	select {
	case <-r.from.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close implements Reader.
func (r *cycleReader) Close() error {
	r.closed = true
	return nil
}

package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

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
	c, err := newCycle(records)
	if err != nil {
		return nil, err
	}
	if total == 0 {
		total = math.MaxUint64 - 1 // so that the index behind it can be told
	}
	return newMemory(c, total), nil
}

// newCycle notes where packed records begin.
func newCycle(records []byte) (*cycle, error) {
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
	return c, nil
}

// NewPacedCycle returns a source that repeats packed records as [NewCycle] does, and
// shows them when [Memory.Show] says so, with the time of that moment in each.
func NewPacedCycle(records []byte) (*Memory, error) {
	c, err := newCycle(records)
	if err != nil {
		return nil, err
	}
	m := newMemory(c, 0)
	m.paced = true
	return m, nil
}

// Show shows the records of a paced cycle at a pace, until there are enough or ctx ends,
// whose cause is then the error. A rate of 0 shows nothing. It starts nothing.
func (m *Memory) Show(ctx context.Context, p Pace) error {
	c := clock{pace: p, start: time.Now()}
	for shown := uint64(0); p.Records == 0 || shown < p.Records; {
		_, due, err := c.wait(ctx, shown)
		if err != nil {
			return err
		}
		if p.Records > 0 {
			due = min(due, p.Records-shown)
		}
		err = m.call(ctx, func() error {
			m.show(due, changelog.TimeOf(time.Now()))
			return nil
		})
		if err != nil {
			return err
		}
		shown += due
	}
	return nil
}

// show is store for the next records of a paced cycle. run calls it.
func (m *Memory) show(count uint64, at changelog.Time) {
	if count == 0 {
		return
	}
	c := m.chunks[len(m.chunks)-1]
	c.time = at
	m.store(nil, m.last+1, m.last+count)
}

// pacedReader reads what a paced cycle has shown.
type pacedReader struct{ memoryReader }

// Read implements Reader.
func (r *pacedReader) Read(dst []byte) (int, error) {
	if r.closed {
		return 0, ErrClosed
	}
	if len(dst) < changelog.MaxRecordSize {
		return 0, io.ErrShortBuffer
	}
	n := 0
	for r.filled() {
		r.next = max(r.next, r.at.first)
		took, next := r.from.cycle.copy(dst[n:], r.next, r.at.last)
		for at := n; at < n+took; at += firstOf(dst[at:]).Size() {
			changelog.SetTime(dst[at:], r.at.time)
		}
		n, r.next = n+took, next
		if r.next <= r.at.last {
			return n, nil // dst is full
		}
		r.at = r.at.next
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
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
	n, next := r.from.cycle.copy(dst, r.next, r.last)
	r.next = next
	if n == 0 && r.next > r.last {
		return 0, io.EOF
	}
	return n, nil
}

// copy fills dst with whole records under the indexes from next to last. It returns
// their size, and the index that comes next. It copies one stretch after the other, not
// record by record, so that the source costs little more than its indexes.
func (c *cycle) copy(dst []byte, next, last uint64) (int, uint64) {
	n, count := 0, uint64(len(c.offsets)-1)
	for next <= last {
		i := (next - 1) % count
		from := c.offsets[i]
		ends := c.offsets[i+1 : i+1+min(count-i, last-next+1)]
		fit, _ := slices.BinarySearch(ends, from+len(dst)-n+1)
		if fit == 0 {
			break
		}
		base := n - from
		n += copy(dst[n:], c.records[from:ends[fit-1]])
		for _, at := range c.offsets[i : i+uint64(fit)] {
			changelog.SetIndex(dst[base+at:], next)
			next++
		}
	}
	return n, next
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

package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// ErrClosed: the source was closed.
var ErrClosed = errors.New("the source is closed")

// Memory is a source in memory: what was appended, until it is cleared. It is for
// tests and benchmarks: nothing of it survives the process.
//
// One goroutine, run, owns the cursor of the one user and the list of chunks. Append,
// Open and Clear hand it a function and wait until it has run, which never blocks.
// Readers do not need it: they go from chunk to chunk by themselves. Chunks are
// immutable, but for the link to the next one, which is set once, before the channel
// is closed that tells of it.
type Memory struct {
	calls chan func()
	stop  chan struct{} // Close sends
	done  chan struct{} // closed when run has returned
	cycle *cycle        // what is repeated, nil for a source that is appended to
	paced bool          // the cycle is shown chunk by chunk, which have no records of their own

	// Owned by run:
	chunks  []*chunk // with records not yet cleared; the last one has none
	last    uint64   // the last index issued
	cleared uint64   // the cursor of the user
}

// chunk holds the packed records of one append. The last chunk of all is empty and
// becomes the next append's.
type chunk struct {
	records []byte
	first   uint64 // the indexes of its first and last record
	last    uint64
	time    changelog.Time // of a paced cycle's records: when they were shown
	filled  chan struct{}  // closed when records, first, last and next are there
	next    *chunk
}

var _ Source = (*Memory)(nil)

// NewMemory returns an empty source. Close ends it.
func NewMemory() *Memory { return newMemory(nil, 0) }

func newMemory(c *cycle, last uint64) *Memory {
	m := &Memory{
		calls:  make(chan func()),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		cycle:  c,
		chunks: []*chunk{newChunk()},
		last:   last,
	}
	go m.run()
	return m
}

func newChunk() *chunk { return &chunk{filled: make(chan struct{})} }

func (m *Memory) run() {
	defer close(m.done)
	for {
		select {
		case call := <-m.calls:
			call()
		case <-m.stop:
			return
		}
	}
}

// Close ends the source: who waits for it gets [ErrClosed]. It may be called more
// than once.
func (m *Memory) Close() error {
	select {
	case m.stop <- struct{}{}:
	case <-m.done:
	}
	<-m.done
	return nil
}

// call has the owner run f.
func (m *Memory) call(ctx context.Context, f func() error) error {
	ran := make(chan error, 1)
	select {
	case m.calls <- func() { ran <- f() }:
		return <-ran
	case <-m.done:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Append stores packed records under the indexes that they carry, which must increase
// and be above the last one issued. It keeps records, which must not change any more.
func (m *Memory) Append(ctx context.Context, records []byte) error {
	if len(records) == 0 {
		return nil
	}
	return m.call(ctx, func() error {
		first, last, err := extent(records, m.last)
		if m.cycle != nil {
			err = errCycle
		}
		if err != nil {
			return err
		}
		m.store(records, first, last)
		return nil
	})
}

// AppendNew is [Memory.Append] for records without indexes: they get the next ones.
// It keeps a copy.
func (m *Memory) AppendNew(ctx context.Context, records []byte) (llog.Appended, error) {
	records = slices.Clone(records)
	var done llog.Appended
	err := m.call(ctx, func() error {
		next := m.last
		for rest := records; len(rest) > 0; {
			_, behind, err := changelog.Next(rest)
			if err != nil {
				return err
			}
			next++
			changelog.SetIndex(rest, next)
			rest = behind
		}
		if m.cycle != nil {
			return errCycle
		}
		if next > m.last {
			done = llog.Appended{Records: int(next - m.last), First: m.last + 1, Last: next}
			m.store(records, m.last+1, next)
		}
		return nil
	})
	return done, err
}

// extent returns the first and last index of records that may come after an index.
func extent(records []byte, after uint64) (first, last uint64, err error) {
	scan := changelog.NewScanner(records)
	scan.Ordered, scan.Last = true, after
	for scan.Scan() {
		last = scan.Record().Index()
		if first == 0 {
			first = last
		}
	}
	return first, last, scan.Err()
}

// store fills the last chunk and makes another one. run calls it.
func (m *Memory) store(records []byte, first, last uint64) {
	c := m.chunks[len(m.chunks)-1]
	c.records, c.first, c.last, c.next = records, first, last, newChunk()
	m.chunks = append(m.chunks, c.next)
	m.last = last
	close(c.filled)
}

// Clear implements Source, with the rules of [llog.Log.Clear]. Readers that are
// open may still deliver what was cleared, as those of an MDT do.
func (m *Memory) Clear(ctx context.Context, index uint64) error {
	return m.call(ctx, func() error {
		if err := mayClear(index, m.cleared, m.last); err != nil {
			return err
		}
		m.cleared = index
		n := 0
		for n < len(m.chunks)-1 && m.chunks[n].last <= index {
			n++
		}
		m.chunks = slices.Delete(m.chunks, 0, n)
		return nil
	})
}

// ClearIf implements Source. There is no other changelog that could take the place of this one.
func (m *Memory) ClearIf(ctx context.Context, index uint64, isSame func() error) error {
	if err := isSame(); err != nil {
		return err
	}
	return m.Clear(ctx, index)
}

// mayClear says why an index may not be cleared.
func mayClear(index, cleared, last uint64) error {
	var why error
	switch {
	case index == 0:
		why = llog.ErrZeroIndex
	case index > last:
		why = llog.ErrBeyondEnd
	case index < cleared:
		why = llog.ErrBackwards
	default:
		return nil
	}
	return fmt.Errorf("clear %d: %w; cleared is %d, the last one is %d", index, why, cleared, last)
}

// Open implements Source.
func (m *Memory) Open(ctx context.Context, start uint64) (Reader, error) {
	if m.cycle != nil && !m.paced {
		return m.openCycle(ctx, start)
	}
	r := memoryReader{from: m}
	err := m.call(ctx, func() error {
		r.next = max(start, m.cleared+1)
		// The last chunk has no records yet; it is where a reader at the end waits.
		i, _ := slices.BinarySearchFunc(m.chunks[:len(m.chunks)-1], r.next, func(c *chunk, index uint64) int {
			if c.last < index {
				return -1
			}
			return 1
		})
		r.at = m.chunks[i]
		return nil
	})
	if err != nil {
		return nil, err
	}
	if m.paced {
		return &pacedReader{r}, nil
	}
	return &r, nil
}

package modules

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// ErrModule: a module broke its promises.
var ErrModule = errors.New("module fault")

// ErrInput: what was pushed into a chain is not what comes next of its stream.
var ErrInput = errors.New("not the next batch")

// A Batch is a run of packed records that covers a range of indexes. Nobody changes its bytes.
type Batch struct {
	// From and To are the range (From, To] that it covers: each record of it is in Records, or is accounted
	// for otherwise.
	From, To uint64
	// Records are packed. They are in ascending order of their indexes, unless Permuted says that they are
	// not: such a batch is handed out and acknowledged as a whole.
	Records  []byte
	Count    int
	Permuted bool
	// Shared tells that Records are bytes of the batch that was pushed, and keep all of those in memory.
	Shared bool
}

// A Chain is a row of modules at work on one stream: of one MDT in one epoch. It has one owner. Batches
// go in; derived batches come out, whose ranges follow each other without a gap, from Start.After on. A derived
// batch may be empty, as when everything is dropped or held.
//
// Nothing at or below To of the last batch that came out is held ([Chain.Mark]). After an error nothing
// comes out any more: what is above the mark was not accounted for, and is read again for a new
// chain.
type Chain struct {
	stages  []*stage
	covered uint64    // To of the last batch that came out
	read    uint64    // To of the last batch that went in
	start   time.Time // the first time that it was told
	now     time.Time
	elapsed time.Duration // from start to now
	trace   func(Event)
	failure error

	// What a call gathers. What comes out is a run of what was pushed, as long as that can be; else it is put together
	// in a buffer, which is borrowed: a chain that rests has none.
	in                 []byte // what was pushed
	at                 int    // where the record starts in it that is being pushed
	from, to           int    // the run of it that comes out, if buf is empty
	buf                []byte // all that comes out, if that is no such run
	count              int
	lowest, last, high uint64 // indexes that came out: the smallest, the last, the largest
	permuted           bool
}

// stage is one module at work.
type stage struct {
	chain    *Chain
	position int
	kind     Kind
	module   Module
	gatherer Gatherer // the module, if it is one
	out      Out
	next     *stage

	in, kept, changed uint64
	dropped           []uint64 // by rule
	touched           uint64   // decisions seen by trace, to tell held records
}

// push gives a record to the module.
func (s *stage) push(r changelog.Record) {
	s.in++
	if s.chain.trace == nil {
		s.module.Push(r, &s.out)
		return
	}
	s.pushTraced(r)
}

// wrap says whose error it is.
func (s *stage) wrap(err error) error {
	return fmt.Errorf("modules[%d] (%s): %w", s.position, s.kind.Name, err)
}

// Mark returns To of the last batch that came out: everything at or below it is accounted for.
func (c *Chain) Mark() uint64 { return c.covered }

// Err returns why nothing comes out any more, or nil.
func (c *Chain) Err() error { return c.failure }

// Push puts the next batch in: the one whose From is the To of the one before. All of it comes at the time now. What
// comes out covers everything that is not held. Its records may be bytes of the one that went in.
func (c *Chain) Push(now time.Time, in Batch) (Batch, error) {
	if c.failure != nil {
		return Batch{}, c.failure
	}
	if in.From != c.read || in.To < in.From {
		return Batch{}, fmt.Errorf("%w: (%d, %d] does not follow %d", ErrInput, in.From, in.To, c.read)
	}
	c.read = in.To
	if len(c.stages) == 0 {
		c.covered = in.To
		return in, nil
	}
	c.begin(now)
	for _, s := range slices.Backward(c.stages) { // the last one first: it must not take what it should have let go before
		s.module.Tick(&s.out)
	}
	c.in = in.Records
	c.pushAll(in.From)
	for _, s := range c.stages {
		if s.gatherer != nil {
			s.gatherer.Gathered(&s.out)
		}
	}
	return c.end()
}

// GoOn has the stream go on behind an index, wherever that is: what lies between is not going to come, or came
// before. Nothing may be held.
func (c *Chain) GoOn(after uint64) error {
	switch {
	case c.failure != nil:
		return c.failure
	case c.covered != c.read:
		return fmt.Errorf("%w: something above %d is held", ErrInput, c.covered)
	}
	c.read, c.covered = after, after
	return nil
}

// pushAll gives all records to the first module.
func (c *Chain) pushAll(from uint64) {
	first := c.stages[0]
	types, rule, only := everyType, Rule(0), false
	if f, ok := first.module.(typeSelector); ok && c.trace == nil {
		types, rule, only = f.selects()
	}
	scan := changelog.NewScanner(c.in)
	scan.Ordered, scan.Last = true, from
	others := uint64(0)
	if only && first.next == nil {
		others = c.keepTypes(scan, types)
		first.kept += uint64(c.count)
		first.in += uint64(c.count)
	}
	for c.failure == nil && scan.Scan() {
		r := scan.Record()
		if !hasType(types, r.Type()) {
			others++
			continue
		}
		c.at = int(scan.Offset()) - r.Size()
		first.push(r)
	}
	if others > 0 {
		first.in += others
		first.dropped[rule] += others
	}
	if err := scan.Err(); err != nil && c.failure == nil {
		c.failure = fmt.Errorf("%w: %w", ErrInput, err)
	}
	if scan.Last > c.read && c.failure == nil {
		c.failure = fmt.Errorf("%w: it has record %d and covers up to %d only", ErrInput, scan.Last, c.read)
	}
}

// keepTypes lets out all records of some types, and returns how many others there were. It is the whole work of a chain
// that does nothing else.
func (c *Chain) keepTypes(scan *changelog.Scanner, types changelog.Mask) (others uint64) {
	for at := 0; scan.Scan(); at = int(scan.Offset()) {
		r := scan.Record()
		if !hasType(types, r.Type()) {
			others++
			continue
		}
		c.take(at, int(scan.Offset()))
		if c.last = r.Index(); c.count == 0 {
			c.lowest = c.last
		}
		c.count++
	}
	c.high = c.last
	return others
}

// A typeSelector drops all records but those of some types for a rule; only, if that is all that it does. As the first
// module it is not asked about the others: to look at their type is all that they cost.
type typeSelector interface {
	selects() (types changelog.Mask, rule Rule, only bool)
}

// Tick tells the modules the time. What comes out is what was held too long, in a batch that may cover nothing new
// (From = To). Call it when [Chain.Due] says so.
func (c *Chain) Tick(now time.Time) (Batch, error) {
	return c.drive(now, func(s *stage) { s.module.Tick(&s.out) })
}

// Flush makes the modules let go everything: what comes out covers all that went in.
func (c *Chain) Flush(now time.Time) (Batch, error) {
	return c.drive(now, func(s *stage) { s.module.Flush(&s.out) })
}

// drive calls each module, from the first on: what one lets go the next one takes first.
func (c *Chain) drive(now time.Time, call func(*stage)) (Batch, error) {
	if c.failure != nil {
		return Batch{}, c.failure
	}
	c.begin(now)
	for _, s := range c.stages {
		call(s)
		if s.gatherer != nil {
			s.gatherer.Gathered(&s.out)
		}
	}
	return c.end()
}

// begin starts to gather what comes out. Time does not go back.
func (c *Chain) begin(now time.Time) {
	if c.start.IsZero() {
		c.start, c.now = now, now
	}
	if now.After(c.now) {
		c.now, c.elapsed = now, now.Sub(c.start)
	}
	c.in, c.at, c.from, c.to, c.buf = nil, 0, 0, 0, c.buf[:0]
	c.count, c.lowest, c.last, c.high, c.permuted = 0, 0, 0, 0, false
}

// emit takes what the last module keeps.
func (c *Chain) emit(r changelog.Record) {
	b, index := r.Bytes(), r.Index()
	if c.at < len(c.in) && &b[0] == &c.in[c.at] {
		c.take(c.at, c.at+len(b))
	} else {
		c.put(b)
	}
	if c.count == 0 || index < c.lowest {
		c.lowest = index
	}
	c.permuted = c.permuted || index < c.last
	c.last, c.high = index, max(c.high, index)
	c.count++
}

// take lets bytes out that were pushed.
func (c *Chain) take(from, to int) {
	switch {
	case len(c.buf) > 0:
		c.buf = append(c.buf, c.in[from:to]...)
	case c.from == c.to:
		c.from, c.to = from, to
	case c.to == from:
		c.to = to
	default:
		c.put(c.in[from:to])
	}
}

// put lets any bytes out.
func (c *Chain) put(b []byte) {
	if c.buf == nil {
		c.buf = (*buffers.Get().(*[]byte))[:0]
	}
	if len(c.buf) == 0 {
		c.buf = append(c.buf, c.in[c.from:c.to]...)
	}
	c.buf = append(c.buf, b...)
}

// buffers are those that chains at work borrow. Records are put together there and copied once: that is cheaper than to
// find out first how much memory they will take.
// One that a flush has made larger than lendBuffer is not lent again.
const lendBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// end makes the batch of what came out, and checks the accounts.
func (c *Chain) end() (Batch, error) {
	b := Batch{From: c.covered, To: c.read, Count: c.count, Permuted: c.permuted}
	for _, s := range c.stages {
		held := s.module.Held()
		if held.Records > 0 {
			b.To = min(b.To, held.Oldest-1)
		}
		s.audit(held)
	}
	if c.failure == nil {
		c.failure = c.auditRange(b)
	}
	if c.failure != nil {
		return Batch{}, c.failure
	}
	b.Records, b.Shared = c.gathered()
	c.covered = b.To
	c.in = nil
	return b, nil
}

// gathered returns the bytes that came out: a run of those that went in, or a copy of their size.
func (c *Chain) gathered() (records []byte, shared bool) {
	switch run := c.in[c.from:c.to:c.to]; {
	case len(c.buf) > 0:
		records = slices.Clip(bytes.Clone(c.buf))
		if lent := c.buf; cap(lent) <= lendBuffer {
			buffers.Put(&lent)
		}
		c.buf = nil
		return records, false
	case len(run) == 0:
		return nil, false
	case 2*len(run) < len(c.in):
		return slices.Clip(bytes.Clone(run)), false
	default:
		return run, true
	}
}

// audit compares what a module was given with what it says of it.
func (s *stage) audit(held Held) {
	out := s.kept + uint64(held.Records)
	for _, n := range s.dropped {
		out += n
	}
	switch {
	case s.chain.failure != nil:
	case out != s.in:
		s.chain.failure = s.wrap(fmt.Errorf("%w: of %d records that it was given it accounts for %d", ErrModule, s.in, out))
	case held.Records > 0 && (held.Oldest <= s.chain.covered || held.Oldest > s.chain.read):
		s.chain.failure = s.wrap(fmt.Errorf("%w: it holds record %d, which is outside (%d, %d]", ErrModule, held.Oldest, s.chain.covered, s.chain.read))
	}
}

// auditRange checks that what came out is what the batch covers.
func (c *Chain) auditRange(b Batch) error {
	if c.count > 0 && (c.lowest <= b.From || c.high > b.To) {
		return fmt.Errorf("%w: records %d to %d came out in the range (%d, %d]; what is below a held record must come first", ErrModule, c.lowest, c.high, b.From, b.To)
	}
	return nil
}

// Due returns when a Tick will let go something, and whether there is anything to let go.
func (c *Chain) Due() (at time.Time, ok bool) {
	for _, s := range c.stages {
		held := s.module.Held()
		if held.Records == 0 {
			continue
		}
		if !ok || held.Due.Before(at) {
			at, ok = held.Due, true
		}
	}
	return at, ok
}

// Close gives back what modules have outside of the chain ([Closer]). The chain is not used any more. One without such modules
// need not be closed.
func (c *Chain) Close() error {
	c.failure = errClosed
	var errs []error
	for _, s := range c.stages {
		if m, ok := s.module.(Closer); ok {
			if err := m.Close(); err != nil {
				errs = append(errs, s.wrap(err))
			}
		}
	}
	return errors.Join(errs...)
}

var errClosed = errors.New("modules: the chain is closed")

package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// Fault is why a guest is not called any more.
type Fault struct {
	File string
	// Index is the first record of the call that failed; 0 if the guest did not start.
	Index  uint64
	Reason error
}

// Error implements error.
func (f *Fault) Error() string {
	if f.Index == 0 {
		return fmt.Sprintf("%s does not run: %v", f.File, f.Reason)
	}
	return fmt.Sprintf("%s failed at record %d and is not called any more: %v", f.File, f.Index, f.Reason)
}

// Unwrap returns the reason.
func (f *Fault) Unwrap() error { return f.Reason }

// Why a guest is not called any more, apart from traps: the Reason of a [Fault].
var (
	// ErrTimeout: a call took too long.
	ErrTimeout = errors.New("it took too long")
	// ErrVerdicts: it did not return one verdict for each record.
	ErrVerdicts = errors.New("its verdicts are not those about its records")
)

// module is a guest in a chain. It gathers the records of a batch, and asks the guest about all of them at once.
type module struct {
	*program
	guest  *instance // nil if it did not start
	fault  *Fault
	packed []byte // records that the guest was not asked about yet
	count  int
	since  time.Time
}

// Push implements [modules.Module].
func (m *module) Push(r changelog.Record, out *modules.Out) {
	switch {
	case m.fault != nil && m.stop:
		out.Fail(m.fault)
		return
	case m.fault != nil:
		out.Keep(r)
		return
	case m.count > 0 && int64(len(m.packed)+r.Size()) > m.gather:
		m.Gathered(out)
		m.Push(r, out)
		return
	case m.count == 0:
		m.since = out.Now()
	}
	m.packed = append(m.packed, r.Bytes()...)
	m.count++
}

// Tick implements [modules.Module].
func (m *module) Tick(*modules.Out) {}

// Flush implements [modules.Module].
func (m *module) Flush(*modules.Out) {}

// Held implements [modules.Module]. Between batches nothing is held.
func (m *module) Held() modules.Held {
	if m.count == 0 {
		return modules.Held{}
	}
	first, _, err := changelog.Next(m.packed)
	if err != nil {
		panic(err) // they were records
	}
	return modules.Held{Records: m.count, Bytes: int64(len(m.packed)), Oldest: first.Index(), Since: m.since, Due: m.since}
}

// Health implements [modules.Doctor].
func (m *module) Health() error {
	if m.fault == nil {
		return nil
	}
	return m.fault
}

// Close implements [modules.Closer].
func (m *module) Close() error {
	if m.guest == nil {
		return nil
	}
	return m.guest.close()
}

// Gathered implements [modules.Gatherer].
func (m *module) Gathered(out *modules.Out) {
	if m.count == 0 {
		return
	}
	verdicts, err := m.ask()
	if err != nil {
		first, _, _ := changelog.Next(m.packed)
		m.fault = &Fault{File: m.file, Index: first.Index(), Reason: err}
		if m.stop {
			out.Fail(m.fault)
			return
		}
		verdicts = nil // all pass
	}
	packed, answers := m.packed, verdicts
	m.packed, m.count = m.packed[:0], 0
	for len(packed) > 0 {
		r, rest, err := changelog.Next(packed)
		if err != nil {
			panic(err) // they were records
		}
		packed = rest
		if verdicts == nil {
			out.Keep(r)
			continue
		}
		answers = carryOut(r, answers, out)
	}
}

// ask has the guest decide about all that was gathered. What it returns was checked.
func (m *module) ask() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.timeout)
	defer cancel()
	verdicts, err := m.guest.call(ctx, m.guest.process, m.packed)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w: more than %v", ErrTimeout, m.timeout)
	}
	if err != nil {
		return nil, err
	}
	return verdicts, check(m.packed, verdicts)
}

// A verdict is its header: index u64, verdict u8, 0 u8, size u16; and size bytes of a record.
const header = 12

// The verdicts.
const (
	keep   = 0
	drop   = 1
	change = 2
)

// check tells whether verdicts are one for each record, in their order.
func check(packed, verdicts []byte) error {
	for n := 1; len(packed) > 0; n++ {
		r, rest, err := changelog.Next(packed)
		if err != nil {
			panic(err) // they were records
		}
		packed = rest
		if len(verdicts) < header {
			return fmt.Errorf("%w: there is none for record %d", ErrVerdicts, r.Index())
		}
		index, code, size := binary.LittleEndian.Uint64(verdicts), verdicts[8], int(binary.LittleEndian.Uint16(verdicts[10:]))
		switch {
		case index != r.Index():
			return fmt.Errorf("%w: number %d is about record %d, not %d", ErrVerdicts, n, index, r.Index())
		case code > change || verdicts[9] != 0:
			return fmt.Errorf("%w: that about record %d is %d, which is unknown", ErrVerdicts, index, code)
		case code != change && size != 0, len(verdicts) < header+size:
			return fmt.Errorf("%w: that about record %d has %d bytes", ErrVerdicts, index, size)
		}
		changed := verdicts[header : header+size]
		verdicts = verdicts[header+size:]
		if code != change {
			continue
		}
		c, more, err := changelog.Next(changed)
		if err != nil || len(more) > 0 || c.Index() != index {
			return fmt.Errorf("%w: record %d was changed into what is not one record with that index", ErrVerdicts, index)
		}
	}
	if len(verdicts) > 0 {
		return fmt.Errorf("%w: there are %d bytes more", ErrVerdicts, len(verdicts))
	}
	return nil
}

// carryOut carries out the first verdict, which is about r, and returns the others.
func carryOut(r changelog.Record, verdicts []byte, out *modules.Out) []byte {
	end := header + int(binary.LittleEndian.Uint16(verdicts[10:]))
	switch verdicts[8] {
	case keep:
		out.Keep(r)
	case drop:
		out.Drop(r.Index(), 0, 0)
	case change:
		out.Change(r, verdicts[header:end])
	}
	return verdicts[end:]
}

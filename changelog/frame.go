package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Why bytes are not a record, or not the one that may come next. They are the
// Reason of a [FrameError].
var (
	// ErrTruncated: the bytes end before the record does.
	ErrTruncated = errors.New("truncated record")
	// ErrNameArea: the length of the name area is over [MaxNameArea], which no
	// server writes: the bytes are not a record, or the framing has slipped.
	ErrNameArea = errors.New("impossible name length")
	// ErrIndexOrder: the index is not above the one before it.
	ErrIndexOrder = errors.New("index out of order")
	// ErrUnknownExtra: extra flags that this version does not know may add bytes,
	// so where the record ends is not certain.
	ErrUnknownExtra = errors.New("unknown extra flags")
)

// FrameError says where bytes stop being records, and why.
type FrameError struct {
	// Offset of the record from the start of the stream, in bytes.
	Offset int64
	// Index of the record, as far as its header can be read and trusted; else 0.
	Index uint64
	// Reason is one of the errors above.
	Reason error
	// Detail has the numbers behind the reason.
	Detail string
}

// Error implements error.
func (e *FrameError) Error() string {
	at := fmt.Sprintf("record at offset %d", e.Offset)
	if e.Index != 0 {
		at += fmt.Sprintf(" (index %d)", e.Index)
	}
	return fmt.Sprintf("%s: %v: %s", at, e.Reason, e.Detail)
}

// Unwrap returns the reason.
func (e *FrameError) Unwrap() error { return e.Reason }

// fixedSizes holds, for each value of the four format bits, the bytes up to and
// with the extra-flags word; extraSizes the bytes of the blocks behind it.
var fixedSizes, extraSizes = sizeTables()

func sizeTables() (fixed [16]uint16, extra [ExtraKnown + 1]uint16) {
	for i := range fixed {
		f := Flags(i) << 12
		fixed[i] = HeaderSize +
			sizeIf(f&FlagRename != 0, renameSize) +
			sizeIf(f&FlagJobID != 0, jobIDSize) +
			sizeIf(f&FlagExtra != 0, extraWordSize)
	}
	for i := range extra {
		e := Extra(i)
		extra[i] = sizeIf(e&ExtraUIDGID != 0, ownerSize) +
			sizeIf(e&ExtraNID != 0, nidBlockSize) +
			sizeIf(e&ExtraOpen != 0, openSize) +
			sizeIf(e&ExtraXattr != 0, xattrSize)
	}
	return fixed, extra
}

func sizeIf(present bool, size uint16) uint16 {
	if present {
		return size
	}
	return 0
}

// extent returns the size of the record at the start of b, or 0 when b does not
// hold a whole legal one; explain then tells why.
func extent(b []byte) int {
	if len(b) < HeaderSize {
		return 0
	}
	namelen := int(binary.LittleEndian.Uint16(b))
	flags := Flags(binary.LittleEndian.Uint16(b[2:]))
	n := int(fixedSizes[flags>>12])
	if flags&FlagExtra != 0 {
		if len(b) < n {
			return 0
		}
		n += int(extraSizes[Extra(binary.LittleEndian.Uint64(b[n-extraWordSize:]))&ExtraKnown])
	}
	n += namelen
	if n > len(b) || namelen > MaxNameArea {
		return 0
	}
	return n
}

// A shape is what records of one stream have in common, as a rule: which blocks they have, and so
// how many bytes are in front of their names. Where a record ends then depends on the length of its
// names alone, and the processor need not wait for the flags to find the next one: whether they are
// those of the shape is a guess that it checks beside. The zero value fits no record.
type shape struct {
	bits  uint32 // the four format bits
	extra Extra  // the known extra flags
	word  int    // offset of the extra-flags word, 0 for none
	head  int    // bytes in front of the names
}

// extent is what the function of that name says of b. It learns from records of another shape.
func (s *shape) extent(b []byte) int {
	if len(b) < s.head || s.head == 0 {
		return s.learn(b)
	}
	first := binary.LittleEndian.Uint32(b)
	if first>>28 != s.bits || s.word != 0 && Extra(binary.LittleEndian.Uint64(b[s.word:]))&ExtraKnown != s.extra {
		return s.learn(b)
	}
	namelen := int(first & 0xffff)
	if n := s.head + namelen; n <= len(b) && namelen <= MaxNameArea {
		return n
	}
	return 0
}

// learn is extent for a record that does not fit.
func (s *shape) learn(b []byte) int {
	n := extent(b)
	if n == 0 {
		return 0
	}
	first := binary.LittleEndian.Uint32(b)
	*s = shape{bits: first >> 28, head: n - int(first&0xffff)}
	if Flags(first>>16)&FlagExtra != 0 {
		s.word = int(fixedSizes[s.bits]) - extraWordSize
		s.extra = Extra(binary.LittleEndian.Uint64(b[s.word:])) & ExtraKnown
	}
	return n
}

// explain says why extent refused b. It is apart from extent so that the path of
// good records stays short.
func explain(b []byte) *FrameError {
	truncated := func(need string, n int) *FrameError {
		return &FrameError{Reason: ErrTruncated, Detail: fmt.Sprintf("%s %d bytes, %d are left", need, n, len(b))}
	}
	if len(b) < HeaderSize {
		return truncated("the header needs", HeaderSize)
	}
	namelen := int(binary.LittleEndian.Uint16(b))
	if namelen > MaxNameArea {
		return &FrameError{Reason: ErrNameArea, Detail: fmt.Sprintf("the header claims %d bytes of names, at most %d are possible; these bytes are not changelog records", namelen, MaxNameArea)}
	}
	flags := Flags(binary.LittleEndian.Uint16(b[2:]))
	need, size := "the record needs", int(fixedSizes[flags>>12])
	switch {
	case flags&FlagExtra == 0:
	case len(b) < size:
		need = "the record needs at least" // what the extra-flags word would tell is missing
	default:
		size += int(extraSizes[Extra(binary.LittleEndian.Uint64(b[size-extraWordSize:]))&ExtraKnown])
	}
	e := truncated(need, size+namelen)
	e.Index = binary.LittleEndian.Uint64(b[8:])
	return e
}

// Next returns the record at the start of b and the bytes behind it. The error
// is a [*FrameError] with offset 0. Next of an empty b is an error: ask before.
func Next(b []byte) (r Record, rest []byte, err error) {
	n := extent(b)
	if n == 0 {
		return Record{}, b, explain(b)
	}
	return Record{b[:n:n]}, b[n:], nil
}

// SetIndex overwrites the index of the packed record that b starts with.
// It is for whoever numbers records, before anybody sees them.
func SetIndex(b []byte, index uint64) { binary.LittleEndian.PutUint64(b[8:], index) }

// SetTime overwrites the time of the packed record that b starts with, for the same
// people.
func SetTime(b []byte, t Time) { binary.LittleEndian.PutUint64(b[24:], uint64(t)) }

// Scanner walks over a buffer of packed records and stops at its end or at the
// first byte that cannot be a record. Set its options before the first Scan.
//
//	s := changelog.NewScanner(buf)
//	for s.Scan() {
//		use(s.Record())
//	}
//	if err := s.Err(); err != nil { ... }
type Scanner struct {
	// StrictExtra refuses records with unknown extra flags.
	StrictExtra bool
	// Ordered refuses a record whose index is not above that of the one before,
	// and index 0, which no server issues.
	Ordered bool
	// Last is the index of the last record scanned; set it first to compare the
	// first record with an earlier one.
	Last uint64

	shape shape // of the last record
	rest  []byte
	rec   Record
	off   int64 // of rest, from the start of the stream
	err   error
}

// NewScanner returns a Scanner over buf.
func NewScanner(buf []byte) *Scanner { return &Scanner{rest: buf} }

// Scan moves to the next record. It returns false at the end or at an error.
func (s *Scanner) Scan() bool {
	if len(s.rest) == 0 || s.err != nil {
		return false
	}
	n := s.shape.extent(s.rest)
	if n == 0 {
		return s.fail(explain(s.rest))
	}
	r := Record{s.rest[:n:n]}
	index := r.Index()
	if s.Ordered && index <= s.Last {
		return s.fail(&FrameError{Index: index, Reason: ErrIndexOrder, Detail: fmt.Sprintf("it follows index %d; indexes must increase", s.Last)})
	}
	if s.StrictExtra && r.Flags()&FlagExtra != 0 {
		if word, _ := r.Extra(); word&^ExtraKnown != 0 {
			return s.fail(&FrameError{Index: index, Reason: ErrUnknownExtra, Detail: fmt.Sprintf("%#x is outside the known %#x; the server is newer than this program", uint64(word), uint64(ExtraKnown))})
		}
	}
	s.rec, s.rest, s.Last = r, s.rest[n:], index
	s.off += int64(n)
	return true
}

func (s *Scanner) fail(e *FrameError) bool {
	e.Offset = s.off
	s.err = e
	return false
}

// Record returns the record that the last successful Scan moved to.
func (s *Scanner) Record() Record { return s.rec }

// Offset returns the bytes scanned so far: where the next record starts.
func (s *Scanner) Offset() int64 { return s.off }

// Err returns the [*FrameError] that stopped Scan, or nil at the end.
func (s *Scanner) Err() error { return s.err }

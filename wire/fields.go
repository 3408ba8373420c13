package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

var (
	// errShort: a length says more than there is.
	errShort = errors.New("the frame ends within a value")
	// ErrTooLong is returned when a message to be written exceeds a limit of this package; wrapped,
	// with the field.
	ErrTooLong = errors.New("too long")
)

// fields visits the fields of a map, one call a field, and either writes or reads them. So each kind of
// message names its fields once, for both. The first error stays.
type fields struct {
	reading bool
	in      *index // reading: the fields that there are
	out     []byte // writing: what was written
	n       int    // fields visited
	err     error
}

// next begins the visit of a field. Reading, it returns the field's value, of the wanted shape, with
// its head; ok is false when there is nothing to store.
func (f *fields) next(key string, want shape) (h head, value []byte, ok bool) {
	f.n++
	if f.err != nil {
		return head{}, nil, false
	}
	if !f.reading {
		f.out = appendString(f.out, key)
		return head{}, nil, false
	}
	value = f.in.find(key, f.n-1)
	if value == nil {
		return head{}, nil, false
	}
	h, f.err = parseHead(value)
	if f.err != nil || h.shape == null {
		return head{}, nil, false
	}
	if h.shape != want {
		f.fail(key, fmt.Errorf("a %s is wanted, not a %s", want, h.shape))
		return head{}, nil, false
	}
	return h, value, true
}

// fail notes an error about a field.
func (f *fields) fail(key string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("field %q: %w", key, err)
	}
}

// num is a number that fits its type.
func num[T ~uint32 | ~uint64](f *fields, key string, v *T) { upTo(f, key, v, ^T(0)) }

// upTo is a number within 0..limit.
func upTo[T ~uint32 | ~uint64](f *fields, key string, v *T, limit T) {
	h, _, ok := f.next(key, number)
	n := uint64(*v)
	if ok {
		n = h.n
	}
	switch {
	case n > uint64(limit):
		f.fail(key, fmt.Errorf("%d is above %d", n, uint64(limit)))
	case ok:
		*v = T(n)
	case !f.reading && f.err == nil:
		f.out = appendNumber(f.out, n)
	}
}

// name is a string of at most limit bytes.
func name[T ~string](f *fields, key string, v *T, limit int) {
	h, value, ok := f.next(key, text)
	switch {
	case ok && h.n > uint64(limit):
		f.fail(key, fmt.Errorf("%d bytes, at most %d are allowed", h.n, limit))
	case ok:
		*v = T(value[h.size:])
	case !f.reading && len(*v) > limit:
		f.fail(key, fmt.Errorf("%d bytes of at most %d: %w", len(*v), limit, ErrTooLong))
	case !f.reading && !utf8.ValidString(string(*v)):
		f.fail(key, errors.New("not UTF-8"))
	case !f.reading && f.err == nil:
		f.out = appendString(f.out, string(*v))
	}
}

// prose is a text for humans, cut when it is written.
func prose(f *fields, key string, v *string) {
	if !f.reading {
		short := cut(*v)
		v = &short
	}
	name(f, key, v, MaxText)
}

// toggle is a boolean.
func toggle(f *fields, key string, v *bool) {
	h, _, ok := f.next(key, boolean)
	switch {
	case ok:
		*v = h.n == 1
	case !f.reading && f.err == nil && *v:
		f.out = append(f.out, 0xc3)
	case !f.reading && f.err == nil:
		f.out = append(f.out, 0xc2)
	}
}

// list is an array; v points to a slice of strings or of structs with msgpack tags.
func list[T any](f *fields, key string, v *[]T) {
	_, value, ok := f.next(key, array)
	var err error
	switch {
	case ok:
		err = msgpack.Unmarshal(value, v)
	case !f.reading && len(*v) > MaxItems:
		err = fmt.Errorf("%d elements of at most %d: %w", len(*v), MaxItems, ErrTooLong)
	case !f.reading && len(*v) == 0:
		f.out = append(f.out, 0x90)
	case !f.reading && f.err == nil:
		f.out, err = appendList(f.out, *v)
	}
	if err != nil {
		f.fail(key, err)
	}
}

// appendList appends a list as the msgpack library writes it, numbers in their shortest form.
func appendList(b []byte, v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	enc.UseCompactInts(true)
	err := enc.Encode(v)
	return append(b, buf.Bytes()...), err
}

// cut shortens a text to MaxText bytes and makes it valid UTF-8.
func cut(s string) string {
	if len(s) > MaxText {
		s = s[:MaxText]
	}
	return strings.ToValidUTF8(s, "")
}

// appendString appends a msgpack string in its shortest form. It is at most 65535 bytes long.
func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	}
	return append(b, s...)
}

// appendNumber appends a msgpack integer in its shortest form.
func appendNumber(b []byte, n uint64) []byte {
	switch {
	case n < 0x80:
		return append(b, byte(n))
	case n <= math.MaxUint8:
		return append(b, 0xcc, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), n)
}

package wire

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// shape is what a msgpack value is.
type shape uint8

// The shapes. Fractions, negative numbers and extensions have none: they are refused.
const (
	refused shape = iota
	null
	boolean
	number
	text
	blob
	array
	mapping
)

var shapeNames = [...]string{"value that this protocol does not use", "nil", "bool", "integer", "string", "binary", "array", "map"}

// String returns the shape's name for error texts.
func (s shape) String() string { return shapeNames[s] }

// A head is the beginning of a value: its shape, how many bytes it takes itself, and n: the value of a
// number or boolean, the bytes of a text or blob, the elements of an array, the pairs of a mapping.
type head struct {
	shape shape
	size  int
	n     uint64
}

// width says what follows a lead byte from 0xc0 on: the shape, and the bytes of its length or value.
type width struct {
	shape  shape
	bytes  int
	signed bool
}

var widths = [32]width{
	0x00: {shape: null},
	0x02: {shape: boolean}, 0x03: {shape: boolean},
	0x04: {blob, 1, false}, 0x05: {blob, 2, false}, 0x06: {blob, 4, false},
	0x0c: {number, 1, false}, 0x0d: {number, 2, false}, 0x0e: {number, 4, false}, 0x0f: {number, 8, false},
	0x10: {number, 1, true}, 0x11: {number, 2, true}, 0x12: {number, 4, true}, 0x13: {number, 8, true},
	0x19: {text, 1, false}, 0x1a: {text, 2, false}, 0x1b: {text, 4, false},
	0x1c: {array, 2, false}, 0x1d: {array, 4, false},
	0x1e: {mapping, 2, false}, 0x1f: {mapping, 4, false},
}

// parseHead reads the head of the value at the start of b.
func parseHead(b []byte) (head, error) {
	if len(b) == 0 {
		return head{}, errShort
	}
	c := b[0]
	switch {
	case c < 0x80:
		return head{number, 1, uint64(c)}, nil
	case c < 0x90:
		return head{mapping, 1, uint64(c & 0x0f)}, nil
	case c < 0xa0:
		return head{array, 1, uint64(c & 0x0f)}, nil
	case c < 0xc0:
		return head{text, 1, uint64(c & 0x1f)}, nil
	case c >= 0xe0:
		return head{}, fmt.Errorf("a negative number")
	}
	w := widths[c-0xc0]
	if w.shape == refused {
		return head{}, fmt.Errorf("lead byte %#02x is a %s", c, refused)
	}
	if len(b) < 1+w.bytes {
		return head{}, errShort
	}
	h := head{w.shape, 1 + w.bytes, bigEndian(b[1 : 1+w.bytes])}
	if w.shape == boolean {
		h.n = uint64(c & 1)
	}
	if w.signed && b[1] >= 0x80 {
		return head{}, fmt.Errorf("a negative number")
	}
	return h, nil
}

// bigEndian returns the unsigned integer of 0, 1, 2, 4 or 8 bytes.
func bigEndian(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// An entry is one field of a map: where its key and its value lie in the frame.
type entry struct{ key, keyEnd, value, valueEnd uint32 }

// An index is a checked map: its fields, in the order of the frame.
type index struct {
	frame   []byte
	entries [MaxFields]entry
	n       int
}

// scan checks that frame is one map by the rules of this package, and notes where its fields are. It
// allocates nothing unless it returns an error.
func (ix *index) scan(frame []byte) error {
	ix.frame, ix.n = frame, 0
	h, err := parseHead(frame)
	if err != nil {
		return err
	}
	if h.shape != mapping {
		return fmt.Errorf("a map is wanted, not a %s", h.shape)
	}
	if h.n > MaxFields {
		return fmt.Errorf("%d fields, at most %d are allowed", h.n, MaxFields)
	}
	at := h.size
	for range h.n {
		if at, err = ix.field(at); err != nil {
			return err
		}
	}
	if at != len(frame) {
		return fmt.Errorf("%d bytes follow the map", len(frame)-at)
	}
	return nil
}

// field checks the pair at a place and returns the place behind it.
func (ix *index) field(at int) (int, error) {
	key, keyEnd, err := stringAt(ix.frame, at)
	if err != nil {
		return 0, fmt.Errorf("key at byte %d: %w", at, err)
	}
	valueEnd, err := skip(ix.frame, keyEnd, 2)
	if err != nil {
		return 0, fmt.Errorf("field %q: %w", ix.frame[key:keyEnd], err)
	}
	for i := range ix.n {
		if string(ix.key(i)) == string(ix.frame[key:keyEnd]) {
			return 0, fmt.Errorf("field %q comes twice", ix.frame[key:keyEnd])
		}
	}
	ix.entries[ix.n] = entry{uint32(key), uint32(keyEnd), uint32(keyEnd), uint32(valueEnd)}
	ix.n++
	return valueEnd, nil
}

// key returns the key of field i.
func (ix *index) key(i int) []byte { return ix.frame[ix.entries[i].key:ix.entries[i].keyEnd] }

// value returns the bytes of the value of field i.
func (ix *index) value(i int) []byte { return ix.frame[ix.entries[i].value:ix.entries[i].valueEnd] }

// find returns the value of the field named key, nil if there is none. Fields mostly come in the order
// in which they are asked for: hint is where to look first.
func (ix *index) find(key string, hint int) []byte {
	if hint < ix.n && string(ix.key(hint)) == key {
		return ix.value(hint)
	}
	for i := range ix.n {
		if string(ix.key(i)) == key {
			return ix.value(i)
		}
	}
	return nil
}

// stringAt returns where the string at a place begins and ends, its head left out.
func stringAt(b []byte, at int) (start, end int, err error) {
	h, err := parseHead(b[at:])
	if err != nil {
		return 0, 0, err
	}
	if h.shape != text {
		return 0, 0, fmt.Errorf("a string is wanted, not a %s", h.shape)
	}
	end, err = skip(b, at, 1)
	return at + h.size, end, err
}

// skip checks the value at a place, which is nested depth deep, and returns the place behind it. It
// recurses at most MaxDepth deep.
func skip(b []byte, at, depth int) (int, error) {
	h, err := parseHead(b[at:])
	if err != nil {
		return 0, err
	}
	at += h.size
	switch h.shape {
	case text, blob:
		return skipBytes(b, at, h)
	case array, mapping:
		return skipItems(b, at, depth, h)
	}
	return at, nil
}

// skipBytes checks the bytes of a text or blob at a place and returns the place behind them.
func skipBytes(b []byte, at int, h head) (int, error) {
	if h.n > uint64(len(b)-at) {
		return 0, errShort
	}
	end := at + int(h.n)
	if h.shape == text && !utf8.Valid(b[at:end]) {
		return 0, fmt.Errorf("a string that is not UTF-8")
	}
	return end, nil
}

// skipItems checks the elements of an array or mapping at a place and returns the place behind them.
func skipItems(b []byte, at, depth int, h head) (int, error) {
	if depth > MaxDepth {
		return 0, fmt.Errorf("nested more than %d deep", MaxDepth)
	}
	if h.n > MaxItems {
		return 0, fmt.Errorf("%d elements, at most %d are allowed", h.n, MaxItems)
	}
	var err error
	for range h.n {
		if h.shape == mapping {
			if _, at, err = stringAt(b, at); err != nil {
				return 0, err
			}
		}
		if at, err = skip(b, at, depth+1); err != nil {
			return 0, err
		}
	}
	return at, nil
}

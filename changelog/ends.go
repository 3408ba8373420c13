package changelog

import "encoding/binary"

// AppendEnds walks over packed records as a [Scanner] with Ordered does whose Last is
// after, and appends to dst where each of them ends. It stops where that one stops: there is
// an error if the last end is not that of packed, and a Scanner from there on says which. It is for
// who goes over the same records more than once, or not one by one: see [Framed]. Packed
// has less than 4 GiB.
func AppendEnds(dst []uint32, packed []byte, after uint64) []uint32 {
	var s shape
	for at := 0; at < len(packed); {
		rest := packed[at:]
		n := s.extent(rest)
		if n == 0 {
			break
		}
		index := binary.LittleEndian.Uint64(rest[8:])
		if index <= after {
			break
		}
		after = index
		at += n
		dst = append(dst, uint32(at))
	}
	return dst
}

// Framed returns the record that b is: all of b, which [AppendEnds] or a [Scanner] has found to
// be a record before. Other bytes may make its methods panic.
func Framed(b []byte) Record { return Record{b} }

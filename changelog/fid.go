package changelog

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// fidSize is the packed size of a [FID] in bytes.
const fidSize = 16

// FID is a Lustre file identifier (ABI 1.2). It is comparable; two FIDs that
// differ only in version are different values, although the version plays no
// part in [FID.IsZero].
type FID struct {
	Seq uint64
	Oid uint32
	Ver uint32
}

func readFID(b []byte) FID {
	_ = b[15]
	return FID{
		Seq: binary.LittleEndian.Uint64(b),
		Oid: binary.LittleEndian.Uint32(b[8:]),
		Ver: binary.LittleEndian.Uint32(b[12:]),
	}
}

func appendFID(dst []byte, f FID) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, f.Seq)
	dst = binary.LittleEndian.AppendUint32(dst, f.Oid)
	return binary.LittleEndian.AppendUint32(dst, f.Ver)
}

// IsZero tells whether f names nothing: sequence and object id are both 0.
func (f FID) IsZero() bool { return f.Seq == 0 && f.Oid == 0 }

// AppendTo appends the text form, such as [0x200000402:0x1a3:0x0]. A sequence of
// zero prints as 0, the other parts always with 0x: that is how Lustre's tools
// print it (ABI 1.2).
func (f FID) AppendTo(dst []byte) []byte {
	dst = append(dst, '[')
	if f.Seq != 0 {
		dst = append(dst, "0x"...)
	}
	dst = strconv.AppendUint(dst, f.Seq, 16)
	dst = append(dst, ":0x"...)
	dst = strconv.AppendUint(dst, uint64(f.Oid), 16)
	dst = append(dst, ":0x"...)
	dst = strconv.AppendUint(dst, uint64(f.Ver), 16)
	return append(dst, ']')
}

// String returns the text form; see [FID.AppendTo].
func (f FID) String() string { return string(f.AppendTo(make([]byte, 0, 48))) }

// MarshalText implements [encoding.TextMarshaler].
func (f FID) MarshalText() ([]byte, error) { return f.AppendTo(nil), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; see [ParseFID].
func (f *FID) UnmarshalText(text []byte) error {
	v, err := ParseFID(string(text))
	if err != nil {
		return err
	}
	*f = v
	return nil
}

// ParseFID reads the text form. The brackets may be missing, and numbers without
// 0x are hexadecimal too: tools print both.
func ParseFID(s string) (FID, error) {
	inner := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && len(s) >= 2 {
		inner = s[1 : len(s)-1]
	}
	parts := strings.Split(inner, ":")
	if len(parts) != 3 {
		return FID{}, fmt.Errorf("FID %q is not of the form [0xSEQ:0xOID:0xVER]", s)
	}
	var n [3]uint64
	for i, bits := range [3]int{64, 32, 32} {
		var err error
		if n[i], err = strconv.ParseUint(strings.TrimPrefix(parts[i], "0x"), 16, bits); err != nil {
			return FID{}, fmt.Errorf("FID %q: %q is not a hexadecimal number of %d bits", s, parts[i], bits)
		}
	}
	return FID{Seq: n[0], Oid: uint32(n[1]), Ver: uint32(n[2])}, nil
}

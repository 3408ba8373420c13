package changelog

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// nidBlockSize is the packed size of the NID block in bytes, whatever its form.
	nidBlockSize = 24
	// largeNIDSize is how many of them the large form uses.
	largeNIDSize = 20
)

// NID identifies a network interface of a client (ABI 6). It is comparable: the
// two packed forms decode into the same value when they mean the same. The zero
// NID is what a server writes when it knows none; it prints as 0@<0:0>.
type NID struct {
	// Any is the wildcard; the other fields are then zero.
	Any bool
	// Net is the network type: 2 tcp, 5 o2ib and so on. The large form has 8 bits for it.
	Net uint16
	// Num is the number of the network of that type.
	Num uint16
	// Len is the number of address bytes, 4 to 16; the 64-bit form has 4. Only
	// the wildcard and the zero NID have none.
	Len uint8
	// Addr holds the address in network order; bytes from Len on are zero.
	Addr [16]byte
}

// netKind says how the address of a network type is printed (ABI 6.3). Unknown
// types have no name.
type netKind struct {
	name    string
	decimal bool // a number instead of an IP address
}

var netKinds = [...]netKind{
	2:  {"tcp", false},
	5:  {"o2ib", false},
	9:  {"lo", true},
	13: {"gni", true},
	14: {"gip", false},
	15: {"ptlf", true},
	16: {"kfi", true},
	18: {"efa", false},
	19: {"bxi3f", true},
}

func netKindOf(net uint16) netKind {
	if int(net) < len(netKinds) {
		return netKinds[net]
	}
	return netKind{}
}

// readNID decodes a NID block; large says which form it has (bit NID_BE).
func readNID(b []byte, large bool) NID {
	if large {
		return readLargeNID(b).canonical()
	}
	n := binary.LittleEndian.Uint64(b)
	if n == 1<<64-1 {
		return NID{Any: true}
	}
	nid := NID{Net: uint16(n >> 48), Num: uint16(n >> 32), Len: 4}
	binary.BigEndian.PutUint32(nid.Addr[:], uint32(n))
	return nid.canonical()
}

// canonical returns n, or the zero NID when n is only the address 0 on no network.
func (n NID) canonical() NID {
	if n == (NID{Len: 4}) {
		return NID{}
	}
	return n
}

func readLargeNID(b []byte) NID {
	_ = b[nidBlockSize-1]
	if b[1] == 0xff {
		return NID{Any: true}
	}
	nid := NID{Net: uint16(b[1]), Num: binary.BigEndian.Uint16(b[2:]), Len: 16}
	if b[0] <= 12 {
		nid.Len = b[0] + 4 // anything larger is corrupt: show all bytes
	}
	copy(nid.Addr[:nid.Len], b[4:])
	return nid
}

// appendNID appends the 24 bytes of the block in the wanted form.
func appendNID(dst []byte, n NID, large bool) ([]byte, error) {
	var b [nidBlockSize]byte
	switch {
	case n.Len > 16:
		return dst, fmt.Errorf("NID has %d address bytes, at most 16 fit", n.Len)
	case large:
		if err := putLargeNID(b[:], n); err != nil {
			return dst, err
		}
	case n.Any:
		binary.LittleEndian.PutUint64(b[:], 1<<64-1)
	case n.Len > 4:
		return dst, fmt.Errorf("NID %s has %d address bytes; the 64-bit form holds 4, set ExtraNIDBE", n, n.Len)
	case n.small() == 1<<64-1:
		return dst, fmt.Errorf("NID %s has only ones, which is the wildcard in the 64-bit form", n)
	default:
		binary.LittleEndian.PutUint64(b[:], n.small())
	}
	return append(dst, b[:]...), nil
}

// small returns the 64-bit form of a NID with at most 4 address bytes.
func (n NID) small() uint64 {
	return uint64(n.Net)<<48 | uint64(n.Num)<<32 | uint64(binary.BigEndian.Uint32(n.Addr[:]))
}

func putLargeNID(b []byte, n NID) error {
	if n.Any {
		for i := range largeNIDSize {
			b[i] = 0xff // only the type counts, but this is what Lustre writes
		}
		return nil
	}
	if n.Net >= 0xff {
		return fmt.Errorf("NID %s: network type %d does not fit into the large form", n, n.Net)
	}
	b[0] = max(n.Len, 4) - 4
	b[1] = byte(n.Net)
	binary.BigEndian.PutUint16(b[2:], n.Num)
	copy(b[4:largeNIDSize], n.Addr[:])
	return nil
}

// IP returns the address if the network type uses IP addresses.
func (n NID) IP() (netip.Addr, bool) {
	kind := netKindOf(n.Net)
	switch {
	case n.Any || kind.name == "" || kind.decimal:
	case n.Len == 4:
		return netip.AddrFrom4([4]byte(n.Addr[:4])), true
	case n.Len == 16:
		return netip.AddrFrom16(n.Addr), true
	}
	return netip.Addr{}, false
}

// AppendTo appends the text form ADDRESS@NET (ABI 6.3): 10.20.0.5@tcp,
// fd00::a@tcp12, 0@lo, <?> for the wildcard, HEX@<TYPE:NUM> for an unknown type.
// Lustre has no useful text for addresses of more than 4 bytes that are not IP
// addresses; here they are 0x and two hexadecimal digits for each byte.
func (n NID) AppendTo(dst []byte) []byte {
	if n.Any {
		return append(dst, "<?>"...)
	}
	kind := netKindOf(n.Net)
	ip, isIP := n.IP()
	switch {
	case isIP:
		dst = ip.AppendTo(dst)
	case n.Len > 4:
		dst = hex.AppendEncode(append(dst, "0x"...), n.Addr[:min(n.Len, 16)])
	case kind.decimal:
		dst = strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(n.Addr[:])), 10)
	default:
		dst = strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(n.Addr[:])), 16)
	}
	dst = append(dst, '@')
	if kind.name == "" {
		dst = append(dst, '<')
		dst = strconv.AppendUint(dst, uint64(n.Net), 10)
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(n.Num), 10)
		return append(dst, '>')
	}
	dst = append(dst, kind.name...)
	if n.Num != 0 {
		dst = strconv.AppendUint(dst, uint64(n.Num), 10)
	}
	return dst
}

// String returns the text form; see [NID.AppendTo].
func (n NID) String() string { return string(n.AppendTo(make([]byte, 0, 48))) }

// MarshalText implements [encoding.TextMarshaler].
func (n NID) MarshalText() ([]byte, error) { return n.AppendTo(nil), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; see [ParseNID].
func (n *NID) UnmarshalText(text []byte) error {
	v, err := ParseNID(string(text))
	if err != nil {
		return err
	}
	*n = v
	return nil
}

// ParseNID reads the text form that [NID.AppendTo] writes.
func ParseNID(s string) (NID, error) {
	if s == "<?>" {
		return NID{Any: true}, nil
	}
	addr, network, found := strings.Cut(s, "@")
	if !found {
		return NID{}, fmt.Errorf("NID %q is not of the form ADDRESS@NETWORK, such as 10.0.0.1@tcp", s)
	}
	nid, kind, err := parseNet(network)
	if err == nil {
		err = nid.parseAddr(addr, kind)
	}
	if err != nil {
		return NID{}, fmt.Errorf("NID %q: %w", s, err)
	}
	return nid.canonical(), nil
}

// parseNet reads NAME[NUM] or <TYPE:NUM>. Names may end in digits (bxi3f does not,
// o2ib has one inside), so the longest known name wins.
func parseNet(s string) (NID, netKind, error) {
	var n NID
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		typ, num, _ := strings.Cut(strings.TrimSuffix(inner, ">"), ":")
		t, err1 := strconv.ParseUint(typ, 10, 16)
		i, err2 := strconv.ParseUint(num, 10, 16)
		if errors.Join(err1, err2) != nil || !strings.HasSuffix(s, ">") {
			return n, netKind{}, fmt.Errorf("network %q is not of the form <TYPE:NUM>", s)
		}
		n.Net, n.Num = uint16(t), uint16(i)
		if kind := netKindOf(n.Net); kind.name != "" {
			return n, kind, fmt.Errorf("network type %d has a name: %s", n.Net, kind.name)
		}
		return n, netKind{}, nil
	}
	best := netKind{}
	for t, kind := range netKinds {
		if strings.HasPrefix(s, kind.name) && len(kind.name) > len(best.name) {
			best, n.Net = kind, uint16(t)
		}
	}
	if best.name == "" {
		return n, best, fmt.Errorf("network %q is unknown", s)
	}
	if rest := s[len(best.name):]; rest != "" {
		num, err := strconv.ParseUint(rest, 10, 16)
		if err != nil {
			return n, best, fmt.Errorf("network number %q is not between 0 and 65535", rest)
		}
		n.Num = uint16(num)
	}
	return n, best, nil
}

func (n *NID) parseAddr(s string, kind netKind) error {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) <= 4 || len(b) > 16 {
			return fmt.Errorf("address %q is not two hexadecimal digits for each of 5 to 16 bytes", s)
		}
		n.Len = uint8(copy(n.Addr[:], b))
		return nil
	}
	n.Len = 4
	if kind.name != "" && !kind.decimal {
		ip, err := netip.ParseAddr(s)
		if err != nil || ip.Zone() != "" {
			return fmt.Errorf("address %q is not an IP address", s)
		}
		n.Len = uint8(copy(n.Addr[:], ip.AsSlice()))
		return nil
	}
	base := 16
	if kind.decimal {
		base = 10
	}
	v, err := strconv.ParseUint(s, base, 32)
	if err != nil {
		return fmt.Errorf("address %q is not a number of 32 bits in base %d", s, base)
	}
	binary.BigEndian.PutUint32(n.Addr[:], uint32(v))
	return nil
}

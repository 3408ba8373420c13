package changelog_test

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// nid returns a NID with the given address bytes.
func nid(net, num uint16, addr ...byte) changelog.NID {
	n := changelog.NID{Net: net, Num: num, Len: uint8(len(addr))}
	copy(n.Addr[:], addr)
	return n
}

var (
	ipv6    = []byte{0xfd, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0x0a}
	anyNID  = changelog.NID{Any: true}
	zeroNID = changelog.NID{}
)

// nidTable holds NIDs, their text and their packed forms: 24 bytes each in
// hexadecimal without the zeros at the end; - where the form cannot hold it.
var nidTable = []struct {
	nid                changelog.NID
	text, small, large string
}{
	{nid(2, 0, 10, 20, 0, 5), "10.20.0.5@tcp", "0500140a00000200", "000200000a140005"},
	{nid(2, 0x102, 10, 20, 0, 5), "10.20.0.5@tcp258", "0500140a02010200", "000201020a140005"},
	{nid(2, 65535, 255, 255, 255, 255), "255.255.255.255@tcp65535", "ffffffffffff0200", "0002ffffffffffff"},
	{nid(5, 0, 172, 16, 0, 1), "172.16.0.1@o2ib", "010010ac00000500", "00050000ac100001"},
	{nid(5, 3, 172, 16, 0, 1), "172.16.0.1@o2ib3", "010010ac03000500", "00050003ac100001"},
	{nid(9, 0, 0, 0, 0, 0), "0@lo", "0000000000000900", "0009"},
	{nid(13, 1, 0, 0, 0x12, 0x67), "4711@gni1", "6712000001000d00", "000d000100001267"},
	{nid(14, 0, 1, 2, 3, 4), "1.2.3.4@gip", "0403020100000e00", "000e000001020304"},
	{nid(15, 0, 0xff, 0xff, 0xff, 0xff), "4294967295@ptlf", "ffffffff00000f00", "000f0000ffffffff"},
	{nid(16, 0, 0, 0, 0, 77), "77@kfi", "4d00000000001000", "001000000000004d"},
	{nid(18, 0, 1, 2, 3, 4), "1.2.3.4@efa", "0403020100001200", "0012000001020304"},
	{nid(19, 0, 0, 0, 0, 1), "1@bxi3f", "0100000000001300", "0013000000000001"},
	{nid(19, 7, 0, 0, 0, 1), "1@bxi3f7", "0100000007001300", "0013000700000001"},

	// Networks without a name.
	{nid(1, 7, 0x11, 0x22, 0x33, 0x44), "11223344@<1:7>", "4433221107000100", "0001000711223344"},
	{nid(0, 1, 0, 0, 0, 0), "0@<0:1>", "0000000001", "00000001"},
	{nid(17, 0, 0, 0, 0, 0x0f), "f@<17:0>", "0f00000000001100", "001100000000000f"},
	{nid(20, 0, 0, 0, 0, 1), "1@<20:0>", "0100000000001400", "0014000000000001"},
	{nid(254, 0, 0, 0, 0, 1), "1@<254:0>", "010000000000fe00", "00fe000000000001"},
	{nid(255, 0, 0, 0, 0, 1), "1@<255:0>", "010000000000ff00", "-"},
	{nid(65535, 65535, 255, 255, 255, 254), "fffffffe@<65535:65535>", "feffffffffffffff", "-"},

	// More than 4 bytes.
	{nid(2, 12, ipv6...), "fd00:1:2:3::a@tcp12", "-", "0c02000cfd00000100020003000000000000000a"},
	{nid(18, 0, ipv6...), "fd00:1:2:3::a@efa", "-", "0c120000fd00000100020003000000000000000a"},
	{nid(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4), "::ffff:1.2.3.4@tcp", "-", "0c02000000000000000000000000ffff01020304"},
	{nid(16, 0, ipv6...), "0xfd00000100020003000000000000000a@kfi", "-", "0c100000fd00000100020003000000000000000a"},
	{nid(16, 0, 0x42, 0x94, 0x96, 0x72, 0x95), "0x4294967295@kfi", "-", "011000004294967295"},
	{nid(2, 0, 0, 0, 0, 0, 5), "0x0000000005@tcp", "-", "010200000000000005"},
	{nid(1, 7, 0, 0, 0, 0, 0, 0, 0, 0), "0x0000000000000000@<1:7>", "-", "04010007"},

	// The two that are no address.
	{anyNID, "<?>", "ffffffffffffffff", strings.Repeat("ff", 20)},
	{zeroNID, "0@<0:0>", "", ""},
}

// nidFields are the fields of a record with a NID in the wanted form.
func nidFields(n changelog.NID, large bool) changelog.Fields {
	extra := changelog.ExtraNID
	if large {
		extra |= changelog.ExtraNIDBE
	}
	return changelog.Fields{Format: changelog.Format{Flags: changelog.FlagExtra, Extra: extra}, NID: n}
}

// nidBlockAt is where the NID of such a record starts.
const nidBlockAt = changelog.HeaderSize + 8

func TestNIDPacked(t *testing.T) {
	for _, c := range nidTable {
		t.Run(c.text, func(t *testing.T) {
			checkPackedNID(t, c.nid, c.small, false)
			checkPackedNID(t, c.nid, c.large, true)
		})
	}
}

func checkPackedNID(t *testing.T, n changelog.NID, want string, large bool) {
	t.Helper()
	f := nidFields(n, large)
	b, err := f.Append(nil)
	if want == "-" {
		if err == nil {
			t.Errorf("large %v: it was packed as %x", large, b)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	block := hex.EncodeToString(b[nidBlockAt:])
	same(t, "block", block, want+strings.Repeat("0", 48-len(want)))
	got, ok := frame(t, b).NID()
	same(t, "NID", got, n)
	same(t, "NID is there", ok, true)
}

func TestNIDText(t *testing.T) {
	for _, c := range nidTable {
		same(t, "String", c.nid.String(), c.text)
		same(t, "AppendTo", string(c.nid.AppendTo([]byte("nid="))), "nid="+c.text)
		got, err := changelog.ParseNID(c.text)
		same(t, "ParseNID of "+c.text, got, c.nid)
		same(t, "error", err, nil)
	}
}

// A NID that nobody can pack still has a text: errors print it.
func TestNIDTextOfImpossibleLengths(t *testing.T) {
	long := nid(2, 0, ipv6...)
	long.Len = 17
	same(t, "String", long.String(), "0xfd00000100020003000000000000000a@tcp")
	same(t, "String", changelog.NID{Net: 2, Len: 3, Addr: [16]byte{1, 2, 3}}.String(), "1020300@tcp")
	same(t, "String", changelog.NID{Net: 16, Len: 255}.String(), "0x00000000000000000000000000000000@kfi")
}

func TestParseNIDTakesOtherSpellings(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1@tcp0":              "10.0.0.1@tcp",
		"10.0.0.1@tcp007":            "10.0.0.1@tcp7",
		"FD00:1:2:3:0:0:0:A@tcp":     "fd00:1:2:3::a@tcp",
		"007@kfi":                    "7@kfi",
		"00AB@<1:07>":                "ab@<1:7>",
		"00000000@<0:0>":             "0@<0:0>",
		"0xABCDEF0123@kfi":           "0xabcdef0123@kfi",
		"0x00000000000000000000@gni": "0x00000000000000000000@gni",
	} {
		got, err := changelog.ParseNID(text)
		same(t, "ParseNID of "+text, got.String(), want)
		same(t, "error", err, nil)
	}
}

func TestParseNIDRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                  `NID "" is not of the form ADDRESS@NETWORK, such as 10.0.0.1@tcp`,
		"10.0.0.1":          `NID "10.0.0.1" is not of the form ADDRESS@NETWORK, such as 10.0.0.1@tcp`,
		"<?>@tcp":           `NID "<?>@tcp": address "<?>" is not an IP address`,
		"@tcp":              `NID "@tcp": address "" is not an IP address`,
		"10.0.0.1@":         `NID "10.0.0.1@": network "" is unknown`,
		"10.0.0.1@TCP":      `NID "10.0.0.1@TCP": network "TCP" is unknown`,
		"10.0.0.1@ib":       `NID "10.0.0.1@ib": network "ib" is unknown`,
		"10.0.0.1@tcp65536": `NID "10.0.0.1@tcp65536": network number "65536" is not between 0 and 65535`,
		"10.0.0.1@tcp-1":    `NID "10.0.0.1@tcp-1": network number "-1" is not between 0 and 65535`,
		"10.0.0.1@tcpx":     `NID "10.0.0.1@tcpx": network number "x" is not between 0 and 65535`,
		"10.0.0.1@tcp@tcp":  `NID "10.0.0.1@tcp@tcp": network number "@tcp" is not between 0 and 65535`,
		"10.0.0@tcp":        `NID "10.0.0@tcp": address "10.0.0" is not an IP address`,
		"10.0.0.256@o2ib":   `NID "10.0.0.256@o2ib": address "10.0.0.256" is not an IP address`,
		"fe80::1%eth0@tcp":  `NID "fe80::1%eth0@tcp": address "fe80::1%eth0" is not an IP address`,
		"10.0.0.1@kfi":      `NID "10.0.0.1@kfi": address "10.0.0.1" is not a number of 32 bits in base 10`,
		"4294967296@kfi":    `NID "4294967296@kfi": address "4294967296" is not a number of 32 bits in base 10`,
		"-1@lo":             `NID "-1@lo": address "-1" is not a number of 32 bits in base 10`,
		"112233445@<1:7>":   `NID "112233445@<1:7>": address "112233445" is not a number of 32 bits in base 16`,
		"0x11223344@<1:7>":  `NID "0x11223344@<1:7>": address "0x11223344" is not two hexadecimal digits for each of 5 to 16 bytes`,
		"0x112233445@<1:7>": `NID "0x112233445@<1:7>": address "0x112233445" is not two hexadecimal digits for each of 5 to 16 bytes`,
		"0x1122334455@tcp@": `NID "0x1122334455@tcp@": network number "@" is not between 0 and 65535`,
		"0x0102030405060708090a0b0c0d0e0f1011@kfi": `NID "0x0102030405060708090a0b0c0d0e0f1011@kfi": address "0x0102030405060708090a0b0c0d0e0f1011" is not two hexadecimal digits for each of 5 to 16 bytes`,
		"1@<1>":       `NID "1@<1>": network "<1>" is not of the form <TYPE:NUM>`,
		"1@<1:7":      `NID "1@<1:7": network "<1:7" is not of the form <TYPE:NUM>`,
		"1@<1:7>>":    `NID "1@<1:7>>": network "<1:7>>" is not of the form <TYPE:NUM>`,
		"1@<65536:0>": `NID "1@<65536:0>": network "<65536:0>" is not of the form <TYPE:NUM>`,
		"1@<1:65536>": `NID "1@<1:65536>": network "<1:65536>" is not of the form <TYPE:NUM>`,
		"1@<x:0>":     `NID "1@<x:0>": network "<x:0>" is not of the form <TYPE:NUM>`,
		"1@<2:0>":     `NID "1@<2:0>": network type 2 has a name: tcp`,
	} {
		got, err := changelog.ParseNID(text)
		same(t, "NID beside the error", got, zeroNID)
		failsWith(t, err, want)
	}
}

// rawNID returns a record whose NID block is the given bytes and zeros.
func rawNID(t *testing.T, large bool, block ...byte) changelog.Record {
	t.Helper()
	r := pack(t, nidFields(zeroNID, large))
	copy(r.Bytes()[nidBlockAt:], block)
	return r
}

func TestNIDFromOddBytes(t *testing.T) {
	ff := func(n int) []byte { return []byte(strings.Repeat("\xff", n)) }
	for name, c := range map[string]struct {
		large bool
		block []byte
		want  string
	}{
		"wildcard by type alone":         {true, []byte{0, 0xff, 0, 0, 1, 2, 3, 4}, "<?>"},
		"wildcard, all ones":             {true, ff(24), "<?>"},
		"small wildcard, stale tail":     {false, append(ff(8), 1, 2, 3), "<?>"},
		"small, not quite the wildcard":  {false, append([]byte{0xfe}, ff(7)...), "fffffffe@<65535:65535>"},
		"small, stale tail":              {false, append([]byte{5, 0, 20, 10, 0, 0, 2, 0}, ff(16)...), "10.20.0.5@tcp"},
		"large, stale tail of 4 bytes":   {true, append([]byte{0, 2, 0, 0, 10, 20, 0, 5}, ff(16)...), "10.20.0.5@tcp"},
		"large, stale tail of 16 bytes":  {true, append(append([]byte{12, 2, 0, 0}, ipv6...), ff(4)...), "fd00:1:2:3::a@tcp"},
		"size over the limit":            {true, append([]byte{13, 2, 0, 0}, ipv6...), "fd00:1:2:3::a@tcp"},
		"size over the limit, no IP":     {true, append([]byte{0xff, 16, 0, 0}, ipv6...), "0xfd00000100020003000000000000000a@kfi"},
		"size that no network has":       {true, []byte{3, 2, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, "0x01020304050607@tcp"},
		"large zero with stale tail":     {true, append(make([]byte, 8), ff(16)...), "0@<0:0>"},
		"large zero, but of 16 bytes":    {true, []byte{12}, "0x00000000000000000000000000000000@<0:0>"},
		"network type that ends in 0xff": {false, []byte{1, 0, 0, 0, 0, 0, 0xff, 0}, "1@<255:0>"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := rawNID(t, c.large, c.block...).NID()
			same(t, "NID", got.String(), c.want)
			same(t, "NID is there", ok, true)
		})
	}
	for _, large := range []bool{false, true} {
		got, ok := rawNID(t, large, make([]byte, 24)...).NID()
		same(t, "NID of zeros", got, zeroNID)
		same(t, "NID of zeros is there", ok, true)
	}
}

func TestNIDIP(t *testing.T) {
	for _, c := range []struct {
		nid  changelog.NID
		want string // "" for none
	}{
		{nid(2, 0, 10, 20, 0, 5), "10.20.0.5"},
		{nid(2, 0, ipv6...), "fd00:1:2:3::a"},
		{nid(5, 0, 1, 2, 3, 4), "1.2.3.4"},
		{nid(2, 0, 1, 2, 3, 4, 5), ""},
		{nid(16, 0, 1, 2, 3, 4), ""},
		{nid(1, 0, 1, 2, 3, 4), ""},
		{nid(999, 0, 1, 2, 3, 4), ""},
		{anyNID, ""},
		{zeroNID, ""},
	} {
		got, ok := c.nid.IP()
		want := netip.Addr{}
		if c.want != "" {
			want = netip.MustParseAddr(c.want)
		}
		same(t, "IP of "+c.nid.String(), got, want)
		same(t, "IP is there", ok, c.want != "")
	}
}

func TestNIDInJSON(t *testing.T) {
	text, err := json.Marshal([]changelog.NID{nid(2, 1, 1, 2, 3, 4), anyNID})
	same(t, "error", err, nil)
	same(t, "JSON", string(text), `["1.2.3.4@tcp1","\u003c?\u003e"]`)
	var got []changelog.NID
	same(t, "error", json.Unmarshal(text, &got), nil)
	same(t, "NID", got[0], nid(2, 1, 1, 2, 3, 4))
	same(t, "NID", got[1], anyNID)

	kept := nid(2, 0, 1, 2, 3, 4)
	if err := kept.UnmarshalText([]byte("nonsense")); err == nil {
		t.Error("nonsense was accepted")
	}
	same(t, "NID after an error", kept, nid(2, 0, 1, 2, 3, 4))
}

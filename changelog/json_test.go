package changelog_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lcapd/lcapd/changelog"
)

// member is one member of a JSON object; numbers keep their digits.
type member struct{ key, value string }

// members decodes an object, in its order. Numbers are marked so that they do
// not equal strings.
func members(t testing.TB, text []byte) []member {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var list []member
	token := func() json.Token {
		got, err := decoder.Token()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return got
	}
	same(t, "first token", token(), json.Token(json.Delim('{')))
	for decoder.More() {
		m := member{key: token().(string)}
		switch value := token().(type) {
		case json.Number:
			m.value = "number " + value.String()
		case string:
			m.value = value
		default:
			t.Fatalf("%s: %s is a %T", text, m.key, value)
		}
		list = append(list, m)
	}
	token()
	same(t, "bytes behind the object", decoder.InputOffset(), int64(len(text)))
	return list
}

// memberList builds the members that are expected.
type memberList []member

func (l *memberList) text(key, value string) { *l = append(*l, member{key, value}) }

func (l *memberList) number(key string, value uint64) {
	*l = append(*l, member{key, fmt.Sprint("number ", value)})
}

// bytes adds a byte string: as it is if it is UTF-8, else in base64.
func (l *memberList) bytes(key string, value []byte) {
	if utf8.Valid(value) {
		l.text(key, string(value))
	} else {
		l.text(key+"_b64", base64.StdEncoding.EncodeToString(value))
	}
}

func (l *memberList) fid(key string, f *vectorFID) {
	if f != nil && !f.IsZero {
		l.text(key, f.Str)
	}
}

// expectedJSON says what AppendJSON must print for a vector. It looks at nothing
// but the description of the vector.
func expectedJSON(v *vector) (l memberList) {
	l.text("mdt", "testfs-MDT0000")
	l.number("index", v.Index)
	l.number("prev", v.Prev)
	if v.TypeName != nil {
		l.text("record_type", *v.TypeName)
	} else {
		l.text("record_type", fmt.Sprint(v.Type))
	}
	l.text("time", v.TimeRFC3339)
	l.number("flags", uint64(v.Flags))
	if v.Target != nil {
		l.text("target_fid", v.Target.Str)
	}
	l.fid("parent_fid", &v.Parent)
	if v.NameLen > 0 {
		l.bytes("filename", v.NameHex)
	}
	if v.HasRename && bytes.IndexByte(v.NameAreaHex, 0) >= 0 {
		l.bytes("source_name", *v.SourceHex)
	}
	l.fid("source_fid", v.Source)
	l.fid("source_parent_fid", v.SourceParent)
	if v.JobIDHex != nil {
		l.bytes("job_id", *v.JobIDHex)
	}
	for _, field := range []struct {
		key   string
		value *uint64
	}{{"extra_flags", v.Extra}, {"uid", v.UID}, {"gid", v.GID}} {
		if field.value != nil {
			l.number(field.key, *field.value)
		}
	}
	if v.NIDStr != nil {
		l.text("client_nid", *v.NIDStr)
	}
	if v.OpenFlags != nil {
		l.number("open_flags", uint64(*v.OpenFlags))
	}
	if v.XattrHex != nil {
		l.bytes("xattr_name", *v.XattrHex)
	}
	if v.Marker != nil {
		l.number("marker_flags", uint64(*v.Marker))
	}
	return l
}

func TestVectorJSON(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		text := r.AppendJSON([]byte("before"), "testfs-MDT0000")
		text, found := bytes.CutPrefix(text, []byte("before"))
		same(t, "what was there before is kept", found, true)
		if !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		got := members(t, text)
		if want := expectedJSON(v); !slices.Equal(got, want) {
			t.Errorf("the members are\n%v, want\n%v", got, want)
		}
		if bytes.ContainsAny(text, "\n\r\x7f") || bytes.ContainsAny(text, "\u2028\u2029") {
			t.Errorf("the line is broken: %q", text)
		}
		without := r.AppendJSON(nil, "")
		same(t, "without mdt", string(without), strings.Replace(string(text), `"mdt":"testfs-MDT0000",`, "", 1))
	})
}

// jsonName returns how a name appears in JSON.
func jsonName(t testing.TB, name string) string {
	t.Helper()
	b := header(uint16(len(name)), 0, 1, 0)
	b[4] = byte(changelog.TypeCreat) // MARK would have more members behind the name
	text := frame(t, append(b, name...)).AppendJSON(nil, "")
	_, value, found := strings.Cut(string(text), `"filename`)
	if !found {
		t.Fatalf("no name in %s", text)
	}
	return `"filename` + strings.TrimSuffix(value, "}")
}

// decodeName reads the name back out of what jsonName returned.
func decodeName(t testing.TB, text string) string {
	t.Helper()
	var object struct {
		Filename *string `json:"filename"`
		Base64   *[]byte `json:"filename_b64"`
	}
	decoder := json.NewDecoder(strings.NewReader("{" + text + "}"))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if object.Filename != nil {
		return *object.Filename
	}
	return string(*object.Base64)
}

func TestJSONEscapes(t *testing.T) {
	for in, want := range map[string]string{
		"plain":            `"filename":"plain"`,
		`a"b\c/d`:          `"filename":"a\"b\\c/d"`,
		"a\x01\t\n\r\x1fb": `"filename":"a\u0001\u0009\u000a\u000d\u001fb"`,
		"~\x7f":            `"filename":"~\u007f"`,
		"<>&'":             `"filename":"<>&'"`,
		"é中\U0001f600":     `"filename":"é中😀"`,
		"a\u2028b\u2029c":  `"filename":"a\u2028b\u2029c"`,
		"\u2027\u202a":     "\"filename\":\"\u2027\u202a\"",
		"\ufffd\ufeff":     "\"filename\":\"\ufffd\ufeff\"",
		"\xff":             `"filename_b64":"/w=="`,
		"a\xc3":            `"filename_b64":"YcM="`,
		"\xed\xa0\x80":     `"filename_b64":"7aCA"`, // a surrogate
		"\xc0\x80":         `"filename_b64":"wIA="`, // a NUL that is too long
	} {
		same(t, "JSON of a name", jsonName(t, in), want)
	}
}

func TestJSONOfEveryByteAndManyRunes(t *testing.T) {
	for b := 1; b < 256; b++ {
		for _, in := range []string{string([]byte{byte(b)}), "x" + string([]byte{byte(b)}) + "y"} {
			same(t, "the name", decodeName(t, jsonName(t, in)), in)
		}
	}
	for r := rune(1); r <= utf8.MaxRune; r += 1 + r/64 {
		in := "<" + string(r) + ">"
		same(t, "the name", decodeName(t, jsonName(t, in)), in)
	}
	for seed := range uint64(200) {
		in := strings.ReplaceAll(string(noise(seed, int(seed)+1)), "\x00", "")
		if len(in) > 0 && len(in) <= 255 {
			same(t, "the name", decodeName(t, jsonName(t, in)), in)
		}
	}
}

// All strings take the same way: every one of them may be base64.
func TestJSONBase64Everywhere(t *testing.T) {
	f := every()
	f.Name, f.SourceName, f.JobID, f.XattrName = "\xff1", "\xff2", "\xff3", "\xff4"
	text := string(pack(t, f).AppendJSON(nil, "\xff5"))
	for _, want := range []string{
		`"mdt_b64":"/zU="`, `"filename_b64":"/zE="`, `"source_name_b64":"/zI="`, `"job_id_b64":"/zM="`, `"xattr_name_b64":"/zQ="`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	same(t, "escaped mdt", string(pack(t, changelog.Fields{Type: 1}).AppendJSON(nil, `a"b`))[:14], `{"mdt":"a\"b",`)
}

func TestJSONTranscripts(t *testing.T) {
	for id, want := range map[string]string{
		"creat":            `{"mdt":"m","index":101,"prev":0,"record_type":"CREAT","time":"2026-09-21T14:13:20.123456789Z","flags":53248,"target_fid":"[0x200000402:0x1a3:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":"report.txt","job_id":"dd.1000","extra_flags":19,"uid":1000,"gid":1000,"client_nid":"10.20.0.5@tcp"}`,
		"renme":            `{"mdt":"m","index":112,"prev":0,"record_type":"RENME","time":"2026-09-21T14:13:20.000000019Z","flags":57344,"target_fid":"[0:0x0:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":"new-name","source_name":"old-name","source_fid":"[0x240000405:0x77:0x0]","source_parent_fid":"[0x280000bd1:0x9:0x0]","job_id":"mv.1000","extra_flags":19,"uid":1000,"gid":100,"client_nid":"10.20.0.6@tcp"}`,
		"renme-emptynames": `{"mdt":"m","index":116,"prev":0,"record_type":"RENME","time":"2026-09-21T14:13:20.000000022Z","flags":57344,"target_fid":"[0:0x0:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":"","source_name":"","source_fid":"[0x240000405:0x77:0x0]","source_parent_fid":"[0x280000bd1:0x9:0x0]","job_id":"x","extra_flags":19,"uid":1,"gid":1,"client_nid":"10.20.0.6@tcp"}`,
		"renme-zero-sfid":  `{"mdt":"m","index":115,"prev":0,"record_type":"RENME","time":"2026-09-21T14:13:20.000000022Z","flags":12288,"target_fid":"[0x200000402:0x1a3:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":"plain"}`,
		"mark-start":       `{"mdt":"m","index":1,"prev":0,"record_type":"MARK","time":"2026-09-21T14:13:20.000000001Z","flags":4096,"filename":"testfs-MDD0000","marker_flags":65537}`,
		"open-rw":          `{"mdt":"m","index":126,"prev":0,"record_type":"OPEN","time":"2026-09-21T14:13:20.000000032Z","flags":53315,"target_fid":"[0x200000402:0x1a3:0x0]","job_id":"vi.500","extra_flags":23,"uid":500,"gid":500,"client_nid":"10.128.11.158@tcp","open_flags":53315}`,
		"xattr-empty":      `{"mdt":"m","index":138,"prev":0,"record_type":"XATTR","time":"2026-09-21T14:13:20.000000044Z","flags":53248,"target_fid":"[0x200000402:0x1a3:0x0]","job_id":"setfattr.0","extra_flags":27,"uid":0,"gid":0,"client_nid":"10.128.11.158@tcp","xattr_name":""}`,
		"name-nonutf8":     `{"mdt":"m","index":153,"prev":0,"record_type":"CREAT","time":"2026-09-21T14:13:20.000000059Z","flags":53248,"target_fid":"[0x200000402:0x1a3:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename_b64":"//6AYWJjww==","job_id":"x","extra_flags":19,"uid":0,"gid":0,"client_nid":"10.128.11.158@tcp"}`,
		"name-newline":     `{"mdt":"m","index":152,"prev":0,"record_type":"CREAT","time":"2026-09-21T14:13:20.000000058Z","flags":53248,"target_fid":"[0x200000402:0x1a3:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":" lead\u000a153 06UNLNK t=[0x1:0x1:0x0]\u0009trail ","job_id":"x","extra_flags":19,"uid":0,"gid":0,"client_nid":"10.128.11.158@tcp"}`,
		"type-unknown":     `{"mdt":"m","index":165,"prev":0,"record_type":"77","time":"2026-09-21T14:13:20.000000071Z","flags":53248,"target_fid":"[0x200000402:0x1a3:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":"??","job_id":"x","extra_flags":19,"uid":3,"gid":4,"client_nid":"10.0.0.1@tcp"}`,
		"num-extremes":     `{"mdt":"m","index":18446744073709551615,"prev":72623859790382856,"record_type":"CREAT","time":"2514-05-30T01:53:03.999999999Z","flags":4096,"target_fid":"[0xffffffffffffffff:0xffffffff:0xffffffff]","parent_fid":"[0xffffffffffffffff:0xffffffff:0xffffffff]","filename":"max"}`,
		"num-zero":         `{"mdt":"m","index":0,"prev":0,"record_type":"CLOSE","time":"1970-01-01T00:00:00.000000000Z","flags":4096,"target_fid":"[0:0x0:0x0]"}`,
		"pfid-seq0-oid":    `{"mdt":"m","index":166,"prev":0,"record_type":"CREAT","time":"2026-09-21T14:13:20.000000000Z","flags":4096,"target_fid":"[0:0x7:0x0]","filename":"f"}`,
		"nid-any":          `{"mdt":"m","index":158,"prev":0,"record_type":"CREAT","time":"2026-09-21T14:13:20.000000064Z","flags":53248,"target_fid":"[0x200000402:0x1a3:0x0]","parent_fid":"[0x200000007:0x1:0x0]","filename":"any","job_id":"x","extra_flags":19,"uid":0,"gid":0,"client_nid":"<?>"}`,
	} {
		t.Run(id, func(t *testing.T) {
			same(t, "JSON", string(vectorByID(t, id).AppendJSON(nil, "m")), want)
		})
	}
}

// A NUL too late in the area does not make a second name; there is nothing to
// call source_name then.
func TestJSONWithoutSecondName(t *testing.T) {
	area := strings.Repeat("n", 256) + "\x00old"
	r := frame(t, append(header(uint16(len(area)), changelog.FlagRename, 1, 32), area...))
	if text := string(r.AppendJSON(nil, "")); strings.Contains(text, "source_name") {
		t.Errorf("source_name in %s", text)
	}
}

// What AppendJSON writes, ParseJSON reads, whatever is in it.
func TestJSONThereAndBack(t *testing.T) {
	for _, mdt := range []string{"", "testfs-MDT0000", "\xff"} {
		for _, name := range []string{"plain", "\"\\\x01\u2028", "\xff"} {
			want := every()
			want.Name, want.SourceName, want.JobID, want.XattrName = name, name, name, name
			got, err := changelog.ParseJSON(pack(t, want).AppendJSON(nil, mdt))
			if err != nil || got != want {
				t.Errorf("%v: the fields are\n%+v, want\n%+v", err, got, want)
			}
		}
	}
}

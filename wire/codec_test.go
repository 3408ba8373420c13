package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/lcapd/lcapd/changelog"
)

var update = flag.Bool("update", false, "write testdata/messages.txt anew")

// samples has every kind of message, with every field set.
var samples = []Message{
	&Hello{V: 1, Min: 1, Software: "lcapd 1.0", Caps: []string{"a", "b"}, Broker: "b-1", HeartbeatMS: 5000, MaxFrame: 4 << 20},
	&Heartbeat{},
	&Bye{Code: Stopping, Text: "the server ends"},
	&Join{Req: 1, Group: "robinhood", Name: "rbh-1", Session: "c0ffee", MDTs: []string{"lustre-MDT0000", "lustre-MDT0001"},
		Distribution: "fid", Start: "earliest", Create: true, Fields: 0x6000, Filter: "type=UNLNK"},
	&Listen{Req: 2, Name: "ganesha", MDTs: []string{"lustre-MDT0000"}, Fields: 0x1e000, Filter: "not type=CLOSE",
		Modules: `["sample"]`,
		Seen:    []Position{{"lustre-MDT0000", 1, 1 << 40}}},
	&Credit{Batches: 16, Bytes: 8 << 20},
	&Ack{Lease: 7, UpTo: 100000},
	&Nack{Lease: 7, From: 99000, DelayMS: 250},
	&Leave{},
	&Request{Req: 3, Op: "seek", Group: "robinhood", MDT: "lustre-MDT0000", Index: 5, Distribution: "mdt", Start: "latest",
		Filter: "type=CREAT", Name: "n", Paused: true, Force: true, MaxBacklog: 1e6, MaxIdleMS: 6e7, Expire: true,
		Modules: "[coalesce]", Consumers: "changes"},
	&Joined{Req: 1, Group: "robinhood", Name: "rbh-1", Distribution: "fid", MDTs: []Mark{{"lustre-MDT0000", 1, 41}}},
	&Listening{Req: 2, MDTs: []Position{{"lustre-MDT0000", 1, 1<<64 - 1}}},
	&Batch{MDT: "lustre-MDT0000", Epoch: 1, Lease: 7, From: 41, To: 300, First: 42, Last: 299, N: 200, Delivery: 2,
		Form: 0x6000, Flags: MaybeRedelivered | Late},
	&Gap{MDT: "lustre-MDT0000", Epoch: 1, From: 10, To: 20, Count: 9, Unknown: true, Why: "the listener was too slow"},
	&Lost{Group: "robinhood", MDT: "lustre-MDT0000", Epoch: 1, From: 10, To: 20},
	&Reply{Req: 3},
	&Error{Code: LeaseLost, Text: "gone", Req: 3, Lease: 7},
}

// A request without modules has no body: servers that know none there understand it.
func TestBareRequestHasNoBody(t *testing.T) {
	for request, frames := range map[*Request]int{{Op: OpPause, Group: "g"}: 1, {Op: OpSet, Group: "g", Modules: "[coalesce]"}: 2, {Op: OpSet, Consumers: "state"}: 2} {
		if got := encoded(t, request); len(got) != frames {
			t.Errorf("%+v has %d frames", request, len(got))
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, m := range samples {
		back := decoded(t, encoded(t, m))
		if !reflect.DeepEqual(m, back) {
			t.Errorf("%s: wrote %+v, read %+v", m.Kind(), m, back)
		}
		empty := byKind(m.Kind())
		if back := decoded(t, encoded(t, empty)); !sameButEmpty(empty, back) {
			t.Errorf("%s: wrote %+v, read %+v", m.Kind(), empty, back)
		}
	}
}

// sameButEmpty compares messages; a list without elements equals none.
func sameButEmpty(a, b Message) bool {
	x, _ := Encode(a)
	y, _ := Encode(b)
	return reflect.DeepEqual(x, y)
}

func TestEveryKindHasASample(t *testing.T) {
	seen := map[Kind]bool{}
	for _, m := range samples {
		seen[m.Kind()] = true
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: the sample leaves %s at zero", m.Kind(), v.Type().Field(i).Name)
			}
		}
	}
	if len(seen) != 17 {
		t.Errorf("%d kinds have samples", len(seen))
	}
}

// Why: peers that are written by others rely on these bytes.
func TestGolden(t *testing.T) {
	var b bytes.Buffer
	for _, m := range samples {
		b.WriteString(string(m.Kind()))
		for _, frame := range encoded(t, m) {
			b.WriteString(" " + hex.EncodeToString(frame))
		}
		b.WriteByte('\n')
	}
	const file = "testdata/messages.txt"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the bytes of messages have changed; if that is meant, run with -update\n%s", b.Bytes())
	}
}

// Why: msgpack libraries of others must be able to read what we write, and we what they write.
func TestLibraryAgrees(t *testing.T) {
	for _, m := range samples {
		for i, frame := range encoded(t, m) {
			var got map[string]any
			if err := msgpack.Unmarshal(frame, &got); err != nil {
				t.Fatalf("%s: %v", m.Kind(), err)
			}
			if i == 0 && got["t"] != string(m.Kind()) {
				t.Errorf("%s: t is %v", m.Kind(), got["t"])
			}
			again, err := msgpack.Marshal(got) // another order, and numbers at full width
			if err != nil {
				t.Fatal(err)
			}
			frames := encoded(t, m)
			frames[i] = again
			if back := decoded(t, frames); !reflect.DeepEqual(m, back) {
				t.Errorf("%s: library wrote %+v, read %+v", m.Kind(), got, back)
			}
		}
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	frame := marshal(t, map[string]any{"t": "ack", "lease": 7, "upto": 9, "new": map[string]any{"deep": []any{1, "x", nil}}})
	m := decoded(t, [][]byte{frame})
	if want := (&Ack{Lease: 7, UpTo: 9}); !reflect.DeepEqual(m, want) {
		t.Errorf("read %+v", m)
	}
}

func TestUnknownKind(t *testing.T) {
	_, _, err := Decode([][]byte{marshal(t, map[string]any{"t": "dance", "req": 12})})
	if e := new(Error); !errors.As(err, &e) || e.Code != UnknownMessage || e.Req != 12 {
		t.Errorf("err = %#v", err)
	}
}

func TestHostileHeaders(t *testing.T) {
	deep := func(n int) string { return "81a178" + strings.Repeat("91", n) + "00" }
	cases := map[string]string{
		"empty":             "",
		"not a map":         "93010203",
		"cut":               "82a174a361636b",
		"trailing":          "81a174a5" + hex.EncodeToString([]byte("leave")) + "00",
		"t twice":           "82a174a361636ba174a361636b",
		"number key":        "810102",
		"no t":              "81a17801",
		"t a number":        "81a17401",
		"huge array":        "81a178ddffffffff",
		"huge map":          "81a178dfffffffff",
		"huge string":       "81a178dbffffffff",
		"huge binary":       "81a178c6ffffffff",
		"huge outer map":    "dfffffffff",
		"deep":              deep(8),
		"deep as the frame": deep(4000),
		"extension":         "81a178d40100",
		"float":             "81a178cb3ff0000000000000",
		"negative":          "81a178ff",
		"negative wide":     "81a178d3ffffffffffffffff",
		"never used":        "81a178c1",
		"not UTF-8":         "81a178a1ff",
		"epoch too large":   "82a174a56261746368a565706f6368cf0000000100000000",
		"wrong shape":       "82a174a361636ba56c65617365a178",
		"credit too large":  "82a174a6637265646974a762617463686573ce80000000",
	}
	for what, text := range cases {
		frame, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(what, err)
		}
		_, _, err = Decode([][]byte{frame})
		if !errors.Is(err, &Error{Code: BadMessage}) && !hasCode(err, BadMessage) {
			t.Errorf("%s: err = %v", what, err)
		}
	}
	frame, _ := hex.DecodeString(deep(8))
	if err := new(index).scan(frame); err == nil {
		t.Error("depth 9 passes")
	}
	frame, _ = hex.DecodeString(deep(7))
	if err := new(index).scan(frame); err != nil {
		t.Errorf("depth 8 is allowed: %v", err)
	}
}

func TestHostileFrames(t *testing.T) {
	join := encoded(t, &Join{Req: 5, Group: "g", Name: "n"})[0]
	cases := map[string][][]byte{
		"none":             {},
		"three":            {join, {0x80}, {0x80}},
		"unwanted payload": {encoded(t, &Ack{Lease: 1})[0], {1}},
		"long header":      {make([]byte, MaxHeader+1)},
		"long body":        {join, make([]byte, MaxBody+1)},
		"body not a map":   {join, {0x90}},
		"bad list":         {join, marshal(t, map[string]any{"mdts": []any{1, 2}})},
		"epoch too large":  {encoded(t, &Listen{})[0], marshal(t, map[string]any{"seen": []any{map[string]any{"epoch": 1 << 32}}})},
	}
	for what, frames := range cases {
		if m, _, err := Decode(frames); !hasCode(err, BadMessage) || m != nil {
			t.Errorf("%s: %v, err = %v", what, m, err)
		}
	}
	if _, _, err := Decode(cases["bad list"]); err.(*Error).Req != 5 {
		t.Errorf("the error does not name the request: %v", err)
	}
}

// Why: who writes another client has nothing but the document.
func TestProtocolIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, m := range samples {
		words = append(words, "`"+string(m.Kind())+"`")
		for _, frame := range encoded(t, m) {
			var got map[string]any
			if err := msgpack.Unmarshal(frame, &got); err != nil {
				t.Fatal(err)
			}
			delete(got, "t")
			for key := range got {
				words = append(words, key)
			}
		}
	}
	for _, code := range Codes {
		words = append(words, "`"+string(code)+"`")
	}
	for _, word := range words {
		if !bytes.Contains(doc, []byte(word)) {
			t.Errorf("docs/protocol.md says nothing of %s", word)
		}
	}
}

func TestTooLongToWrite(t *testing.T) {
	for _, m := range []Message{
		&Join{Group: strings.Repeat("x", MaxName+1)},
		&Listen{Filter: strings.Repeat("x", MaxFilter+1)},
		&Join{MDTs: make([]string, MaxItems+1)},
		&Hello{Caps: []string{strings.Repeat("x", MaxHeader)}},
	} {
		if _, err := Encode(m); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: err = %v", m.Kind(), err)
		}
	}
	if _, err := Encode(&Join{Group: "\xff"}); err == nil {
		t.Error("a name that is not UTF-8 was written")
	}
}

// Why: a refusal must reach the peer whatever its text quotes.
func TestTextsAreCut(t *testing.T) {
	m := decoded(t, encoded(t, &Error{Code: Refused, Text: strings.Repeat("é\xff", MaxText)}))
	if e := m.(*Error); e.Code != Refused || len(e.Text) > MaxText || !strings.HasPrefix(e.Text, "éé") {
		t.Errorf("read %d bytes: %.20q", len(e.Text), e.Text)
	}
}

// Why: the largest file systems must fit.
func TestManyMDTsFit(t *testing.T) {
	marks := make([]Mark, 128)
	for i := range marks {
		marks[i] = Mark{MDT: strings.Repeat("m", MaxName), Epoch: 1<<32 - 1, Mark: 1<<64 - 1}
	}
	m := &Joined{Req: 1<<64 - 1, Group: strings.Repeat("g", MaxName), Name: strings.Repeat("n", MaxName), MDTs: marks}
	if back := decoded(t, encoded(t, m)); !reflect.DeepEqual(m, back) {
		t.Error("not the same")
	}
}

func TestMeet(t *testing.T) {
	cases := []struct{ aV, aMin, bV, bMin, want uint64 }{
		{1, 1, 1, 1, 1}, {2, 1, 1, 1, 1}, {2, 1, 3, 2, 2}, {3, 2, 1, 1, 0}, {2, 2, 1, 1, 0}, {0, 0, 1, 1, 0}, {1, 1, 9, 1, 1},
	}
	for _, c := range cases {
		a, b := &Hello{V: c.aV, Min: c.aMin}, &Hello{V: c.bV, Min: c.bMin}
		for _, pair := range [][2]*Hello{{a, b}, {b, a}} {
			v, err := Meet(pair[0], pair[1])
			if v != c.want || (err != nil) != (c.want == 0) || err != nil && !hasCode(err, Version) {
				t.Errorf("%+v: %d, %v", c, v, err)
			}
		}
	}
}

func TestForm(t *testing.T) {
	for form, want := range map[Form]changelog.Format{
		0:          changelog.FormatAll,
		0x6000:     {Flags: changelog.FlagRename | changelog.FlagJobID},
		0x3a000:    {Flags: changelog.FlagExtra | changelog.FlagRename, Extra: changelog.ExtraUIDGID | changelog.ExtraNID},
		0xffff0fff: {Extra: changelog.ExtraKnown},
	} {
		if got := form.Format(); got != want {
			t.Errorf("%#x: %+v", uint32(form), got)
		}
	}
	f := changelog.Format{Flags: changelog.FlagExtra | changelog.FlagJobID, Extra: changelog.ExtraOpen}
	if got := FormOf(f); got.Format() != f {
		t.Errorf("%+v became %#x", f, uint32(got))
	}
}

func TestCodesClose(t *testing.T) {
	closing := 0
	for _, c := range Codes {
		if c.Closes() {
			closing++
		}
	}
	if closing != 5 || len(Codes) != 16 {
		t.Errorf("%d of %d codes close", closing, len(Codes))
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	frames := encoded(t, samples[3])
	ix := new(index)
	if n := testing.AllocsPerRun(100, func() {
		for _, frame := range frames {
			if err := ix.scan(frame); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func hasCode(err error, code Code) bool {
	e := new(Error)
	return errors.As(err, &e) && e.Code == code
}

func encoded(t testing.TB, m Message) [][]byte {
	t.Helper()
	frames, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

func decoded(t testing.TB, frames [][]byte) Message {
	t.Helper()
	m, _, err := Decode(frames)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

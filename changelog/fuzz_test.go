package changelog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// addVectors seeds a target with the records of the golden data.
func addVectors(f *testing.F, add func(packed []byte)) {
	f.Helper()
	all := golden(f)
	for i := range all.Records {
		add(all.Records[i].packedFile)
	}
}

// Whatever the bytes: Next refuses them with a reason, or everything that can be
// done with a record works and fits together.
func FuzzNext(f *testing.F) {
	addVectors(f, func(packed []byte) {
		f.Add(packed, uint16(0xf000), uint64(0x1f))
		f.Add(packed, uint16(0x8000), uint64(0x12))
		f.Add(packed[:len(packed)-1], uint16(0), uint64(0))
	})
	f.Fuzz(func(t *testing.T, data []byte, wantFlags uint16, wantExtra uint64) {
		r, rest, err := changelog.Next(data)
		if err != nil {
			checkRefusal(t, data, rest, err)
			return
		}
		same(t, "bytes of the record and behind it", r.Size()+len(rest), len(data))
		same(t, "offset of the names", r.Size()-len(r.NameArea()), nameOffset(r.Format()))
		touch(t, r)
		checkText(t, r)
		checkConversions(t, r, changelog.Format{Flags: changelog.Flags(wantFlags), Extra: changelog.Extra(wantExtra)})
		checkFields(t, r)
	})
}

func checkRefusal(t *testing.T, data, rest []byte, err error) {
	t.Helper()
	var e *changelog.FrameError
	if !errors.As(err, &e) || e.Offset != 0 || e.Detail == "" {
		t.Errorf("the error is %#v", err)
	}
	if !errors.Is(err, changelog.ErrTruncated) && !errors.Is(err, changelog.ErrNameArea) {
		t.Errorf("the reason is %v", e.Reason)
	}
	sameBytes(t, "rest", rest, data)
}

// checkText prints a record in both forms.
func checkText(t *testing.T, r changelog.Record) {
	t.Helper()
	line := r.AppendLFS(nil)
	same(t, "last byte of the line", line[len(line)-1], '\n')
	text := r.AppendJSON(nil, "testfs-MDT0000")
	if !json.Valid(text) {
		t.Fatalf("not JSON: %q", text)
	}
	list := members(t, text)
	same(t, "second member", list[1].key, "index")
	if bytes.ContainsAny(text, "\n\r") {
		t.Errorf("more than one line: %q", text)
	}
	if _, err := changelog.ParseJSON(text); err != nil {
		t.Errorf("%s: %v", text, err)
	}
}

// checkConversions checks that what comes out of a conversion is one record of
// the expected size, and that a second time changes nothing.
func checkConversions(t *testing.T, r changelog.Record, want changelog.Format) {
	t.Helper()
	repacked := frame(t, r.AppendRepacked(nil, want))
	same(t, "repacked format", repacked.Format(), kept(r.Format(), want))
	same(t, "repacked size", repacked.Size(), nameOffset(repacked.Format())+len(r.NameArea()))
	sameBytes(t, "repacked again", repacked.AppendRepacked(nil, want), repacked.Bytes())

	normalized := frame(t, r.AppendNormalized(nil, want))
	same(t, "normalized flags", normalized.Flags()|changelog.FlagsPayload, changelog.Flags(0xfff)|changelog.Flags(want.Flags&changelog.FlagsFormat)|changelog.FlagVersion)
	same(t, "normalized size", normalized.Size(), nameOffset(normalized.Format())+len(r.NameArea()))
	sameBytes(t, "normalized again", normalized.AppendNormalized(nil, want), normalized.Bytes())

	size := r.Size()
	for g := changelog.Generation216; g <= changelog.Generation24; g++ {
		trimmed := frame(t, r.AppendTrimmed(nil, g))
		sameBytes(t, "trimmed again", trimmed.AppendTrimmed(nil, g), trimmed.Bytes())
		sameBytes(t, "names of the trimmed record", trimmed.NameArea(), r.NameArea())
		if trimmed.Size() > size {
			t.Errorf("generation %d is larger than the one before", g)
		}
		size = trimmed.Size()
	}
}

// checkFields takes the record apart and packs it again. That may only fail for
// what no server writes.
func checkFields(t *testing.T, r changelog.Record) {
	t.Helper()
	fields := r.Fields()
	packed, err := fields.Append(nil)
	impossible := len(fields.Name) > changelog.MaxName || len(fields.SourceName) > changelog.MaxName ||
		len(fields.JobID) > 31 || len(fields.XattrName) > 255 || strings.Contains(fields.SourceName, "\x00")
	if impossible != (err != nil) {
		t.Fatalf("%+v: %v", fields, err)
	}
	if err != nil {
		return
	}
	if again := frame(t, packed).Fields(); again != fields {
		t.Errorf("packed and unpacked:\n%+v, want\n%+v", again, fields)
	}
}

// A Scanner over a buffer and a Reader of the same bytes in pieces find the same
// records and stop for the same reason.
func FuzzReader(f *testing.F) {
	addVectors(f, func(packed []byte) {
		f.Add(packed, uint16(1), true, true)
		f.Add(append(bytes.Clone(packed), packed...), uint16(100), true, false)
		f.Add(append(bytes.Clone(packed), packed[:len(packed)-1]...), uint16(7), false, false)
	})
	f.Fuzz(func(t *testing.T, data []byte, piece uint16, ordered, strict bool) {
		s := changelog.NewScanner(data)
		r := changelog.NewReader(&pieceReader{data, int(piece)%1000 + 1})
		s.Ordered, s.StrictExtra = ordered, strict
		r.Ordered, r.StrictExtra = ordered, strict
		for s.Scan() {
			got, err := r.Next()
			if err != nil {
				t.Fatalf("record %d is missing: %v", s.Record().Index(), err)
			}
			sameBytes(t, "record", got.Bytes(), s.Record().Bytes())
			same(t, "Offset", r.Offset(), s.Offset())
			same(t, "Last", r.Last, s.Last)
		}
		want := s.Err()
		if want == nil {
			want = io.EOF
		}
		for range 2 {
			_, err := r.Next()
			failsWith(t, err, want.Error())
		}
	})
}

// pieceReader returns at most piece bytes at a time.
type pieceReader struct {
	rest  []byte
	piece int
}

func (p *pieceReader) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(p.piece, len(b))], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func FuzzParseFID(f *testing.F) {
	eachSeed(f, func(v *vector) []string { return []string{v.TargetStr, v.Parent.Str} })
	f.Fuzz(func(t *testing.T, s string) {
		fid, err := changelog.ParseFID(s)
		if err != nil {
			same(t, "FID beside the error", fid, changelog.FID{})
			return
		}
		again, err := changelog.ParseFID(fid.String())
		same(t, "FID parsed again", again, fid)
		same(t, "error", err, nil)
	})
}

func FuzzParseNID(f *testing.F) {
	eachSeed(f, func(v *vector) []string {
		if v.NIDStr == nil {
			return nil
		}
		return []string{*v.NIDStr}
	})
	for _, row := range nidTable {
		f.Add(row.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := changelog.ParseNID(s)
		if err != nil {
			same(t, "NID beside the error", n, zeroNID)
			return
		}
		again, err := changelog.ParseNID(n.String())
		same(t, "NID parsed again", again, n)
		same(t, "error", err, nil)
		for _, large := range []bool{false, true} {
			fields := nidFields(n, large)
			packed, err := fields.Append(nil)
			if err != nil {
				continue // this form cannot hold it
			}
			unpacked, _ := frame(t, packed).NID()
			same(t, "NID packed and unpacked", unpacked, n)
		}
	})
}

func FuzzParseMask(f *testing.F) {
	for _, seed := range []string{"", "CREAT,UNLNK", "+OPEN -CREAT", "ALL -MARK", "-ALL", "+DEFAULT", "- \tMARK,", "+-", "DEFAULT CREAT"} {
		f.Add(seed, uint64(changelog.MaskDefault))
	}
	f.Fuzz(func(t *testing.T, s string, bits uint64) {
		base := changelog.Mask(bits)
		m, err := changelog.ParseMask(s, base)
		if err != nil {
			same(t, "mask beside the error", m, 0)
			return
		}
		same(t, "bits from nowhere", m&^(changelog.MaskAll|base), 0)
		if !strings.ContainsAny(s, "-") {
			same(t, "MARK without any operator to remove it", m.Has(changelog.TypeMark) || strings.Contains(s, "+"), true)
		}
		lower, err := changelog.ParseMask(strings.ToLower(s), base)
		same(t, "mask in lower case", lower, m)
		same(t, "error", err, nil)
		if m.String() == "" {
			return
		}
		again, err := changelog.ParseMask(m.String(), base)
		same(t, "mask printed and parsed", again, m&changelog.MaskAll|changelog.MaskMin)
		same(t, "error", err, nil)
	})
}

func FuzzParseType(f *testing.F) {
	for _, row := range typeTable {
		f.Add(row.name)
	}
	f.Add("77")
	f.Fuzz(func(t *testing.T, s string) {
		typ, err := changelog.ParseType(s)
		if err != nil {
			return
		}
		again, err := changelog.ParseType(typ.String())
		same(t, "type parsed again", again, typ)
		same(t, "error", err, nil)
	})
}

func FuzzParseFormat(f *testing.F) {
	f.Add("")
	for _, name := range changelog.FormatNames() {
		f.Add(name)
		f.Add("extra," + name)
	}
	f.Fuzz(func(t *testing.T, s string) {
		names := func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }
		format, err := changelog.ParseFormat(names(s))
		if err != nil {
			same(t, "format beside the error", format, changelog.Format{})
			return
		}
		again, err := changelog.ParseFormat(names(format.String()))
		same(t, "format parsed again", again, format)
		same(t, "error", err, nil)
	})
}

// eachSeed adds the texts that each vector has.
func eachSeed(f *testing.F, texts func(*vector) []string) {
	f.Helper()
	all := golden(f)
	for i := range all.Records {
		for _, text := range texts(&all.Records[i]) {
			f.Add(text)
		}
	}
}

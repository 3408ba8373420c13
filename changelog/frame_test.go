package changelog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// header returns the first 64 bytes of a record and more zeros behind them.
func header(namelen uint16, flags changelog.Flags, index uint64, more int) []byte {
	b := make([]byte, changelog.HeaderSize+more)
	binary.LittleEndian.PutUint16(b, namelen)
	binary.LittleEndian.PutUint16(b[2:], uint16(flags))
	binary.LittleEndian.PutUint64(b[8:], index)
	return b
}

// withExtra sets the extra-flags word of a record without rename and job id.
func withExtra(b []byte, word changelog.Extra) []byte {
	binary.LittleEndian.PutUint64(b[changelog.HeaderSize:], uint64(word))
	return b
}

func TestNextRefuses(t *testing.T) {
	const all = changelog.FlagsFormat
	for name, c := range map[string]struct {
		in     []byte
		reason error
		err    string
	}{
		"nothing":            {nil, changelog.ErrTruncated, "record at offset 0: truncated record: the header needs 64 bytes, 0 are left"},
		"one byte":           {[]byte{0}, changelog.ErrTruncated, "record at offset 0: truncated record: the header needs 64 bytes, 1 are left"},
		"almost a header":    {header(600, all, 7, 0)[:63], changelog.ErrTruncated, "record at offset 0: truncated record: the header needs 64 bytes, 63 are left"},
		"no name":            {header(1, 0, 7, 0), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 65 bytes, 64 are left"},
		"half a name":        {header(10, changelog.FlagVersion, 7, 5), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 74 bytes, 69 are left"},
		"no rename block":    {header(0, changelog.FlagRename, 7, 31), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 96 bytes, 95 are left"},
		"no job id block":    {header(0, changelog.FlagJobID, 7, 31), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 96 bytes, 95 are left"},
		"index 0":            {header(1, 0, 0, 0), changelog.ErrTruncated, "record at offset 0: truncated record: the record needs 65 bytes, 64 are left"},
		"no extra word":      {header(3, changelog.FlagExtra, 7, 7), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs at least 75 bytes, 71 are left"},
		"half an extra word": {header(3, all, 7, 71), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs at least 139 bytes, 135 are left"},
		"no uid and gid":     {withExtra(header(0, changelog.FlagExtra, 7, 8+15), changelog.ExtraUIDGID), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 88 bytes, 87 are left"},
		"extra word alone":   {withExtra(header(0, changelog.FlagExtra, 7, 8), changelog.ExtraUIDGID), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 88 bytes, 72 are left"},
		"no NID":             {withExtra(header(0, changelog.FlagExtra, 7, 8+23), changelog.ExtraNID), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 96 bytes, 95 are left"},
		"no open mode":       {withExtra(header(0, changelog.FlagExtra, 7, 8+3), changelog.ExtraOpen), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 76 bytes, 75 are left"},
		"no attribute name":  {withExtra(header(0, changelog.FlagExtra, 7, 8+255), changelog.ExtraXattr), changelog.ErrTruncated, "record at offset 0 (index 7): truncated record: the record needs 328 bytes, 327 are left"},
		"name over limit":    {header(512, 0, 7, 512), changelog.ErrNameArea, "record at offset 0: impossible name length: the header claims 512 bytes of names, at most 511 are possible; these bytes are not changelog records"},
		"over limit, cut":    {header(65535, all, 7, 0), changelog.ErrNameArea, "record at offset 0: impossible name length: the header claims 65535 bytes of names, at most 511 are possible; these bytes are not changelog records"},
	} {
		t.Run(name, func(t *testing.T) {
			_, rest, err := changelog.Next(c.in)
			failsWith(t, err, c.err)
			same(t, "errors.Is", errors.Is(err, c.reason), true)
			sameBytes(t, "rest", rest, c.in)
			scan := changelog.NewScanner(c.in)
			same(t, "Scan", scan.Scan(), false)
			if len(c.in) > 0 {
				failsWith(t, scan.Err(), c.err)
			}
		})
	}
}

func TestNextTakesTheLimits(t *testing.T) {
	for name, b := range map[string][]byte{
		"smallest":          header(0, 0, 0, 0),
		"largest name area": header(511, 0, 1, 511),
		"empty extra word":  header(0, changelog.FlagExtra, 1, 8),
		"NID_BE alone":      withExtra(header(0, changelog.FlagExtra, 1, 8), changelog.ExtraNIDBE),
		"unknown extra":     withExtra(header(0, changelog.FlagExtra, 1, 8), ^changelog.ExtraKnown),
	} {
		t.Run(name, func(t *testing.T) { same(t, "Size", frame(t, b).Size(), len(b)) })
	}
	same(t, "MaxRecordSize", changelog.MaxRecordSize, vectorByID(t, "max-everything").Size())
}

// A prefix of a record is never a record, and the error never claims an index
// that is not there.
func TestNextRefusesEveryPrefix(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, _ changelog.Record) {
		for n := range v.packedFile {
			_, rest, err := changelog.Next(v.packedFile[:n])
			if !errors.Is(err, changelog.ErrTruncated) {
				t.Fatalf("%d bytes: %v", n, err)
			}
			var e *changelog.FrameError
			if !errors.As(err, &e) {
				t.Fatalf("%d bytes: %T", n, err)
			}
			wantIndex := v.Index
			if n < changelog.HeaderSize {
				wantIndex = 0
			}
			same(t, "Index", e.Index, wantIndex)
			same(t, "Offset", e.Offset, 0)
			same(t, "length of rest", len(rest), n)
		}
	})
}

// The record that Next returns has no room behind it: appending to it, or to what
// an accessor returns, must not reach the next record or another field.
func TestNextCapsItsSlices(t *testing.T) {
	all := vectorByID(t, "max-everything").Bytes()
	buf := append(bytes.Clone(all), all...)
	r, rest, err := changelog.Next(buf)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(rest)
	source, _ := r.SourceName()
	jobID, _ := r.JobID()
	xattr, _ := r.XattrName()
	for _, b := range [][]byte{r.Bytes(), r.NameArea(), r.Name(), source, jobID, xattr} {
		same(t, "capacity", cap(b), len(b))
		_ = append(b, "overwritten"...)
	}
	sameBytes(t, "rest", rest, want)
	sameBytes(t, "record", r.Bytes(), all)
	scan := changelog.NewScanner(buf)
	scan.Scan()
	same(t, "capacity", cap(scan.Record().Bytes()), len(all))
}

// noise returns bytes that are the same in every run.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), seed))).Read(b)
	return b
}

// Noise is refused at once or after a few accidental records, always with a reason.
func TestNoiseIsRefused(t *testing.T) {
	records := 0
	for seed := range uint64(1000) {
		b := noise(seed, 4096)
		found, err := scanAll(changelog.NewScanner(b))
		if !errors.Is(err, changelog.ErrNameArea) && !errors.Is(err, changelog.ErrTruncated) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		records += len(found)
		for _, r := range found {
			touch(t, r)
		}
	}
	if records == 0 || records > 100 {
		t.Errorf("noise gave %d records", records)
	}
	_, err := scanAll(changelog.NewScanner(noise(1, 4096)))
	failsWith(t, err, "record at offset 0: impossible name length: the header claims 50693 bytes of names, at most 511 are possible; these bytes are not changelog records")
}

func TestScannerReportsWhereItStopped(t *testing.T) {
	b, first := twoRecords(t)
	b = append(b, header(600, 0, 1, 0)...)
	scan := changelog.NewScanner(b)
	found, err := scanAll(scan)
	same(t, "records before", len(found), 2)
	failsWith(t, err, "record at offset 347: impossible name length: the header claims 600 bytes of names, at most 511 are possible; these bytes are not changelog records")
	var e *changelog.FrameError
	if !errors.As(err, &e) {
		t.Fatalf("the error is a %T", err)
	}
	same(t, "FrameError.Offset", e.Offset, 347)
	same(t, "Offset", scan.Offset(), 347)
	same(t, "Scan after the error", scan.Scan(), false)
	same(t, "Err after Scan", scan.Err(), err)
	same(t, "Last", scan.Last, 112)

	scan = changelog.NewScanner(b[:first])
	same(t, "first Scan", scan.Scan(), true)
	for range 2 {
		same(t, "Scan at the end", scan.Scan(), false)
		same(t, "Err at the end", scan.Err(), nil)
	}
}

// indexed returns bare records with the given indexes.
func indexed(indexes ...uint64) (b []byte) {
	for _, index := range indexes {
		b = append(b, header(0, changelog.FlagVersion, index, 0)...)
	}
	return b
}

func TestScannerOrdered(t *testing.T) {
	for name, c := range map[string]struct {
		last uint64
		in   []byte
		want int
		err  string
	}{
		"increasing":      {0, indexed(1, 2, 5, 1<<64-1), 4, ""},
		"backwards":       {0, indexed(5, 6, 4), 2, "record at offset 128 (index 4): index out of order: it follows index 6; indexes must increase"},
		"equal":           {0, indexed(5, 5), 1, "record at offset 64 (index 5): index out of order: it follows index 5; indexes must increase"},
		"not above Last":  {9, indexed(9), 0, "record at offset 0 (index 9): index out of order: it follows index 9; indexes must increase"},
		"above Last":      {9, indexed(10), 1, ""},
		"index 0":         {0, indexed(0), 0, "record at offset 0: index out of order: it follows index 0; indexes must increase"},
		"behind the last": {1<<64 - 1, indexed(1), 0, "record at offset 0 (index 1): index out of order: it follows index 18446744073709551615; indexes must increase"},
	} {
		t.Run(name, func(t *testing.T) {
			scan := changelog.NewScanner(c.in)
			scan.Ordered, scan.Last = true, c.last
			found, err := scanAll(scan)
			same(t, "records", len(found), c.want)
			if c.err == "" {
				same(t, "error", err, nil)
				return
			}
			failsWith(t, err, c.err)
			same(t, "errors.Is", errors.Is(err, changelog.ErrIndexOrder), true)
			scan = changelog.NewScanner(c.in)
			if _, err := scanAll(scan); err != nil {
				t.Errorf("order was not asked for: %v", err)
			}
		})
	}
}

func TestScannerStrictExtra(t *testing.T) {
	future := vectorByID(t, "extra-future-bit").Bytes()
	for name, c := range map[string]struct {
		in  []byte
		err string
	}{
		"known bits":   {vectorByID(t, "max-everything").Bytes(), ""},
		"no extra":     {vectorByID(t, "num-extremes").Bytes(), ""},
		"empty":        {vectorByID(t, "extra-none").Bytes(), ""},
		"unknown bits": {future, "record at offset 0 (index 164): unknown extra flags: 0x53 is outside the known 0x1f; the server is newer than this program"},
		"next bit":     {withExtra(header(0, changelog.FlagExtra, 7, 8), 0x20), "record at offset 0 (index 7): unknown extra flags: 0x20 is outside the known 0x1f; the server is newer than this program"},
		"highest bit":  {withExtra(header(0, changelog.FlagExtra, 7, 8), 1<<63), "record at offset 0 (index 7): unknown extra flags: 0x8000000000000000 is outside the known 0x1f; the server is newer than this program"},
	} {
		t.Run(name, func(t *testing.T) {
			scan := changelog.NewScanner(c.in)
			scan.StrictExtra = true
			same(t, "Scan", scan.Scan(), c.err == "")
			if c.err != "" {
				failsWith(t, scan.Err(), c.err)
				same(t, "errors.Is", errors.Is(scan.Err(), changelog.ErrUnknownExtra), true)
			}
		})
	}
	same(t, "Scan without StrictExtra", changelog.NewScanner(future).Scan(), true)
}

func TestSetIndex(t *testing.T) {
	b, first := twoRecords(t)
	want := bytes.Clone(b)
	changelog.SetIndex(b, 0x1122334455667788)
	copy(want[8:], []byte{0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11})
	sameBytes(t, "buffer", b, want)
	same(t, "Index", frame(t, b[:first]).Index(), 0x1122334455667788)
}

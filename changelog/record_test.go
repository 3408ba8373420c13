package changelog_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// touch calls every accessor. They must not panic, whatever the bytes, and what
// they return must lie inside the record.
func touch(t testing.TB, r changelog.Record) {
	t.Helper()
	_, _, _ = r.Flags(), r.Format(), r.Type()
	_, _, _ = r.Index(), r.Prev(), r.Time()
	_, _ = r.Target(), r.Parent()
	r.Marker()
	r.Source()
	r.SourceParent()
	r.Extra()
	r.Owner()
	r.OpenMode()
	r.IsLastUnlink()
	r.IsLastRename()
	r.HSM()
	r.Attrs()
	r.OpenFlags()
	if nid, ok := r.NID(); ok {
		_ = nid.String()
		nid.IP()
	}
	source, _ := r.SourceName()
	jobID, _ := r.JobID()
	xattr, _ := r.XattrName()
	for _, part := range [][]byte{r.NameArea(), r.Name(), source, jobID, xattr} {
		if len(part) > 0 && !bytes.Contains(r.Bytes(), part) {
			t.Errorf("%q is not part of the record", part)
		}
	}
	for _, cut := range [][]byte{jobID, xattr} {
		if bytes.IndexByte(cut, 0) >= 0 {
			t.Errorf("%q has a NUL", cut)
		}
	}
}

func TestCloneStandsAlone(t *testing.T) {
	b := bytes.Clone(vectorByID(t, "creat").Bytes())
	r := frame(t, b)
	c := r.Clone()
	clear(b)
	same(t, "index of the clone", c.Index(), 101)
	same(t, "index of the view", r.Index(), 0)
}

// every is a record with all blocks, each filled with its own values.
func every() changelog.Fields {
	return changelog.Fields{
		Type: changelog.TypeRenme, Payload: changelog.FlagLastLink, Format: changelog.FormatAll,
		Index: 11, Prev: 12, Time: 13<<30 | 14,
		Target: changelog.FID{Seq: 15, Oid: 16, Ver: 17}, Parent: changelog.FID{Seq: 18, Oid: 19, Ver: 20}, Name: "target",
		Source: changelog.FID{Seq: 21, Oid: 22, Ver: 23}, SourceParent: changelog.FID{Seq: 24, Oid: 25, Ver: 26}, SourceName: "source",
		JobID: "job", UID: 27, GID: 28, NID: changelog.NID{Net: 2, Num: 29, Len: 4, Addr: [16]byte{10, 0, 0, 30}},
		OpenMode: 31, XattrName: "user.attribute",
	}
}

// only returns the fields of f that a record of the given format can have.
func only(f changelog.Fields, format changelog.Format) changelog.Fields {
	if format.Flags&changelog.FlagExtra == 0 {
		format.Extra = 0
	}
	f.Format = format
	if format.Flags&changelog.FlagRename == 0 {
		f.Source, f.SourceParent, f.SourceName = changelog.FID{}, changelog.FID{}, ""
	}
	if format.Flags&changelog.FlagJobID == 0 {
		f.JobID = ""
	}
	if format.Extra&changelog.ExtraUIDGID == 0 {
		f.UID, f.GID = 0, 0
	}
	if format.Extra&changelog.ExtraNID == 0 {
		f.NID = changelog.NID{}
	}
	if format.Extra&changelog.ExtraOpen == 0 {
		f.OpenMode = 0
	}
	if format.Extra&changelog.ExtraXattr == 0 {
		f.XattrName = ""
	}
	return f
}

// formats calls f with every combination of blocks, and with extra bits that
// count for nothing because there is no extra word. FlagVersion is set as servers
// do it: on all but renames.
func formats(f func(changelog.Format)) {
	for flags := range changelog.Flags(8) {
		flags <<= 13
		if flags&changelog.FlagRename == 0 {
			flags |= changelog.FlagVersion
		}
		for extra := range changelog.ExtraKnown + 1 {
			if flags&changelog.FlagExtra != 0 || extra%changelog.ExtraKnown == 0 {
				f(changelog.Format{Flags: flags, Extra: extra})
			}
		}
	}
}

// nameOffset is ABI 5, word by word.
func nameOffset(f changelog.Format) int {
	n := 64
	for _, block := range []struct {
		has  bool
		size int
	}{
		{f.Flags&0x2000 != 0, 32},
		{f.Flags&0x4000 != 0, 32},
		{f.Flags&0x8000 != 0, 8},
		{f.Flags&0x8000 != 0 && f.Extra&1 != 0, 16},
		{f.Flags&0x8000 != 0 && f.Extra&2 != 0, 24},
		{f.Flags&0x8000 != 0 && f.Extra&4 != 0, 4},
		{f.Flags&0x8000 != 0 && f.Extra&8 != 0, 256},
	} {
		if block.has {
			n += block.size
		}
	}
	return n
}

// Every block is found whatever blocks are there before it.
func TestEveryFormat(t *testing.T) {
	formats(func(format changelog.Format) {
		want := only(every(), format)
		r := pack(t, want)
		same(t, "offset of the names", r.Size()-len(r.NameArea()), nameOffset(format))
		if got := r.Fields(); got != want {
			t.Errorf("format %v: the fields are\n%+v, want\n%+v", format, got, want)
		}
		checkFieldsAgainstAccessors(t, want, r)
	})
}

func TestNamesAreCutAtTheFirstNUL(t *testing.T) {
	for name, c := range map[string]struct {
		area           string
		target, source string
	}{
		"two names":            {"new\x00old", "new", "old"},
		"empty target":         {"\x00old", "", "old"},
		"empty source":         {"new\x00", "new", ""},
		"both empty":           {"\x00", "", ""},
		"no NUL":               {"new", "new", ""},
		"nothing":              {"", "", ""},
		"more than one NUL":    {"new\x00old\x00er", "new", "old\x00er"},
		"NUL at 255":           {strings.Repeat("n", 255) + "\x00old", strings.Repeat("n", 255), "old"},
		"NUL too late, at 256": {strings.Repeat("n", 256) + "\x00old", strings.Repeat("n", 256) + "\x00old", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := header(uint16(len(c.area)), changelog.FlagRename, 1, 32)
			r := frame(t, append(b, c.area...))
			same(t, "Name", string(r.Name()), c.target)
			source, ok := r.SourceName()
			same(t, "SourceName", string(source), c.source)
			same(t, "SourceName is there", ok, true)

			b = header(uint16(len(c.area)), 0, 1, 0)
			r = frame(t, append(b, c.area...))
			same(t, "Name without FlagRename", string(r.Name()), c.target)
			_, ok = r.SourceName()
			same(t, "SourceName without FlagRename", ok, false)
		})
	}
}

// A block that is full has no NUL; all of it is the string (ABI 4.1).
func TestStringsWithoutNUL(t *testing.T) {
	full := bytes.Repeat([]byte{'j'}, 32)
	r := frame(t, append(header(0, changelog.FlagJobID, 1, 0), full...))
	jobID, ok := r.JobID()
	sameBytes(t, "JobID", jobID, full)
	same(t, "JobID is there", ok, true)
	full = bytes.Repeat([]byte{'x'}, 256)
	b := withExtra(header(0, changelog.FlagExtra, 1, 8), changelog.ExtraXattr)
	xattr, ok := frame(t, append(b, full...)).XattrName()
	sameBytes(t, "XattrName", xattr, full)
	same(t, "XattrName is there", ok, true)
}

func TestMarkerReadsOnlyFourBytes(t *testing.T) {
	b := header(0, changelog.FlagVersion, 1, 0)
	for i := range 16 {
		b[32+i] = 0xff // the bytes behind the flags are undefined (ABI 10.6)
	}
	binary.LittleEndian.PutUint32(b[32:], uint32(changelog.MarkerStart|changelog.MarkerRecording))
	marker, ok := frame(t, b).Marker()
	same(t, "Marker", marker, 0x10001)
	same(t, "Marker is there", ok, true)
}

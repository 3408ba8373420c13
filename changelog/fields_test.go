package changelog_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// Every change of a good record that Append must refuse, and why.
var refusedFields = map[string]struct {
	change func(*changelog.Fields)
	err    string
}{
	"name too long":        {func(f *changelog.Fields) { f.Name = strings.Repeat("n", 256) }, "name has 256 bytes, at most 255 fit"},
	"source name too long": {func(f *changelog.Fields) { f.SourceName = strings.Repeat("n", 256) }, "source name has 256 bytes, at most 255 fit"},
	"job id too long":      {func(f *changelog.Fields) { f.JobID = strings.Repeat("j", 32) }, "job id has 32 bytes, at most 31 fit"},
	"attribute too long":   {func(f *changelog.Fields) { f.XattrName = strings.Repeat("x", 256) }, "attribute name has 256 bytes, at most 255 fit"},
	"NUL in name":          {func(f *changelog.Fields) { f.Name = "a\x00b" }, `name "a\x00b" has a NUL byte`},
	"NUL in source name":   {func(f *changelog.Fields) { f.SourceName = "\x00" }, `source name "\x00" has a NUL byte`},
	"NUL in job id":        {func(f *changelog.Fields) { f.JobID = "j\x00" }, `job id "j\x00" has a NUL byte`},
	"NUL in attribute":     {func(f *changelog.Fields) { f.XattrName = "\x00x" }, `attribute name "\x00x" has a NUL byte`},
	"format in payload":    {func(f *changelog.Fields) { f.Payload = 0x1001 }, "payload 0x1001 and format 0xf000 mix payload and format bits"},
	"payload in format":    {func(f *changelog.Fields) { f.Format.Flags = 0xf800 }, "payload 0x1 and format 0xf800 mix payload and format bits"},
	"source FID":           {noRename(func(f *changelog.Fields) { f.Source.Seq = 1 }), "source fields are set without FlagRename"},
	"source version":       {noRename(func(f *changelog.Fields) { f.Source.Ver = 1 }), "source fields are set without FlagRename"},
	"source parent":        {noRename(func(f *changelog.Fields) { f.SourceParent.Oid = 1 }), "source fields are set without FlagRename"},
	"source name":          {noRename(func(f *changelog.Fields) { f.SourceName = "s" }), "source fields are set without FlagRename"},
	"job id":               {func(f *changelog.Fields) { f.Format.Flags &^= changelog.FlagJobID }, "job id is set without FlagJobID"},
	"extra":                {func(f *changelog.Fields) { f.Format.Flags &^= changelog.FlagExtra }, "extra bits 0x1f are set without FlagExtra"},
	"unknown extra":        {func(f *changelog.Fields) { *f = changelog.Fields{Format: changelog.Format{Extra: 1 << 40}} }, "extra bits 0x10000000000 are set without FlagExtra"},
	"uid":                  {func(f *changelog.Fields) { f.Format.Extra &^= changelog.ExtraUIDGID; f.GID = 0 }, "uid or gid is set without ExtraUIDGID"},
	"gid":                  {func(f *changelog.Fields) { f.Format.Extra &^= changelog.ExtraUIDGID; f.UID = 0 }, "uid or gid is set without ExtraUIDGID"},
	"NID":                  {func(f *changelog.Fields) { f.Format.Extra &^= changelog.ExtraNID }, "NID is set without ExtraNID"},
	"open mode":            {func(f *changelog.Fields) { f.Format.Extra &^= changelog.ExtraOpen }, "open mode is set without ExtraOpen"},
	"attribute name":       {func(f *changelog.Fields) { f.Format.Extra &^= changelog.ExtraXattr }, "attribute name is set without ExtraXattr"},
	"all without extra": {func(f *changelog.Fields) { f.Format.Flags &^= changelog.FlagExtra; f.Format.Extra = 0 },
		"uid or gid is set without ExtraUIDGID"},
	"NID over 64 bits": {func(f *changelog.Fields) { f.Format.Extra &^= changelog.ExtraNIDBE; f.NID = nid(2, 0, ipv6...) },
		"NID fd00:1:2:3::a@tcp has 16 address bytes; the 64-bit form holds 4, set ExtraNIDBE"},
	"NID of only ones": {func(f *changelog.Fields) {
		f.Format.Extra &^= changelog.ExtraNIDBE
		f.NID = nid(65535, 65535, 255, 255, 255, 255)
	},
		"NID ffffffff@<65535:65535> has only ones, which is the wildcard in the 64-bit form"},
	"network over 8 bits": {func(f *changelog.Fields) { f.NID = nid(256, 0, 1, 2, 3, 4) },
		"NID 1020304@<256:0>: network type 256 does not fit into the large form"},
	"network like the wildcard": {func(f *changelog.Fields) { f.NID = nid(255, 0, 1, 2, 3, 4) },
		"NID 1020304@<255:0>: network type 255 does not fit into the large form"},
	"NID of 17 bytes":       {func(f *changelog.Fields) { f.NID = changelog.NID{Net: 300, Len: 17} }, "NID has 17 address bytes, at most 16 fit"},
	"small NID of 17 bytes": {func(f *changelog.Fields) { f.NID.Len = 255; f.Format.Extra &^= changelog.ExtraNIDBE }, "NID has 255 address bytes, at most 16 fit"},
}

// noRename takes the rename block away and then changes one thing.
func noRename(change func(*changelog.Fields)) func(*changelog.Fields) {
	return func(f *changelog.Fields) {
		*f = only(*f, changelog.Format{Flags: changelog.FlagVersion})
		change(f)
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, c := range refusedFields {
		t.Run(name, func(t *testing.T) {
			f := every()
			c.change(&f)
			for _, room := range []int{0, 2000} {
				dst := append(make([]byte, 0, 8+room), "prefix"...)
				got, err := f.Append(dst)
				same(t, "dst", string(got), "prefix")
				kind := f.Type.String() + " record " + "11"
				if f.Index == 0 {
					kind = "MARK record 0"
				}
				failsWith(t, err, "build "+kind+": "+c.err)
			}
			f = every()
			if _, err := f.Append(nil); err != nil {
				t.Fatalf("the record is refused unchanged: %v", err)
			}
		})
	}
}

func TestAppendTakesTheLimits(t *testing.T) {
	f := every()
	f.Name, f.SourceName = strings.Repeat("t", 255), strings.Repeat("s", 255)
	f.JobID, f.XattrName = strings.Repeat("j", 31), strings.Repeat("x", 255)
	f.NID = nid(254, 65535, bytes.Repeat([]byte{0xff}, 16)...)
	f.Index, f.Prev, f.Time, f.UID, f.GID = 1<<64-1, 1<<64-1, 1<<64-1, 1<<64-1, 1<<64-1
	f.Payload, f.OpenMode, f.Type = changelog.FlagsPayload, 1<<32-1, 1<<32-1
	f.Format.Extra = 1<<64 - 1
	r := pack(t, f)
	same(t, "Size", r.Size(), changelog.MaxRecordSize)
	same(t, "length of NameArea", len(r.NameArea()), changelog.MaxNameArea)
	if got := r.Fields(); got != f {
		t.Errorf("the fields are\n%+v, want\n%+v", got, f)
	}
}

func TestAppendNothing(t *testing.T) {
	r := pack(t, changelog.Fields{})
	sameBytes(t, "record", r.Bytes(), make([]byte, changelog.HeaderSize))
	if got := r.Fields(); got != (changelog.Fields{}) {
		t.Errorf("the fields are %+v", got)
	}
}

// The second name is there where something was moved (ABI 5, 7.2).
func TestAppendSecondName(t *testing.T) {
	rename := changelog.Format{Flags: changelog.FlagRename}
	moved := changelog.FID{Oid: 1}
	for name, c := range map[string]struct {
		in   changelog.Fields
		want string
	}{
		"both":                   {changelog.Fields{Format: rename, Source: moved, Name: "t", SourceName: "s"}, "t\x00s"},
		"no source name":         {changelog.Fields{Format: rename, Source: moved, Name: "t"}, "t\x00"},
		"no name":                {changelog.Fields{Format: rename, Source: moved, SourceName: "s"}, "\x00s"},
		"neither":                {changelog.Fields{Format: rename, Source: moved}, "\x00"},
		"nothing moved":          {changelog.Fields{Format: rename, Name: "t"}, "t"},
		"nothing moved, version": {changelog.Fields{Format: rename, Name: "t", Source: changelog.FID{Ver: 1}}, "t"},
		"nothing moved, parent":  {changelog.Fields{Format: rename, Name: "t", SourceParent: moved}, "t"},
		"unknown object":         {changelog.Fields{Format: rename, Name: "t", SourceName: "s"}, "t\x00s"},
		"no rename block":        {changelog.Fields{Name: "t"}, "t"},
	} {
		t.Run(name, func(t *testing.T) {
			r := pack(t, c.in)
			same(t, "NameArea", string(r.NameArea()), c.want)
			if got := r.Fields(); got != c.in {
				t.Errorf("the fields are\n%+v, want\n%+v", got, c.in)
			}
		})
	}
}

// What a 2.15 client makes of any record can be taken apart and packed again.
func TestFieldsOfNormalizedRecords(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		trimmed := frame(t, r.AppendTrimmed(nil, changelog.Generation211))
		normalized := frame(t, trimmed.AppendNormalized(nil, changelog.FormatClassic))
		fields := normalized.Fields()
		packed, err := fields.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !undefinedBytes[v.ID] {
			sameBytes(t, "packed again", packed, normalized.Bytes())
		}
	})
}

// A record without its rename block still has both names (ABI 7.1); its fields
// have one.
func TestFieldsWithoutRenameBlock(t *testing.T) {
	cut := frame(t, vectorByID(t, "renme").AppendRepacked(nil, changelog.Format{}))
	same(t, "NameArea", string(cut.NameArea()), "new-name\x00old-name")
	f := cut.Fields()
	same(t, "Name", f.Name, "new-name")
	same(t, "SourceName", f.SourceName, "")
	same(t, "packed again", string(pack(t, f).NameArea()), "new-name")
}

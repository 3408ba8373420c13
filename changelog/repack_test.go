package changelog_test

import (
	"bytes"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// kept returns what a repacked record has of the one before: the blocks that are
// both there and wanted (ABI 7.1).
func kept(have, want changelog.Format) changelog.Format {
	have.Flags &= want.Flags
	have.Extra &= want.Extra & changelog.ExtraKnown
	if have.Extra&changelog.ExtraNID == 0 {
		have.Extra &^= changelog.ExtraNIDBE
	}
	if have.Flags&changelog.FlagExtra == 0 {
		have.Extra = 0
	}
	have.Flags |= changelog.FlagVersion // set, wanted or not
	return have
}

// Every wanted format of every stored format: the golden data have only some.
// NIDs whose form is lost are left out, the values would differ.
func TestRepackEveryFormat(t *testing.T) {
	var packed []byte
	formats(func(have changelog.Format) {
		r := pack(t, only(every(), have))
		formats(func(want changelog.Format) {
			packed = r.AppendRepacked(packed[:0], want)
			got := frame(t, packed)
			format := kept(have, want)
			size, isSame := r.RepackedSize(want)
			same(t, "RepackedSize", size, len(packed))
			same(t, "nothing to cut", isSame, bytes.Equal(packed, r.Bytes()))
			sameBytes(t, "repacked to the format that stands for it", r.AppendRepacked(nil, want.Repacking()), packed)
			same(t, "Format", got.Format(), format)
			same(t, "Size", got.Size(), nameOffset(format)+len(r.NameArea()))
			sameBytes(t, "NameArea", got.NameArea(), r.NameArea())
			if have.Extra&^want.Extra&changelog.ExtraNIDBE != 0 && format.Extra&changelog.ExtraNID != 0 {
				return
			}
			if fields := only(every(), format); got.Fields() != fields {
				t.Fatalf("%v wanted of %v:\n%+v, want\n%+v", want, have, got.Fields(), fields)
			}
		})
	})
}

// The result has exactly the wanted blocks, zero where they were missing (ABI 7.2).
func TestNormalizeEveryFormat(t *testing.T) {
	var packed []byte
	formats(func(have changelog.Format) {
		fields := only(every(), have)
		r := pack(t, fields)
		formats(func(want changelog.Format) {
			packed = r.AppendNormalized(packed[:0], want)
			got := frame(t, packed)
			format := want
			format.Flags |= changelog.FlagVersion
			if format.Flags&changelog.FlagExtra == 0 {
				format.Extra = 0
			} else {
				format.Extra = format.Extra&^changelog.ExtraNIDBE | fields.Format.Extra&changelog.ExtraNIDBE
			}
			same(t, "Format", got.Format(), format)
			same(t, "Size", got.Size(), nameOffset(format)+len(r.NameArea()))
			if expected := only(fields, format); got.Fields() != expected {
				t.Fatalf("%v wanted of %v:\n%+v, want\n%+v", want, have, got.Fields(), expected)
			}
		})
	})
}

// ABI 7.3, for every stored format.
func TestTrimEveryFormat(t *testing.T) {
	formats(func(have changelog.Format) {
		fields := only(every(), have)
		r := pack(t, fields)
		for generation, want := range map[changelog.Generation]changelog.Format{
			changelog.Generation216: {Flags: fields.Format.Flags, Extra: fields.Format.Extra},
			changelog.Generation211: {Flags: fields.Format.Flags, Extra: fields.Format.Extra &^ changelog.ExtraNIDBE},
			changelog.Generation27:  {Flags: fields.Format.Flags &^ changelog.FlagExtra},
			changelog.Generation24:  {Flags: fields.Format.Flags &^ (changelog.FlagExtra | changelog.FlagJobID)},
		} {
			got := frame(t, r.AppendTrimmed(nil, generation))
			if expected := only(fields, want); got.Fields() != expected {
				t.Fatalf("%v for generation %d:\n%+v, want\n%+v", have, generation, got.Fields(), expected)
			}
			sameBytes(t, "NameArea", got.NameArea(), r.NameArea())
		}
	})
}

func TestConversionsLeaveTheRecordAlone(t *testing.T) {
	eachVector(t, func(t *testing.T, v *vector, r changelog.Record) {
		before := r.Clone()
		r.AppendRepacked(nil, changelog.Format{})
		r.AppendNormalized(nil, changelog.FormatAll)
		for g := changelog.Generation216; g <= changelog.Generation24; g++ {
			r.AppendTrimmed(nil, g)
		}
		sameBytes(t, "record", r.Bytes(), before.Bytes())
	})
}

// The wanted bits beyond the known ones change nothing, and payload bits in a
// wanted format do not get into the record.
func TestRepackIgnoresUnknownWishes(t *testing.T) {
	r := vectorByID(t, "extra-future-bit")
	all := changelog.Format{Flags: 1<<16 - 1, Extra: 1<<64 - 1}
	sameBytes(t, "AppendRepacked", r.AppendRepacked(nil, all), r.AppendRepacked(nil, changelog.FormatAll))
	sameBytes(t, "AppendNormalized", r.AppendNormalized(nil, all), r.AppendNormalized(nil, changelog.FormatAll))
}

// A NID that is kept without its NID_BE bit is copied, and so misread: that is
// what the library does and what Pitfall warns of.
func TestRepackWithoutNIDBE(t *testing.T) {
	want := changelog.Format{Flags: changelog.FlagExtra, Extra: changelog.ExtraNID}
	r := frame(t, vectorByID(t, "creat").AppendRepacked(nil, want))
	got, _ := r.NID()
	same(t, "NID", got.String(), "200@<1280:5130>")
}

// The trim of a NID with a stale tail keeps the tail, that of a NID which does
// not fit leaves nothing of it.
func TestTrimNID(t *testing.T) {
	stale := rawNID(t, true, append([]byte{0, 2, 0, 1, 10, 20, 0, 5}, noise(1, 16)...)...)
	got := frame(t, stale.AppendTrimmed(nil, changelog.Generation211)).Bytes()[nidBlockAt:]
	sameBytes(t, "block of a small NID", got[:8], []byte{5, 0, 20, 10, 1, 0, 2, 0})
	sameBytes(t, "its tail", got[8:], noise(1, 16))
	for name, block := range map[string][]byte{
		"16 bytes":         append([]byte{12, 2, 0, 0}, noise(2, 20)...),
		"5 bytes":          append([]byte{1, 2, 0, 0}, noise(2, 20)...),
		"corrupt size":     append([]byte{200, 2, 0, 0}, noise(2, 20)...),
		"wildcard":         append([]byte{0xff, 0xff, 0, 0}, noise(2, 20)...),
		"wildcard by type": append([]byte{0, 0xff, 0, 0}, noise(2, 20)...),
	} {
		got := frame(t, rawNID(t, true, block...).AppendTrimmed(nil, changelog.Generation211))
		sameBytes(t, "block of "+name, got.Bytes()[nidBlockAt:], make([]byte, 24))
		extra, _ := got.Extra()
		same(t, "extra word of "+name, extra, changelog.ExtraNID)
	}
}

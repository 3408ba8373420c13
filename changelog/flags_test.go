package changelog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// ABI 3: the bits as numbers.
func TestBits(t *testing.T) {
	for want, got := range map[changelog.Flags]changelog.Flags{
		0x1000: changelog.FlagVersion, 0x2000: changelog.FlagRename, 0x4000: changelog.FlagJobID, 0x8000: changelog.FlagExtra,
		0xf000: changelog.FlagsFormat, 0x0fff: changelog.FlagsPayload, 0x001: changelog.FlagLastLink, 0x002: changelog.FlagArchived,
	} {
		same(t, "Flags", got, want)
	}
	for want, got := range map[changelog.Extra]changelog.Extra{
		0x01: changelog.ExtraUIDGID, 0x02: changelog.ExtraNID, 0x04: changelog.ExtraOpen, 0x08: changelog.ExtraXattr,
		0x10: changelog.ExtraNIDBE, 0x1f: changelog.ExtraKnown,
	} {
		same(t, "Extra", got, want)
	}
	attrs := []changelog.Attrs{
		changelog.AttrAtime, changelog.AttrMtime, changelog.AttrCtime, changelog.AttrSize, changelog.AttrMode, changelog.AttrUID,
		changelog.AttrGID, changelog.AttrBlocks, changelog.AttrType, changelog.AttrFlags, changelog.AttrNlink, changelog.AttrRdev,
	}
	for i, got := range attrs {
		same(t, "Attrs", got, 1<<i)
	}
	for want, got := range map[changelog.OpenFlags]changelog.OpenFlags{
		0x001: changelog.OpenRead, 0x002: changelog.OpenWrite, 0x004: changelog.OpenExec, 0x008: changelog.OpenCreated,
		0x010: changelog.OpenExecve, 0x040: changelog.OpenCreate, 0x080: changelog.OpenExclusive, 0x100: changelog.OpenNoctty,
		0x200: changelog.OpenTruncate, 0x400: changelog.OpenAppend, 0x800: changelog.OpenNonblock, 0xfff: changelog.OpenMeaningful,
	} {
		same(t, "OpenFlags", got, want)
	}
	for want, got := range map[changelog.MarkerFlags]changelog.MarkerFlags{
		0x1: changelog.MarkerRecording, 0x2: changelog.MarkerError, 0x10000: changelog.MarkerStart, 0x20000: changelog.MarkerStop,
		0x40000: changelog.MarkerPurge, 0x80000: changelog.MarkerCleanupDone, 0x100000: changelog.MarkerInitialised,
	} {
		same(t, "MarkerFlags", got, want)
	}
	same(t, "FormatAll", changelog.FormatAll, changelog.Format{Flags: 0xf000, Extra: 0x1f})
	same(t, "FormatClassic", changelog.FormatClassic, changelog.Format{Flags: 0xf000, Extra: 0xf})
}

// payload returns a record of a type with payload bits.
func payload(t *testing.T, typ changelog.Type, bits changelog.Flags) changelog.Record {
	t.Helper()
	return pack(t, changelog.Fields{Type: typ, Payload: bits, Format: changelog.Format{Flags: changelog.FlagVersion}})
}

// The payload speaks only in the types that it is defined for.
func TestPayloadAccessorsByType(t *testing.T) {
	in := func(typ changelog.Type, types ...changelog.Type) bool { return slices.Contains(types, typ) }
	for typ := range changelog.Type(30) {
		r := payload(t, typ, changelog.FlagsPayload)
		last, archived := r.IsLastUnlink()
		same(t, "IsLastUnlink of "+typ.String(), last, in(typ, changelog.TypeUnlnk, changelog.TypeRmdir))
		same(t, "IsLastUnlink, archived", archived, last)
		last, archived = r.IsLastRename()
		same(t, "IsLastRename of "+typ.String(), last, in(typ, changelog.TypeRenme))
		same(t, "IsLastRename, archived", archived, last)
		h, ok := r.HSM()
		same(t, "HSM of "+typ.String(), ok, in(typ, changelog.TypeHSM))
		same(t, "HSM is zero", h == changelog.HSM{}, !ok)
		a, ok := r.Attrs()
		same(t, "Attrs of "+typ.String(), ok, in(typ, changelog.TypeTrunc, changelog.TypeSattr, changelog.TypeMtime, changelog.TypeCtime, changelog.TypeAtime))
		same(t, "Attrs is zero", a == 0, !ok)
		f, ok := r.OpenFlags()
		same(t, "OpenFlags of "+typ.String(), ok, in(typ, changelog.TypeOpen, changelog.TypeClose, changelog.TypeNopen))
		same(t, "OpenFlags is zero", f == 0, !ok)
		_, ok = r.Marker()
		same(t, "Marker of "+typ.String(), ok, in(typ, changelog.TypeMark))
	}
}

func TestLastLink(t *testing.T) {
	for bits, want := range map[changelog.Flags][2]bool{
		0:     {false, false},
		1:     {true, false},
		2:     {false, false}, // a copy is spoken of only together with the last link
		3:     {true, true},
		0xffc: {false, false},
		0xfff: {true, true},
	} {
		last, archived := payload(t, changelog.TypeUnlnk, bits).IsLastUnlink()
		same(t, "UNLNK", [2]bool{last, archived}, want)
		last, archived = payload(t, changelog.TypeRmdir, bits).IsLastUnlink()
		same(t, "RMDIR", [2]bool{last, archived}, want)
		last, archived = payload(t, changelog.TypeRenme, bits).IsLastRename()
		same(t, "RENME", [2]bool{last, archived}, want)
	}
}

func TestHSM(t *testing.T) {
	for bits, want := range map[changelog.Flags]changelog.HSM{
		0:     {},
		0x485: {Errno: 5, Event: changelog.HSMRestore, Dirty: true}, // the example of ABI 3.3
		0x100: {Event: changelog.HSMCancel},
		0x180: {Event: changelog.HSMRelease},
		0x27f: {Errno: 0x7f, Event: changelog.HSMRemove},
		0x680: {Event: changelog.HSMState, Dirty: true},
		0x380: {Event: 7},
		0x77f: {Errno: 0x7f, Event: 6, Dirty: true},
		0x400: {Dirty: true},
	} {
		got, ok := payload(t, changelog.TypeHSM, bits).HSM()
		same(t, "HSM", got, want)
		same(t, "HSM is there", ok, true)
		same(t, "Flags", want.Flags(), bits)
	}
	spare, _ := payload(t, changelog.TypeHSM, 0x800).HSM()
	same(t, "the spare bit", spare, changelog.HSM{})
	same(t, "values that do not fit", changelog.HSM{Errno: 0xff, Event: 0xff}.Flags(), 0x3ff)
}

func TestAttrsAndOpenFlags(t *testing.T) {
	attrs, _ := payload(t, changelog.TypeTrunc, 0x00e).Attrs()
	same(t, "Attrs", attrs, changelog.AttrMtime|changelog.AttrCtime|changelog.AttrSize)
	attrs, _ = payload(t, changelog.TypeSattr, 0xfff).Attrs()
	same(t, "all Attrs", attrs, 0xfff)
	flags, _ := payload(t, changelog.TypeOpen, 0x043).OpenFlags()
	same(t, "OpenFlags", flags, changelog.OpenRead|changelog.OpenWrite|changelog.OpenCreate)
	flags, _ = payload(t, changelog.TypeNopen, 0xfff).OpenFlags()
	same(t, "all OpenFlags", flags, changelog.OpenMeaningful)
}

// ABI 11, field 11.
func TestOpenFlagsText(t *testing.T) {
	for f, want := range map[changelog.OpenFlags]string{
		0: "---", 1: "r--", 2: "-w-", 3: "rw-", 4: "--x", 5: "--x", 7: "--x",
		0x200: "-w-", 0x400: "-w-", 0x600: "-w-", 0x201: "rw-", 0x401: "rw-", 0x204: "--x",
		0x008: "---", 0x010: "---", 0x0f8: "---", 0x100: "---", 0x800: "---",
		0xd000: "---", 0xd043: "rw-", 0x9002: "-w-",
	} {
		same(t, "String", f.String(), want)
	}
}

func TestFormatNames(t *testing.T) {
	const want = "rename jobid extra uidgid nid nid_be openmode xattr"
	same(t, "FormatNames", strings.Join(changelog.FormatNames(), " "), want)
	changelog.FormatNames()[0] = "changed"
	same(t, "FormatNames is a copy", changelog.FormatNames()[0], "rename")
	format, err := changelog.ParseFormat(changelog.FormatNames())
	same(t, "error", err, nil)
	same(t, "all names", format, changelog.FormatAll)
}

func TestParseFormat(t *testing.T) {
	for in, want := range map[string]changelog.Format{
		"":                     {Flags: 0x1000},
		"rename":               {Flags: 0x3000},
		"jobid":                {Flags: 0x5000},
		"extra":                {Flags: 0x9000},
		"uidgid":               {Flags: 0x1000, Extra: 0x01},
		"nid":                  {Flags: 0x1000, Extra: 0x02},
		"openmode":             {Flags: 0x1000, Extra: 0x04},
		"xattr":                {Flags: 0x1000, Extra: 0x08},
		"nid_be":               {Flags: 0x1000, Extra: 0x10},
		"rename,jobid":         {Flags: 0x7000},
		"extra,nid,nid_be":     {Flags: 0x9000, Extra: 0x12},
		"nid_be,extra,nid":     {Flags: 0x9000, Extra: 0x12},
		"jobid,jobid,openmode": {Flags: 0x5000, Extra: 0x04},
	} {
		got, err := changelog.ParseFormat(strings.FieldsFunc(in, func(r rune) bool { return r == ',' }))
		same(t, "ParseFormat of "+in, got, want)
		same(t, "error", err, nil)
		again, err := changelog.ParseFormat(strings.FieldsFunc(got.String(), func(r rune) bool { return r == ',' }))
		same(t, "ParseFormat of String", again, want)
		same(t, "error", err, nil)
	}
}

func TestParseFormatRefuses(t *testing.T) {
	for _, name := range []string{"", "Rename", "jobid ", "uid", "all", "version", "nid-be"} {
		got, err := changelog.ParseFormat([]string{"rename", name})
		same(t, "format beside the error", got, changelog.Format{})
		if err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
	_, err := changelog.ParseFormat([]string{"uid"})
	failsWith(t, err, `field "uid" is unknown; the fields are rename, jobid, extra, uidgid, nid, nid_be, openmode, xattr`)
}

func TestFormatText(t *testing.T) {
	same(t, "FormatAll", changelog.FormatAll.String(), "rename,jobid,extra,uidgid,nid,nid_be,openmode,xattr")
	same(t, "nothing", changelog.Format{}.String(), "")
	same(t, "bits without a name", changelog.Format{Flags: 0x1fff, Extra: 0xe0}.String(), "")
}

func TestPitfall(t *testing.T) {
	const (
		noExtra = " without extra gives nothing: these fields are part of the extra block; add extra"
		noNID   = "nid_be without nid gives nothing: it only says in which form the NID is; add nid"
		noForm  = "nid without nid_be makes NIDs in the large form unreadable, because the record no longer says so; add nid_be"
	)
	for in, want := range map[changelog.Format]string{
		{}:                             "",
		changelog.FormatAll:            "",
		changelog.FormatClassic:        noForm,
		{Flags: 0x7000}:                "",
		{Flags: 0x8000}:                "",
		{Flags: 0x8000, Extra: 0x0d}:   "",
		{Flags: 0x8000, Extra: 0x12}:   "",
		{Flags: 0x8000, Extra: 0x02}:   noForm,
		{Flags: 0x8000, Extra: 0x10}:   noNID,
		{Flags: 0x8000, Extra: 0x1d}:   noNID,
		{Flags: 0x7000, Extra: 0x01}:   "uidgid" + noExtra,
		{Flags: 0x7000, Extra: 0x12}:   "nid,nid_be" + noExtra,
		{Flags: 0x1000, Extra: 0x1f}:   "uidgid,nid,nid_be,openmode,xattr" + noExtra,
		{Flags: 0x1000, Extra: 1 << 9}: "", // no pitfall of ours
	} {
		same(t, "Pitfall of "+in.String(), in.Pitfall(), want)
	}
}

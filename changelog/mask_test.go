package changelog_test

import (
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

const (
	mark   = changelog.Mask(1) << 0
	creat  = changelog.Mask(1) << 1
	unlnk  = changelog.Mask(1) << 6
	opened = changelog.Mask(1) << 10
	atime  = changelog.Mask(1) << 19
)

func TestMaskConstants(t *testing.T) {
	same(t, "MaskMin", changelog.MaskMin, 0x1)
	same(t, "MaskAll", changelog.MaskAll, 0x1ffffff)
	same(t, "MaskDefault", changelog.MaskDefault, 0x77fbff)
}

// ABI 10.2.
func TestParseMask(t *testing.T) {
	const def, all = changelog.MaskDefault, changelog.MaskAll
	for _, c := range []struct {
		in         string
		base, want changelog.Mask
	}{
		// Absolute: from MARK alone, whatever the base.
		{"CREAT", def, mark | creat},
		{"CREAT UNLNK", def, mark | creat | unlnk},
		{"CREAT,UNLNK", def, mark | creat | unlnk},
		{" ,CREAT,, \t\n\v\f\rUNLNK, ", def, mark | creat | unlnk},
		{"creat,Unlnk", def, mark | creat | unlnk},
		{"MARK", def, mark},
		{"CREAT CREAT", def, mark | creat},

		// Relative: from the base.
		{"+OPEN", def, def | opened},
		{"-CREAT", def, def &^ creat},
		{"+OPEN", 0, opened},
		{"-CREAT", creat, 0},
		{" +OPEN", def, def | opened},
		{",+OPEN", def, def | opened},

		// An operator binds to its own name only; a name without one adds.
		{"-CREAT UNLNK", creat, unlnk},
		{"-CREAT,OPEN", def, def&^creat | opened},
		{"+OPEN -CREAT ATIME", def, def&^creat | opened | atime},
		{"CREAT -MARK OPEN", def, creat | opened},
		{"CREAT +OPEN", def, mark | creat | opened},
		{"CREAT+OPEN", def, mark | creat | opened},
		{"CREAT-MARK", def, creat},
		{"+OPEN-CREAT", def, def&^creat | opened},
		{"+ OPEN", def, def | opened},
		{"- \tCREAT UNLNK", creat, unlnk},

		// In the order of the words.
		{"CREAT -CREAT", def, mark},
		{"-CREAT CREAT", def, def},

		// MARK goes only by its name.
		{"-MARK", def, def &^ mark},
		{"-MARK -CREAT", mark | creat, 0},

		// ALL and DEFAULT.
		{"ALL", 0, all},
		{"all", 0, all},
		{"+ALL", creat, all},
		{"-ALL", def, mark},
		{"-ALL", 0, mark},
		{"-ALL CREAT", def, mark | creat},
		{"ALL -CREAT", def, all &^ creat},
		{"ALL -MARK", def, all &^ mark},
		{"CREAT ALL", def, all},
		{"DEFAULT", 0, def},
		{"default , ", 0, def},
		{"+DEFAULT", opened, def | opened},
		{"OPEN DEFAULT", 0, def | opened},
		{"OPEN +DEFAULT", 0, def | opened},
		{"-DEFAULT", all, all&^def | mark},
		{"ALL -DEFAULT", 0, all&^def | mark},
	} {
		got, err := changelog.ParseMask(c.in, c.base)
		if err != nil || got != c.want {
			t.Errorf("ParseMask(%q, %#x) is %#x, %v, want %#x", c.in, uint64(c.base), uint64(got), err, uint64(c.want))
		}
	}
}

func TestParseMaskRefuses(t *testing.T) {
	const (
		types = "MARK CREAT MKDIR HLINK SLINK MKNOD UNLNK RMDIR RENME RNMTO OPEN CLOSE LYOUT TRUNC SATTR XATTR HSM MTIME CTIME ATIME MIGRT FLRW RESYNC GXATR NOPEN"
		empty = "names no record type; use names such as CREAT,UNLNK, or ALL, or DEFAULT"
	)
	for in, want := range map[string]string{
		"":              `mask "" ` + empty,
		" , ":           `mask " , " ` + empty,
		"+":             `mask "+": "+" has no name after it`,
		"- ":            `mask "- ": "-" has no name after it`,
		"CREAT -":       `mask "CREAT -": "-" has no name after it`,
		"+,CREAT":       `mask "+,CREAT": "+" has no name after it`,
		"+-CREAT":       `mask "+-CREAT": "+" has no name after it`,
		"- +CREAT":      `mask "- +CREAT": "-" has no name after it`,
		"--CREAT":       `mask "--CREAT": "-" has no name after it`,
		"DEFAULT CREAT": `mask "DEFAULT CREAT": DEFAULT must be the last word`,
		"-DEFAULT+OPEN": `mask "-DEFAULT+OPEN": DEFAULT must be the last word`,
		"CREATE":        `mask "CREATE": record type "CREATE" is unknown; the types are ` + types,
		"CREAT,-foo":    `mask "CREAT,-foo": record type "foo" is unknown; the types are ` + types,
		"1":             `mask "1": record type "1" is unknown; the types are ` + types,
		"CREAT|UNLNK":   `mask "CREAT|UNLNK": record type "CREAT|UNLNK" is unknown; the types are ` + types,
		"CREAT\x00":     `mask "CREAT\x00": record type "CREAT\x00" is unknown; the types are ` + types,
	} {
		got, err := changelog.ParseMask(in, changelog.MaskDefault)
		same(t, "mask beside the error", got, 0)
		failsWith(t, err, want)
	}
}

func TestMaskText(t *testing.T) {
	m := changelog.MaskOf(changelog.TypeNopen, changelog.TypeMark, changelog.TypeRmdir)
	same(t, "String", m.String(), "MARK RMDIR NOPEN")
	same(t, "Join", m.Join(","), "MARK,RMDIR,NOPEN")
	same(t, "String of nothing", changelog.Mask(0).String(), "")
	same(t, "bits without a name", (changelog.MaskMin | 1<<25 | 1<<63).String(), "MARK")
	same(t, "number of names", len(strings.Fields(changelog.MaskAll.String())), 25)
	for _, want := range []changelog.Mask{changelog.MaskMin, changelog.MaskDefault, changelog.MaskAll, m} {
		for _, text := range []string{want.String(), want.Join(",")} {
			got, err := changelog.ParseMask(text, 0)
			same(t, "ParseMask of "+text, got, want)
			same(t, "error", err, nil)
		}
	}
}

func TestMaskHas(t *testing.T) {
	for typ := range changelog.Type(70) {
		m := changelog.MaskOf(typ)
		same(t, "a set of one", m.Has(typ), typ < 64)
		same(t, "its complement", (^m).Has(typ), false)
	}
	same(t, "Has of a huge type", (^changelog.Mask(0)).Has(1<<32-1), false)
	same(t, "MaskOf huge types", changelog.MaskOf(64, 65, 128, 1<<31), 0)
	same(t, "MaskOf nothing", changelog.MaskOf(), 0)
	same(t, "MaskOf two", changelog.MaskOf(changelog.TypeCreat, changelog.TypeUnlnk), creat|unlnk)
}

package changelog_test

import (
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// typeTable is ABI 2: the code is the place in the list.
var typeTable = []struct {
	typ       changelog.Type
	name      string
	inDefault bool
}{
	{changelog.TypeMark, "MARK", true},
	{changelog.TypeCreat, "CREAT", true},
	{changelog.TypeMkdir, "MKDIR", true},
	{changelog.TypeHlink, "HLINK", true},
	{changelog.TypeSlink, "SLINK", true},
	{changelog.TypeMknod, "MKNOD", true},
	{changelog.TypeUnlnk, "UNLNK", true},
	{changelog.TypeRmdir, "RMDIR", true},
	{changelog.TypeRenme, "RENME", true},
	{changelog.TypeRnmto, "RNMTO", true},
	{changelog.TypeOpen, "OPEN", false},
	{changelog.TypeClose, "CLOSE", true},
	{changelog.TypeLyout, "LYOUT", true},
	{changelog.TypeTrunc, "TRUNC", true},
	{changelog.TypeSattr, "SATTR", true},
	{changelog.TypeXattr, "XATTR", true},
	{changelog.TypeHSM, "HSM", true},
	{changelog.TypeMtime, "MTIME", true},
	{changelog.TypeCtime, "CTIME", true},
	{changelog.TypeAtime, "ATIME", false},
	{changelog.TypeMigrt, "MIGRT", true},
	{changelog.TypeFLRW, "FLRW", true},
	{changelog.TypeResync, "RESYNC", true},
	{changelog.TypeGxatr, "GXATR", false},
	{changelog.TypeNopen, "NOPEN", false},
}

func TestTypes(t *testing.T) {
	var inDefault changelog.Mask
	for code, row := range typeTable {
		same(t, "code of "+row.name, row.typ, changelog.Type(code))
		same(t, "String", row.typ.String(), row.name)
		same(t, "Known", row.typ.Known(), true)
		for _, text := range []string{row.name, strings.ToLower(row.name)} {
			parsed, err := changelog.ParseType(text)
			same(t, "ParseType of "+text, parsed, row.typ)
			same(t, "error of "+text, err, nil)
		}
		if row.inDefault {
			inDefault |= changelog.MaskOf(row.typ)
		}
	}
	same(t, "MaskDefault", changelog.MaskDefault, inDefault)
}

func TestUnknownTypes(t *testing.T) {
	for typ, text := range map[changelog.Type]string{25: "25", 77: "77", 1<<32 - 1: "4294967295"} {
		same(t, "Known", typ.Known(), false)
		same(t, "String", typ.String(), text)
		parsed, err := changelog.ParseType(text)
		same(t, "ParseType", parsed, typ)
		same(t, "error", err, nil)
	}
	parsed, err := changelog.ParseType("8")
	same(t, "ParseType of a code", parsed, changelog.TypeRenme)
	same(t, "error", err, nil)
}

func TestParseTypeRefuses(t *testing.T) {
	const types = "MARK CREAT MKDIR HLINK SLINK MKNOD UNLNK RMDIR RENME RNMTO OPEN CLOSE LYOUT TRUNC SATTR XATTR HSM MTIME CTIME ATIME MIGRT FLRW RESYNC GXATR NOPEN"
	for _, s := range []string{"", " CREAT", "CREAT ", "CREATE", "CREA", "-1", "+1", "1.0", "0x1", "4294967296", "ALL", "DEFAULT", "\x00"} {
		_, err := changelog.ParseType(s)
		if err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
	_, err := changelog.ParseType("CREATE")
	failsWith(t, err, `record type "CREATE" is unknown; the types are `+types)
}

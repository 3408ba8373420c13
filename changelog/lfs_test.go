package changelog_test

import (
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// What the golden data do not have (ABI 11).
func TestLFSCorners(t *testing.T) {
	const start = "7 01CREAT 00:00:00.000000000 1970.01.01 0x0 t=[0:0x0:0x0]"
	creat := changelog.Fields{Type: changelog.TypeCreat, Index: 7}
	moved := changelog.FID{Seq: 1, Oid: 2}
	rename := changelog.Format{Flags: changelog.FlagRename}
	open := changelog.Format{Flags: changelog.FlagExtra, Extra: changelog.ExtraOpen}
	for name, c := range map[string]struct {
		change func(*changelog.Fields)
		want   string
	}{
		"bare":               {func(f *changelog.Fields) {}, start},
		"every payload bit":  {func(f *changelog.Fields) { f.Payload = 0xfff }, strings.Replace(start, "0x0 t", "0xfff t", 1)},
		"short mnemonic":     {func(f *changelog.Fields) { f.Type = changelog.TypeFLRW }, strings.Replace(start, "01CREAT", "21FLRW ", 1)},
		"type of 3 digits":   {func(f *changelog.Fields) { f.Type = 100 }, strings.Replace(start, "01CREAT", "100(null)", 1)},
		"last type":          {func(f *changelog.Fields) { f.Type = changelog.TypeNopen }, strings.Replace(start, "01CREAT", "24NOPEN", 1)},
		"first unknown type": {func(f *changelog.Fields) { f.Type = 25 }, strings.Replace(start, "01CREAT", "25(null)", 1)},
		"parent by oid":      {func(f *changelog.Fields) { f.Parent.Oid = 1 }, start + " p=[0:0x1:0x0]"},
		"parent by version":  {func(f *changelog.Fields) { f.Parent.Ver = 1 }, start},
		"source by oid":      {func(f *changelog.Fields) { f.Format = rename; f.Source.Oid = 1 }, start + "  s=[0:0x1:0x0] sp=[0:0x0:0x0] "},
		"source by version":  {func(f *changelog.Fields) { f.Format = rename; f.Source.Ver = 1; f.Name = "n" }, start + " n"},
		"no source name":     {func(f *changelog.Fields) { f.Format, f.Source, f.Name = rename, moved, "n" }, start + " n s=[0x1:0x2:0x0] sp=[0:0x0:0x0] "},
		"stored open mode":   {func(f *changelog.Fields) { f.Format, f.OpenMode = open, 0x9001 }, start + " ef=0x4 m=r--"},
		"no open mode":       {func(f *changelog.Fields) { f.Format, f.OpenMode = open, 0x9100 }, start + " ef=0x4"},
		"unknown extra bits": {func(f *changelog.Fields) { f.Format = changelog.Format{Flags: changelog.FlagExtra, Extra: 0xff00} }, start + " ef=0xff00"},
	} {
		t.Run(name, func(t *testing.T) {
			f := creat
			c.change(&f)
			same(t, "AppendLFS", string(pack(t, f).AppendLFS(nil)), c.want+"\n")
		})
	}
}

// Only the first name of an area is printed where there is no rename block.
func TestLFSPrintsNamesUpToTheNUL(t *testing.T) {
	cut := frame(t, vectorByID(t, "renme").AppendRepacked(nil, changelog.Format{}))
	same(t, "AppendLFS", string(cut.AppendLFS(nil)), "112 08RENME 14:13:20.000000019 2026.09.21 0x0 t=[0:0x0:0x0] p=[0x200000007:0x1:0x0] new-name\n")
	r := frame(t, append(header(4, 0, 1, 0), "\x00abc"...))
	same(t, "an area that starts with NUL", string(r.AppendLFS(nil)), "1 00MARK  00:00:00.000000000 1970.01.01 0x0 t=[0:0x0:0x0] \n")
}

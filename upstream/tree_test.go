package upstream_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

func fid(oid uint32) changelog.FID { return changelog.FID{Seq: 0x200000400, Oid: oid} }

// on packs a record about a name in a directory.
func on(t changelog.Type, target, parent changelog.FID, name string, payload changelog.Flags) changelog.Fields {
	return changelog.Fields{Type: t, Target: target, Parent: parent, Name: name, Payload: payload, Index: 9}
}

// moved packs a rename.
func moved(source, from changelog.FID, name string, over, to changelog.FID, newName string, payload changelog.Flags) changelog.Fields {
	f := on(changelog.TypeRenme, over, to, newName, payload)
	f.Format.Flags = changelog.FlagRename
	f.Source, f.SourceParent, f.SourceName = source, from, name
	return f
}

func apply(t testing.TB, p *upstream.Replica, f changelog.Fields) error {
	t.Helper()
	b, err := f.Append(nil)
	check(t, err)
	r, _, err := changelog.Next(b)
	check(t, err)
	return p.Apply(r)
}

// A replica believes nothing, and stays as it was.
func TestReplicaRefuses(t *testing.T) {
	root, dir, file, linked := upstream.RootFID, fid(1), fid(2), fid(3)
	p := upstream.NewReplica()
	for _, f := range []changelog.Fields{
		on(changelog.TypeMkdir, dir, root, "dir", 0),
		on(changelog.TypeCreat, file, dir, "file", 0),
		on(changelog.TypeCreat, linked, root, "one", 0),
		on(changelog.TypeHlink, linked, root, "two", 0),
	} {
		check(t, apply(t, p, f))
	}
	before := p.Tree()
	for _, c := range []struct {
		says string
		f    changelog.Fields
	}{
		{"exists already", on(changelog.TypeCreat, file, root, "new", 0)},
		{"is [0x200000400:0x2:0x0] already", on(changelog.TypeCreat, fid(9), dir, "file", 0)},
		{"does not exist", on(changelog.TypeCreat, fid(9), fid(8), "file", 0)},
		{"is no directory", on(changelog.TypeCreat, fid(9), file, "file", 0)},
		{"does not exist", on(changelog.TypeHlink, fid(9), root, "new", 0)},
		{"does not exist", on(changelog.TypeUnlnk, file, root, "file", changelog.FlagLastLink)},
		{"is [0x200000400:0x2:0x0], not", on(changelog.TypeUnlnk, linked, dir, "file", 0)},
		{"has 1 names", on(changelog.TypeUnlnk, file, dir, "file", 0)},
		{"has 2 names", on(changelog.TypeUnlnk, linked, root, "one", changelog.FlagLastLink)},
		{"was made by MKDIR", on(changelog.TypeUnlnk, dir, root, "dir", changelog.FlagLastLink)},
		{"was made by CREAT", on(changelog.TypeRmdir, file, dir, "file", changelog.FlagLastLink)},
		{"has 1 names in it", on(changelog.TypeRmdir, dir, root, "dir", changelog.FlagLastLink)},
		{"does not exist", on(changelog.TypeClose, fid(9), changelog.FID{}, "", 0)},
		{"does not exist", moved(fid(9), dir, "file", changelog.FID{}, root, "new", 0)},
		{"is not", moved(file, root, "file", changelog.FID{}, root, "new", 0)},
		{"is [0x200000400:0x3:0x0], not", moved(file, dir, "file", changelog.FID{}, root, "one", 0)},
		{"in [0x200000007:0x1:0x0] does not exist", moved(file, dir, "file", linked, root, "new", 0)},
		{"both names", moved(linked, root, "one", linked, root, "two", 0)},
		{"was made by MKDIR", moved(file, dir, "file", dir, root, "dir", changelog.FlagLastLink)},
		{"does not exist", moved(file, dir, "file", changelog.FID{}, fid(9), "new", 0)},
	} {
		err := apply(t, p, c.f)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "record 9, ") {
			t.Errorf("%+v:\n%v, want %q", c.f, err, c.says)
		}
		if !maps.Equal(p.Tree(), before) {
			t.Fatalf("%+v: the tree has changed", c.f)
		}
	}
}

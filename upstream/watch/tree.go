package watch

import (
	"strings"

	"github.com/lcapd/lcapd/changelog"
)

// place is a name in a directory.
type place struct {
	dir  changelog.FID
	name string
}

// entry is what a name leads to.
type entry struct {
	fid   changelog.FID
	isDir bool
}

// dir is a directory of the tree: what is kept in memory of each, for as long as it is
// in the tree.
type dir struct {
	fid    changelog.FID
	parent *dir // nil for the root of the tree
	name   string
	handle string // where the FID is only a hash of it, else empty
}

// place returns where a directory is. The root of the tree is in no directory.
func (d *dir) place() place { return place{d.parent.fid, d.name} }

// path returns the path from the root of the tree, which is "".
func (d *dir) path() string {
	var names []string
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString(names[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String()
}

// within tells whether d is top or lies below it.
func (d *dir) within(top changelog.FID) bool {
	for ; d != nil; d = d.parent {
		if d.fid == top {
			return true
		}
	}
	return false
}

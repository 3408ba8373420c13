package watch

import (
	"fmt"

	"github.com/lcapd/lcapd/changelog"
)

// known is the tree as the records tell it: what somebody knows who has read all of
// them. Its one way to change is [known.apply] with a record, so that a copy on disk
// and the records behind it give the same again after a crash.
//
// Directories are in memory, names and the number of names of each file in the store.
type known struct {
	store *store
	dirs  map[changelog.FID]*dir
}

// entry returns what a name leads to.
func (k *known) entry(p place) (entry, bool) {
	e := k.store.name(p)
	return e, e.fid != changelog.FID{}
}

// links returns how many names in the tree a file has that is no directory.
func (k *known) links(fid changelog.FID) int { return k.store.links(fid) }

// has tells whether the tree has a file or directory.
func (k *known) has(fid changelog.FID) bool {
	return k.dirs[fid] != nil || k.links(fid) > 0
}

// list returns the names in a directory.
func (k *known) list(fid changelog.FID) map[string]entry { return k.store.list(fid) }

// apply does what a record reports. h is the handle of a directory that is made, where
// its FID is only a hash of it. A record that cannot follow on those before is a
// mistake of this package, or the log is not the one that the store belongs to.
func (k *known) apply(f *changelog.Fields, h string) error {
	at := place{f.Parent, f.Name}
	is, taken := k.entry(at)
	switch f.Type {
	case changelog.TypeMkdir:
		if taken {
			return fmt.Errorf("%s of %s: the name is taken by %s", f.Type, f.Target, is.fid)
		}
		return k.putDir(at, f.Target, h)
	case changelog.TypeCreat, changelog.TypeSlink, changelog.TypeMknod, changelog.TypeHlink:
		links := k.links(f.Target)
		if taken || (links > 0) != (f.Type == changelog.TypeHlink) {
			return fmt.Errorf("%s of %s, which has %d names: the name is taken by %s", f.Type, f.Target, links, is.fid)
		}
		k.store.setName(at, entry{fid: f.Target})
		k.store.setLinks(f.Target, links+1)
	case changelog.TypeUnlnk, changelog.TypeRmdir:
		if is.fid != f.Target || is.isDir != (f.Type == changelog.TypeRmdir) {
			return fmt.Errorf("%s of %s: the name is that of %s", f.Type, f.Target, is.fid)
		}
		k.drop(at, is)
	case changelog.TypeRenme:
		return k.move(f, at, is, taken)
	}
	return nil
}

// move does what a RENME reports.
func (k *known) move(f *changelog.Fields, to place, over entry, taken bool) error {
	from := place{f.SourceParent, f.SourceName}
	e, there := k.entry(from)
	if !there || e.fid != f.Source || over.fid != f.Target {
		return fmt.Errorf("RENME of %s over %s: the names are those of %s and %s", f.Source, f.Target, e.fid, over.fid)
	}
	if taken {
		k.drop(to, over)
	}
	k.store.setName(from, entry{})
	if !e.isDir {
		k.store.setName(to, e)
		return nil
	}
	return k.putDir(to, e.fid, "")
}

// putDir gives a directory, which may be new, its one name.
func (k *known) putDir(at place, fid changelog.FID, h string) error {
	k.store.setName(at, entry{fid, true})
	parent := k.dirs[at.dir]
	d := k.dirs[fid]
	if d == nil {
		d = &dir{fid: fid}
		k.dirs[fid] = d
	}
	if parent == nil && fid != k.store.meta.root {
		return fmt.Errorf("directory %s is made in %s, which is not there", fid, at.dir)
	}
	d.parent, d.name = parent, at.name
	if h != "" {
		d.handle = h
	}
	k.store.setDir(d)
	return nil
}

// learnHandle keeps the handle of a directory whose FID is only a hash of it: records do
// not tell it.
func (k *known) learnHandle(d *dir, h string) {
	if d.handle != h {
		d.handle = h
		k.store.setDir(d)
	}
}

// drop takes a name away.
func (k *known) drop(at place, e entry) {
	k.store.setName(at, entry{})
	if e.isDir {
		delete(k.dirs, e.fid)
		k.store.dropDir(e.fid)
		return
	}
	k.store.setLinks(e.fid, k.links(e.fid)-1)
}

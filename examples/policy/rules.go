package main

import (
	"maps"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// These are the rules: what a record does to what is known of a file. They are
// pure; store.go keeps their results.
//
// # Why it converges, whatever comes twice and whoever applies it
//
// All that is kept belongs to one FID: the file's attributes and each of its names.
// A name is kept as (FID, directory, name), not as (directory, name): when a name is
// taken away from one file and given to another, the two records have different FIDs,
// go to different members, and may be applied in either order. As rows of two
// FIDs they cannot hurt each other. Until both are applied a name may be there twice,
// or not at all; in the end it is not.
//
// So the state of a FID is what its own records make of it, in their order, and
// nothing else. Three things make sure that each is applied once and in that order:
//
//   - The group's distribution is fid. The records of a FID come in the order of their
//     indexes, to one member at a time; a replay starts at the first that is not acknowledged and
//     repeats all behind it; nothing newer of the FID is out meanwhile. We apply batches in
//     the order in which they come, and acknowledge what is on disk. So
//     when a record of a FID is applied, all before it have been.
//   - With each FID is kept, for each MDT, the index of the last record that was applied. A
//     record at or below it was applied already, as just said: it is passed
//     over. That is all there is to duplicates and replays. It also stops the
//     instance that slept: the broker took its leases back and gave them to
//     another one, which has applied them and more, before the sleeper commits.
//   - State and index change in the same transaction, under SQLite's one write lock.
//
// A rename has two FIDs: what moves, and what it overwrites. The broker waits until
// everything before it is acknowledged for both, hands it out once, and hands out nothing
// behind it of either until it is acknowledged. Here it is two changes, each guarded by the index of
// its own FID: a replay may find one FID further on than the other.
//
// When the last name of a file goes, its state goes, but the index stays: else a sleeper's
// CREAT would bring the file back, and nobody would take it away again. See
// store.purge for when it may go too.
//
// # What it does not know
//
// Records of one FID may come from several MDTs: a directory that lies on another MDT
// than its parent, renames between MDTs. Between them nothing but their times tells the order,
// and nothing here tries. Records tell of changes, not of values: a real policy engine takes
// records as a hint to look at the file, and such a look settles both. What was there before the
// group's first record, somebody has to scan.

// place is a name in a directory.
type place struct {
	parent changelog.FID
	name   string
}

// stamp is where a record stands in the changelog of an MDT.
type stamp struct {
	epoch uint32 // how often the MDT began to count anew
	index uint64
}

func (s stamp) isBehind(o stamp) bool {
	return s.epoch > o.epoch || s.epoch == o.epoch && s.index > o.index
}

// unknown stands for a user or group that records do not tell.
const unknown = -1

// attrs are what records tell of a file.
type attrs struct {
	kind     changelog.Type // the type of the record that made it; 0: made before the first record
	uid, gid int64          // of who made it; unknown after a change of owner, which does not tell the new one
	changed  int64          // when it was last changed, in seconds since 1970
	changer  int64          // the user who did
	mtime    int64          // when its content was last changed, as far as records tell
}

// file is what is kept of a FID.
type file struct {
	applied map[string]stamp   // the last record applied, by MDT
	exists  bool               // it has attributes and perhaps names
	names   map[place]struct{} // those that are known
	attrs
}

func newFile() *file {
	return &file{applied: map[string]stamp{}, names: map[place]struct{}{}}
}

func (f *file) clone() *file {
	c := *f
	c.applied, c.names = maps.Clone(f.applied), maps.Clone(f.names)
	return &c
}

// files are some FIDs: those of a batch.
type files map[changelog.FID]*file

// fidsOf returns the FIDs whose state a record may change, zero for none.
func fidsOf(r changelog.Record) (target, source changelog.FID) {
	switch r.Type() {
	case changelog.TypeRenme, changelog.TypeMigrt:
		source, _ = r.Source()
		return r.Target(), source
	case changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeSlink, changelog.TypeMknod, changelog.TypeHlink,
		changelog.TypeUnlnk, changelog.TypeRmdir, changelog.TypeClose, changelog.TypeLyout, changelog.TypeTrunc,
		changelog.TypeSattr, changelog.TypeXattr, changelog.TypeHSM, changelog.TypeMtime, changelog.TypeCtime,
		changelog.TypeFLRW, changelog.TypeResync:
		return r.Target(), changelog.FID{}
	}
	return // nothing that is kept: opened, read, ATIME, marks; RNMTO, which servers past 2.2 do not write
}

// apply applies a record to the FIDs that it is about, which must be there. It returns
// how many of them had it already.
func (fs files) apply(mdt string, epoch uint32, r changelog.Record) (repeated int) {
	at := stamp{epoch, r.Index()}
	target, source := fidsOf(r)
	if r.Type() == changelog.TypeMigrt && !target.IsZero() && !source.IsZero() {
		fs.inherit(target, source, mdt, at, r)
	}
	for _, fid := range []changelog.FID{target, source} {
		if fid.IsZero() {
			continue
		}
		f := fs[fid]
		if last, ok := f.applied[mdt]; ok && !at.isBehind(last) {
			repeated++
			continue
		}
		f.applied[mdt] = at
		f.change(r, fid == source)
	}
	return repeated
}

// inherit gives the new FID of a migrated file what is known of the old one. Both
// change in one transaction, so either both have had the record or neither.
func (fs files) inherit(target, source changelog.FID, mdt string, at stamp, r changelog.Record) {
	f, old := fs[target], fs[source]
	if last, ok := f.applied[mdt]; ok && !at.isBehind(last) || !old.exists {
		return
	}
	f.exists, f.attrs, f.names = true, old.attrs, maps.Clone(old.names)
	// The parents stand the other way round than in a rename (ABI 10.5).
	delete(f.names, place{r.Parent(), string(r.Name())})
}

// change does to a file what a record reports of it: as what moved, or as the target.
func (f *file) change(r changelog.Record, moved bool) {
	here := place{r.Parent(), string(r.Name())}
	switch r.Type() {
	case changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeSlink, changelog.TypeMknod:
		f.made(r)
		f.link(here, r)
	case changelog.TypeHlink:
		f.link(here, r)
	case changelog.TypeUnlnk:
		last, _ := r.IsLastUnlink()
		f.unlink(here, last, r)
	case changelog.TypeRmdir:
		f.unlink(here, true, r) // a directory has one name
	case changelog.TypeRenme:
		if !moved {
			last, _ := r.IsLastRename()
			f.unlink(here, last, r)
			return
		}
		parent, _ := r.SourceParent()
		name, _ := r.SourceName()
		delete(f.names, place{parent, string(name)})
		f.link(here, r)
	case changelog.TypeMigrt:
		if moved {
			f.vanish()
			return
		}
		parent, _ := r.SourceParent()
		name, _ := r.SourceName()
		f.link(place{parent, string(name)}, r)
	default:
		f.touch(r)
	}
}

// made notes that the file was made.
func (f *file) made(r changelog.Record) {
	f.exists = true
	f.attrs = attrs{kind: r.Type(), uid: unknown, gid: unknown, mtime: seconds(r)}
	if uid, gid, ok := r.Owner(); ok {
		f.uid, f.gid = int64(uid), int64(gid) // of who asked: a set-group-ID directory decides otherwise
	}
}

// link notes that the file has a name.
func (f *file) link(at place, r changelog.Record) {
	if !f.exists { // it was made before the group's first record
		f.exists = true
		f.attrs = attrs{uid: unknown, gid: unknown, changer: unknown}
	}
	f.names[at] = struct{}{}
	f.touch(r)
}

// unlink notes that a name is gone and, if it was the last one, the file.
func (f *file) unlink(at place, last bool, r changelog.Record) {
	delete(f.names, at)
	if last {
		f.vanish()
		return
	}
	f.touch(r)
}

// vanish forgets a file, but not which records it had.
func (f *file) vanish() {
	f.exists, f.attrs, f.names = false, attrs{}, map[place]struct{}{}
}

// touch notes a change. A file that is not known, or gone and still open, is left alone.
func (f *file) touch(r changelog.Record) {
	if !f.exists {
		return
	}
	if how, ok := r.OpenFlags(); ok && how == changelog.OpenRead {
		return // closed by who only read it: these come when the MDT records OPEN
	}
	f.changed, f.changer = seconds(r), unknown
	if uid, _, ok := r.Owner(); ok {
		f.changer = int64(uid)
	}
	set, _ := r.Attrs()
	switch {
	case r.Type() == changelog.TypeClose, r.Type() == changelog.TypeTrunc, set&changelog.AttrMtime != 0:
		f.mtime = f.changed // utimes may have set another one: who needs it looks
	}
	if set&changelog.AttrUID != 0 {
		f.uid = unknown
	}
	if set&changelog.AttrGID != 0 {
		f.gid = unknown
	}
}

func seconds(r changelog.Record) int64 { return r.Time().Time().Truncate(time.Second).Unix() }

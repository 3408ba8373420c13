package moduletest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/lcapd/lcapd/changelog"
)

// A Step is a record of a history.
type Step struct {
	MDT    int
	Index  uint64
	Packed []byte
}

// A History is what happened in a file system, in the order in which it did, with the records that its MDTs wrote about it: each
// on the MDT that Lustre writes it on (ABI 10.9).
type History struct {
	Steps []Step

	rnd   *rand.Rand
	mdts  int
	last  []uint64 // index per MDT
	oid   uint32
	nodes map[changelog.FID]*node
	dirs  []*node // all that exist
	files []*node // all that exist
	// Audit adds records that only an audit asks for.
	audit bool
}

// Name is a name of an object.
type Name struct {
	Parent changelog.FID
	Name   string
}

// node is an object of the file system.
type node struct {
	fid      changelog.FID
	mdt      int
	dir      bool
	names    map[Name]bool
	children int
	archived bool
}

// Root is the directory that exists before a history begins.
var Root = changelog.FID{Seq: 0x200000007, Oid: 1}

// NewHistory makes a history of so many records over so many MDTs. The same seed makes the same one. With audit, it has
// OPEN, GXATR and NOPEN records, MARKs and types from the future, too.
func NewHistory(seed uint64, mdts, records int, audit bool) *History {
	h := &History{rnd: rand.New(rand.NewPCG(seed, 7)), mdts: mdts, last: make([]uint64, mdts), nodes: map[changelog.FID]*node{}, audit: audit}
	root := &node{fid: Root, dir: true}
	h.nodes[Root], h.dirs = root, []*node{root}
	for len(h.Steps) < records {
		h.act()
	}
	return h
}

// Stream returns the packed records of one MDT, and the index of the last one.
func (h *History) Stream(mdt int) (packed []byte, last uint64) {
	for _, s := range h.Steps {
		if s.MDT == mdt {
			packed = append(packed, s.Packed...)
		}
	}
	return packed, h.last[mdt]
}

// Names returns the names that every object has in the end, but for Root.
func (h *History) Names() map[changelog.FID]map[Name]bool {
	all := map[changelog.FID]map[Name]bool{}
	for fid, n := range h.nodes {
		if fid != Root {
			all[fid] = n.names
		}
	}
	return all
}

// write adds a record to the log of an MDT.
func (h *History) write(mdt int, f changelog.Fields) {
	h.last[mdt]++
	if h.rnd.IntN(50) == 0 {
		h.last[mdt] += uint64(h.rnd.IntN(3)) // a hole
	}
	f.Index, f.Time = h.last[mdt], changelog.Time(1_700_000_000+len(h.Steps))<<30
	f.Format.Flags |= changelog.FlagVersion
	if h.rnd.IntN(4) > 0 {
		f.Format.Flags |= changelog.FlagJobID
		f.JobID = fmt.Sprint("job.", h.rnd.IntN(3))
	}
	if h.rnd.IntN(4) > 0 || f.XattrName != "" {
		f.Format.Flags |= changelog.FlagExtra
		f.Format.Extra |= changelog.ExtraUIDGID
		f.UID = uint64(h.rnd.IntN(3))
	}
	packed, err := f.Append(nil)
	if err != nil {
		panic(fmt.Sprintf("moduletest: record of a history: %v", err))
	}
	h.Steps = append(h.Steps, Step{mdt, f.Index, packed})
}

// act does one thing.
func (h *History) act() {
	switch n := h.rnd.IntN(100); {
	case n < 22:
		h.create()
	case n < 30:
		h.mkdir()
	case n < 36:
		h.link()
	case n < 54:
		h.unlink()
	case n < 60:
		h.rmdir()
	case n < 70:
		h.rename()
	case n < 72:
		h.migrate()
	case n < 78:
		h.hsm()
	default:
		h.touch()
	}
}

// pick returns one of a list, as a rule one of the last.
func pick[T any](h *History, list []T) T {
	if n := len(list); n > 4 && h.rnd.IntN(5) > 0 {
		return list[n-1-h.rnd.IntN(4)]
	}
	return list[h.rnd.IntN(len(list))]
}

// free returns a name that is free, in some directory.
func (h *History) free() (*node, Name, bool) {
	dir := pick(h, h.dirs)
	name := Name{dir.fid, string(rune('a' + h.rnd.IntN(6)))}
	_, taken := h.owner(name)
	return dir, name, !taken
}

// owner returns the object that has a name.
func (h *History) owner(name Name) (*node, bool) {
	for _, list := range [][]*node{h.dirs, h.files} {
		for _, n := range list {
			if n.names[name] {
				return n, true
			}
		}
	}
	return nil, false
}

// add makes an object.
func (h *History) add(mdt int, isDir bool, name Name) *node {
	h.oid++
	n := &node{fid: changelog.FID{Seq: 0x200000400 + uint64(mdt), Oid: h.oid}, mdt: mdt, dir: isDir, names: map[Name]bool{name: true}}
	h.nodes[n.fid] = n
	if isDir {
		h.dirs = append(h.dirs, n)
	} else {
		h.files = append(h.files, n)
	}
	h.nodes[name.Parent].children++
	return n
}

// remove takes a name away, and the object with its last one. It tells the flags of the record.
func (h *History) remove(n *node, name Name) changelog.Flags {
	delete(n.names, name)
	h.nodes[name.Parent].children--
	if len(n.names) > 0 {
		return 0
	}
	delete(h.nodes, n.fid)
	gone := func(other *node) bool { return other == n }
	h.dirs, h.files = slices.DeleteFunc(h.dirs, gone), slices.DeleteFunc(h.files, gone)
	if n.archived {
		return changelog.FlagLastLink | changelog.FlagArchived
	}
	return changelog.FlagLastLink
}

func (h *History) create() {
	dir, name, ok := h.free()
	if !ok {
		return
	}
	types := []changelog.Type{changelog.TypeCreat, changelog.TypeCreat, changelog.TypeMknod, changelog.TypeSlink}
	n := h.add(dir.mdt, false, name)
	h.write(n.mdt, changelog.Fields{Type: types[h.rnd.IntN(len(types))], Target: n.fid, Parent: name.Parent, Name: name.Name})
}

func (h *History) mkdir() {
	dir, name, ok := h.free()
	if !ok {
		return
	}
	mdt := dir.mdt
	if h.rnd.IntN(3) == 0 {
		mdt = h.rnd.IntN(h.mdts)
	}
	n := h.add(mdt, true, name)
	h.write(n.mdt, changelog.Fields{Type: changelog.TypeMkdir, Target: n.fid, Parent: name.Parent, Name: name.Name})
}

func (h *History) link() {
	dir, name, ok := h.free()
	if !ok || len(h.files) == 0 {
		return
	}
	n := pick(h, h.files)
	n.names[name] = true
	dir.children++
	h.write(dir.mdt, changelog.Fields{Type: changelog.TypeHlink, Target: n.fid, Parent: name.Parent, Name: name.Name})
}

// anyName returns one of the names of an object.
func (h *History) anyName(n *node) Name {
	all := slices.SortedFunc(maps.Keys(n.names), func(a, b Name) int {
		switch {
		case a.Name != b.Name:
			return int(a.Name[0]) - int(b.Name[0])
		case a.Parent.Oid != b.Parent.Oid:
			return int(a.Parent.Oid) - int(b.Parent.Oid)
		}
		return 0
	})
	return all[h.rnd.IntN(len(all))]
}

func (h *History) unlink() {
	if len(h.files) == 0 {
		return
	}
	n := pick(h, h.files)
	name := h.anyName(n)
	flags := h.remove(n, name)
	h.write(n.mdt, changelog.Fields{Type: changelog.TypeUnlnk, Payload: flags, Target: n.fid, Parent: name.Parent, Name: name.Name})
}

func (h *History) rmdir() {
	n := pick(h, h.dirs)
	if n.fid == Root || n.children > 0 {
		return
	}
	name := h.anyName(n)
	flags := h.remove(n, name)
	h.write(n.mdt, changelog.Fields{Type: changelog.TypeRmdir, Payload: flags, Target: n.fid, Parent: name.Parent, Name: name.Name})
}

// inside tells whether a directory is another one or below it.
func (h *History) inside(dir, of *node) bool {
	for dir.fid != Root {
		if dir == of {
			return true
		}
		for name := range dir.names { // a directory has one name
			dir = h.nodes[name.Parent]
		}
	}
	return false
}

// rename moves a file or a directory, now and then back to where it was, or over another one.
func (h *History) rename() {
	dir := pick(h, h.dirs)
	to := Name{dir.fid, string(rune('a' + h.rnd.IntN(6)))}
	n := pick(h, h.dirs)
	if len(h.files) > 0 && h.rnd.IntN(3) > 0 {
		n = pick(h, h.files)
	}
	if n.fid == Root || n.dir && h.inside(dir, n) {
		return
	}
	from := h.anyName(n)
	victim, taken := h.owner(to)
	if taken && (victim == n || victim.dir != n.dir || victim.children > 0) {
		return
	}
	f := changelog.Fields{
		Type: changelog.TypeRenme, Format: changelog.Format{Flags: changelog.FlagRename},
		Parent: to.Parent, Name: to.Name, Source: n.fid, SourceParent: from.Parent, SourceName: from.Name,
	}
	mdt := dir.mdt
	if taken {
		mdt, f.Target = victim.mdt, victim.fid
		f.Payload = h.remove(victim, to)
	}
	delete(n.names, from)
	h.nodes[from.Parent].children--
	n.names[to] = true
	dir.children++
	h.write(mdt, f)
}

// migrate moves a file with one name to another MDT, which gives it another FID.
func (h *History) migrate() {
	if len(h.files) == 0 {
		return
	}
	old := pick(h, h.files)
	if len(old.names) != 1 {
		return
	}
	name := h.anyName(old)
	h.remove(old, name)
	n := h.add(h.rnd.IntN(h.mdts), false, name)
	n.archived = old.archived
	h.write(old.mdt, changelog.Fields{
		Type: changelog.TypeMigrt, Format: changelog.Format{Flags: changelog.FlagRename}, Target: n.fid, Parent: name.Parent, Name: name.Name,
		Source: old.fid, SourceParent: name.Parent, SourceName: name.Name,
	})
}

func (h *History) hsm() {
	if len(h.files) == 0 {
		return
	}
	n := pick(h, h.files)
	event := changelog.HSM{Event: changelog.HSMEvent(h.rnd.IntN(6)), Dirty: h.rnd.IntN(2) == 0}
	if h.rnd.IntN(2) == 0 {
		event.Event = changelog.HSMState
	}
	if h.rnd.IntN(5) == 0 {
		event.Errno = 5
	}
	switch {
	case event.Errno != 0:
	case event.Event == changelog.HSMArchive:
		n.archived = true
	case event.Event == changelog.HSMRemove:
		n.archived = false
	}
	h.write(n.mdt, changelog.Fields{Type: changelog.TypeHSM, Payload: event.Flags(), Target: n.fid})
}

// touch changes something about an object that is not its names; a recent one, and often the same as before.
func (h *History) touch() {
	list := h.files
	if len(list) == 0 || h.rnd.IntN(4) == 0 {
		list = h.dirs
	}
	n := pick(h, list)
	types := []changelog.Type{
		changelog.TypeClose, changelog.TypeClose, changelog.TypeMtime, changelog.TypeMtime, changelog.TypeCtime, changelog.TypeAtime,
		changelog.TypeSattr, changelog.TypeSattr, changelog.TypeTrunc, changelog.TypeXattr, changelog.TypeXattr, changelog.TypeLyout,
		changelog.TypeFLRW, changelog.TypeResync,
	}
	if h.audit {
		types = append(types, changelog.TypeOpen, changelog.TypeGxatr, changelog.TypeNopen, changelog.TypeMark, 77)
	}
	f := changelog.Fields{Type: types[h.rnd.IntN(len(types))], Target: n.fid}
	if h.rnd.IntN(3) == 0 {
		f.Parent = pick(h, h.dirs).fid // left over from an unrelated record (ABI 10.7)
	}
	switch f.Type {
	case changelog.TypeXattr:
		if h.rnd.IntN(5) > 0 {
			f.XattrName = []string{"user.a", "user.b"}[h.rnd.IntN(2)]
			f.Format = changelog.Format{Flags: changelog.FlagExtra, Extra: changelog.ExtraXattr}
		}
	case changelog.TypeMark:
		f.Target, f.Parent, f.Name = changelog.MarkerTarget(changelog.MarkerStart), changelog.FID{}, "mdd"
	case changelog.TypeSattr, changelog.TypeMtime, changelog.TypeTrunc, changelog.TypeClose:
		f.Payload = []changelog.Flags{0x1, 0x2, 0x3, 0x42}[h.rnd.IntN(4)]
	}
	h.write(n.mdt, f)
	for h.rnd.IntN(3) == 0 {
		h.write(n.mdt, f)
	}
}

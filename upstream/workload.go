package upstream

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// WorkloadOptions say what a workload is like.
type WorkloadOptions struct {
	// Seed tells one workload from another.
	Seed uint64
	// MDT is the number of the MDT, as in the name lustre-MDT0003: workloads with
	// different numbers make different FIDs.
	MDT uint16
	// Names is how many names may exist at once, which bounds the memory: some 200
	// bytes for each. 0 stands for 100,000; 16 is the least.
	Names int
}

// Workload makes up what happens on one MDT: files, directories, symbolic and hard
// links, nodes come, are written, changed, renamed, also over others, and go, in a
// tree that grows to a limit. It makes the records that an MDT of Lustre 2.15 would.
//
// The same options make the same records, but for their times. It has one owner.
type Workload struct {
	rng     *rand.Rand
	o       WorkloadOptions
	fid     changelog.FID // the last one given
	root    *object       // below which everything happens; nil before the first record
	dirs    []*object     // all directories, root included
	entries []*entry      // all names but that of root
	graves  []grave       // names that went, to be used again
	named   uint64        // how many names were invented
	actors  []actor
	fields  changelog.Fields // of the record being made
}

// object is an inode.
type object struct {
	fid      changelog.FID
	made     changelog.Type
	links    int    // 0: it is gone
	home     *entry // of a directory: its name
	children int    // of a directory: the names in it
	pos      int    // of a directory: where it is in dirs
}

// entry is a name of an object.
type entry struct {
	parent *object
	name   string
	object *object
	pos    int // where it is in entries
}

// grave is a name that went.
type grave struct {
	parent *object
	name   string
}

const (
	defaultNames = 100_000
	leastNames   = 16
	mostGraves   = 64
	// firstSeq is where Lustre begins to give out sequences to clients. Each MDT gets
	// a range of its own, which is larger than what a workload uses up in a year.
	firstSeq    = 0x200000400
	seqsPerMDT  = 1 << 28
	fidsPerSeq  = 0x1ffff
	actorsCount = 32
)

// NewWorkload returns a workload at its beginning. Its first record makes a directory
// for all others in the root of the file system.
func NewWorkload(o WorkloadOptions) *Workload {
	if o.Names == 0 {
		o.Names = defaultNames
	}
	o.Names = max(o.Names, leastNames)
	w := &Workload{
		rng: rand.New(rand.NewPCG(o.Seed, uint64(o.MDT))),
		o:   o,
		fid: changelog.FID{Seq: firstSeq + uint64(o.MDT)*seqsPerMDT},
	}
	for i := range actorsCount {
		w.actors = append(w.actors, newActor(i))
	}
	return w
}

// Append appends the next record, packed, with index 0 and the time now.
func (w *Workload) Append(dst []byte, now time.Time) []byte {
	w.fields = changelog.Fields{Time: changelog.TimeOf(now)}
	if w.root == nil {
		w.makeRoot()
	} else {
		w.happen()
	}
	w.sign()
	dst, err := w.fields.Append(dst)
	if err != nil {
		panic(fmt.Sprintf("workload: %v", err)) // a mistake in this package
	}
	return dst
}

// Skip passes over the next n records: to go on where an earlier run of the same
// workload ended.
func (w *Workload) Skip(n uint64) {
	var buf []byte
	for range n {
		buf = w.Append(buf[:0], time.Unix(0, 0))
	}
}

// Tree returns the name space now: what has been made of it by the records so far.
func (w *Workload) Tree() Tree {
	t := make(Tree, len(w.entries)+1)
	if w.root != nil {
		w.root.home.addTo(t)
	}
	for _, e := range w.entries {
		e.addTo(t)
	}
	return t
}

func (e *entry) addTo(t Tree) {
	t[Place{e.parent.fid, e.name}] = Node{e.object.fid, e.object.made, e.object.links}
}

// makeRoot makes the directory of this MDT.
func (w *Workload) makeRoot() {
	top := &object{fid: RootFID, made: changelog.TypeMkdir, links: 1}
	w.root = w.newObject(changelog.TypeMkdir)
	w.root.links, w.root.home = 1, &entry{parent: top, name: fmt.Sprintf("MDT%04x", w.o.MDT), object: w.root}
	w.dirs = append(w.dirs, w.root)
	w.name(changelog.TypeMkdir, w.root.home)
}

// happen lets one thing happen: what the dice say or, if that is not possible now,
// something else that is.
func (w *Workload) happen() {
	if w.dice()(w) {
		return
	}
	if len(w.entries) < w.o.Names {
		w.make(changelog.TypeCreat)
		return
	}
	if !w.unlink() && !w.rmdir() {
		w.change(changelog.TypeSattr, w.randomDir(), changelog.Flags(changelog.AttrMode|changelog.AttrCtime))
	}
}

// mix says what happens how often, in shares of their sum.
var mix = []struct {
	share int
	do    func(*Workload) bool
}{
	{240, func(w *Workload) bool { return w.make(changelog.TypeCreat) }},
	{40, func(w *Workload) bool { return w.make(changelog.TypeMkdir) }},
	{15, func(w *Workload) bool { return w.make(changelog.TypeSlink) }},
	{5, func(w *Workload) bool { return w.make(changelog.TypeMknod) }},
	{25, (*Workload).hardlink},
	{200, (*Workload).write},
	{50, (*Workload).touch},
	{40, (*Workload).truncate},
	{60, (*Workload).setattr},
	{40, (*Workload).setxattr},
	{50, (*Workload).renameFile},
	{25, (*Workload).renameOver},
	{10, (*Workload).renameDir},
	{5, (*Workload).renameDirOver},
	{165, (*Workload).unlink},
	{30, (*Workload).rmdir},
}

// mixSum is the sum of the shares.
var mixSum = func() (sum int) {
	for _, m := range mix {
		sum += m.share
	}
	return sum
}()

func (w *Workload) dice() func(*Workload) bool {
	n := w.rng.IntN(mixSum)
	for _, m := range mix {
		if n < m.share {
			return m.do
		}
		n -= m.share
	}
	return (*Workload).write // not reached
}

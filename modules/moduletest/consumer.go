package moduletest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/lcapd/lcapd/changelog"
)

// A Consumer keeps a database of a file system from records, as a policy engine does. What it does when a record comes
// again is the same; a record about an object that it does not know is skipped, unless it gives the object a name.
type Consumer struct {
	objects map[changelog.FID]*Object
}

// Object is what a consumer knows about an object.
type Object struct {
	Names map[Name]bool
	// Removed: it is dead, and an archive copy remains.
	Removed bool
	// Archived and Dirty are its HSM state, Events the HSM events about it that were no change of state.
	Archived, Dirty bool
	Events          int
	// Last is the last record of each type about its state; XATTR has one for each name. Bits are all payload bits of each type.
	Last map[string]Stamp
	Bits map[changelog.Type]changelog.Flags
	// Touched is the step of the last record that changes its times, of whatever type.
	Touched int
	// Dir: it is a directory.
	Dir bool
}

// Stamp is what a record tells by having happened.
type Stamp struct {
	Step  int
	Time  changelog.Time
	JobID string
}

// NewConsumer returns one that knows the root.
func NewConsumer() *Consumer {
	c := &Consumer{objects: map[changelog.FID]*Object{}}
	c.named(Root).Dir = true
	return c
}

// named returns an object, which is made if it is not known.
func (c *Consumer) named(fid changelog.FID) *Object {
	o := c.objects[fid]
	if o == nil {
		o = &Object{Names: map[Name]bool{}, Last: map[string]Stamp{}, Bits: map[changelog.Type]changelog.Flags{}}
		c.objects[fid] = o
	}
	return o
}

// Apply takes a record; step is its place in the history.
func (c *Consumer) Apply(step int, r changelog.Record) {
	name := Name{r.Parent(), string(r.Name())}
	switch t := r.Type(); t {
	case changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeMknod, changelog.TypeSlink, changelog.TypeHlink:
		o := c.named(r.Target())
		o.Names[name] = true
		o.Dir = o.Dir || t == changelog.TypeMkdir
	case changelog.TypeUnlnk, changelog.TypeRmdir:
		last, archived := r.IsLastUnlink()
		c.unname(r.Target(), name, last, archived)
	case changelog.TypeRenme, changelog.TypeMigrt:
		c.move(step, r, name)
	case changelog.TypeMark, changelog.TypeOpen, changelog.TypeNopen, changelog.TypeGxatr:
		return
	default:
		c.refresh(step, r)
		return
	}
	c.touch(step, r.Parent())
}

// touch notes that the times of an object change.
func (c *Consumer) touch(step int, fid changelog.FID) {
	if o := c.objects[fid]; o != nil {
		o.Touched = max(o.Touched, step)
	}
}

// unname takes a name away, and the object with the last one.
func (c *Consumer) unname(fid changelog.FID, name Name, last, archived bool) {
	o := c.objects[fid]
	switch {
	case o == nil:
	case last && archived:
		o.Names, o.Removed = map[Name]bool{}, true
	case last:
		delete(c.objects, fid)
	default:
		delete(o.Names, name)
	}
}

// move applies a rename or a migration.
func (c *Consumer) move(step int, r changelog.Record, name Name) {
	source, _ := r.Source()
	parent, _ := r.SourceParent()
	old, _ := r.SourceName()
	c.touch(step, parent)
	if r.Type() == changelog.TypeMigrt {
		o := c.named(source)
		delete(c.objects, source)
		o.Names = map[Name]bool{name: true}
		c.objects[r.Target()] = o
		return
	}
	if !r.Target().IsZero() {
		last, archived := r.IsLastRename()
		c.unname(r.Target(), name, last, archived)
	}
	o := c.named(source)
	delete(o.Names, Name{parent, string(old)})
	o.Names[name] = true
}

// refresh applies a record about the state of an object.
func (c *Consumer) refresh(step int, r changelog.Record) {
	o := c.objects[r.Target()]
	if o == nil {
		return
	}
	key := r.Type().String()
	if x, _ := r.XattrName(); r.Type() == changelog.TypeXattr {
		key += " " + string(x)
	}
	job, _ := r.JobID()
	o.Last[key] = Stamp{step, r.Time(), string(job)}
	o.Bits[r.Type()] |= r.Flags() & changelog.FlagsPayload
	o.Touched = max(o.Touched, step)
	h, ok := r.HSM()
	if !ok {
		return
	}
	o.Dirty = h.Dirty
	if h.Event != changelog.HSMState || h.Errno != 0 {
		o.Events++
	}
	o.Archived = (o.Archived || h.Event == changelog.HSMArchive && h.Errno == 0) && (h.Event != changelog.HSMRemove || h.Errno != 0)
	delete(o.Bits, r.Type()) // what they say is above
}

// Names returns the names of all objects but Root; an object that was removed has none.
func (c *Consumer) Names() map[changelog.FID]map[Name]bool {
	all := map[changelog.FID]map[Name]bool{}
	for fid, o := range c.objects {
		if fid != Root && !o.Removed {
			all[fid] = o.Names
		}
	}
	return all
}

// States are how closely two consumers are compared.
type States struct {
	// Read: they read the state of objects themselves, so only the last record that makes them read counts.
	Read bool
	// Parents: the times of directories count, which change with names; but not whether that was told by an MTIME
	// record or by another one.
	Parents bool
}

// Difference tells how two consumers differ, or "".
func (c *Consumer) Difference(other *Consumer, s States) string {
	for _, fid := range slices.SortedFunc(maps.Keys(c.objects), byFID) {
		a, b := c.objects[fid].as(s), other.objects[fid].as(s)
		if !reflect.DeepEqual(a, b) {
			return fmt.Sprintf("%v:\n %+v\n %+v", fid, a, b)
		}
	}
	for _, fid := range slices.SortedFunc(maps.Keys(other.objects), byFID) {
		if c.objects[fid] == nil {
			return fmt.Sprintf("%v: nothing\n %+v", fid, other.objects[fid])
		}
	}
	return ""
}

func byFID(a, b changelog.FID) int { return int(a.Oid) - int(b.Oid) }

// as returns what is compared of an object.
func (o *Object) as(s States) *Object {
	if o == nil {
		return nil
	}
	c := *o
	if !s.Parents {
		c.Touched = 0
	}
	c.Bits, c.Last = maps.Clone(o.Bits), map[string]Stamp{}
	if s.Parents && o.Dir {
		delete(c.Bits, changelog.TypeMtime)
	}
	if s.Read {
		c.Bits = nil
	}
	for key, stamp := range o.Last {
		if s.Parents && o.Dir && (key == "MTIME" || s.Read && (key == "CLOSE" || key == "TRUNC")) {
			continue
		}
		if !s.Read {
			c.Last[key] = stamp
			continue
		}
		switch key {
		case "CLOSE", "MTIME", "TRUNC":
			key = "content"
		case "SATTR", "CTIME":
			key = "inode"
		}
		if stamp.Step >= c.Last[key].Step {
			c.Last[key] = stamp
		}
	}
	return &c
}

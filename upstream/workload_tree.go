package upstream

import (
	"strconv"
	"strings"

	"github.com/lcapd/lcapd/changelog"
)

// newObject returns an object without a name.
func (w *Workload) newObject(made changelog.Type) *object {
	if w.fid.Oid == fidsPerSeq {
		w.fid.Seq, w.fid.Oid = w.fid.Seq+1, 0
	}
	w.fid.Oid++
	return &object{fid: w.fid, made: made}
}

func (o *object) isDir() bool { return o.made == changelog.TypeMkdir }

// link gives an object a new name in a directory.
func (w *Workload) link(o *object, parent *object, name string) *entry {
	e := &entry{parent, name, o, len(w.entries)}
	w.entries = append(w.entries, e)
	parent.children++
	o.links++
	if o.isDir() {
		o.home, o.pos = e, len(w.dirs)
		w.dirs = append(w.dirs, o)
	}
	return e
}

// unlinkEntry takes a name away. It returns the bits that the record has to say of it.
func (w *Workload) unlinkEntry(e *entry) changelog.Flags {
	flags := w.leave(e.object)
	w.forget(e)
	w.bury(grave{e.parent, e.name})
	return flags
}

// leave takes a link from an object.
func (w *Workload) leave(o *object) changelog.Flags {
	o.links--
	if o.links > 0 {
		return 0
	}
	if o.isDir() {
		last := w.dirs[len(w.dirs)-1]
		w.dirs[o.pos], last.pos = last, o.pos
		w.dirs = w.dirs[:len(w.dirs)-1]
		o.home = nil
	}
	return changelog.FlagLastLink
}

// forget removes a name from the list.
func (w *Workload) forget(e *entry) {
	last := w.entries[len(w.entries)-1]
	w.entries[e.pos], last.pos = last, e.pos
	w.entries[len(w.entries)-1] = nil
	w.entries = w.entries[:len(w.entries)-1]
	e.parent.children--
}

// bury remembers a name that went, and forgets a random one when there are many.
func (w *Workload) bury(g grave) {
	if len(w.graves) < mostGraves {
		w.graves = append(w.graves, g)
		return
	}
	w.graves[w.rng.IntN(mostGraves)] = g
}

// newPlace returns a directory and a name that is free in it: one that was there
// before or, as a rule, a new one.
func (w *Workload) newPlace(dir bool) (*object, string) {
	if len(w.graves) > 0 && w.rng.IntN(10) == 0 {
		i := w.rng.IntN(len(w.graves))
		g := w.graves[i]
		w.graves[i] = w.graves[len(w.graves)-1]
		w.graves = w.graves[:len(w.graves)-1]
		if g.parent.links > 0 {
			return g.parent, g.name
		}
	}
	return w.randomDir(), w.newName(dir)
}

var (
	prefixes = []string{"run-", "part-", "data_", "tmp.", "out", "größe-", "with blank "}
	suffixes = []string{".h5", ".dat", "", ".log", ".tmp"}
)

// newName returns a name that never was. A few are as long as can be.
func (w *Workload) newName(dir bool) string {
	w.named++
	n := strconv.FormatUint(w.named, 10)
	if dir {
		return "dir" + n
	}
	roll := w.rng.IntN(1000)
	if roll == 0 {
		return strings.Repeat("x", changelog.MaxName-len(n)) + n
	}
	// The rare ones stand at the end.
	prefix := prefixes[min(roll/180, len(prefixes)-1)]
	return prefix + n + suffixes[roll%len(suffixes)]
}

func (w *Workload) randomDir() *object { return w.dirs[w.rng.IntN(len(w.dirs))] }

// tries is how often a random choice is tried before something else is done.
const tries = 8

// randomEntry returns a name of the wanted kind, more often a recent one; nil if none
// was found.
func (w *Workload) randomEntry(want func(*entry) bool) *entry {
	const recent = 64
	for range tries {
		n := len(w.entries)
		if n == 0 {
			return nil
		}
		i := w.rng.IntN(n)
		if n > recent && w.rng.IntN(2) == 0 {
			i = n - 1 - i%recent
		}
		if e := w.entries[i]; want(e) {
			return e
		}
	}
	return nil
}

func isFile(e *entry) bool     { return e.object.made == changelog.TypeCreat }
func isNotDir(e *entry) bool   { return !e.object.isDir() }
func isDir(e *entry) bool      { return e.object.isDir() }
func isEmptyDir(e *entry) bool { return e.object.isDir() && e.object.children == 0 }

// within tells whether dir is o or lies below it.
func (o *object) within(dir *object) bool {
	for at := dir; at.home != nil; at = at.home.parent {
		if at == o {
			return true
		}
	}
	return false
}

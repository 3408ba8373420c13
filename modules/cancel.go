package modules

import (
	"bytes"

	"github.com/lcapd/lcapd/changelog"
)

// Cancel drops the birth and the death of an object, and what changed about it in between, if nobody can have seen it:
// temporary files. All of these must hold:
//
//   - the birth (CREAT, MKNOD, SLINK; MKDIR) is held, and is above [Start.Ceiling];
//   - the death (UNLNK; RMDIR) removed the last link, and no archive copy remains;
//   - both name the same parent and name;
//   - between them there are only refreshes of the object: no other name, rename, migration or HSM event,
//     and nothing of a type unknown here. So no other MDT can have given it a name that is still to be undone here;
//   - a directory is not named by any record that is kept, and the file system has one MDT: with more, it may have
//     been renamed away and back without a trace in the log that has its birth and death.
//
// Not all who look at the parent are told then that it changed: with "parent: refresh" the death becomes an
// MTIME record of the parent.
func Cancel() Kind {
	return Kind{
		Name:        "cancel",
		Summary:     "drops birth and death of an object that lived within the window",
		Rules:       []string{"birth", "between", "death"},
		Holds:       true,
		UsesCeiling: true,
		Parse: func(o *Options, use Use) (Factory, error) {
			b := o.bounds()
			refresh := o.OneOf("parent", "refresh", "drop") == "refresh"
			switch {
			case use.Again == AgainAlone:
				return nil, unsafeFor("with the distribution round-robin a birth that comes again may come without the death that was dropped with it; make a group with the distribution mdt")
			case use.Again == AgainObjects && refresh:
				return nil, unsafeFor("with the distribution fid the refresh of a directory may be lost when something comes again; state parent: drop if the consumers can do without, or make a group with the distribution mdt")
			}
			return func(s Start) Module {
				return &cancel{window: newWindow(b), ceiling: s.Ceiling, directories: use.OneMDT, refresh: refresh}
			}, use.mayMerge()
		},
	}
}

// The rules of cancel.
const (
	ruleBirth Rule = iota
	ruleBetween
	ruleDeath
)

type cancel struct {
	*window
	ceiling     uint64
	directories bool
	refresh     bool // the parent is refreshed
	// uses counts, for directories whose birth is held, the live entries that name them as a parent, plus 1.
	uses table
	line []uint64 // scratch: the numbers of the entries that go
	made []byte   // scratch: the refresh of a parent
}

// Push implements [Module].
func (m *cancel) Push(r changelog.Record, out *Out) {
	if deaths.Has(r.Type()) && m.unseen(r) {
		m.annul(r, out)
	} else {
		m.enter(r, out)
	}
	m.fit(out, m.leave)
}

// Tick implements [Module].
func (m *cancel) Tick(out *Out) { m.tick(out, m.leave) }

// Flush implements [Module].
func (m *cancel) Flush(out *Out) { m.flush(out, m.leave) }

// Held implements [Module].
func (m *cancel) Held() Held { return m.held() }

var (
	deaths = changelog.MaskOf(changelog.TypeUnlnk, changelog.TypeRmdir)
	// unremarkable may come between birth and death.
	unremarkable = refresh | changelog.MaskOf(changelog.TypeXattr, changelog.TypeLyout)
)

// isBirth tells whether an object that dies by the type death is born by the other one.
func isBirth(birth, death changelog.Type) bool {
	switch birth {
	case changelog.TypeCreat, changelog.TypeMknod, changelog.TypeSlink:
		return death == changelog.TypeUnlnk
	case changelog.TypeMkdir:
		return death == changelog.TypeRmdir
	}
	return false
}

// unseen tells whether the object that death reports dead lived within the window. Its entries are in m.line then,
// the birth last.
func (m *cancel) unseen(death changelog.Record) bool {
	target, source := subjects(death)
	last, archived := death.IsLastUnlink()
	if !last || archived || target == noObject || source != noObject {
		return false
	}
	m.line = m.line[:0]
	for number, ok := m.latest(target); ok; number, ok = m.before(m.at(number), target) {
		e := m.at(number)
		m.line = append(m.line, number)
		switch {
		case e.subjects[1] != noObject:
			return false
		case unremarkable.Has(e.kind):
			continue
		case !isBirth(e.kind, death.Type()) || e.index <= m.ceiling || !sameName(e.record, death):
			return false
		case e.kind == changelog.TypeMkdir && (!m.directories || m.uses.get(target) != 1):
			return false
		}
		_, older := m.before(e, target)
		return !older
	}
	return false
}

// sameName tells whether two records are about the same name in the same directory.
func sameName(a, b changelog.Record) bool {
	return objectOf(a.Parent()) == objectOf(b.Parent()) && bytes.Equal(a.Name(), b.Name())
}

// annul drops the entries in m.line, and the death.
func (m *cancel) annul(death changelog.Record, out *Out) {
	for i, number := range m.line {
		e := m.at(number)
		rule := ruleBetween
		if i == len(m.line)-1 {
			rule = ruleBirth
		}
		out.Drop(e.index, rule, death.Index())
		m.leave(e)
		m.kill(number)
	}
	if m.refresh && objectOf(death.Parent()) != noObject {
		m.enter(m.refreshOf(death), out)
		m.at(m.tail - 1).changed = true
		return
	}
	out.Drop(death.Index(), ruleDeath, 0)
}

// enter holds a record, and counts which directories it uses.
func (m *cancel) enter(r changelog.Record, out *Out) {
	m.add(r, out)
	if !m.directories {
		return
	}
	if r.Type() == changelog.TypeMkdir {
		m.uses.set(objectOf(r.Target()), 1)
	}
	m.use(r, +1)
}

// leave notes that an entry goes, kept or dropped.
func (m *cancel) leave(e *entry) {
	if !m.directories {
		return
	}
	m.use(e.record, -1)
	if e.kind == changelog.TypeMkdir {
		m.uses.drop(objectOf(e.record.Target()), m.uses.get(objectOf(e.record.Target())))
	}
}

// use counts the directories that a record names, as far as their births are held.
func (m *cancel) use(r changelog.Record, by int64) {
	if m.uses.used == 0 {
		return
	}
	parent, source := parents(r)
	for _, d := range [...]object{parent, source} {
		if n := m.uses.get(d); n != 0 && d != noObject {
			m.uses.set(d, uint64(int64(n)+by))
		}
	}
}

// refreshOf makes the record that stands for a death: that the parent changed. It has nothing but the header.
func (m *cancel) refreshOf(death changelog.Record) changelog.Record {
	f := changelog.Fields{
		Type: changelog.TypeMtime, Payload: changelog.Flags(changelog.AttrMtime | changelog.AttrCtime),
		Format: changelog.Format{Flags: changelog.FlagVersion},
		Index:  death.Index(), Time: death.Time(), Target: death.Parent(),
	}
	var err error
	if m.made, err = f.Append(m.made[:0]); err == nil {
		var r changelog.Record
		if r, _, err = changelog.Next(m.made); err == nil {
			return r
		}
	}
	panic(err) // a header can always be packed
}

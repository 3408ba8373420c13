package modules

import (
	"bytes"

	"github.com/lcapd/lcapd/changelog"
)

// Coalesce drops a record that says that an object changed when a newer one says the same, and keeps the newest: its
// time, its job and its client are the truth. The two must be neighbours among the records about the
// object: any other record between them is a barrier. What was handed out is out of reach, as only
// what is held can be dropped.
func Coalesce() Kind {
	return Kind{
		Name:    "coalesce",
		Summary: "drops a refresh of an object when a newer one follows within the window",
		Rules:   []string{"refresh", "xattr", "hsm-state"},
		Holds:   true,
		Parse: func(o *Options, use Use) (Factory, error) {
			b := o.bounds()
			return func(Start) Module { return &coalesce{window: newWindow(b), state: use.Consumers == State} }, use.mayMerge()
		},
	}
}

// The rules of coalesce.
const (
	ruleRefresh Rule = iota
	ruleXattr
	ruleHSMState
)

type coalesce struct {
	*window
	state bool // consumers read the object's state themselves
}

// Push implements [Module].
func (m *coalesce) Push(r changelog.Record, out *Out) {
	if target, source := subjects(r); target != noObject && source == noObject && mergeable.Has(r.Type()) {
		if number, ok := m.latest(target); ok {
			if e := m.at(number); e.subjects[1] == noObject {
				if rule, ok := m.supersedes(r, e); ok {
					out.Drop(e.index, rule, r.Index())
					m.kill(number)
				}
			}
		}
	}
	m.add(r, out)
	m.fit(out, nil)
}

// Tick implements [Module].
func (m *coalesce) Tick(out *Out) { m.tick(out, nil) }

// Flush implements [Module].
func (m *coalesce) Flush(out *Out) { m.flush(out, nil) }

// Held implements [Module].
func (m *coalesce) Held() Held { return m.held() }

// Refreshes say that something about an object changed, but not what it is now.
var (
	// content and inode are the refreshes that lead to the same reading of an object's state.
	content = changelog.MaskOf(changelog.TypeClose, changelog.TypeMtime, changelog.TypeTrunc)
	inode   = changelog.MaskOf(changelog.TypeCtime, changelog.TypeSattr)
	refresh = content | inode | changelog.MaskOf(changelog.TypeAtime)
	// newestOnly are those without details: a newer one of the same type says it all.
	newestOnly = changelog.MaskOf(changelog.TypeLyout, changelog.TypeFLRW, changelog.TypeResync)
	mergeable  = refresh | newestOnly | changelog.MaskOf(changelog.TypeXattr, changelog.TypeHSM)
)

// supersedes tells whether r says all that the older neighbour e about the same object says.
func (m *coalesce) supersedes(r changelog.Record, e *entry) (Rule, bool) {
	newer, older := r.Type(), e.kind
	switch {
	case older == changelog.TypeHSM:
		// Other events carry results that nothing repeats.
		h, _ := e.record.HSM()
		return ruleHSMState, newer == older && h.Event == changelog.HSMState && h.Errno == 0
	case refresh.Has(older) && m.state:
		return ruleRefresh, newer == older || sameReading(newer, older)
	case refresh.Has(older):
		// The bits say what changed, or how the file had been opened: none may be lost.
		bits := e.record.Flags() & changelog.FlagsPayload
		return ruleRefresh, newer == older && bits&^r.Flags() == 0
	case newestOnly.Has(older):
		return ruleRefresh, newer == older
	case older == changelog.TypeXattr:
		return ruleXattr, newer == older && sameXattr(r, e.record)
	}
	return 0, false
}

// sameReading tells whether two types lead to the same reading of state.
func sameReading(a, b changelog.Type) bool {
	return content.Has(a) && content.Has(b) || inode.Has(a) && inode.Has(b)
}

// sameXattr tells whether both name the same attribute. Older servers name none.
func sameXattr(a, b changelog.Record) bool {
	x, _ := a.XattrName()
	y, _ := b.XattrName()
	return len(x) > 0 && bytes.Equal(x, y)
}

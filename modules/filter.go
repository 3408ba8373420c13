package modules

import (
	"strings"

	"github.com/lcapd/lcapd/changelog"
)

// Filter keeps the records of some types (types, a mask as lctl reads it) that an expression is true of (where).
func Filter() Kind {
	return Kind{
		Name:    "filter",
		Summary: "keeps the records of some types, or those that an expression is true of",
		Rules:   []string{"types", "where"},
		Parse: func(o *Options, use Use) (Factory, error) {
			steps := maxSteps
			if use.Connection {
				steps = connectionSteps
			}
			f := filter{types: everyType}
			if text := o.String("types", ""); o.Set("types") {
				var err error
				if f.types, err = parseTypes(text); err != nil {
					o.Errorf("types", "%v", err)
				}
			}
			if text := o.String("where", ""); o.Set("where") {
				var err error
				if f.where, err = compileExpression(text, steps); err != nil {
					o.Errorf("where", "%v", err)
				}
			}
			if !o.Set("types") && !o.Set("where") {
				o.Errorf("types", "a filter needs types or where")
			}
			return func(Start) Module { return &f }, nil
		},
	}
}

// The rules of filter.
const (
	ruleTypes Rule = iota
	ruleWhere
)

// everyType is the set of all types. The last bit stands for those that are in no mask, too.
const everyType = ^changelog.Mask(0)

// parseTypes reads a mask. One that begins with an operator says what differs from all types, so that types of newer servers
// pass; one without is a list, and they do not.
func parseTypes(text string) (changelog.Mask, error) {
	m, err := changelog.ParseMask(text, everyType)
	if err == nil && strings.EqualFold(strings.TrimSpace(text), "ALL") {
		m = everyType
	}
	return m, err
}

// filter is immutable: all streams share it.
type filter struct {
	Stateless
	types changelog.Mask
	where test
}

// selects implements typeSelector.
func (f *filter) selects() (changelog.Mask, Rule, bool) { return f.types, ruleTypes, f.where == nil }

// Push implements [Module].
func (f *filter) Push(r changelog.Record, out *Out) {
	switch {
	case !hasType(f.types, r.Type()):
		out.Drop(r.Index(), ruleTypes, 0)
	case f.where != nil && !f.where(r):
		out.Drop(r.Index(), ruleWhere, 0)
	default:
		out.Keep(r)
	}
}

// hasType tells whether a type is in the set.
func hasType(m changelog.Mask, t changelog.Type) bool { return m.Has(min(t, 63)) }

package moduletest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/modules/moduletest"
)

// module is made of functions, each with something wrong.
type module struct {
	push  func(r changelog.Record, out *modules.Out)
	flush func(out *modules.Out)
	held  []changelog.Record
	now   time.Time
}

func (m *module) Push(r changelog.Record, out *modules.Out) { m.now = out.Now(); m.push(r, out) }
func (m *module) Tick(*modules.Out)                         {}
func (m *module) Flush(out *modules.Out) {
	if m.flush != nil {
		m.flush(out)
	}
}
func (m *module) Held() (h modules.Held) {
	if len(m.held) > 0 {
		h = modules.Held{Records: len(m.held), Oldest: m.held[0].Index(), Since: m.now, Due: m.now.Add(time.Hour)}
	}
	return h
}

// letGo keeps the first n records that are held.
func (m *module) letGo(n int, out *modules.Out) {
	for _, r := range m.held[:n] {
		out.Keep(r)
	}
	m.held = m.held[n:]
}

// What the suite is there to find it finds.
func TestSuiteFinds(t *testing.T) {
	batches := 0 // seen by a module that looks at what it must not
	for _, c := range []struct {
		name, want string
		make       func() *module
	}{
		{"nothing wrong", "", func() *module {
			return &module{push: func(r changelog.Record, out *modules.Out) { out.Keep(r) }}
		}},
		{"a record that is forgotten", "accounts for", func() *module {
			return &module{push: func(r changelog.Record, out *modules.Out) {
				if r.Index()%50 != 7 {
					out.Keep(r)
				}
			}}
		}},
		{"one forgotten, one dropped twice", "decided 0 times about record 7", func() *module {
			return &module{push: func(r changelog.Record, out *modules.Out) {
				switch r.Index() % 50 {
				case 7:
				case 8:
					out.Drop(r.Index(), 0, 0)
					out.Drop(r.Index(), 0, 0)
				default:
					out.Keep(r)
				}
			}}
		}},
		{"a quiet stream is not let go", "which was due at", func() *module {
			m := &module{}
			m.push = func(r changelog.Record, out *modules.Out) {
				m.held = append(m.held, r.Clone())
				m.letGo(len(m.held)-1, out)
			}
			m.flush = func(out *modules.Out) { m.letGo(len(m.held), out) }
			return m
		}},
		{"a flush that keeps something", "after a flush", func() *module {
			m := &module{}
			m.push = func(r changelog.Record, out *modules.Out) {
				m.held = append(m.held, r.Clone())
				m.letGo(len(m.held)-1, out)
			}
			return m
		}},
		{"too much held", "are held, the bounds are", func() *module {
			m := &module{}
			m.push = func(r changelog.Record, out *modules.Out) {
				m.held = append(m.held, r.Clone())
				m.letGo(max(0, len(m.held)-30), out)
			}
			m.flush = func(out *modules.Out) { m.letGo(len(m.held), out) }
			return m
		}},
		{"a record before one that is held", "what is below a held record must come first", func() *module {
			m := &module{}
			m.push = func(r changelog.Record, out *modules.Out) {
				if len(m.held) == 0 {
					m.held = append(m.held, r.Clone())
					return
				}
				out.Keep(r)
			}
			m.flush = func(out *modules.Out) { m.letGo(len(m.held), out) }
			return m
		}},
		{"what depends on what ran before", "", func() *module {
			return &module{push: func(r changelog.Record, out *modules.Out) {
				if batches++; batches%97 == 0 {
					out.Drop(r.Index(), 0, 0)
					return
				}
				out.Keep(r)
			}}
		}},
		{"records about an object in another order", "about the same object", func() *module {
			m := &module{}
			m.push = func(r changelog.Record, out *modules.Out) {
				m.held = append(m.held, r.Clone())
				if len(m.held) == 5 {
					m.held[0], m.held[4] = m.held[4], m.held[0]
					m.letGo(5, out)
				}
			}
			m.flush = func(out *modules.Out) { m.letGo(len(m.held), out) }
			return m
		}},
		{"input that is changed", "", func() *module {
			return &module{push: func(r changelog.Record, out *modules.Out) {
				r.Bytes()[24] ^= 1
				out.Keep(r)
			}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind := modules.Kind{Name: "wrong", Rules: []string{"rule"}, Parse: func(*modules.Options, modules.Use) (modules.Factory, error) {
				return func(modules.Start) modules.Module { return c.make() }, nil
			}}
			err := moduletest.Check(moduletest.Case{Chain: "[wrong]", Kinds: []modules.Kind{kind}, Records: 20, Bytes: 1 << 20, Age: 1 << 62})
			if good := c.name == "nothing wrong"; (err == nil) != good {
				t.Fatalf("the suite says %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the suite says %v, want %q", err, c.want)
			}
		})
	}
}

// The history of a file system leads to the names that it says, and has what tests of modules need.
func TestHistory(t *testing.T) {
	types := map[changelog.Type]int{}
	for seed := range uint64(100) {
		for _, s := range moduletest.NewHistory(seed, 2, 200, true).Steps {
			r, _, err := changelog.Next(s.Packed)
			if err != nil || r.Index() != s.Index {
				t.Fatalf("seed %d: record %d: %v", seed, s.Index, err)
			}
			types[r.Type()]++
		}
	}
	for typ := range changelog.Type(25) {
		if types[typ] < 20 && typ != changelog.TypeRnmto {
			t.Errorf("100 histories have %d records of type %v", types[typ], typ)
		}
	}
}

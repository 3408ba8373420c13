package modules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// Who needs what: each module is refused where it would break that, with the reason.
func TestRefusedUses(t *testing.T) {
	group := func(c modules.Consumers) modules.Use { return modules.Use{Consumers: c, Whole: true} }
	listeners := modules.Use{Scope: modules.ForListeners}
	stranger := modules.Use{Scope: modules.ForListeners, Consumers: modules.State, Whole: true, Connection: true}
	all := modules.Use{Scope: modules.ForAll, Consumers: modules.State, Whole: true}
	for _, c := range []struct {
		chain string
		use   modules.Use
		why   string // "" if it is allowed
	}{
		{`[{filter: {types: CREAT}}]`, modules.Use{}, ""},
		{`[{project: {fields: []}}]`, modules.Use{}, ""},
		{`[coalesce]`, modules.Use{}, "the consumers need every record"},
		{`[coalesce]`, group(modules.EveryRecord), "the consumers need every record"},
		{`[coalesce]`, group(modules.Changes), ""},
		{`[coalesce]`, all, "modules[0] (coalesce): not safe here: it holds records back"},
		{`[{filter: {types: CREAT}}, {project: {fields: []}}]`, modules.Use{Scope: modules.ForAll}, ""},
		{`[{rate: {records: 2}}]`, all, "everybody would miss changes for good"},
		{`[cancel]`, group(modules.EveryRecord), "the consumers need every record"},
		{`[cancel]`, group(modules.Changes), ""},
		{`[cancel]`, all, "it holds records back"},
		{`[reorder]`, group(modules.EveryRecord), "the consumers need every record, and its place"},
		{`[reorder]`, modules.Use{Consumers: modules.State}, "records would be acknowledged out of order"},
		{`[reorder]`, all, "it holds records back"},
		{`[reorder, coalesce]`, group(modules.State), "put reorder last"},
		{`[reorder, reorder]`, group(modules.State), "put reorder last"},
		{`[coalesce, reorder, {filter: {types: CREAT}}]`, group(modules.State), ""},
		{`[{sample: {one_in: 2}}]`, group(modules.State), "a group would miss changes for good"},
		{`[{rate: {records: 2}}]`, group(modules.State), "a group would miss changes for good"},
		{`[{sample: {one_in: 2}}]`, all, "everybody would miss changes for good"},
		{`[{sample: {one_in: 2}}, {rate: {records: 2}}]`, listeners, ""},
		{`[{filter: {types: CREAT}}, {project: {fields: []}}, {sample: {one_in: 2}}, {rate: {records: 2}}]`, stranger, ""},
		{`[coalesce]`, stranger, "modules[0] (coalesce): not safe here: it holds records back"},
		{`[cancel]`, stranger, "it holds records back"},
		{`[reorder]`, stranger, "it holds records back"},
		{`[{wasm: {file: /etc/mine.wasm}}]`, stranger, "programs of users run only where the operator's configuration names them, not for whoever connects; the modules here are filter, project, sample, rate"},
	} {
		specs, err := modules.ParseSpecs(c.chain)
		if err != nil {
			t.Fatal(err)
		}
		_, err = modules.Parse(specs, modules.Builtin(), c.use)
		if c.why == "" && err != nil || c.why != "" && (!errors.Is(err, modules.ErrUnsafe) || !errors.Is(err, modules.ErrChain) || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s for %v, %v: got %v, want %q", c.chain, c.use.Scope, c.use.Consumers, err, c.why)
		}
	}
}

// A mistake in a chain is told with its place; all of them at once.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`coalesce`:                            `modules: want a list of modules`,
		`{coalesce: {}}`:                      `modules: want a list of modules such as [{filter: {types: CREAT}}, coalesce], not a map`,
		`[coalesce`:                           `modules: yaml: line 1`,
		`[5]`:                                 `modules[0]: want a module's name, or a map of a name to its options, not 5`,
		`[cancel, {a: {}, b: {}}]`:            `modules[1]: want one module with its options, not 2 keys (a, b)`,
		`[{coalesce: 5}]`:                     `modules[0]: coalesce: want a map of options, not 5`,
		"[coalesce]\n---\n[cancel]":           `modules: there is more text behind the chain`,
		`[{coalesce: {age: 0s}}]`:             `modules[0] (coalesce): age: 0s is out of range; it may be 1ms to 1h0m0s`,
		`[{coalesce: {records: 0}}]`:          `records: 0 is out of range; it may be 1 to 10000000`,
		`[{coalesce: {records: 1.5}}]`:        `records: want a whole number, not 1.5`,
		`[{coalesce: {bytes: 8MB}}]`:          `bytes: want a size such as 8MiB, not "8MB"`,
		`[{coalesce: {bytes: -1}}]`:           `bytes: -1 is out of range`,
		`[{cancel: {parent: keep}}]`:          `modules[0] (cancel): parent: "keep" is unknown; it may be refresh, drop`,
		`[{filter: {}}]`:                      `types: a filter needs types or where`,
		`[{filter: {types: ""}}]`:             `names no record type`,
		`[{filter: {types: [CREAT]}}]`:        `types: want a text, not a list`,
		`[{project: {fields: [size]}}]`:       `fields: field "size" is unknown`,
		`[{project: {fields: [extra, nid]}}]`: `fields: nid without nid_be`,
		`[project]`:                           `fields: project needs the fields that stay`,
		`[{coalesce: {x: 1, age: 5}}, {filter: {types: NO}}, nosuch]`: `unknown option`,
		`[` + strings.Repeat("coalesce,", 17) + `]`:                   `17 modules, at most 16 are allowed`,
	} {
		specs, err := modules.ParseSpecs(text)
		if err == nil {
			_, err = modules.Parse(specs, modules.Builtin(), modules.Use{Consumers: modules.State})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		if strings.Contains(text, "nosuch") && (!strings.Contains(err.Error(), "modules[1] (filter): types:") || !strings.Contains(err.Error(), `modules[2]: there is no module "nosuch"`)) {
			t.Errorf("not all mistakes are told: %v", err)
		}
	}
}

// What windows may hold is bounded by their bytes, or by so many of the largest records.
func TestWindowsOfAPlan(t *testing.T) {
	const largest = 320 + changelog.MaxRecordSize
	for chain, want := range map[string]int64{
		``: 0,
		`[{filter: {types: CREAT}}, {project: {fields: []}}]`: 0,
		`[coalesce]`:                                            8 << 20,
		`[{coalesce: {records: 10000000}}]`:                     8 << 20,
		`[{coalesce: {records: 100}}]`:                          100 * largest,
		`[cancel, {coalesce: {bytes: 1GiB, records: 1000000}}]`: 8<<20 + 1<<30,
		`[{cancel: {bytes: 64KiB}}, {filter: {types: CREAT}}, coalesce, {reorder: {records: 1}}]`: 64<<10 + 8<<20 + largest,
	} {
		if got := plan(t, chain, modules.Use{Consumers: modules.State, Whole: true}).Windows(); got != want {
			t.Errorf("%s may hold %d bytes, want %d", chain, got, want)
		}
	}
}

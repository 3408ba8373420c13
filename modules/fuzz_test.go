package modules_test

import (
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// Any text is a chain or an error; the text of a chain is one that means the same.
func FuzzParseSpecs(f *testing.F) {
	for _, seed := range []string{"", "[coalesce]", "[{filter: {types: CREAT, where: 'uid == 0'}}, cancel]", `[{"coalesce":{"age":"2s","records":10,"bytes":"8MiB"}}]`,
		"[{sample: {one_in: 3}}, {rate: {records: 1}}, {project: {fields: [jobid]}}, reorder]", "- a\n- b: 1", "{}", "[[]]", "&a [*a]", "[{filter: {where: &x 'a'}}]", "[1e400]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		specs, err := modules.ParseSpecs(text)
		if err != nil {
			return
		}
		formatted, err := modules.FormatSpecs(specs)
		if err != nil {
			return
		}
		again, err := modules.ParseSpecs(formatted)
		if err != nil {
			t.Fatalf("%q became %q, which is none: %v", text, formatted, err)
		}
		if second, err := modules.FormatSpecs(again); err != nil || second != formatted {
			t.Fatalf("%q became %q, which became %q: %v", text, formatted, second, err)
		}
		for _, use := range []modules.Use{{}, state, {Scope: modules.ForListeners}} {
			p, err := modules.Parse(specs, modules.Builtin(), use)
			if err != nil {
				continue
			}
			b, err := p.New(modules.Start{}).Push(time.Unix(1, 0), modules.Batch{To: 9, Records: closeRecord})
			if err != nil || b.Count > 1 {
				t.Fatalf("%q: %+v, %v", text, b, err)
			}
		}
	})
}

var closeRecord = func() []byte {
	f := changelog.Fields{Type: changelog.TypeClose, Index: 3}
	packed, err := f.Append(nil)
	if err != nil {
		panic(err)
	}
	return packed
}()

// Any expression is refused, or tells of any record the same each time.
func FuzzFilter(f *testing.F) {
	for _, where := range []string{`uid == 0 && type == "CREAT"`, `in_net(nid, "10.0.0.0/8@tcp") or glob(name, "*.t[a-z]?")`, `name matches "a.*" and not last`,
		`open in ["rw-"] || xattr == "" || flags in 1..9`, `time > "2026-09-21T14:13:20Z"`, `fid == sfid || any_bits(hsm_error, 1)`} {
		f.Add(where, []byte(closeRecord))
	}
	for scan := changelog.NewScanner(stream(f)); scan.Scan() && scan.Offset() < 5000; {
		f.Add(`uid == gid || jobid contains name`, scan.Record().Bytes())
	}
	f.Fuzz(func(t *testing.T, where string, packed []byte) {
		p, err := modules.Parse([]modules.Spec{{Name: "filter", Options: map[string]any{"where": where}}}, modules.Builtin(), modules.Use{})
		if err != nil {
			return
		}
		r, _, err := changelog.Next(packed)
		if err != nil || r.Index() == 0 {
			return
		}
		var counts [2]int
		for i := range counts {
			b, err := p.New(modules.Start{After: r.Index() - 1}).Push(time.Unix(1, 0), modules.Batch{From: r.Index() - 1, To: r.Index(), Records: r.Bytes()})
			if err != nil {
				t.Fatal(err)
			}
			counts[i] = b.Count
		}
		if counts[0] != counts[1] {
			t.Fatalf("%q is and is not true of %x", where, packed)
		}
	})
}

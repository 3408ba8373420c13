package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/wire"
)

// TestGuarantees checks that the tests, metrics and kinds of problems that the manual names exist,
// and that it names all kinds.
func TestGuarantees(t *testing.T) {
	doc, err := os.ReadFile("../docs/guarantees.md")
	must(t, err)
	tests, metrics := sources(t)
	kinds := slices.Concat(wire.ProblemKinds.MDT, wire.ProblemKinds.Group)
	for kind := range wire.ProblemKinds.Whole {
		kinds = append(kinds, kind)
	}
	for _, kind := range kinds {
		if !strings.Contains(string(doc), "`"+string(kind)+"`") {
			t.Errorf("nothing is said of %s", kind)
		}
	}
	tested := demonstrations(t, tests)
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(string(doc), -1) {
		for _, name := range strings.Fields(row[1]) {
			kind := wire.ProblemKind(strings.Trim(name, "`"))
			if !slices.Contains(kinds, kind) {
				t.Errorf("%s is no kind of problem", name)
			}
			if !slices.ContainsFunc(strings.Fields(row[2]), func(test string) bool { return slices.Contains(tested[strings.Trim(test, "`")], kind) }) {
				t.Errorf("no test named beside %s makes it happen: %s", name, row[2])
			}
		}
	}
	names := regexp.MustCompile("`(Test[A-Za-z]+)[`/]").FindAllStringSubmatch(string(doc), -1)
	if len(names) < 15 {
		t.Errorf("only %d tests are named", len(names))
	}
	for _, name := range names {
		if !strings.Contains(tests, "\nfunc "+name[1]+"(t *testing.T)") {
			t.Errorf("there is no %s", name[1])
		}
	}
	for _, name := range regexp.MustCompile("`lcapd_([a-z_]+)").FindAllStringSubmatch(string(doc), -1) {
		if !strings.Contains(metrics, `desc("`+name[1]+`"`) {
			t.Errorf("there is no metric lcapd_%s", name[1])
		}
	}
}

// demonstrations are the kinds of problems that tests make happen, by test. Cases of TestRisks
// say themselves which; of other tests it counts what they wait for.
func demonstrations(t *testing.T, tests string) map[string][]wire.ProblemKind {
	text, err := os.ReadFile("../wire/problem.go")
	must(t, err)
	kinds := make(map[string]wire.ProblemKind)
	for _, c := range regexp.MustCompile(`(?m)^\t([A-Z]\w+) +ProblemKind = "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
		kinds[c[1]] = wire.ProblemKind(c[2])
	}
	by := make(map[string][]wire.ProblemKind)
	for _, x := range risks {
		by["TestRisks/"+x.name] = x.kinds
	}
	for _, f := range regexp.MustCompile(`(?ms)^func (Test\w+)\(t \*testing.T\) \{\n(.*?)^\}`).FindAllStringSubmatch(tests, -1) {
		for _, c := range regexp.MustCompile(`wire\.(\w+)`).FindAllStringSubmatch(f[2], -1) {
			if kind, is := kinds[c[1]]; is {
				by[f[1]] = append(by[f[1]], kind)
			}
		}
	}
	return by
}

// sources returns all our tests, and where the metrics are described.
func sources(t *testing.T) (tests, metrics string) {
	files, err := filepath.Glob("../*/*_test.go")
	must(t, err)
	for _, depth := range []string{"../*/*/*_test.go", "../*/*/*/*_test.go"} {
		more, err := filepath.Glob(depth)
		must(t, err)
		files = append(files, more...)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		all.Write(text)
	}
	text, err := os.ReadFile("../cmd/lcapd/metrics.go")
	must(t, err)
	return all.String(), string(text)
}

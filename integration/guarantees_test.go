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
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(string(doc), -1) {
		for _, name := range strings.Fields(row[1]) {
			if !slices.Contains(kinds, wire.ProblemKind(strings.Trim(name, "`"))) {
				t.Errorf("%s is no kind of problem", name)
			}
		}
	}
	names := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(string(doc), -1)
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

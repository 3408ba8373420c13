package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// block is a piece of code in a document: its language, text, and the line before it.
type block struct{ language, text, before string }

func blocksOf(t *testing.T, file string) (list []block) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	for _, m := range regexp.MustCompile("(?m)(^.*\n)?\n?^```(\\w*)\n((?s).*?)^```$").FindAllStringSubmatch(string(text), -1) {
		list = append(list, block{before: m[1], language: m[2], text: m[3]})
	}
	return list
}

// TestModulesDocument reads every chain, filter and configuration that docs/modules.md shows, as
// lcapd would.
func TestModulesDocument(t *testing.T) {
	yaml, filters := 0, 0
	state := broker.Options{Modules: modules.Builtin()}
	plan := func(c broker.Chain) {
		t.Helper()
		if _, err := state.Plan(c, groups.ByMDT); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, b := range blocksOf(t, "../docs/modules.md") {
		switch {
		case b.language == "yaml" && strings.HasPrefix(b.text, "- wasm:"): // its file is nowhere
		case b.language == "yaml" && strings.HasPrefix(b.text, "- "):
			consumers := "state"
			if strings.Contains(b.before, "every-record") || strings.Contains(b.before, "a filter is a decision of yours") {
				consumers = "every-record"
			}
			plan(broker.Chain{Modules: b.text, Consumers: consumers})
			yaml++
		case b.language == "yaml":
			cfg, err := config.Parse("modules.yaml", []byte(b.text))
			if err != nil {
				t.Errorf("%s\n%v", b.text, err)
				continue
			}
			x := cfg.Everybody
			if _, err := state.PlanEverybody(broker.Chain{Filter: x.Filter, Modules: x.Modules, Consumers: string(x.Consumers)}); err != nil {
				t.Errorf("%s\n%v", b.text, err)
			}
			for _, g := range cfg.Groups {
				plan(broker.Chain{Filter: g.Filter, Modules: g.Modules, Consumers: string(g.Consumers)})
			}
			yaml++
		case b.language == "" && strings.HasPrefix(b.text, "type in"):
			for line := range strings.Lines(b.text) {
				plan(broker.Chain{Filter: strings.TrimSpace(line)})
				filters++
			}
		}
	}
	if yaml < 7 || filters != 3 {
		t.Errorf("only %d chains and configurations, and %d filters, were found", yaml, filters)
	}
}

// TestModuleOfTheDocument builds the module that docs/modules.md shows how to write, adds it to the list of those that
// are built in, and has it pass the test that stands there.
func TestModuleOfTheDocument(t *testing.T) {
	root, err := filepath.Abs("..")
	must(t, err)
	module, test := "", ""
	for _, b := range blocksOf(t, "../docs/modules.md") {
		switch {
		case strings.Contains(b.text, "func Quiet() Kind"):
			module = b.text
		case strings.Contains(b.text, "moduletest.Run(t"):
			test = b.text
		}
	}
	builtin, err := os.ReadFile("../modules/builtin.go")
	must(t, err)
	const imports = "import (\n\t\"math\"\n\n\t\"github.com/lcapd/lcapd/changelog\"\n)\n"
	const testImports = "import (\n\t\"testing\"\n\n\t\"github.com/lcapd/lcapd/modules\"\n\t\"github.com/lcapd/lcapd/modules/moduletest\"\n)\n"
	overlay := map[string]map[string]string{"Replace": {}}
	for name, text := range map[string]string{
		"quiet.go":      "package modules\n\n" + imports + module,
		"builtin.go":    strings.Replace(string(builtin), "Rate()}", "Rate(), Quiet()}", 1),
		"quiet_test.go": "package modules_test\n\n" + testImports + "func TestQuiet(t *testing.T) {\n" + test + "}\n",
	} {
		file := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(file, []byte(text), 0o644))
		overlay["Replace"][filepath.Join(root, "modules", name)] = file
	}
	text, err := json.Marshal(overlay)
	must(t, err)
	file := filepath.Join(t.TempDir(), "overlay.json")
	must(t, os.WriteFile(file, text, 0o644))
	out, err := exec.Command("go", "test", "-v", "-count", "1", "-vet", "off", "-overlay", file, "-run", "^TestQuiet$", "../modules").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestQuiet") {
		t.Errorf("%v\n%s", err, out)
	}
}

package arch

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestRulesCanFail runs every rule on testdata/house, a small module that breaks each of them, and
// wants exactly the violations below. The tables are those of our own house where they can be.
func TestRulesCanFail(t *testing.T) {
	h, err := loadHouse("testdata/house")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("testdata/house/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range map[string]struct {
		found []violation
		want  string // one violation a line
	}{
		"imports": {checkImports(h, mayImport), `
			llog/llog.go:6: llog imports wire
			stranger: this package is in no row of the import table
			upstream/device/device.go:5: upstream imports broker
			upstream/device/device.go:7: upstream imports internal/form
			upstream/device/device.go:9: upstream imports upstream/sourcetest`},
		"zmq4": {checkOnlyImporter(h, "github.com/go-zeromq/zmq4", "transport"), `
			client/client.go:6: imports github.com/go-zeromq/zmq4
			client/client_test.go:3: imports github.com/go-zeromq/zmq4`},
		"locks": {checkLocks(h), `
			llog/llog_test.go:12: uses sync.Mutex
			llog/locks.go:12: uses sync.RWMutex
			llog/locks.go:15: uses sync.Map
			llog/locks.go:22: uses sync.Locker
			llog/locks.go:23: uses sync.RWMutex
			llog/locks.go:24: uses sync.Mutex
			llog/locks.go:25: uses sync.Mutex
			llog/locks.go:26: uses sync.Locker
			llog/locks.go:27: uses sync.Map
			llog/locks.go:28: uses sync.NewCond
			llog/locks.go:29: uses semaphore.NewWeighted`},
		"tokens": {checkTokens(h, []exception{{"llog/excused.go", "a wake-up"}, {"llog/llog.go", "was one"}}), `
			llog/llog.go: the table excuses this file (was one), but it needs no excuse: remove the row
			llog/llog_test.go:14: makes a channel that can serve as a mutex
			llog/locks.go:30: makes a channel that can serve as a mutex`},
		"atomics": {checkAtomics(h, []exception{{"llog/excused.go", "a counter"}, {"llog/gone.go", "was one"}}), `
			llog/atomics.go:5: uses atomic.Int64
			llog/atomics.go:7: uses atomic.Int64
			llog/atomicuser.go:3: uses atomic.Int64
			llog/gone.go: the table excuses this file (was one), but it needs no excuse: remove the row`},
		"pure": {checkPure(h, pureRooms, notPure), `
			broker/core/core.go:7: imports os/exec
			broker/core/deep/deep.go:4: imports net/http
			groups/groups.go:6: imports io/ioutil
			groups/groups.go:7: imports net
			groups/groups.go:8: imports os
			groups/groups.go:9: imports syscall
			groups/groups.go:12: imports golang.org/x/sys/unix
			groups/groups.go:16: uses a channel
			groups/groups.go:17: uses time.Timer
			groups/groups.go:23: starts a goroutine
			groups/groups.go:24: uses a channel
			groups/groups.go:25: uses time.Now
			groups/groups.go:26: uses time.Timer
			groups/groups.go:27: uses time.Since
			groups/groups.go:29: uses context.WithTimeout
			groups/groups.go:31: uses a channel`},
		"goroutines": {checkGoroutines(h, string(readme)), `
			README.md:17: no goroutine starts in broker/broker.go: (*Broker).gone any more: remove the row
			README.md:18: the row does not say where the goroutine starts, as ` + "`path/file.go: Function`" + `
			README.md:19: the row does not say where the goroutine starts, as ` + "`path/file.go: Function`" + `
			broker/broker.go:36: starts a goroutine that the table does not list: ` + "`broker/broker.go: unowned`" + `
			broker/broker.go:38: starts a goroutine that the table does not list: ` + "`broker/broker.go: unowned`" + `
			broker/broker.go:40: starts a goroutine that the table does not list: ` + "`broker/broker.go: unowned`" + `
			broker/broker.go:41: starts a goroutine that the table does not list: ` + "`broker/broker.go: unowned`" + `
			broker/broker.go:42: starts a goroutine that the table does not list: ` + "`broker/broker.go: unowned`" + `
			broker/broker.go:43: starts a goroutine that the table does not list: ` + "`broker/broker.go: unowned`" + `
			broker/broker.go:46: starts a goroutine that the table does not list: ` + "`broker/broker.go: a package variable`" + `
			groups/groups.go:23: starts a goroutine that the table does not list: ` + "`groups/groups.go: (*group).run`"},
		"package comment": {checkPackageDocs(h), `
			cmd/bad/main.go:2: the package comment does not begin "Command bad"
			config: package config has no package comment
			integration: package integration has no package comment
			modules/second.go:2: a second package comment, the first is in modules/modules.go
			wire/wire.go:2: the package comment does not begin "Package wire"`},
		"doc comments": {checkDocs(h), `
			config/config.go:5: BadType has no doc comment
			config/config.go:7: BadFunc has no doc comment
			config/config.go:9: BadMethod has no doc comment
			config/config.go:12: BadDirective has no doc comment
			config/config.go:14: BadVar has no doc comment
			config/config.go:17: BadConst has no doc comment
			config/config.go:24: BadGrouped has no doc comment`},
		"length": {checkLength(h, 4), `
			broker/broker.go:20: Open has 5 lines
			broker/broker.go:35: unowned has 10 lines
			groups/groups.go:22: (*group).run has 12 lines
			internal/form/form.go:26: a function literal has 5 lines
			llog/locks.go:22: (*guarded).use has 20 lines`},
		"markers": {checkMarkers(h), `
			internal/form/form.go:1: XXX
			internal/form/form.go:6: TODO
			internal/form/form.go:23: FIXME`},
		"sleep": {checkSleep(h), `
			internal/form/form.go:12: uses time.Sleep`},
		"init": {checkInit(h), `
			internal/form/form.go:8: declares init`},
		"seen": {checkSeen(h, []exception{{"internal/form/excused.go", "other systems"}, {"llog/llog.go", "was one"}}), `
			internal/form/constrained.go: is not built here, so no rule sees it
			internal/form/hidden_windows.go: is not built here, so no rule sees it
			llog/llog.go: the table excuses this file (was one), but it needs no excuse: remove the row
			nested/nested.go: is not built here, so no rule sees it`},
	} {
		t.Run(name, func(t *testing.T) { expect(t, rule.found, rule.want) })
	}
}

func TestGoroutinesWithoutReadme(t *testing.T) {
	for _, readme := range []string{"", ownerHeading, "# Who owns what\n\n| started in |\n|---|\n| `a.go: f` |\n"} {
		if rows, bad := parseOwners(readme); len(rows) != 0 || len(bad) != 0 {
			t.Errorf("%q has the owners %v and the bad rows %v", readme, rows, bad)
		}
	}
}

func TestModulesCanBeUnlisted(t *testing.T) {
	linked, err := linkedModules("testdata/house", "example.org/house")
	if err != nil {
		t.Fatal(err)
	}
	list := `# A comment.

golang.org/x/sync
example.org/locker # only linked into packages that no command imports
`
	expect(t, checkModules(linked, "deps.txt", list), `
		deps.txt: add the line "github.com/go-zeromq/zmq4 # why it is here"
		deps.txt:3: golang.org/x/sync has no reason
		deps.txt:4: example.org/locker is linked no more: remove the line`)
}

// Why: a house that cannot be looked at must not pass for one without violations.
func TestLoadFails(t *testing.T) {
	for dir, want := range map[string]string{
		"testdata/broken": "does not build",
		"testdata/empty":  "no Go package",
	} {
		if _, err := loadHouse(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("loading %s: error %v, want %q", dir, err, want)
		}
	}
}

// expect compares violations with the wanted ones, one a line.
func expect(t *testing.T, found []violation, want string) {
	t.Helper()
	var got, wanted []string
	for _, v := range tidy(found) {
		got = append(got, v.String())
	}
	for line := range strings.Lines(strings.TrimSpace(want)) {
		wanted = append(wanted, strings.TrimSpace(line))
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("the rule finds\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
}

package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/config"
)

var update = flag.Bool("update", false, "write the expected texts in testdata anew")

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		check(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// noEnvironment unsets the variables that this program reads.
func noEnvironment(t *testing.T) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "LCAPD_") {
			t.Setenv(name, "") // so that it comes back
			check(t, os.Unsetenv(name))
		}
	}
}

// full is what the files full.* say.
var full = &config.Config{
	Listen: []config.Listen{
		{Address: config.Address{Network: "tcp", Where: "*:8189"}, Allow: config.RolesTCP},
		{Address: config.Address{Network: "tcp", Where: "[::1]:9000"}, Allow: config.RoleConsume},
		{Address: config.Address{Network: "ipc", Where: "/run/lcapd/lcapd.sock"}, Allow: config.RolesIPC},
		{Address: config.Address{Network: "ipc", Where: "/run/lcapd/plain.sock"}, Allow: config.RolesIPC},
	},
	Profile: true, State: "/srv/lcapd",
	Memory:             2 << 30,
	CreateGroups:       true,
	Batch:              256 << 10,
	ClearWithoutGroups: true,
	OneMDT:             true,
	UnknownExtra:       config.AssumeEmpty,
	DeviceDir:          "/proc/7/root/dev",
	LogLevel:           "debug",
	LogFormat:          "json",
	Upstream: []config.Upstream{
		{MDT: "lustre-MDT0000", Driver: config.DriverDevice, User: "cl1", ChangelogUsers: "/run/users", Lustre: "2.15"},
		{MDT: "local-MDT000a", Driver: config.DriverLLog, User: "cl2-audit", Path: "/var/lib/lcapd/local"},
		{MDT: "home-MDT0000", Driver: config.DriverWatch, Path: "/home"},
		{MDT: "test-MDT0000", Driver: config.DriverWorkload, Rate: 1000, Seed: 42, Records: 5000},
	},
	Everybody: config.Passing{Filter: "uid != 0", Modules: `[{"project":{"fields":["rename"]}}]`, Consumers: config.NeedChanges},
	Groups: []config.Group{
		{Name: "robinhood", Distribution: config.ByMDT, Start: config.Latest, Abandoned: config.WarnAbandoned,
			Filter: "uid >= 1000", Modules: `["cancel",{"coalesce":{"age":"2s"}}]`, Consumers: config.NeedState},
		{
			Name: "audit", Distribution: config.ByFID, Start: config.Earliest, MDTs: []string{"lustre-MDT0000"},
			InFlight: 16 << 20, AckTimeout: 5 * time.Minute, MaxDeliveries: 10,
			MaxBacklog: 1_000_000, MaxIdle: 720 * time.Hour, Abandoned: config.ExpireAbandoned,
		},
	},
	Limits:    config.Limits{Connections: 100, PerAddress: 10, Frame: 1 << 20},
	Lease:     time.Minute,
	Heartbeat: 10 * time.Second,
	Shutdown:  5 * time.Second,
}

func TestFormats(t *testing.T) {
	noEnvironment(t)
	for _, file := range []string{"full.yaml", "full.json", "full.toml"} {
		t.Run(file, func(t *testing.T) {
			c, err := config.Load(filepath.Join("testdata", file))
			check(t, err)
			if !reflect.DeepEqual(c, full) {
				t.Errorf("got %+v\nwant %+v", c, full)
			}
		})
	}
}

// An unknown or missing ending is YAML.
func TestDefaultFormat(t *testing.T) {
	noEnvironment(t)
	for _, file := range []string{"lcapd", "lcapd.conf", "lcapd.yml", "-"} {
		c, err := config.Parse(file, []byte("memory: 2GiB"))
		check(t, err)
		if c.Memory != 2<<30 {
			t.Errorf("%s: memory is %d", file, c.Memory)
		}
	}
}

func TestEmptyFile(t *testing.T) {
	noEnvironment(t)
	for _, content := range []string{"", "\n# nothing\n", "---\n", "{}"} {
		c, err := config.Parse("empty.yaml", []byte(content))
		check(t, err)
		if !reflect.DeepEqual(c, config.Default()) {
			t.Errorf("%q is not the default: %+v", content, c)
		}
	}
}

// What is wrong is said in these words.
func TestMistakes(t *testing.T) {
	noEnvironment(t)
	files, err := filepath.Glob("testdata/bad/*.[yjt]*[ln]")
	check(t, err)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := config.Load(file)
			var all *config.Errors
			if !errors.As(err, &all) {
				t.Fatalf("the error is %#v", err)
			}
			golden(t, file+".txt", strings.ReplaceAll(err.Error(), "testdata/bad/", "")+"\n")
			if lines := strings.Count(err.Error(), "\n") + 1; lines != len(all.Problems) {
				t.Errorf("%d lines for %d problems", lines, len(all.Problems))
			}
		})
	}
}

func TestNoFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "lcapd.yaml"))
	var all *config.Errors
	if !errors.As(err, &all) || len(all.Problems) != 1 || !strings.Contains(err.Error(), "no such file or directory: make one: lcapd config >") {
		t.Fatalf("got %v", err)
	}
}

func TestDefaultFile(t *testing.T) {
	noEnvironment(t)
	text := config.DefaultFile()
	golden(t, "testdata/default.yaml", string(text))
	c, err := config.Parse("default.yaml", text)
	check(t, err)
	if !reflect.DeepEqual(c, config.Default()) {
		t.Errorf("it parses to %+v", c)
	}
	if c.CreateGroups {
		t.Error("a mistyped join creates a group")
	}
}

// The examples of the packaged configuration are good.
func TestDefaultExamples(t *testing.T) {
	noEnvironment(t)
	var lines []string
	for line := range strings.Lines(string(config.DefaultFile())) {
		switch {
		case strings.HasPrefix(line, "#upstream:"), strings.HasPrefix(line, "#groups:"), strings.HasPrefix(line, "# - {"):
			line = strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ")
		}
		lines = append(lines, line)
	}
	c, err := config.Parse("examples.yaml", []byte(strings.Join(lines, "")))
	check(t, err)
	if len(c.Upstream) != 4 || len(c.Groups) != 4 {
		t.Errorf("got %+v and %+v", c.Upstream, c.Groups)
	}
}

func TestMistakesOfVariables(t *testing.T) {
	noEnvironment(t)
	t.Setenv("LCAPD_MEMORY", "much")
	t.Setenv("LCAPD_LIMITS_FRAME", "")
	t.Setenv("LCAPD_UPSTREAM", "[{mdt: home-MDT0000, driver: watch}]")
	t.Setenv("LCAPD_GROUPS", "[{name: a")
	t.Setenv("LCAPD_PORT", "tcp://10.0.0.1:8189") // as Kubernetes does for a service of our name
	_, err := config.Parse("lcapd.yaml", []byte("memory: 2GiB\n"))
	if err == nil {
		t.Fatal("all is well")
	}
	golden(t, "testdata/variables.txt", err.Error()+"\n")
}

func TestAddressString(t *testing.T) {
	for _, l := range config.Default().Listen {
		want := map[string]string{"tcp": "tcp://127.0.0.1:8189 listen,consume", "ipc": "ipc:///run/lcapd/lcapd.sock listen,consume,operate"}
		if got := l.Address.String() + " " + l.Allow.String(); got != want[l.Address.Network] {
			t.Errorf("got %s", got)
		}
	}
}

func TestDiff(t *testing.T) {
	noEnvironment(t)
	before, err := config.Load("testdata/full.yaml")
	check(t, err)
	if ch := config.Diff(before, full); ch.Live != nil || ch.Fixed != nil {
		t.Errorf("there is no difference, but %+v", ch)
	}
	ch := config.Diff(config.Default(), full)
	live := []string{"create_groups", "log.level"}
	fixed := []string{
		"listen", "http", "profile", "state", "memory", "batch", "clear_without_groups", "unknown_extra", "device_dir", "log.format", "upstream", "one_mdt",
		"ingest.filter", "ingest.modules", "ingest.consumers", "groups",
		"limits.connections", "limits.per_address", "limits.frame", "limits.in_flight", "lease", "heartbeat", "shutdown",
	}
	if !slices.Equal(ch.Live, live) || !slices.Equal(ch.Fixed, fixed) {
		t.Errorf("got %+v", ch)
	}
	running := config.Default()
	next := running.WithLive(full)
	if again := config.Diff(next, full); again.Live != nil || !slices.Equal(again.Fixed, fixed) {
		t.Errorf("after the reload: %+v", again)
	}
	if !reflect.DeepEqual(running, config.Default()) {
		t.Error("the configuration before was changed")
	}
}

package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// other holds for each key a value that is not the default, as a variable has it.
var other = map[string]string{
	"listen":               "tcp://*:1, ipc:///tmp/x",
	"http":                 "",
	"profile":              "true",
	"state":                "/tmp",
	"memory":               "3GiB",
	"batch":                "32KiB",
	"create_groups":        "true",
	"clear_without_groups": "true",
	"unknown_extra":        "assume-empty",
	"one_mdt":              "true",
	"ingest.filter":        "uid != 0",
	"ingest.modules":       "[{project: {fields: [rename]}}]",
	"ingest.consumers":     "changes",
	"device_dir":           "/tmp/dev",
	"log.level":            "warn",
	"log.format":           "json",
	"upstream":             "[{mdt: a-MDT0000, driver: watch, path: /home}]",
	"groups":               "[{name: a}]",
	"limits.connections":   "300",
	"limits.per_address":   "20",
	"limits.frame":         "1MiB",
	"limits.in_flight":     "1MiB",
	"lease":                "20s",
	"heartbeat":            "3s",
	"shutdown":             "1s",
}

// Each key can be set by a variable, which wins over the file, and changes one field.
func TestVariables(t *testing.T) {
	const lists = "upstream: [{mdt: b-MDT0000, driver: device, user: cl1}]\ngroups: [{name: b, in_flight: 2MiB}]\n"
	file := append(DefaultFile(), lists...)
	before, err := Parse("file.yaml", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range settings {
		t.Run(set.key, func(t *testing.T) {
			t.Setenv(Variable(set.key), other[set.key])
			after, err := Parse("file.yaml", file)
			if err != nil {
				t.Fatal(err)
			}
			ch := Diff(before, after)
			if got := append(ch.Live, ch.Fixed...); len(got) != 1 || got[0] != set.key {
				t.Errorf("%s=%s changes %v", Variable(set.key), other[set.key], got)
			}
		})
	}
}

// Each field has a key, and each key stands in the annotated file.
func TestEveryFieldIsDocumented(t *testing.T) {
	fields := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.Type != reflect.TypeFor[Limits]() && f.Type != reflect.TypeFor[Passing]() {
			fields++
		}
	}
	fields += reflect.TypeFor[Limits]().NumField() + reflect.TypeFor[Passing]().NumField()
	if fields != len(settings) {
		t.Errorf("%d fields, %d keys", fields, len(settings))
	}
	text := string(DefaultFile())
	for _, set := range settings {
		_, key, nested := strings.Cut(set.key, ".")
		if !nested {
			key = set.key
		}
		if !strings.Contains(text, "\n"+key+": ") && !strings.Contains(text, "\n  "+key+": ") && !strings.Contains(text, "\n#"+key+":") {
			t.Errorf("%s does not stand in the annotated file", set.key)
		}
		if strings.TrimSpace(set.doc) == "" {
			t.Errorf("%s is not explained", set.key)
		}
	}
	documented(t, text, upstreamSettings)
	documented(t, text, groupSettings)
	if n := reflect.TypeFor[Upstream]().NumField(); n != len(upstreamSettings) {
		t.Errorf("%d fields of an upstream", n)
	}
	if n := reflect.TypeFor[Group]().NumField(); n != len(groupSettings) {
		t.Errorf("%d fields of a group", n)
	}
}

func documented[C any](t *testing.T, text string, settings []setting[C]) {
	for _, set := range settings {
		if !strings.Contains(text, "\n# "+set.key+" ") || set.doc == "" {
			t.Errorf("%s is not explained in the annotated file", set.key)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "17B": 17, "1KiB": 1024, "1 MiB": 1 << 20, "2gib": 2 << 30, "1TiB": 1 << 40, "1KB": 1000, "3GB": 3e9, "8388607TiB": 8388607 << 40,
		"": -1, "B": -1, "1M": -1, "-1KiB": -1, "1.5GiB": -1, "8388608TiB": -1, "9223372036854775808": -1, "1 1KiB": -1,
	} {
		n, ok := asSize(text)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q is %d, want %d", text, n, want)
		}
	}
}

func TestSuggestions(t *testing.T) {
	known := keysOf(settings)
	for key, want := range map[string]string{
		"memroy": "did you mean memory?", "stat": "did you mean state?", "group": "did you mean groups?",
		"creategroups": "did you mean create_groups?", "x": "known are listen,", "": "known are listen,",
	} {
		if got := suggestion(key, known); !strings.HasPrefix(got, want) {
			t.Errorf("for %q: %s", key, got)
		}
	}
}

// Whatever stands in a file, it is a configuration or a list of mistakes.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/full.yaml", "testdata/full.json", "testdata/full.toml", "testdata/bad/everything.yaml", "testdata/bad/together.yaml"} {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file, content)
	}
	f.Add("a.env", []byte("memory=1GiB\nlimits.frame=x"))
	f.Add("a.yaml", []byte("a: &a [*a]\n? {b: c}\n: d\n1: 2\nlog: {1: 2}"))
	f.Fuzz(func(t *testing.T, file string, content []byte) {
		c, err := Parse(file, content)
		if err == nil {
			if ch := Diff(c, c); c.Memory < MinMemory || ch.Live != nil || ch.Fixed != nil {
				t.Errorf("not a good configuration: %+v", c)
			}
			return
		}
		problems := err.(*Errors).Problems
		if lines := strings.Count(err.Error(), "\n") + 1; len(problems) == 0 || lines != len(problems) {
			t.Errorf("%d lines for %d problems: %q", lines, len(problems), err)
		}
	})
}

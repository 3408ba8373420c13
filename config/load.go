package config

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Load reads the configuration in a file, with the environment on top of it. The
// error is an [*Errors], also when the file cannot be read.
func Load(file string) (*Config, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		remedy := "check name and permissions"
		if errors.Is(err, fs.ErrNotExist) {
			remedy = "make one: lcapd config >" + file
		}
		return nil, &Errors{[]Problem{{File: file, Value: cause(err), Allowed: remedy}}}
	}
	return Parse(file, content)
}

// cause returns why a file could not be read, without its name.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// Parse is [Load] of content that is at hand. The name of the file tells its format
// by its ending, .json, .toml or .env; everything else is YAML. The error is an
// [*Errors].
func Parse(file string, content []byte) (*Config, error) {
	t, err := parse(file, content)
	if err != nil {
		return nil, &Errors{[]Problem{{File: file, Value: strings.Join(strings.Fields(err.Error()), " "), Allowed: "allowed: a mapping of keys to values"}}}
	}
	c := Default()
	var problems []Problem
	good := map[string]bool{}
	for _, set := range settings {
		v, there := t.values[set.key]
		good[set.key] = !there || set.field.set(t.spot(&problems, set.key), c, v)
	}
	c.inherit()
	check(c, t, good, &problems)
	t.unknown(&problems)
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
		})
		return nil, &Errors{problems}
	}
	return c, nil
}

// Default returns the configuration of an empty file in an empty environment.
func Default() *Config {
	c := new(Config)
	var problems []Problem
	for _, set := range settings {
		value := set.text
		if value == `""` { // as the file writes it
			value = ""
		}
		if set.text != "" && !set.field.set(spot{problems: &problems, file: "default", key: set.key}, c, value) {
			panic(problems[0].String())
		}
	}
	return c
}

// inherit fills in what groups take from the limits.
func (c *Config) inherit() {
	for i := range c.Groups {
		if c.Groups[i].InFlight == inFlightOfLimits {
			c.Groups[i].InFlight = c.Limits.InFlight
		}
	}
}

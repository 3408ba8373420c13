package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// tree is what file and environment say, not yet understood.
type tree struct {
	file   string
	values map[string]any    // by key of settings, or unknown
	vars   map[string]string // the variable that a value comes from, by key
	lines  map[string]int    // in the file, by key
}

// parse reads content in the format that the name of the file tells, and the
// environment on top of it. The error is a problem of the file as a whole.
func parse(file string, content []byte) (*tree, error) {
	v := viper.New()
	v.AllowEmptyEnv(true)
	v.SetConfigType(formatOf(file))
	if err := v.ReadConfig(bytes.NewReader(content)); err != nil {
		var parse viper.ConfigParseError
		if errors.As(err, &parse) {
			err = parse.Unwrap()
		}
		return nil, fmt.Errorf("not %s: %w", strings.ToUpper(formatOf(file)), err)
	}
	t := &tree{file, map[string]any{}, map[string]string{}, linesOf(file, content)}
	for _, key := range v.AllKeys() {
		t.values[key] = v.Get(key)
	}
	for _, set := range settings {
		name := Variable(set.key)
		if err := v.BindEnv(set.key, name); err != nil {
			return nil, err
		}
		if _, there := os.LookupEnv(name); there {
			t.values[set.key], t.vars[set.key] = v.Get(set.key), name
		}
	}
	return t, nil
}

// Variable returns the name of the variable of the environment that stands for a
// key: LCAPD_LIMITS_FRAME for limits.frame.
func Variable(key string) string {
	return "LCAPD_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// formatOf returns the format of a file: what its name says if viper can read that,
// else YAML.
func formatOf(file string) string {
	ext := strings.ToLower(strings.TrimPrefix(filepath.Ext(file), "."))
	if slices.Contains([]string{"json", "toml", "env", "dotenv"}, ext) {
		return ext
	}
	return "yaml"
}

// linesOf returns where the keys of a YAML file stand; nil for other formats.
func linesOf(file string, content []byte) map[string]int {
	var doc yaml.Node
	if formatOf(file) != "yaml" || yaml.Unmarshal(content, &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	lines := map[string]int{}
	addLines(lines, "", doc.Content[0])
	return lines
}

// addLines notes the lines of what stands below key. Aliases are not followed: their
// line is where they are used.
func addLines(lines map[string]int, key string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			child := spot{key: key}.child(strings.ToLower(n.Content[i].Value)).key
			lines[child] = n.Content[i].Line
			addLines(lines, child, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			child := spot{key: key}.item(i).key
			lines[child] = item.Line
			addLines(lines, child, item)
		}
	}
}

// spot returns where a key of the tree stands.
func (t *tree) spot(problems *[]Problem, key string) spot {
	if name, env := t.vars[key]; env {
		return spot{problems, nil, name, key}
	}
	return spot{problems, t.lines, t.file, key}
}

// unknown reports the keys that no setting has.
func (t *tree) unknown(problems *[]Problem) {
	known := keysOf(settings)
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if slices.Contains(known, key) {
			continue
		}
		s := t.spot(problems, key)
		if slices.Contains(sections, key) {
			s.refuse(t.values[key], "a mapping with the keys "+strings.Join(keysUnder(key), ", "))
			continue
		}
		unknownKeys(spot{problems, t.lines, t.file, ""}, []string{key}, near(key, known))
	}
}

// near returns the keys to suggest for an unknown one: those of its section, if it
// stands in one.
func near(key string, known []string) []string {
	parent, _, _ := strings.Cut(key, ".")
	if !slices.Contains(sections, parent) {
		return known
	}
	return slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, parent+".") })
}

// keysUnder returns the keys of a section, without its name.
func keysUnder(section string) []string {
	var keys []string
	for _, set := range settings {
		if rest, ok := strings.CutPrefix(set.key, section+"."); ok {
			keys = append(keys, rest)
		}
	}
	return keys
}

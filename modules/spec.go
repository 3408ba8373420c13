package modules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Spec names a module and its options, as a configuration does.
type Spec struct {
	Name    string
	Options map[string]any // values as YAML or JSON decode them
}

// MaxText is the largest text of a chain in bytes.
const MaxText = 64 << 10

// ParseSpecs reads a chain from text, which is YAML (and so JSON, too): a list, each element the name of a
// module, or a map of the name to its options:
//
//	[{filter: {types: CREAT UNLNK}}, cancel, {coalesce: {age: 2s}}]
//
// An empty text is an empty chain.
func ParseSpecs(text string) ([]Spec, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("modules: the chain has %d bytes, at most %d are allowed", len(text), MaxText)
	}
	var v any
	dec := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	switch err := dec.Decode(&v); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("modules: %w", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("modules: there is more text behind the chain")
	}
	return FromValue(v)
}

// FromValue reads a chain from a decoded configuration: what [ParseSpecs] describes, as values.
func FromValue(v any) ([]Spec, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("modules: want a list of modules such as [{filter: {types: CREAT}}, coalesce], not %s", describe(v))
	}
	specs := make([]Spec, 0, len(list))
	for i, v := range list {
		spec, err := specFrom(v)
		if err == nil {
			err = checkKeys(v)
		}
		if err != nil {
			return nil, fmt.Errorf("modules[%d]: %w", i, err)
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// maxKey is the most bytes of a key. However it is escaped, it stays below the 1,024 that YAML allows for one, so that a
// chain that was read can be written and read again.
const maxKey = 128

// checkKeys refuses keys that are too long, at any depth.
func checkKeys(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if len(key) > maxKey {
				return fmt.Errorf("a key of %d bytes, %.60q..., at most %d are allowed", len(key), key, maxKey)
			}
			if err := checkKeys(value); err != nil {
				return err
			}
		}
	case []any:
		for _, value := range v {
			if err := checkKeys(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// specFrom reads one module.
func specFrom(v any) (Spec, error) {
	switch v := v.(type) {
	case string:
		return Spec{Name: v}, nil
	case map[string]any:
		if len(v) != 1 {
			return Spec{}, fmt.Errorf("want one module with its options, not %d keys (%s); each module is an element of the list", len(v), list(slices.Sorted(maps.Keys(v))))
		}
		for name, options := range v {
			switch options := options.(type) {
			case nil:
				return Spec{Name: name}, nil
			case map[string]any:
				return Spec{Name: name, Options: options}, nil
			default:
				return Spec{}, fmt.Errorf("%s: want a map of options, not %s", name, describe(options))
			}
		}
	}
	return Spec{}, fmt.Errorf("want a module's name, or a map of a name to its options, not %s", describe(v))
}

// FormatSpecs returns the text of a chain, as JSON: equal chains have equal texts, and [ParseSpecs]
// reads it. An empty chain is an empty text. Options that were not decoded from YAML or JSON may be impossible
// to write: that is the error.
func FormatSpecs(specs []Spec) (string, error) {
	if len(specs) == 0 {
		return "", nil
	}
	out := make([]any, 0, len(specs))
	for _, s := range specs {
		if len(s.Options) == 0 {
			out = append(out, s.Name)
			continue
		}
		out = append(out, map[string]any{s.Name: s.Options})
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("modules: %w", err)
	}
	return string(text), nil
}

// describe names a value in an error.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%.60q", v)
	case map[string]any, map[any]any:
		return "a map"
	case []any:
		return "a list"
	default:
		return fmt.Sprintf("%.60s", fmt.Sprint(v))
	}
}

package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// setting is a key of the file, or of a mapping in it, that fills a field of a C.
type setting[C any] struct {
	key string
	doc string // what it means, one or more lines
	// text is the default as the file writes it; empty if the key has none.
	text string
	// example stands in the annotated file where there is no default.
	example  string
	required bool
	live     bool // may change without a new start
	field    field[C]
}

// field is how to handle one field of a C.
type field[C any] struct {
	set  func(s spot, c *C, v any) bool
	same func(a, b *C) bool
	copy func(to, from *C)
}

// of is the field at p, filled by parse.
func of[C any, T comparable](p func(*C) *T, parse parser[T]) field[C] {
	return fieldOf(p, parse, func(a, b T) bool { return a == b })
}

// ofList is the field of a list of comparable items at p.
func ofList[C any, T comparable](p func(*C) *[]T, parse parser[[]T]) field[C] {
	return fieldOf(p, parse, slices.Equal[[]T])
}

func fieldOf[C, T any](p func(*C) *T, parse parser[T], same func(a, b T) bool) field[C] {
	return field[C]{
		set: func(s spot, c *C, v any) bool {
			value, ok := parse(s, v)
			if ok {
				*p(c) = value
			}
			return ok
		},
		same: func(a, b *C) bool { return same(*p(a), *p(b)) },
		copy: func(to, from *C) { *p(to) = *p(from) },
	}
}

// spot is a place in a configuration, where problems are reported.
type spot struct {
	problems *[]Problem
	lines    map[string]int // of the keys in the file
	file     string
	key      string
}

func (s spot) child(key string) spot {
	s.key = strings.TrimPrefix(s.key+"."+key, ".")
	return s
}

func (s spot) item(i int) spot {
	s.key = fmt.Sprintf("%s[%d]", s.key, i)
	return s
}

// refuse reports a value, and returns false.
func (s spot) refuse(v any, allowed string) bool { return s.report(shown(v), "allowed: "+allowed) }

// missing reports that there is nothing where something must be, and returns false.
func (s spot) missing(why string) bool { return s.report("missing", why) }

func (s spot) report(value, allowed string) bool {
	*s.problems = append(*s.problems, Problem{s.file, s.line(), s.key, value, allowed})
	return false
}

// line returns the line of the key, or of the nearest one around it.
func (s spot) line() int {
	for key := s.key; key != ""; {
		if line := s.lines[key]; line > 0 {
			return line
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

// section fills a C, which starts as c, from a mapping with the keys of settings.
func section[C any](s spot, v any, settings []setting[C], c C) (C, bool) {
	raw, isMap := asMap(v)
	if !isMap {
		return c, s.refuse(v, "a mapping with the keys "+strings.Join(keysOf(settings), ", "))
	}
	all := true
	for _, set := range settings {
		v, there := raw[set.key]
		ok := true
		switch {
		case there:
			ok = set.field.set(s.child(set.key), &c, v)
		case set.required:
			ok = s.child(set.key).missing(set.doc)
		}
		all = all && ok
	}
	return c, unknownKeys(s, slices.Collect(maps.Keys(raw)), keysOf(settings)) && all
}

func keysOf[C any](settings []setting[C]) []string {
	keys := make([]string, len(settings))
	for i, set := range settings {
		keys[i] = set.key
	}
	return keys
}

func asMap(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case map[string]any:
		return v, true
	case map[any]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[fmt.Sprint(key)] = value
		}
		return m, true
	}
	return nil, false
}

// unknownKeys reports the keys that are not known.
func unknownKeys(s spot, keys, known []string) bool {
	slices.Sort(keys)
	ok := true
	for _, key := range keys {
		if !slices.Contains(known, key) {
			ok = s.child(key).report("unknown key", suggestion(key, known))
		}
	}
	return ok
}

// suggestion says what to write instead of an unknown key.
func suggestion(key string, known []string) string {
	const longest = 64 // what is longer was not meant to be a key
	if len(key) > longest {
		return "known are " + strings.Join(known, ", ")
	}
	nearest := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(key, a), distance(key, b)) })
	if distance(key, nearest) <= max(2, len(nearest)/3) {
		return "did you mean " + nearest + "?"
	}
	return "known are " + strings.Join(known, ", ")
}

// distance is how many letters have to be added, left out, replaced or swapped with
// their neighbour to make b of a.
func distance(a, b string) int {
	var last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			replace := row[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			next[j] = min(replace, row[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], last[j-2]+1)
			}
		}
		last, row = row, next
	}
	return row[len(b)]
}

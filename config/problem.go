package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a configuration.
type Problem struct {
	// File is where it stands: a file, or the name of a variable of the environment.
	File string
	// Line is the line in File, counted from 1; 0 if unknown.
	Line int
	// Key is the key that is meant, such as limits.frame or upstream[1].mdt; empty if
	// the whole file is no configuration.
	Key string
	// Value is what stands there, in short; empty if nothing does.
	Value string
	// Allowed is what is allowed there, or what to do instead.
	Allowed string
}

// String returns the problem in one line.
func (p Problem) String() string {
	at := p.File
	if p.Line > 0 {
		at = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	parts := slices.DeleteFunc([]string{at, p.Key, p.Value, p.Allowed}, func(s string) bool { return s == "" })
	return oneLine(strings.Join(parts, ": "))
}

// Errors are all mistakes of a configuration, at least one: file by file, and line by
// line where lines are known.
type Errors struct {
	Problems []Problem
}

// Error implements error: one line for each problem.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// shown returns a value as a problem shows it: in short, and in one line.
func shown(v any) string {
	const most = 60
	text := ""
	switch v := v.(type) {
	case nil:
		return "empty"
	case map[string]any, map[any]any:
		return "a mapping"
	case []any:
		return "a list"
	case string:
		text = v
		if v == "" || v != strings.TrimSpace(v) || v != oneLine(v) {
			text = fmt.Sprintf("%q", v)
		}
	default:
		text = fmt.Sprint(v)
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return text
}

// oneLine replaces what would break a line, or a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

package config

import (
	"fmt"
	"strings"
)

// DefaultFile returns the packaged configuration, in YAML: every key with its meaning
// and its default. It parses to [Default]. What has no default, MDTs and groups, is
// there as an example in comments.
func DefaultFile() []byte {
	var b strings.Builder
	b.WriteString(`# Configuration of lcapd. What is left out has the value shown here.
# Each key is also a variable of the environment, which wins: LCAPD_MEMORY for memory,
# LCAPD_LIMITS_FRAME for frame in limits.
# 'lcapd check -c FILE' tells everything that is wrong with a file.
`)
	open := ""
	for _, set := range settings {
		section, key, nested := strings.Cut(set.key, ".")
		if !nested {
			section, key = "", set.key
		}
		if section != open || section == "" {
			b.WriteString("\n")
		}
		if section != open && section != "" {
			fmt.Fprintf(&b, "%s:\n", section)
		}
		open = section
		indent := strings.Repeat("  ", strings.Count(set.key, "."))
		comment(&b, indent, set.doc)
		if set.text == "" {
			fmt.Fprintf(&b, "#%s:\n", key)
			comment(&b, "", set.example)
			itemKeys(&b, key)
			continue
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, key, set.text)
	}
	return []byte(b.String())
}

// comment writes text as a comment.
func comment(b *strings.Builder, indent, text string) {
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		fmt.Fprintf(b, "%s# %s\n", indent, strings.TrimSuffix(line, "\n"))
	}
}

// itemKeys explains the keys of the items of a list.
func itemKeys(b *strings.Builder, list string) {
	switch list {
	case "upstream":
		explain(b, upstreamSettings)
	case "groups":
		explain(b, groupSettings)
	}
}

func explain[C any](b *strings.Builder, settings []setting[C]) {
	for _, set := range settings {
		fmt.Fprintf(b, "# %-15s %s\n", set.key, set.doc)
	}
}

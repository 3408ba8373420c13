package config

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A parser turns a raw value into a typed one. It reports a value that is not
// allowed to the spot, and then returns false.
type parser[T any] func(s spot, v any) (T, bool)

// boolean takes true and false.
func boolean(s spot, v any) (bool, bool) {
	switch v {
	case true, "true":
		return true, true
	case false, "false":
		return false, true
	}
	return false, s.refuse(v, "true or false")
}

// oneOf takes one of some words.
func oneOf[T ~string](words ...T) parser[T] {
	return func(s spot, v any) (T, bool) {
		text, _ := v.(string)
		if slices.Contains(words, T(text)) {
			return T(text), true
		}
		return "", s.refuse(v, orList(words))
	}
}

// orList returns "a, b or c".
func orList[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// matching takes text that ok accepts.
func matching(ok func(string) bool, allowed string) parser[string] {
	return func(s spot, v any) (string, bool) {
		if text, isText := v.(string); isText && ok(text) {
			return text, true
		}
		return "", s.refuse(v, allowed)
	}
}

// text takes text of most bytes at most.
func text(most int, allowed string) parser[string] {
	return matching(func(s string) bool { return len(s) <= most }, fmt.Sprintf("%s, of %d bytes at most", allowed, most))
}

// hostPort takes host:port, or nothing.
func hostPort(s spot, v any) (string, bool) {
	text, isText := v.(string)
	if !isText && v != nil || text != "" && !isHostPort(text) {
		return "", s.refuse(v, "host:port such as 127.0.0.1:9189, or empty for none")
	}
	return text, true
}

// isHostPort tells whether text names a TCP address to listen at.
func isHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsAny(host, " /@?#") {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// integer takes a whole number from least to most.
func integer[T int | uint64](least, most int64) parser[T] {
	return func(s spot, v any) (T, bool) {
		if n, ok := asInt(v); ok && n >= least && n <= most {
			return T(n), true
		}
		if most == math.MaxInt64 {
			return 0, s.refuse(v, fmt.Sprintf("a whole number, %d or more", least))
		}
		return 0, s.refuse(v, fmt.Sprintf("a whole number from %d to %d", least, most))
	}
}

// asInt returns the whole number that v is, whatever the format of the file made of it.
func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case float64: // JSON has no other numbers
		const exact = 1 << 53
		return int64(v), v == math.Trunc(v) && math.Abs(v) <= exact
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// units are the factors that a size may have, the longest names first.
var units = []struct {
	name   string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// size takes a number of bytes from least to most, and 0 where that means no limit.
func size(least, most int64, zero bool) parser[int64] {
	allowed := fmt.Sprintf("a size, such as 1GiB, of %s at least", sizeText(least))
	if most < math.MaxInt64 {
		allowed = fmt.Sprintf("a size from %s to %s", sizeText(least), sizeText(most))
	}
	if zero {
		allowed += ", or 0 for no limit"
	}
	return func(s spot, v any) (int64, bool) {
		if n, ok := asSize(v); ok && (n >= least && n <= most || zero && n == 0) {
			return n, true
		}
		return 0, s.refuse(v, allowed)
	}
}

// autoSize takes a number of bytes from least to most, or auto, which is 0.
func autoSize(least, most int64) parser[int64] {
	return func(s spot, v any) (int64, bool) {
		if v == "auto" {
			return 0, true
		}
		if n, ok := asSize(v); ok && n >= least && n <= most {
			return n, true
		}
		return 0, s.refuse(v, fmt.Sprintf("auto, or a size from %s to %s", sizeText(least), sizeText(most)))
	}
}

// asSize returns the number of bytes that v stands for.
func asSize(v any) (int64, bool) {
	text, isText := v.(string)
	if !isText {
		return asInt(v)
	}
	factor := int64(1)
	for _, u := range units {
		if n := len(text) - len(u.name); n > 0 && strings.EqualFold(text[n:], u.name) {
			text, factor = strings.TrimSpace(text[:n]), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n * factor, err == nil && n >= 0 && n <= math.MaxInt64/factor
}

// sizeText writes a size as a person would.
func sizeText(n int64) string {
	for _, u := range []int{3, 2, 1, 0} { // TiB to KiB
		if unit := units[u]; n >= unit.factor && n%unit.factor == 0 {
			return strconv.FormatInt(n/unit.factor, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// duration takes a time with a unit from least to most, and 0 where that means off.
func duration(least, most time.Duration, zero bool) parser[time.Duration] {
	allowed := fmt.Sprintf("a time with its unit, from %s to %s", timeText(least), timeText(most))
	if zero {
		allowed += ", or 0 for off"
	}
	return func(s spot, v any) (time.Duration, bool) {
		if n, ok := asInt(v); zero && ok && n == 0 {
			return 0, true
		}
		text, _ := v.(string)
		d, err := time.ParseDuration(text)
		if err != nil || (d < least || d > most) && !(zero && d == 0) {
			return 0, s.refuse(v, allowed)
		}
		return d, true
	}
}

// timeText writes a time without the zeros that a Duration prints behind it.
func timeText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// listOf takes a list of what parse takes. Items that are not allowed are reported
// and left out.
func listOf[T any](parse parser[T], allowed string) parser[[]T] {
	return func(s spot, v any) ([]T, bool) {
		raw, ok := asList(v)
		if !ok {
			return nil, s.refuse(v, allowed)
		}
		var items []T
		all := true
		for i, v := range raw {
			item, ok := parse(s.item(i), v)
			if ok {
				items = append(items, item)
			}
			all = all && ok
		}
		return items, all
	}
}

// asList returns the list that v is. Text is one too: separated by commas, or in
// the form of YAML.
func asList(v any) ([]any, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case []any:
		return v, true
	case []map[string]any: // TOML
		return anys(v), true
	case string:
		text := strings.TrimSpace(v)
		if text == "" {
			return nil, true
		}
		if !strings.HasPrefix(text, "[") {
			return anys(trimmed(strings.Split(text, ","))), true
		}
		var list []any
		err := yaml.Unmarshal([]byte(text), &list)
		return list, err == nil
	}
	return nil, false
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

func trimmed(list []string) []string {
	for i, v := range list {
		list[i] = strings.TrimSpace(v)
	}
	return list
}

package modules

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Options are the options of one module, read by its Kind.Parse. Each method reads one of them and returns
// the default if it is not set. What is wrong is gathered: [Parse] reports all of it, and every option that was
// not asked for, once Kind.Parse has returned.
type Options struct {
	values  map[string]any
	known   []string
	errs    []error
	windows int64 // what the windows that were read may hold, in bytes
}

// take returns the value of an option and notes that it exists.
func (o *Options) take(key string) (any, bool) {
	o.known = append(o.known, key)
	v, ok := o.values[key]
	return v, ok
}

// Errorf notes that the value of an option is wrong.
func (o *Options) Errorf(key, format string, args ...any) {
	o.errs = append(o.errs, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
}

// Set tells whether the option is set.
func (o *Options) Set(key string) bool {
	_, ok := o.values[key]
	return ok
}

// String reads a text.
func (o *Options) String(key, def string) string {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	s, ok := v.(string)
	if !ok {
		o.Errorf(key, "want a text, not %s", describe(v))
		return def
	}
	return s
}

// OneOf reads one of some words; the first is the default.
func (o *Options) OneOf(key string, words ...string) string {
	s := o.String(key, words[0])
	if !slices.Contains(words, s) {
		o.Errorf(key, "%q is unknown; it may be %s", s, list(words))
		return words[0]
	}
	return s
}

// Strings reads a list of texts; a text with commas is one, too.
func (o *Options) Strings(key string) []string {
	v, ok := o.take(key)
	if !ok {
		return nil
	}
	switch v := v.(type) {
	case string:
		return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	case []any:
		texts := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				o.Errorf(key, "want a list of texts, not one with %s", describe(e))
			}
			texts = append(texts, s)
		}
		return texts
	}
	o.Errorf(key, "want a list of texts, not %s", describe(v))
	return nil
}

// Map reads a map of options that mean nothing here; it is empty if it is not set.
func (o *Options) Map(key string) map[string]any {
	v, ok := o.take(key)
	if !ok {
		return map[string]any{}
	}
	m, ok := v.(map[string]any)
	if !ok {
		o.Errorf(key, "want a map, not %s", describe(v))
	}
	return m
}

// Int reads a whole number between least and most.
func (o *Options) Int(key string, def, least, most int64) int64 {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	n, ok := whole(v)
	if !ok {
		o.Errorf(key, "want a whole number, not %s", describe(v))
		return def
	}
	return within(o, key, n, least, most, fmt.Sprint)
}

// within refuses a value that is out of its range.
func within[T int64 | time.Duration](o *Options, key string, v, least, most T, print func(...any) string) T {
	if v < least || v > most {
		o.Errorf(key, "%s is out of range; it may be %s to %s", print(v), print(least), print(most))
		return least
	}
	return v
}

// whole returns a number that has no fraction.
func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(min(v, math.MaxInt64)), true
	case float64: // JSON has no others
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	}
	return 0, false
}

// Duration reads a time such as 5s, between least and most.
func (o *Options) Duration(key string, def, least, most time.Duration) time.Duration {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	s, ok := v.(string)
	d, err := time.ParseDuration(s)
	if !ok || err != nil {
		o.Errorf(key, "want a time such as 5s or 500ms, not %s", describe(v))
		return def
	}
	return within(o, key, d, least, most, fmt.Sprint)
}

// Bytes reads a size in bytes, a number or a text such as 8MiB, between least and most.
func (o *Options) Bytes(key string, def, least, most int64) int64 {
	v, ok := o.take(key)
	if !ok {
		return def
	}
	n, ok := whole(v)
	if s, text := v.(string); text {
		n, ok = parseBytes(s)
	}
	if !ok {
		o.Errorf(key, "want a size such as 8MiB, not %s", describe(v))
		return def
	}
	return within(o, key, n, least, most, fmt.Sprint)
}

// parseBytes reads a size with a unit of 1024, 1024^2 or 1024^3 bytes.
func parseBytes(s string) (int64, bool) {
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			var n int64
			_, err := fmt.Sscanf(strings.TrimSpace(number)+"$", "%d$", &n)
			return n << (10 * (i + 1)), err == nil && n >= 0 && n < 1<<30
		}
	}
	return 0, false
}

// finish reports what is wrong, and the options that do not exist.
func (o *Options) finish() []error {
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		if slices.Contains(o.known, key) {
			continue
		}
		if len(o.known) == 0 {
			o.Errorf(key, "unknown option; this module has none")
			continue
		}
		o.Errorf(key, "unknown option; the options are %s", list(o.known))
	}
	return o.errs
}

// list joins words for a sentence.
func list(words []string) string { return strings.Join(words, ", ") }

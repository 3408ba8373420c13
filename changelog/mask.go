package changelog

import (
	"fmt"
	"strings"
)

// Mask is a set of record types, bit 1<<code for each (ABI 2, 10.2). Types from
// 64 on cannot be in a mask.
type Mask uint64

// The masks that Lustre names (ABI 2).
const (
	// MaskMin holds MARK only; it is what an absolute mask starts from.
	MaskMin Mask = 0x1
	// MaskAll holds every known type.
	MaskAll Mask = 1<<typeCount - 1
	// MaskDefault is what an MDT records for a user without a mask of its own:
	// all but OPEN, ATIME, GXATR and NOPEN.
	MaskDefault Mask = 0x77fbff
)

// MaskOf returns the set of the given types.
func MaskOf(types ...Type) Mask {
	var m Mask
	for _, t := range types {
		m |= bit(t)
	}
	return m
}

// bit returns the set that holds only t, which is empty from 64 on.
func bit(t Type) Mask { return 1 << t }

// Has tells whether t is in the set.
func (m Mask) Has(t Type) bool { return m&bit(t) != 0 }

// String returns the names in the set, separated by blanks, as
// mdd.*.changelog_current_mask prints them. Bits without a name are left out.
func (m Mask) String() string { return m.Join(" ") }

// Join returns the names in the set separated by sep; changelog_users separates
// them by commas (ABI 10.3).
func (m Mask) Join(sep string) string {
	names := make([]string, 0, typeCount)
	for t := range typeCount {
		if m.Has(t) {
			names = append(names, typeNames[t])
		}
	}
	return strings.Join(names, sep)
}

// ParseMask reads a mask as lctl does (ABI 10.2): names separated by blanks or
// commas, in any case. An operator, + or -, before the first name makes the mask
// relative to base; otherwise the mask starts from [MaskMin]. An operator binds
// to its own name; a name without one adds. ALL stands for every type and
// DEFAULT, as the last word, for [MaskDefault]; both leave MARK when they are
// taken away, only -MARK removes it. An empty string is an error: it is more
// often a mistake than a wish.
//
// In one point it is kinder than lctl, where a bare DEFAULT drops the names
// before it: here it adds to them.
func ParseMask(s string, base Mask) (Mask, error) {
	op, name, rest := cutMaskWord(s)
	if op+name == "" {
		return 0, fmt.Errorf("mask %q names no record type; use names such as CREAT,UNLNK, or ALL, or DEFAULT", s)
	}
	m := MaskMin
	if op != "" {
		m = base
	}
	for op+name != "" {
		last := strings.TrimLeft(rest, maskSeparators) == ""
		if err := m.apply(op, name, last); err != nil {
			return 0, fmt.Errorf("mask %q: %w", s, err)
		}
		op, name, rest = cutMaskWord(rest)
	}
	return m, nil
}

const (
	maskBlanks     = " \t\n\v\f\r"
	maskSeparators = maskBlanks + ","
	maskOperators  = "+-"
)

// cutMaskWord returns the first name in s, the operator before it, and what
// follows. An operator may stand apart from its name ("+ CREAT") or touch the
// name before it ("CREAT-OPEN"). At the end of s all are empty.
func cutMaskWord(s string) (op, name, rest string) {
	s = strings.TrimLeft(s, maskSeparators)
	if strings.IndexAny(s, maskOperators) == 0 {
		op, s = s[:1], strings.TrimLeft(s[1:], maskBlanks)
	}
	if n := strings.IndexAny(s, maskSeparators+maskOperators); n >= 0 {
		return op, s[:n], s[n:]
	}
	return op, s, ""
}

// apply adds what name stands for, or takes it away if op is "-".
func (m *Mask) apply(op, name string, last bool) error {
	var types, kept Mask // kept stays when types go
	switch strings.ToUpper(name) {
	case "":
		return fmt.Errorf("%q has no name after it", op)
	case "ALL":
		types, kept = MaskAll, MaskMin
	case "DEFAULT":
		if !last {
			return fmt.Errorf("DEFAULT must be the last word")
		}
		types, kept = MaskDefault, MaskMin
	default:
		t, err := typeNamed(name)
		if err != nil {
			return err
		}
		types = bit(t)
	}
	if op == "-" {
		*m = *m&^types | kept
	} else {
		*m |= types
	}
	return nil
}

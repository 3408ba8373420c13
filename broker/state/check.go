package state

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxName is the longest name of a group, an MDT, a user or a file system, in bytes.
const MaxName = 255

// newID returns 128 random bits in hexadecimal.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// CheckName refuses what cannot be the name of a group, an MDT or a user: [ErrInvalid].
// what says which of them it is.
func CheckName(what, name string) error {
	switch {
	case name == "":
		return invalid("the %s has no name", what)
	case len(name) > MaxName:
		return invalid("the name of the %s has %d bytes, at most %d are allowed: %.40q...", what, len(name), MaxName, name)
	case strings.ContainsRune(name, 0) || !utf8.ValidString(name):
		return invalid("the name of the %s is not plain text: %q", what, name)
	}
	return nil
}

// checkText refuses what JSON would change.
func checkText(what, text string) error {
	if !utf8.ValidString(text) {
		return invalid("the %s is not UTF-8: %.40q", what, text)
	}
	return nil
}

func checkIdentity(id Identity) error {
	if err := CheckName("file system", id.FileSystem); err != nil {
		return err
	}
	return checkText("id", id.ID)
}

func checkGroup(g Group) error {
	if err := CheckName("group", g.Name); err != nil {
		return err
	}
	if g.Start != Latest && g.Start != Earliest {
		return invalid("group %s: start %q is neither %s nor %s", g.Name, g.Start, Latest, Earliest)
	}
	if _, known := distributionOf(g.Distribution.String()); !known {
		return invalid("group %s: unknown distribution %v", g.Name, g.Distribution)
	}
	for _, mdt := range g.MDTs {
		if err := CheckName("MDT", mdt); err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
	}
	if err := checkText("filter of group "+g.Name, g.Filter); err != nil {
		return err
	}
	return cmp.Or(checkText("chain of group "+g.Name, g.Chain), checkText("consumers of group "+g.Name, g.Consumers))
}

func checkRecent(r Recent) error {
	if len(r.Records) > MaxRecent {
		return invalid("MDT %s: %d recent records, at most %d are kept", r.MDT, len(r.Records), MaxRecent)
	}
	for i := 1; i < len(r.Records); i++ {
		if last, next := r.Records[i-1].Index, r.Records[i].Index; next <= last {
			return invalid("MDT %s: the recent records are not in ascending order: %d after %d", r.MDT, next, last)
		}
	}
	return nil
}

func checkTrack(t Track) error {
	for _, x := range t.Missed {
		if x.From >= x.To || x.Epoch > t.Epoch {
			return invalid("group %s, MDT %s: (%d,%d] of epoch %d cannot be missing in epoch %d", t.Group, t.MDT, x.From, x.To, x.Epoch, t.Epoch)
		}
	}
	return nil
}

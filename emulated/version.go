package emulated

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/lcapd/lcapd/changelog"
)

// Version is a release of Lustre, of client and server in one: 15 is 2.15. The zero
// Version stands for the newest.
type Version int

// The releases that differ to a reader of the device (ABI 13).
const (
	Version210 Version = 10 + iota
	Version211
	Version212
	Version213
	Version214
	Version215
	Version216
	Version217
	Version218

	// NewestVersion is what the zero Version stands for.
	NewestVersion = Version218
)

// ParseVersion reads 2.15 or 2.15.4.
func ParseVersion(s string) (Version, error) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) >= 2 && parts[0] == "2" {
		minor, err := strconv.Atoi(parts[1])
		if v := Version(minor); err == nil && v >= Version210 && v <= NewestVersion {
			return v, nil
		}
	}
	return 0, fmt.Errorf("release %q: name one from %s to %s", s, Version210, NewestVersion)
}

// String returns the release as 2.15.
func (v Version) String() string { return fmt.Sprintf("2.%d", int(v.orNewest())) }

// MarshalText implements [encoding.TextMarshaler].
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (v *Version) UnmarshalText(text []byte) (err error) {
	*v, err = ParseVersion(string(text))
	return err
}

func (v Version) orNewest() Version {
	if v == 0 {
		return NewestVersion
	}
	return v
}

// prefetchesFromOpen: opening for reading starts the prefetcher (ABI 8.2).
func (v Version) prefetchesFromOpen() bool { return v <= Version214 }

// hasSetFlags, hasFilter: the ioctls exist (ABI 8.7).
func (v Version) hasSetFlags() bool { return v >= Version213 }
func (v Version) hasFilter() bool   { return v >= Version218 }

// The bits of the set-flags ioctl that the kernel looks at.
const (
	flagFollow = 0x01
	flagNIDBE  = 0x10
)

// follows tells what the flags of a file mean: up to 2.15, any bit is FOLLOW.
func (v Version) follows(flags uint64) bool {
	if v <= Version215 {
		return flags != 0
	}
	return flags&flagFollow != 0
}

// generation is what the server trims records for (ABI 7.3).
func (v Version) generation(flags uint64) changelog.Generation {
	switch {
	case v <= Version210:
		return changelog.Generation27
	case v >= Version216 && flags&flagNIDBE != 0:
		return changelog.Generation216
	}
	return changelog.Generation211
}

// backwards is what a clear below the user's cursor is answered (ABI 9.2).
func (v Version) backwards() syscall.Errno {
	if v >= Version218 {
		return syscall.ENOENT
	}
	return syscall.EINVAL
}

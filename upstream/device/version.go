package device

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Version is a release of Lustre, such as 2.15. The zero Version stands for one that is
// not known.
type Version struct{ Major, Minor int }

// ParseVersion reads a version as Lustre writes it: 2.15, 2.15.4, 2.16.50_12_gabc.
func ParseVersion(s string) (Version, error) {
	var v Version
	major, rest, dotted := strings.Cut(strings.TrimSpace(s), ".")
	minor, _, _ := strings.Cut(rest, ".")
	minor, _, _ = strings.Cut(minor, "_")
	var errMajor, errMinor error
	v.Major, errMajor = strconv.Atoi(major)
	v.Minor, errMinor = strconv.Atoi(minor)
	if !dotted || errMajor != nil || errMinor != nil || v.Major < 1 || v.Minor < 0 {
		return Version{}, fmt.Errorf("%q is no version of Lustre, such as 2.15", s)
	}
	return v, nil
}

// String returns the version as it is parsed.
func (v Version) String() string {
	if v == (Version{}) {
		return "unknown"
	}
	return fmt.Sprintf("%d.%d", v.Major, v.Minor)
}

// atLeast tells whether v is known and not before 2.minor.
func (v Version) atLeast(minor int) bool {
	return v.Major > 2 || v.Major == 2 && v.Minor >= minor
}

// versionFile is where the kernel tells the version of the Lustre client that it runs.
const versionFile = "/sys/fs/lustre/version"

// RunningVersion returns the version of the Lustre client that runs on this machine.
func RunningVersion() (Version, error) {
	text, err := os.ReadFile(versionFile)
	if err != nil {
		return Version{}, fmt.Errorf("the version of Lustre: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(line, "lustre: ") // as older clients write it
		if v, err := ParseVersion(line); err == nil {
			return v, nil
		}
	}
	return Version{}, fmt.Errorf("%s holds no version of Lustre: %q", versionFile, text)
}

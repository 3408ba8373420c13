package watch

import (
	"fmt"
	"path"
	"strings"
)

// excludes are the patterns of what is left out of the changelog, with everything below
// it.
type excludes struct {
	names []string // match a name anywhere
	paths []string // match a path from the root of the tree
}

// parseExcludes checks patterns in the syntax of [path.Match]. One without a slash
// matches names at any depth; one with a slash a whole path from the root of the tree,
// where a star does not match a slash.
func parseExcludes(patterns []string) (excludes, error) {
	var x excludes
	for _, p := range patterns {
		clean := strings.Trim(p, "/")
		if _, err := path.Match(clean, ""); err != nil || clean == "" {
			return x, fmt.Errorf("exclude %q: it is no pattern such as *.tmp, or cache/* for what lies in one directory", p)
		}
		if strings.Contains(p, "/") {
			x.paths = append(x.paths, clean)
		} else {
			x.names = append(x.names, clean)
		}
	}
	return x, nil
}

// has tells whether a name in a directory is left out.
func (x *excludes) has(d *dir, name string) bool {
	for _, p := range x.names {
		if ok, _ := path.Match(p, name); ok { // patterns were checked
			return true
		}
	}
	if len(x.paths) == 0 {
		return false
	}
	whole := path.Join(d.path(), name)
	for _, p := range x.paths {
		if ok, _ := path.Match(p, whole); ok {
			return true
		}
	}
	return false
}

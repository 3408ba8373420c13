package arch

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

// The table of owners in README.md is the one under this heading whose header names this column.
const (
	ownerHeading = "## Who owns what"
	ownerColumn  = "started in"
)

// startedIn is one entry of that column, in backticks: `llog/appender.go: (*Appender).run`. A cell may
// hold several.
var startedIn = regexp.MustCompile("`([^` :]+\\.go): ([^` ]+)`")

// An owner is a function that README.md says starts a goroutine.
type owner struct {
	file, function string
}

// String returns the owner as the table writes it.
func (o owner) String() string { return o.file + ": " + o.function }

// checkGoroutines reports the go statements outside tests that the readme's table of owners does not
// list, and the rows of the table that no go statement stands behind.
func checkGoroutines(h *house, readme string) []violation {
	rows, found := parseOwners(readme)
	used := map[owner]bool{}
	for _, f := range h.files {
		if f.test {
			continue
		}
		for _, decl := range f.syntax.Decls {
			by := owner{f.path, "a package variable"} // has spaces, so the table cannot name it
			if function, ok := decl.(*ast.FuncDecl); ok {
				by.function = funcName(function)
			}
			for _, start := range goStarts(f, decl) {
				used[by] = true
				if rows[by] == 0 {
					found = append(found, f.violation(start.Pos(), "starts a goroutine that the table does not list: `%s`", by))
				}
			}
		}
	}
	for by, line := range rows {
		if !used[by] {
			found = append(found, violation{"README.md", line, fmt.Sprintf("no goroutine starts in %s any more: remove the row", by)})
		}
	}
	return found
}

// parseOwners returns the owners of the readme's table with their lines, and the rows that name none.
// Without the heading or the table there are no owners.
func parseOwners(readme string) (map[owner]int, []violation) {
	rows := map[owner]int{}
	var bad []violation
	inSection, column := false, -1
	for i, line := range strings.Split(readme, "\n") {
		cells := strings.Split(line, "|")
		switch {
		case strings.HasPrefix(line, "## ") || strings.HasPrefix(line, "# "):
			inSection, column = strings.TrimSpace(line) == ownerHeading, -1
		case !inSection:
		case !strings.HasPrefix(line, "|"): // a table has ended
			column = -1
		case column < 0:
			column = columnOf(cells, ownerColumn)
		case strings.Trim(line, "|-: ") == "": // the rule below the header
		case column >= len(cells) || !startedIn.MatchString(cells[column]):
			bad = append(bad, violation{"README.md", i + 1, "the row does not say where the goroutine starts, as `path/file.go: Function`"})
		default:
			for _, entry := range startedIn.FindAllStringSubmatch(cells[column], -1) {
				rows[owner{entry[1], entry[2]}] = i + 1
			}
		}
	}
	return rows, bad
}

// columnOf returns the index of the cell with the given text, -1 if there is none.
func columnOf(cells []string, text string) int {
	for i, cell := range cells {
		if strings.EqualFold(strings.TrimSpace(cell), text) {
			return i
		}
	}
	return -1
}

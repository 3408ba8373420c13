package arch

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// anything is the row of a room that may import every other one.
const anything = "*"

// checkImports reports imports between our packages that the table does not allow. The table maps a
// room to the rooms that it may import. A package belongs to the nearest row at or above its folder;
// packages of one row may import each other.
func checkImports(h *house, table map[string][]string) []violation {
	var found []violation
	for _, r := range h.rooms {
		if rowOf(table, r.folder) == "" {
			found = append(found, violation{r.folder, 0, "this package is in no row of the import table"})
		}
	}
	for _, f := range h.files {
		from := rowOf(table, f.folder())
		if f.test || from == "" {
			continue
		}
		for _, spec := range f.syntax.Imports {
			folder := h.folderOf(imported(spec.Path.Value))
			to := rowOf(table, folder)
			allowed := table[from]
			if to == "" || to == from || slices.Contains(allowed, to) || slices.Contains(allowed, anything) {
				continue
			}
			found = append(found, f.violation(spec.Pos(), "%s imports %s", from, folder))
		}
	}
	return found
}

// rowOf returns the nearest row at or above the folder, "" if there is none.
func rowOf(table map[string][]string, folder string) string {
	for ; folder != "." && folder != ""; folder = path.Dir(folder) {
		if _, ok := table[folder]; ok {
			return folder
		}
	}
	return ""
}

// checkOnlyImporter reports imports of a third-party package anywhere but in one room, tests included.
func checkOnlyImporter(h *house, importPath, home string) []violation {
	var found []violation
	for _, f := range h.files {
		for _, spec := range f.syntax.Imports {
			if within(imported(spec.Path.Value), importPath) && !within(f.folder(), home) {
				found = append(found, f.violation(spec.Pos(), "imports %s", imported(spec.Path.Value)))
			}
		}
	}
	return found
}

// checkModules compares the third-party modules linked into our commands with the list in file: one a
// line, followed by "# " and the reason.
func checkModules(linked []string, file, list string) []violation {
	var found []violation
	listed := map[string]bool{}
	for i, line := range strings.Split(list, "\n") {
		module, reason, _ := strings.Cut(line, "#")
		module = strings.TrimSpace(module)
		if module == "" { // an empty line or a comment
			continue
		}
		if strings.TrimSpace(reason) == "" {
			found = append(found, violation{file, i + 1, module + " has no reason"})
		}
		if !slices.Contains(linked, module) {
			found = append(found, violation{file, i + 1, module + " is linked no more: remove the line"})
		}
		listed[module] = true
	}
	for _, module := range linked {
		if !listed[module] {
			found = append(found, violation{file, 0, fmt.Sprintf("add the line \"%s # why it is here\"", module)})
		}
	}
	return found
}

// imported returns the path that an import's string literal means.
func imported(literal string) string {
	p, _ := strconv.Unquote(literal) // the parser has checked it
	return p
}

// within tells whether the slash-separated path p is root or lies below it.
func within(p, root string) bool {
	return p == root || strings.HasPrefix(p, root+"/")
}

package arch

import (
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"slices"
)

// checkLength reports the functions outside tests, literals included, with more than most lines.
func checkLength(h *house, most int) []violation {
	var found []violation
	for _, f := range h.files {
		if f.test {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			name := "a function literal"
			switch n := n.(type) {
			case *ast.FuncDecl:
				name = funcName(n)
			case *ast.FuncLit:
			default:
				return true
			}
			first := f.fset.PositionFor(n.Pos(), false).Line
			last := f.fset.PositionFor(n.End(), false).Line
			if lines := last - first + 1; lines > most {
				found = append(found, f.violation(n.Pos(), "%s has %d lines", name, lines))
			}
			return true
		})
	}
	return found
}

// marker finds the words that put work off.
var marker = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

// checkMarkers reports to-do markers in comments.
func checkMarkers(h *house) []violation {
	var found []violation
	for _, f := range h.files {
		for _, group := range f.syntax.Comments {
			for _, comment := range group.List {
				for _, at := range marker.FindAllStringIndex(comment.Text, -1) {
					pos := comment.Pos() + token.Pos(at[0])
					found = append(found, f.violation(pos, "%s", comment.Text[at[0]:at[1]]))
				}
			}
		}
	}
	return found
}

// checkSleep reports the uses of time.Sleep outside tests.
func checkSleep(h *house) []violation {
	var found []violation
	for _, f := range h.files {
		for _, use := range uses(f, f.syntax) {
			if function, ok := use.obj.(*types.Func); ok && !f.test && function.FullName() == "time.Sleep" {
				found = append(found, f.violation(use.ident.Pos(), "uses time.Sleep"))
			}
		}
	}
	return found
}

// checkInit reports the init functions outside tests.
func checkInit(h *house) []violation {
	var found []violation
	for _, f := range h.files {
		for _, decl := range f.syntax.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && !f.test && funcName(d) == "init" {
				found = append(found, f.violation(d.Pos(), "declares init"))
			}
		}
	}
	return found
}

// checkSeen reports the Go files that the go tool leaves out here, so that no rule looks at them.
func checkSeen(h *house, table []exception) []violation {
	var found []violation
	for _, name := range h.present {
		if !slices.ContainsFunc(h.files, func(f sourceFile) bool { return f.path == name }) {
			found = append(found, violation{name, 0, "is not built here, so no rule sees it"})
		}
	}
	return excuse(found, table)
}

package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// checkPackageDocs reports the packages that do not have exactly one package comment, in a file that
// is not a test, which begins "Package name" or, for a command, "Command name".
func checkPackageDocs(h *house) []violation {
	var found []violation
	for _, r := range h.rooms {
		start := "Package " + r.name
		if r.name == "main" {
			start = "Command " + path.Base(r.folder)
		}
		files := commented(h, r)
		if len(files) == 0 {
			found = append(found, violation{r.folder, 0, fmt.Sprintf("package %s has no package comment", r.name)})
		}
		for i, f := range files {
			words := strings.Fields(f.syntax.Doc.Text())
			switch {
			case i > 0:
				found = append(found, f.violation(f.syntax.Package, "a second package comment, the first is in %s", files[0].path))
			case strings.Join(words[:min(2, len(words))], " ") != start:
				found = append(found, f.violation(f.syntax.Package, "the package comment does not begin %q", start))
			}
		}
	}
	return found
}

// commented lists the files of a room, tests aside, that have a package comment.
func commented(h *house, r room) []sourceFile {
	var files []sourceFile
	for _, f := range h.files {
		if !f.test && f.folder() == r.folder && f.syntax.Doc.Text() != "" {
			files = append(files, f)
		}
	}
	return files
}

// checkDocs reports the exported identifiers without a doc comment, tests and commands aside.
func checkDocs(h *house) []violation {
	var found []violation
	for _, f := range h.files {
		if f.test || f.syntax.Name.Name == "main" {
			continue
		}
		for _, decl := range f.syntax.Decls {
			for _, name := range undocumented(decl) {
				found = append(found, f.violation(name.Pos(), "%s has no doc comment", name.Name))
			}
		}
	}
	return found
}

// undocumented lists the exported names that a declaration leaves without a doc comment.
func undocumented(decl ast.Decl) []*ast.Ident {
	var names []*ast.Ident
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Doc.Text() == "" && ofExportedType(d) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			names = append(names, undocumentedIn(d, spec)...)
		}
	}
	return slices.DeleteFunc(names, func(name *ast.Ident) bool { return !name.IsExported() })
}

// ofExportedType tells whether d is a function, or a method whose type is exported.
func ofExportedType(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	name, _ := receiver(d)
	return ast.IsExported(name)
}

// undocumentedIn lists the names that one spec of the group d leaves without a doc comment. A comment
// on the group is enough for constants and variables, and for a type that stands alone.
func undocumentedIn(d *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	group := d.Doc.Text() != ""
	switch s := spec.(type) {
	case *ast.TypeSpec:
		alone := d.Lparen == token.NoPos
		if s.Doc.Text() == "" && !(group && alone) {
			return []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if s.Doc.Text() == "" && !group {
			return s.Names
		}
	}
	return nil
}

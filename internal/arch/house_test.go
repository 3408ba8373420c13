package arch

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// A house is one Go module, loaded and type-checked: what the rules look at.
type house struct {
	module  string       // its import path
	rooms   []room       // every package, by folder
	files   []sourceFile // every Go file that was loaded, tests included, by path
	present []string     // every Go file that is there, loaded or not
}

// A room is one package of the house.
type room struct {
	folder string // relative to the module, with slashes: upstream/sourcetest
	name   string // as the package clause says
}

// A sourceFile is one Go file with the types of what it says.
type sourceFile struct {
	path   string // relative to the module, with slashes: llog/append.go
	test   bool
	syntax *ast.File
	info   *types.Info
	fset   *token.FileSet
}

// folder is the folder of the file's package: llog for llog/append.go.
func (f sourceFile) folder() string { return path.Dir(f.path) }

// violation reports that the code at pos breaks a rule.
func (f sourceFile) violation(pos token.Pos, format string, args ...any) violation {
	line := f.fset.PositionFor(pos, false).Line
	return violation{f.path, line, fmt.Sprintf(format, args...)}
}

// A violation is one place where a rule is broken.
type violation struct {
	file string // relative to the module; a folder when a whole package is meant
	line int    // 0 when no line is meant
	what string
}

// String returns the violation as file:line: what.
func (v violation) String() string {
	if v.line == 0 {
		return fmt.Sprintf("%s: %s", v.file, v.what)
	}
	return fmt.Sprintf("%s:%d: %s", v.file, v.line, v.what)
}

// tidy puts violations in order, and keeps one of several that read the same.
func tidy(found []violation) []violation {
	slices.SortFunc(found, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.what, b.what))
	})
	return slices.Compact(found)
}

// loadHouse loads the module whose root is dir.
func loadHouse(dir string) (*house, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{
		Dir:   dir,
		Tests: true,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedTypes | packages.NeedTypesInfo | packages.NeedSyntax | packages.NeedModule | packages.NeedForTest,
	}, "./...")
	if err != nil {
		return nil, err
	}
	h := &house{}
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			return nil, fmt.Errorf("%s does not build: %w", p.ID, p.Errors[0])
		}
		h.addRoom(p)
		h.addFiles(p, dir)
	}
	if len(h.rooms) == 0 {
		return nil, fmt.Errorf("no Go package under %s", dir)
	}
	slices.SortFunc(h.rooms, func(a, b room) int { return cmp.Compare(a.folder, b.folder) })
	slices.SortFunc(h.files, func(a, b sourceFile) int { return cmp.Compare(a.path, b.path) })
	// The test variant of a package brings the files of the package again.
	h.files = slices.CompactFunc(h.files, func(a, b sourceFile) bool { return a.path == b.path })
	h.present, err = goFiles(dir)
	return h, err
}

// addRoom notes the package p, unless it is only a variant of one, made for its tests.
func (h *house) addRoom(p *packages.Package) {
	if p.ForTest != "" || strings.HasSuffix(p.ID, ".test") {
		return
	}
	h.module = p.Module.Path
	h.rooms = append(h.rooms, room{h.folderOf(p.PkgPath), p.Name})
}

// addFiles adds the files of p below dir, which leaves out the test mains that go itself generates.
func (h *house) addFiles(p *packages.Package, dir string) {
	for _, syntax := range p.Syntax {
		name := p.Fset.PositionFor(syntax.FileStart, false).Filename
		rel, err := filepath.Rel(dir, name)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		test := strings.HasSuffix(rel, "_test.go")
		h.files = append(h.files, sourceFile{filepath.ToSlash(rel), test, syntax, p.TypesInfo, p.Fset})
	}
}

// folderOf returns the folder of one of our packages, "." for the root, and "" for any other package.
func (h *house) folderOf(importPath string) string {
	if importPath == h.module {
		return "."
	}
	if folder, ours := strings.CutPrefix(importPath, h.module+"/"); ours {
		return folder
	}
	return ""
}

// goFiles lists the Go files under dir, except those that the go tool never builds. Reading every
// folder also tells go test what this test depends on: without it, a cached result would outlive a new file.
func goFiles(dir string) ([]string, error) {
	var found []string
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		base := path.Base(name)
		ignored := name != "." && (base[0] == '.' || base[0] == '_')
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (ignored || base == "testdata" || name == otherModule):
			return fs.SkipDir
		case !entry.IsDir() && !ignored && path.Ext(name) == ".go":
			found = append(found, name)
		}
		return nil
	})
	return found, err
}

// otherModule is the one folder that is a module of its own, so that its dependencies stay out of
// ours: programs that use lcapd as anybody would, by its public packages. These rules are not theirs.
const otherModule = "examples"

// linkedModules returns the third-party modules linked into the commands of the module at dir.
func linkedModules(dir, module string) ([]string, error) {
	loaded, err := packages.Load(&packages.Config{
		Dir:  dir,
		Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps | packages.NeedModule,
	}, module+"/cmd/...") // as an import path: ./cmd/... is an error while there is no such folder
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	var broken []error
	for p := range packages.Postorder(loaded) {
		for _, e := range p.Errors {
			broken = append(broken, e)
		}
		if p.Module != nil && p.Module.Path != module { // the standard library has no module
			found[p.Module.Path] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), errors.Join(broken...)
}

package arch

import (
	"go/ast"
	"go/types"
	"slices"
)

// clocks are the functions and types that read or wait for the time, by package.
var clocks = map[string][]string{
	"time":    {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "Timer", "Ticker", "NewTimer", "NewTicker"},
	"context": {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"},
}

// outside are the packages, with everything below them, that reach out of the process, and inside the
// ones below them that do not.
var (
	outside = []string{"net", "os", "syscall", "golang.org/x/sys", "io/ioutil"}
	inside  = []string{"net/netip"}
)

// checkPure reports goroutines, channels, clocks and imports of the outside in the non-test files of the rooms and those below
// them, except for some.
func checkPure(h *house, rooms, except []string) []violation {
	var found []violation
	for _, f := range h.files {
		isIn := func(room string) bool { return within(f.folder(), room) }
		if f.test || !slices.ContainsFunc(rooms, isIn) || slices.ContainsFunc(except, isIn) {
			continue
		}
		found = append(found, outsideImports(f)...)
		found = append(found, clockUses(f)...)
		found = append(found, channels(f)...)
		for _, start := range goStarts(f, f.syntax) {
			found = append(found, f.violation(start.Pos(), "starts a goroutine"))
		}
	}
	return found
}

// outsideImports reports the imports of f that reach out of the process.
func outsideImports(f sourceFile) []violation {
	var found []violation
	for _, spec := range f.syntax.Imports {
		importPath := imported(spec.Path.Value)
		isBelow := func(root string) bool { return within(importPath, root) }
		if slices.ContainsFunc(outside, isBelow) && !slices.ContainsFunc(inside, isBelow) {
			found = append(found, f.violation(spec.Pos(), "imports %s", importPath))
		}
	}
	return found
}

// clockUses reports where f reads the time or waits for it.
func clockUses(f sourceFile) []violation {
	var found []violation
	for _, use := range uses(f, f.syntax) {
		if slices.Contains(clocks[use.pkg()], topLevel(use.obj)) && !isField(use.obj) {
			found = append(found, f.violation(use.ident.Pos(), "uses %s.%s", use.pkg(), topLevel(use.obj)))
		}
	}
	return found
}

// channels reports the lines of f that hold an expression or a type that is a channel.
func channels(f sourceFile) []violation {
	var found []violation
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && isChannel(f.info.TypeOf(e)) {
			found = append(found, f.violation(e.Pos(), "uses a channel"))
		}
		return true
	})
	return found
}

// starters are the functions, go statements aside, that start a goroutine for their caller.
var starters = []string{
	"(*sync.WaitGroup).Go",
	"(*golang.org/x/sync/errgroup.Group).Go",
	"(*golang.org/x/sync/errgroup.Group).TryGo",
	"time.AfterFunc",
	"context.AfterFunc",
}

// goStarts lists the places below n where a goroutine starts.
func goStarts(f sourceFile, n ast.Node) []ast.Node {
	var found []ast.Node
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, n)
		case *ast.Ident:
			if callee, ok := f.info.Uses[n].(*types.Func); ok && slices.Contains(starters, callee.FullName()) {
				found = append(found, n)
			}
		}
		return true
	})
	return found
}

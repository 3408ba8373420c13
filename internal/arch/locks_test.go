package arch

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
)

// lockFree are the names of package sync that guard no state: they start, stop, do once, recycle.
var lockFree = []string{"Once", "OnceFunc", "OnceValue", "OnceValues", "Pool", "WaitGroup"}

// checkLocks reports every use of a lock: the names of package sync that are not lockFree, and all of
// golang.org/x/sync but errgroup (a weighted semaphore is a lock too).
func checkLocks(h *house) []violation {
	var found []violation
	for _, f := range h.files {
		for _, use := range uses(f, f.syntax) {
			name := topLevel(use.obj)
			lock := use.pkg() == "sync" && !slices.Contains(lockFree, name) ||
				within(use.pkg(), "golang.org/x/sync") && use.pkg() != "golang.org/x/sync/errgroup"
			if lock && !isField(use.obj) {
				found = append(found, f.violation(use.ident.Pos(), "uses %s.%s", use.obj.Pkg().Name(), name))
			}
		}
	}
	return found
}

// checkAtomics reports every use of sync/atomic outside the files that the table excuses.
func checkAtomics(h *house, table []exception) []violation {
	var found []violation
	for _, f := range h.files {
		for _, use := range uses(f, f.syntax) {
			if use.pkg() == "sync/atomic" {
				found = append(found, f.violation(use.ident.Pos(), "uses atomic.%s", topLevel(use.obj)))
			}
		}
	}
	return excuse(found, table)
}

// checkTokens reports every make(chan struct{}, 1) outside the files that the table excuses: who sends
// first and receives later holds a mutex.
func checkTokens(h *house, table []exception) []violation {
	var found []violation
	for _, f := range h.files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && makesToken(f.info, call) {
				found = append(found, f.violation(call.Pos(), "makes a channel that can serve as a mutex"))
			}
			return true
		})
	}
	return excuse(found, table)
}

// makesToken tells whether the call is make(chan struct{}, 1), whatever the names of type and constant.
func makesToken(info *types.Info, call *ast.CallExpr) bool {
	function, ok := ast.Unparen(call.Fun).(*ast.Ident)
	if !ok || info.Uses[function] != types.Universe.Lookup("make") || len(call.Args) != 2 {
		return false
	}
	channel, ok := info.TypeOf(call).Underlying().(*types.Chan)
	if !ok {
		return false
	}
	element, ok := channel.Elem().Underlying().(*types.Struct)
	size := info.Types[call.Args[1]].Value // nil when it is not a constant
	return ok && element.NumFields() == 0 && size != nil && constant.Compare(size, token.EQL, constant.MakeInt64(1))
}

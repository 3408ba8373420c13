package arch

import (
	"go/ast"
	"go/types"
)

// A use is one identifier together with what it refers to.
type use struct {
	ident *ast.Ident
	obj   types.Object
}

// pkg returns the import path of the package that declares what is used.
func (u use) pkg() string { return u.obj.Pkg().Path() }

// uses lists, in order, what the identifiers below n refer to, builtins aside.
func uses(f sourceFile, n ast.Node) []use {
	var all []use
	ast.Inspect(n, func(n ast.Node) bool {
		if ident, ok := n.(*ast.Ident); ok {
			if obj := f.info.Uses[ident]; obj != nil && obj.Pkg() != nil {
				all = append(all, use{ident, obj})
			}
		}
		return true
	})
	return all
}

// topLevel returns the name in package scope that obj belongs to: the type of a method, else obj's own.
func topLevel(obj types.Object) string {
	if method, ok := obj.(*types.Func); ok && method.Signature().Recv() != nil {
		receiver := method.Signature().Recv().Type()
		if pointer, ok := receiver.(*types.Pointer); ok {
			receiver = pointer.Elem()
		}
		if named, ok := receiver.(*types.Named); ok {
			return named.Obj().Name()
		}
	}
	return obj.Name()
}

// isField tells whether obj is a field of a struct.
func isField(obj types.Object) bool {
	v, ok := obj.(*types.Var)
	return ok && v.IsField()
}

// isChannel tells whether a value of type t is a channel.
func isChannel(t types.Type) bool {
	if t == nil {
		return false
	}
	_, ok := t.Underlying().(*types.Chan)
	return ok
}

// funcName names a declared function the way the table in README.md does: Open, T.Method, (*T).Method.
func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	name, pointer := receiver(d)
	if pointer {
		name = "(*" + name + ")"
	}
	return name + "." + d.Name.Name
}

// receiver returns the name of a method's type, without type parameters, and whether it is a pointer.
func receiver(d *ast.FuncDecl) (name string, pointer bool) {
	t := ast.Unparen(d.Recv.List[0].Type)
	if star, ok := t.(*ast.StarExpr); ok {
		t, pointer = ast.Unparen(star.X), true
	}
	switch generic := t.(type) {
	case *ast.IndexExpr:
		t = generic.X
	case *ast.IndexListExpr:
		t = generic.X
	}
	return t.(*ast.Ident).Name, pointer
}

package config

// The whole package has no comment; of the names, those with Bad have none.

type BadType struct{}

func BadFunc() {}

func (BadType) BadMethod() {}

//go:noinline
func BadDirective() {}

var BadVar, bad = 1, 2

const (
	BadConst = 1
	// GoodConst has one.
	GoodConst = 2
)

// A comment on a group of types is not enough.
type (
	BadGrouped struct{}
	// GoodGrouped has one.
	GoodGrouped struct{}
)

// A comment on a group of constants is enough.
const (
	First = iota
	Second
)

// Good has one.
type Good struct{ Field int }

// Method has one.
func (*Good) Method() {}

type hidden struct{}

func (hidden) Method() {}
func help()            {}

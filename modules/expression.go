package modules

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"

	"github.com/lcapd/lcapd/changelog"
)

// The largest expression: bytes of its text, nodes of its tree, steps of all its patterns, and of those in a chain from
// a connection. An evaluation visits each node once at most, and takes each step of a pattern once at most for each
// byte of a text, which has up to 255.
const (
	maxExpression   = 4096
	maxNodes        = 512
	maxSteps        = 10000
	connectionSteps = 500
)

// test tells whether something is true of a record.
type test func(r changelog.Record) bool

// The values of an expression: what its node yields for a record. A field that is an identifier of some sort (a type, a
// FID, a NID, a time) has a sort of its own, so that it can be compared with nothing but such constants.
type (
	numberOf func(r changelog.Record) int64
	textOf   func(r changelog.Record) []byte
	typeOf   func(r changelog.Record) changelog.Type
	fidOf    func(r changelog.Record) changelog.FID
	nidOf    func(r changelog.Record) (changelog.NID, bool)
	timeOf   func(r changelog.Record) changelog.Time
)

// compileExpression parses and checks an expression over the fields of a record, whose patterns take so many steps
// at most. An error names the place in it.
func compileExpression(text string, steps int) (test, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("the expression has %d bytes, at most %d are allowed", len(text), maxExpression)
	}
	tree, err := checker.ParseCheck(text, grammar())
	if err != nil {
		return nil, place(err)
	}
	t, err := truth(tree.Node)
	if err == nil {
		err = checkPatterns(&tree.Node, steps)
	}
	if at := new(file.Error); errors.As(err, &at) {
		return nil, place(at.Bind(tree.Source))
	}
	return t, err
}

// checkPatterns refuses patterns whose search would take too long.
func checkPatterns(root *ast.Node, steps int) error {
	p := patterns{left: steps}
	ast.Walk(root, &p)
	return p.err
}

// patterns counts down the steps that the patterns of an expression may take.
type patterns struct {
	left int
	err  error
}

// Visit implements [ast.Visitor].
func (p *patterns) Visit(node *ast.Node) {
	pattern, text := patternOf(*node)
	if text == nil || p.err != nil {
		return
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err == nil {
		var program *syntax.Prog
		if program, err = syntax.Compile(parsed.Simplify()); err == nil {
			p.left -= len(program.Inst)
		}
	}
	if err != nil || p.left < 0 {
		p.err = wrong(text, "up to this pattern the search takes too many steps; repeat less in it, or have fewer patterns")
	}
}

// patternOf returns the pattern that a node searches for, as a regular expression, and where it is; nil for none.
func patternOf(n ast.Node) (string, ast.Node) {
	switch n := n.(type) {
	case *ast.BinaryNode:
		if text, ok := n.Right.(*ast.StringNode); ok && n.Operator == "matches" {
			return text.Value, text
		}
	case *ast.CallNode:
		if name, ok := n.Callee.(*ast.IdentifierNode); !ok || name.Value != "glob" {
			return "", nil
		}
		if text, ok := n.Arguments[1].(*ast.StringNode); ok {
			return globExpression(text.Value), text
		}
	}
	return "", nil
}

// grammar tells the parser which names there are, and what they are.
func grammar() *conf.Config {
	environment := map[string]any{}
	for name, field := range fields {
		environment[name] = field.like
	}
	options := []expr.Option{expr.Env(environment), expr.AsBool(), expr.DisableAllBuiltins(), expr.MaxNodes(maxNodes)}
	for name, f := range functions {
		options = append(options, expr.Function(name, nil, f.like))
	}
	c := conf.CreateNew()
	for _, option := range options {
		option(c)
	}
	for name := range c.Disabled {
		delete(c.Builtins, name)
	}
	c.Check()
	return c
}

// place makes a line of an error that has a picture of its place.
func place(err error) error {
	at := new(file.Error)
	if !errors.As(err, &at) || at.Snippet == "" {
		return err
	}
	source, _, _ := strings.Cut(strings.TrimPrefix(at.Snippet, "\n | "), "\n")
	where := "the end"
	if runes := []rune(source); at.Column < len(runes) {
		where = strconv.Quote(string(runes[at.Column:min(len(runes), at.Column+30)]))
	}
	return fmt.Errorf("%s, in line %d, column %d, at %s", at.Message, at.Line, at.Column+1, where)
}

// wrong is an error at a node.
func wrong(n ast.Node, format string, args ...any) error {
	return &file.Error{Location: n.Location(), Message: fmt.Sprintf(format, args...)}
}

// truth compiles a node that is true or false.
func truth(n ast.Node) (test, error) {
	switch n := n.(type) {
	case *ast.BoolNode:
		return func(changelog.Record) bool { return n.Value }, nil
	case *ast.IdentifierNode:
		if t, ok := fields[n.Value].value.(test); ok {
			return t, nil
		}
	case *ast.UnaryNode:
		t, err := truth(n.Node)
		if err != nil || n.Operator != "not" && n.Operator != "!" {
			return nil, errors.Join(err, unsupported(n, err))
		}
		return func(r changelog.Record) bool { return !t(r) }, nil
	case *ast.BinaryNode:
		return binary(n)
	case *ast.CallNode:
		if name, ok := n.Callee.(*ast.IdentifierNode); ok && functions[name.Value].compile != nil {
			return functions[name.Value].compile(n)
		}
	}
	return nil, unsupported(n, nil)
}

// unsupported refuses what the parser knows and a filter does not, unless there is an error already.
func unsupported(n ast.Node, already error) error {
	if already != nil {
		return nil
	}
	return wrong(n, "%s cannot be used here; a filter compares fields with constants: ==, !=, <, <=, >, >=, in, contains, startsWith, endsWith, matches, and the functions %s; not, and, or join comparisons",
		nodeName(n), functionNames)
}

// nodeName names a node in an error.
func nodeName(n ast.Node) string {
	switch n := n.(type) {
	case *ast.BinaryNode:
		return fmt.Sprintf("%q", n.Operator)
	case *ast.UnaryNode:
		return fmt.Sprintf("%q", n.Operator)
	case *ast.IdentifierNode:
		return fmt.Sprintf("%q", n.Value)
	}
	return "a " + strings.ToLower(strings.TrimSuffix(reflect.TypeOf(n).Elem().Name(), "Node"))
}

// binary compiles an operator.
func binary(n *ast.BinaryNode) (test, error) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		return joined(n)
	case "==", "!=", "<", "<=", ">", ">=":
		return comparison(n)
	case "in":
		return membership(n)
	case "contains", "startsWith", "endsWith", "matches":
		return search(n)
	}
	return nil, unsupported(n, nil)
}

// joined compiles and, or.
func joined(n *ast.BinaryNode) (test, error) {
	a, err := truth(n.Left)
	if err != nil {
		return nil, err
	}
	b, err := truth(n.Right)
	if err != nil {
		return nil, err
	}
	if n.Operator == "and" || n.Operator == "&&" {
		return func(r changelog.Record) bool { return a(r) && b(r) }, nil
	}
	return func(r changelog.Record) bool { return a(r) || b(r) }, nil
}

// mirrored are the operators that say the same with the operands swapped.
var mirrored = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// comparison compiles a comparison of a field with a constant, or of two fields.
func comparison(n *ast.BinaryNode) (test, error) {
	field, other, operator := n.Left, n.Right, n.Operator
	if _, ok := field.(*ast.IdentifierNode); !ok {
		field, other, operator = n.Right, n.Left, mirrored[n.Operator]
	}
	name, ok := field.(*ast.IdentifierNode)
	if !ok {
		return nil, wrong(n, "neither side of %q is a field", n.Operator)
	}
	switch value := fields[name.Value].value.(type) {
	case numberOf:
		return compareNumbers(n, value, operator, other)
	case timeOf:
		return compareTimes(n, value, operator, other)
	default:
		if operator != "==" && operator != "!=" {
			return nil, wrong(n, "%s is compared with == and != only", name.Value)
		}
		equal, err := equality(name.Value, value, other)
		if err != nil || operator == "==" {
			return equal, err
		}
		return func(r changelog.Record) bool { return !equal(r) }, nil
	}
}

// equality compiles field == other, where the field is no number and no time.
func equality(name string, value any, other ast.Node) (test, error) {
	if second, ok := other.(*ast.IdentifierNode); ok {
		return sameFields(name, value, second)
	}
	switch value := value.(type) {
	case test:
		c, ok := other.(*ast.BoolNode)
		if !ok {
			return nil, wrong(other, "%s is compared with true or false only", name)
		}
		return func(r changelog.Record) bool { return value(r) == c.Value }, nil
	case textOf:
		c, ok := other.(*ast.StringNode)
		if !ok {
			return nil, wrong(other, "%s is compared with a text only", name)
		}
		return func(r changelog.Record) bool { return string(value(r)) == c.Value }, nil
	default:
		return oneOf(name, value, []ast.Node{other})
	}
}

// sameFields compiles the comparison of two fields of the same sort.
func sameFields(name string, value any, second *ast.IdentifierNode) (test, error) {
	switch a := value.(type) {
	case textOf:
		if b, ok := fields[second.Value].value.(textOf); ok {
			return func(r changelog.Record) bool { return string(a(r)) == string(b(r)) }, nil
		}
	case fidOf:
		if b, ok := fields[second.Value].value.(fidOf); ok {
			return func(r changelog.Record) bool { return a(r) == b(r) }, nil
		}
	}
	return nil, wrong(second, "%s and %s are not to be compared", name, second.Value)
}

// compareNumbers compiles the comparison of a number.
func compareNumbers(n *ast.BinaryNode, value numberOf, operator string, other ast.Node) (test, error) {
	if second, ok := other.(*ast.IdentifierNode); ok {
		if b, ok := fields[second.Value].value.(numberOf); ok {
			return ordered(n, operator, func(r changelog.Record) int { return compare(value(r), b(r)) })
		}
	}
	c, err := constant(other)
	if err != nil {
		return nil, err
	}
	if operator == "==" {
		return func(r changelog.Record) bool { return value(r) == c }, nil
	}
	return ordered(n, operator, func(r changelog.Record) int { return compare(value(r), c) })
}

// compareTimes compiles the comparison of a time with a constant.
func compareTimes(n *ast.BinaryNode, value timeOf, operator string, other ast.Node) (test, error) {
	s, ok := other.(*ast.StringNode)
	if !ok {
		return nil, wrong(other, "a time is compared with a constant such as \"2026-09-21T14:13:20Z\" only")
	}
	at, err := time.Parse(time.RFC3339Nano, s.Value)
	if err != nil {
		return nil, wrong(other, "%q is not a time such as 2026-09-21T14:13:20Z", s.Value)
	}
	c := changelog.TimeOf(at)
	return ordered(n, operator, func(r changelog.Record) int { return compare(value(r), c) })
}

// compare returns -1, 0 or 1.
func compare[T int64 | changelog.Time](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// ordered compiles an operator over a comparison.
func ordered(n *ast.BinaryNode, operator string, c func(changelog.Record) int) (test, error) {
	switch operator {
	case "==":
		return func(r changelog.Record) bool { return c(r) == 0 }, nil
	case "!=":
		return func(r changelog.Record) bool { return c(r) != 0 }, nil
	case "<":
		return func(r changelog.Record) bool { return c(r) < 0 }, nil
	case "<=":
		return func(r changelog.Record) bool { return c(r) <= 0 }, nil
	case ">":
		return func(r changelog.Record) bool { return c(r) > 0 }, nil
	case ">=":
		return func(r changelog.Record) bool { return c(r) >= 0 }, nil
	}
	return nil, unsupported(n, nil)
}

// constant returns a whole number.
func constant(n ast.Node) (int64, error) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		return int64(n.Value), nil
	case *ast.UnaryNode:
		if c, ok := n.Node.(*ast.IntegerNode); ok && n.Operator == "-" {
			return -int64(c.Value), nil
		}
	}
	return 0, wrong(n, "a number is compared with a whole number only")
}

// membership compiles field in [constants], and field in 1..9.
func membership(n *ast.BinaryNode) (test, error) {
	name, ok := n.Left.(*ast.IdentifierNode)
	if !ok {
		return nil, wrong(n.Left, "the left side of in is a field")
	}
	value := fields[name.Value].value
	if interval, ok := n.Right.(*ast.BinaryNode); ok && interval.Operator == ".." {
		return between(name.Value, value, interval)
	}
	elements, ok := n.Right.(*ast.ArrayNode)
	if !ok {
		return nil, wrong(n.Right, "the right side of in is a list of constants, or two numbers such as 1000..1999")
	}
	return oneOf(name.Value, value, elements.Nodes)
}

// between compiles field in a..b, both included.
func between(name string, value any, interval *ast.BinaryNode) (test, error) {
	number, ok := value.(numberOf)
	if !ok {
		return nil, wrong(interval, "%s is not a number", name)
	}
	from, err := constant(interval.Left)
	if err != nil {
		return nil, err
	}
	to, err := constant(interval.Right)
	if err != nil {
		return nil, err
	}
	return func(r changelog.Record) bool { n := number(r); return from <= n && n <= to }, nil
}

// oneOf compiles the test whether a field is one of some constants.
func oneOf(name string, value any, constants []ast.Node) (test, error) {
	switch value := value.(type) {
	case numberOf:
		set, err := setOf(constants, constant)
		return func(r changelog.Record) bool { return set[value(r)] }, err
	case textOf:
		set, err := textSet(constants)
		return func(r changelog.Record) bool { return set[string(value(r))] }, err
	case typeOf:
		set, err := setOf(constants, parsed(changelog.ParseType))
		if len(set) == 1 {
			for only := range set {
				return func(r changelog.Record) bool { return value(r) == only }, err
			}
		}
		return func(r changelog.Record) bool { return set[value(r)] }, err
	case fidOf:
		set, err := setOf(constants, parsed(changelog.ParseFID))
		return func(r changelog.Record) bool { return set[value(r)] }, err
	case nidOf:
		set, err := setOf(constants, parsed(changelog.ParseNID))
		return func(r changelog.Record) bool { n, ok := value(r); return ok && set[n] }, err
	}
	return nil, fmt.Errorf("%s is not to be compared with constants", name)
}

// setOf reads constants into a set.
func setOf[T comparable](constants []ast.Node, read func(ast.Node) (T, error)) (map[T]bool, error) {
	set := make(map[T]bool, len(constants))
	for _, n := range constants {
		c, err := read(n)
		if err != nil {
			return nil, err
		}
		set[c] = true
	}
	return set, nil
}

// textSet reads texts into a set.
func textSet(constants []ast.Node) (map[string]bool, error) {
	return setOf(constants, parsed(func(s string) (string, error) { return s, nil }))
}

// parsed reads a constant that is a text of some sort.
func parsed[T any](parse func(string) (T, error)) func(ast.Node) (T, error) {
	return func(n ast.Node) (T, error) {
		s, ok := n.(*ast.StringNode)
		if !ok {
			var none T
			return none, wrong(n, "a constant text is needed here")
		}
		c, err := parse(s.Value)
		if err != nil {
			return c, wrong(n, "%v", err)
		}
		return c, nil
	}
}

// search compiles the operators that look into a text.
func search(n *ast.BinaryNode) (test, error) {
	name, _ := n.Left.(*ast.IdentifierNode)
	if name == nil {
		return nil, wrong(n.Left, "the left side of %s is a field", n.Operator)
	}
	text, ok := fields[name.Value].value.(textOf)
	if !ok {
		return nil, wrong(n.Left, "%s is not a text", name.Value)
	}
	c, ok := n.Right.(*ast.StringNode)
	if !ok {
		return nil, wrong(n.Right, "the right side of %s is a constant text", n.Operator)
	}
	switch n.Operator {
	case "contains":
		return func(r changelog.Record) bool { return strings.Contains(string(text(r)), c.Value) }, nil
	case "startsWith":
		return func(r changelog.Record) bool { return strings.HasPrefix(string(text(r)), c.Value) }, nil
	case "endsWith":
		return func(r changelog.Record) bool { return strings.HasSuffix(string(text(r)), c.Value) }, nil
	}
	pattern, err := regexp.Compile(c.Value)
	if err != nil {
		return nil, wrong(n.Right, "%v", err)
	}
	return func(r changelog.Record) bool { return pattern.Match(text(r)) }, nil
}

package modules

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/lcapd/lcapd/changelog"
)

// field is a field of a record in expressions.
type field struct {
	like  any // a value of the type that the parser takes it for
	value any // how it is read: numberOf, textOf ...
}

// fields are the names that an expression may use. A number that the record lacks is -1, a text "".
var fields = map[string]field{
	"type":        {"", typeOf(changelog.Record.Type)},
	"index":       {0, numberOf(func(r changelog.Record) int64 { return number(r.Index()) })},
	"time":        {"", timeOf(changelog.Record.Time)},
	"flags":       {0, numberOf(func(r changelog.Record) int64 { return int64(r.Flags() & changelog.FlagsPayload) })},
	"fid":         {"", fidOf(target)},
	"pfid":        {"", fidOf(changelog.Record.Parent)},
	"sfid":        {"", fidOf(func(r changelog.Record) changelog.FID { f, _ := r.Source(); return f })},
	"spfid":       {"", fidOf(func(r changelog.Record) changelog.FID { f, _ := r.SourceParent(); return f })},
	"name":        {"", textOf(changelog.Record.Name)},
	"source_name": {"", textOf(func(r changelog.Record) []byte { s, _ := r.SourceName(); return s })},
	"jobid":       {"", textOf(func(r changelog.Record) []byte { j, _ := r.JobID(); return j })},
	"uid":         {0, numberOf(uid)},
	"gid":         {0, numberOf(gid)},
	"nid":         {"", nidOf(changelog.Record.NID)},
	"open":        {"", textOf(openMode)},
	"xattr":       {"", textOf(func(r changelog.Record) []byte { x, _ := r.XattrName(); return x })},
	"last":        {false, test(func(r changelog.Record) bool { last, _ := lastLink(r); return last })},
	"archived":    {false, test(func(r changelog.Record) bool { _, archived := lastLink(r); return archived })},
	"hsm_event":   {0, numberOf(hsmEvent)},
	"hsm_error":   {0, numberOf(hsmError)},
}

// number clips a number of 64 bits.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// target returns the target FID; that of a MARK record is none.
func target(r changelog.Record) changelog.FID {
	if r.Type() == changelog.TypeMark {
		return changelog.FID{}
	}
	return r.Target()
}

func uid(r changelog.Record) int64 {
	if uid, _, ok := r.Owner(); ok {
		return number(uid)
	}
	return -1
}

func gid(r changelog.Record) int64 {
	if _, gid, ok := r.Owner(); ok {
		return number(gid)
	}
	return -1
}

// openMode returns r, w and x as lfs prints them, from the open block, or from the payload of an open record.
func openMode(r changelog.Record) []byte {
	mode, ok := r.OpenMode()
	if !ok {
		if mode, ok = r.OpenFlags(); !ok {
			return nil
		}
	}
	switch {
	case mode&(changelog.OpenExec|changelog.OpenExecve) != 0 && mode.String() == "--x":
		return modeX
	case mode.String() == "rw-":
		return modeRW
	case mode.String() == "r--":
		return modeR
	case mode.String() == "-w-":
		return modeW
	}
	return modeNone
}

var modeX, modeRW, modeR, modeW, modeNone = []byte("--x"), []byte("rw-"), []byte("r--"), []byte("-w-"), []byte("---")

// lastLink tells whether a record says that an object lost its last link, and that an archive copy remains.
func lastLink(r changelog.Record) (last, archived bool) {
	if r.Type() == changelog.TypeRenme {
		return r.IsLastRename()
	}
	return r.IsLastUnlink()
}

func hsmEvent(r changelog.Record) int64 {
	if h, ok := r.HSM(); ok {
		return int64(h.Event)
	}
	return -1
}

func hsmError(r changelog.Record) int64 {
	if h, ok := r.HSM(); ok {
		return int64(h.Errno)
	}
	return -1
}

// function is a function of expressions.
type function struct {
	like    any // a function of the type that the parser takes it for
	compile func(*ast.CallNode) (test, error)
}

// functions are those that an expression may call. It is made by a function because they refer to fields and not the
// other way round.
var functions = map[string]function{
	"glob":     {new(func(field, pattern string) bool), compileGlob},
	"in_net":   {new(func(nid string, nets ...string) bool), compileInNet},
	"any_bits": {new(func(flags, bits int) bool), compileAnyBits},
	"all_bits": {new(func(flags, bits int) bool), compileAllBits},
}

var functionNames = list(slices.Sorted(maps.Keys(functions)))

// argument returns the field that is the first argument of a call, which has at least most others.
func argument[T any](n *ast.CallNode, sort string) (T, error) {
	name, ok := n.Arguments[0].(*ast.IdentifierNode)
	if !ok {
		var none T
		return none, wrong(n.Arguments[0], "the first argument is a field")
	}
	value, ok := fields[name.Value].value.(T)
	if !ok {
		return value, wrong(n.Arguments[0], "%s is not a %s", name.Value, sort)
	}
	return value, nil
}

// compileGlob compiles glob(name, "*.tmp").
func compileGlob(n *ast.CallNode) (test, error) {
	text, err := argument[textOf](n, "text")
	if err != nil {
		return nil, err
	}
	pattern, ok := n.Arguments[1].(*ast.StringNode)
	if !ok {
		return nil, wrong(n.Arguments[1], "the pattern is a constant text")
	}
	match, err := glob(pattern.Value)
	if err != nil {
		return nil, wrong(n.Arguments[1], "%v", err)
	}
	return func(r changelog.Record) bool { return match(text(r)) }, nil
}

// glob compiles a pattern with *, ?, [a-z], [^a-z] and \. Names are bytes: ? is one character, or one byte that is none.
func glob(pattern string) (func([]byte) bool, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if rest := strings.TrimPrefix(pattern, "*"); !strings.ContainsAny(rest, `*?[\`) {
		if rest == pattern {
			return func(b []byte) bool { return string(b) == pattern }, nil
		}
		return func(b []byte) bool { return strings.HasSuffix(string(b), rest) }, nil
	}
	if rest := strings.TrimSuffix(pattern, "*"); !strings.ContainsAny(rest, `*?[\`) {
		return func(b []byte) bool { return strings.HasPrefix(string(b), rest) }, nil
	}
	re, err := regexp.Compile(globExpression(pattern))
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return re.Match, nil
}

// globExpression translates a legal pattern into a regular expression.
func globExpression(pattern string) string {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	class := false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
			re.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case class && c == '[':
			re.WriteString(`\[`)
		case class:
			re.WriteByte(c)
			class = c != ']'
		case c == '*':
			re.WriteString(`.*`)
		case c == '?':
			re.WriteByte('.')
		case c == '[':
			class = true
			re.WriteByte(c)
		default:
			re.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	return re.String() + `\z`
}

// network is a set of NIDs: an address prefix, a network, or both.
type network struct {
	prefix netip.Prefix // invalid: any address
	net    string       // as in tcp1; "": any
	like   changelog.NID
}

// has tells whether a NID is of the network.
func (n network) has(nid changelog.NID) bool {
	if nid.Any {
		return false
	}
	if n.net != "" && (nid.Net != n.like.Net || nid.Num != n.like.Num) {
		return false
	}
	if !n.prefix.IsValid() {
		return true
	}
	ip, ok := nid.IP()
	return ok && n.prefix.Contains(ip.Unmap())
}

// parseNetwork reads 10.1.0.0/16@tcp, 10.1.2.3, @o2ib1 and their like.
func parseNetwork(s string) (network, error) {
	address, net, lnet := strings.Cut(s, "@")
	n := network{net: net}
	if lnet {
		like, err := changelog.ParseNID("0.0.0.1@" + net)
		if err != nil {
			if like, err = changelog.ParseNID("1@" + net); err != nil {
				return n, fmt.Errorf("%q: %q is no LNet network such as tcp or o2ib1", s, net)
			}
		}
		n.like = like
	}
	if address == "" && lnet {
		return n, nil
	}
	prefix, err := netip.ParsePrefix(address)
	if err != nil {
		one, err := netip.ParseAddr(address)
		if err != nil {
			return n, fmt.Errorf("%q: want ADDRESS, ADDRESS/BITS, either with @NET behind it, or @NET alone", s)
		}
		prefix = netip.PrefixFrom(one, one.BitLen())
	}
	n.prefix = prefix.Masked()
	return n, nil
}

// compileInNet compiles in_net(nid, "10.1.0.0/16@tcp", ...).
func compileInNet(n *ast.CallNode) (test, error) {
	nid, err := argument[nidOf](n, "NID")
	if err != nil {
		return nil, err
	}
	var nets []network
	for _, a := range n.Arguments[1:] {
		net, err := parsed(parseNetwork)(a)
		if err != nil {
			return nil, err
		}
		nets = append(nets, net)
	}
	if len(nets) == 0 {
		return nil, wrong(n, "in_net needs at least one network, such as \"10.1.0.0/16@tcp\"")
	}
	return func(r changelog.Record) bool {
		id, ok := nid(r)
		return ok && slices.ContainsFunc(nets, func(net network) bool { return net.has(id) })
	}, nil
}

// compileBits compiles a test of bits.
func compileBits(n *ast.CallNode, holds func(value, bits int64) bool) (test, error) {
	value, err := argument[numberOf](n, "number")
	if err != nil {
		return nil, err
	}
	bits, err := constant(n.Arguments[1])
	if err != nil {
		return nil, err
	}
	return func(r changelog.Record) bool { v := value(r); return v >= 0 && holds(v, bits) }, nil
}

// compileAnyBits compiles any_bits(flags, 0x3).
func compileAnyBits(n *ast.CallNode) (test, error) {
	return compileBits(n, func(v, bits int64) bool { return v&bits != 0 })
}

// compileAllBits compiles all_bits(flags, 0x3).
func compileAllBits(n *ast.CallNode) (test, error) {
	return compileBits(n, func(v, bits int64) bool { return v&bits == bits })
}

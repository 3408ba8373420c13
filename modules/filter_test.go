package modules_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// stream returns the 2000 mixed records of the golden data.
func stream(t testing.TB) []byte {
	t.Helper()
	packed, err := os.ReadFile("../changelog/testdata/vectors/stream.bin")
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// filtered returns which of the golden records a filter keeps.
func filtered(t testing.TB, options map[string]any) map[uint64]bool {
	t.Helper()
	p, err := modules.Parse([]modules.Spec{{Name: "filter", Options: options}}, modules.Builtin(), modules.Use{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.New(modules.Start{}).Push(time.Unix(1, 0), modules.Batch{To: 1 << 40, Records: stream(t)})
	if err != nil {
		t.Fatal(err)
	}
	kept := map[uint64]bool{}
	for scan := changelog.NewScanner(b.Records); scan.Scan(); {
		kept[scan.Last] = true
	}
	return kept
}

// Every field and operator, against the same test by hand, over records of all sorts.
func TestExpressions(t *testing.T) {
	job := func(r changelog.Record) string { j, _ := r.JobID(); return string(j) }
	uid := func(r changelog.Record) int64 {
		if u, _, ok := r.Owner(); ok {
			return int64(min(u, 1<<63-1))
		}
		return -1
	}
	source := func(r changelog.Record) changelog.FID { f, _ := r.Source(); return f }
	one := func(s string) changelog.FID { f, _ := changelog.ParseFID(s); return f }
	glob := regexp.MustCompile(`(?s)\A[a-f].*\.(h5|dat)\z`)
	for where, by := range map[string]func(r changelog.Record) bool{
		`type == "CREAT"`:            func(r changelog.Record) bool { return r.Type() == changelog.TypeCreat },
		`type != "creat"`:            func(r changelog.Record) bool { return r.Type() != changelog.TypeCreat },
		`"HSM" == type`:              func(r changelog.Record) bool { return r.Type() == changelog.TypeHSM },
		`type in ["UNLNK", "RMDIR"]`: func(r changelog.Record) bool { return r.Type() == 6 || r.Type() == 7 },
		`type not in ["UNLNK"]`:      func(r changelog.Record) bool { return r.Type() != 6 },
		`uid == 1000`:                func(r changelog.Record) bool { return uid(r) == 1000 },
		`uid == -1`:                  func(r changelog.Record) bool { return uid(r) == -1 },
		`uid != 1000`:                func(r changelog.Record) bool { return uid(r) != 1000 },
		`uid > 1000 and uid <= 5000`: func(r changelog.Record) bool { return uid(r) > 1000 && uid(r) <= 5000 },
		`uid < 1000 or 5000 <= uid`:  func(r changelog.Record) bool { return uid(r) < 1000 || uid(r) >= 5000 },
		`uid in 0..1000`:             func(r changelog.Record) bool { return uid(r) >= 0 && uid(r) <= 1000 },
		`uid in [0, 1000, 0x1388]`:   func(r changelog.Record) bool { return uid(r) == 0 || uid(r) == 1000 || uid(r) == 5000 },
		`uid == gid`:                 func(r changelog.Record) bool { u, g, _ := r.Owner(); return u == g },
		`not (uid == 1000)`:          func(r changelog.Record) bool { return uid(r) != 1000 },
		`!last && type == "UNLNK"`:   func(r changelog.Record) bool { l, _ := r.IsLastUnlink(); return !l && r.Type() == 6 },
		`archived == true`:           func(r changelog.Record) bool { _, a := r.IsLastUnlink(); _, b := r.IsLastRename(); return a || b },
		`jobid startsWith "dd."`:     func(r changelog.Record) bool { return strings.HasPrefix(job(r), "dd.") },
		`jobid endsWith "0"`:         func(r changelog.Record) bool { return strings.HasSuffix(job(r), "0") },
		`jobid contains "rsync"`:     func(r changelog.Record) bool { return strings.Contains(job(r), "rsync") },
		`jobid matches "^(dd|cp)"`:   func(r changelog.Record) bool { return regexp.MustCompile(`^(dd|cp)`).MatchString(job(r)) },
		`jobid == ""`:                func(r changelog.Record) bool { return job(r) == "" },
		`jobid in ["", "x"]`:         func(r changelog.Record) bool { return job(r) == "" || job(r) == "x" },
		`glob(name, "*t")`:           func(r changelog.Record) bool { return strings.HasSuffix(string(r.Name()), "t") },
		`glob(name, "f*")`:           func(r changelog.Record) bool { return strings.HasPrefix(string(r.Name()), "f") },
		`glob(name, "[a-f]*.h5") || glob(name, "[a-f]*.dat")`: func(r changelog.Record) bool { return glob.Match(r.Name()) },
		`glob(name, "?")`:                   func(r changelog.Record) bool { return regexp.MustCompile(`(?s)\A.\z`).Match(r.Name()) },
		`name == source_name`:               func(r changelog.Record) bool { s, _ := r.SourceName(); return string(s) == string(r.Name()) },
		`fid == "[0x200000402:0x1a3:0x0]"`:  func(r changelog.Record) bool { return r.Target() == one("0x200000402:0x1a3:0x0") && r.Type() != 0 },
		`pfid in ["[0x200000007:0x1:0x0]"]`: func(r changelog.Record) bool { return r.Parent() == one("0x200000007:0x1:0x0") },
		`sfid != "[0:0x0:0x0]"`:             func(r changelog.Record) bool { return source(r) != changelog.FID{} },
		`spfid == pfid`:                     func(r changelog.Record) bool { p, _ := r.SourceParent(); return p == r.Parent() },
		`in_net(nid, "10.0.0.0/8")`: func(r changelog.Record) bool {
			n, _ := r.NID()
			ip, ok := n.IP()
			return ok && ip.Is4() && ip.As4()[0] == 10
		},
		`in_net(nid, "@o2ib3", "192.168.7.9@tcp")`: func(r changelog.Record) bool {
			n, _ := r.NID()
			return n.Net == 5 && n.Num == 3 || n.String() == "192.168.7.9@tcp"
		},
		`nid == "10.20.0.5@tcp"`: func(r changelog.Record) bool { n, _ := r.NID(); return n.String() == "10.20.0.5@tcp" },
		`any_bits(flags, 0x3)`:   func(r changelog.Record) bool { return r.Flags()&3 != 0 },
		`all_bits(flags, 0x42)`:  func(r changelog.Record) bool { return r.Flags()&0x42 == 0x42 },
		`flags == 0`:             func(r changelog.Record) bool { return r.Flags()&0xfff == 0 },
		`time >= "2026-09-21T14:13:20Z"`: func(r changelog.Record) bool {
			return r.Time() >= changelog.TimeOf(time.Date(2026, 9, 21, 14, 13, 20, 0, time.UTC))
		},
		`open in ["rw-", "-w-"]`:           func(r changelog.Record) bool { return writes(r) },
		`xattr startsWith "user."`:         func(r changelog.Record) bool { x, _ := r.XattrName(); return strings.HasPrefix(string(x), "user.") },
		`hsm_event == 1 && hsm_error != 0`: func(r changelog.Record) bool { h, ok := r.HSM(); return ok && h.Event == 1 && h.Errno != 0 },
		`index in 1000000..1001000`:        func(r changelog.Record) bool { return r.Index() >= 1000000 && r.Index() <= 1001000 },
		`true`:                             func(r changelog.Record) bool { return true },
	} {
		kept := filtered(t, map[string]any{"where": where})
		for scan := changelog.NewScanner(stream(t)); scan.Scan(); {
			if r := scan.Record(); by(r) != kept[r.Index()] {
				t.Errorf("%s: kept is %v for %s", where, kept[r.Index()], r.AppendLFS(nil))
				break
			}
		}
	}
}

func writes(r changelog.Record) bool {
	mode, ok := r.OpenMode()
	if !ok {
		mode, ok = r.OpenFlags()
	}
	return ok && (mode & 0xfff).String()[1] == 'w'
}

// What is wrong in an expression is told, with its place.
func TestExpressionMistakes(t *testing.T) {
	for where, want := range map[string]string{
		``:                                  `unexpected token EOF`,
		`uid ==`:                            `unexpected token EOF, in line 1, column 6, at "="`,
		`uid == 0 &&` + "\n" + `nam == "a"`: `unknown name nam, in line 2, column 1, at "nam == \"a\""`,
		`uid == "root"`:                     `invalid operation: == (mismatched types int and string), in line 1, column 5, at "== \"root\""`,
		`type == "CREATE"`:                  `in line 1, column 9, at "\"CREATE\""`,
		`type > "CREAT"`:                    `type is compared with == and != only, in line 1, column 6`,
		`fid == "x"`:                        `in line 1, column 8, at "\"x\""`,
		`nid == "x"`:                        `in line 1, column 8`,
		`time > "yesterday"`:                `"yesterday" is not a time such as 2026-09-21T14:13:20Z`,
		`name matches "("`:                  `error parsing regexp`,
		strings.Repeat(`name matches ".{1000}"||`, 11) + "last": `up to this pattern the search takes too many steps; repeat less in it, or have fewer patterns, in line 1, column 230, at "\".{1000}\"||`,
		`glob(name, "[")`:               `syntax error in pattern, in line 1, column 12`,
		`glob(uid, "a")`:                `cannot use int as argument (type string) to call glob`,
		`glob("a", "a")`:                `the first argument is a field`,
		`glob(name, jobid)`:             `the pattern is a constant text`,
		`in_net(nid)`:                   `in_net needs at least one network`,
		`in_net(nid, "10.0.0.0/33")`:    `want ADDRESS, ADDRESS/BITS`,
		`in_net(nid, "10.0.0.0/8@eth")`: `"eth" is no LNet network`,
		`in_net(name, "10.0.0.0/8")`:    `name is not a NID`,
		`any_bits(flags, uid)`:          `a number is compared with a whole number only`,
		`uid`:                           `expected bool, but got int`,
		`uid + 1 == 2`:                  `neither side of "==" is a field`,
		`uid == 1.5`:                    `whole number`,
		`uid == gid + 1`:                `whole number`,
		`uid in uids`:                   `unknown name uids`,
		`uid in [gid]`:                  `whole number`,
		`name == name2`:                 `unknown name name2`,
		`fid == name`:                   `fid and name are not to be compared, in line 1, column 8, at "name"`,
		`len(name) > 3`:                 `unknown name len`,
		`all(1..1000000000, # > 0)`:     `a builtin cannot be used here`,
		`last ? true : false`:           `a conditional cannot be used here`,
		`let a = true; a`:               `a variabledeclarator cannot be used here`,
		`[1,2] == [1,2]`:                `neither side of "==" is a field`,
		`last == archived`:              `last and archived are not to be compared`,
		`name in 1..2`:                  `cannot use string as type int in array`,
		`"a" in ["a"]`:                  `the left side of in is a field`,
		`uid == 99999999999999999999`:   `value out of range`,
		strings.Repeat("(", 2000) + "last" + strings.Repeat(")", 2000): ``,
		strings.Repeat("last || ", 600) + "last":                       `the expression has 4804 bytes`,
		strings.Repeat("last||", 400) + "last":                         `exceeds maximum allowed nodes`,
	} {
		_, err := modules.Parse([]modules.Spec{{Name: "filter", Options: map[string]any{"where": where}}}, modules.Builtin(), modules.Use{})
		if want == "" {
			continue // it must come back, one way or the other
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "chain of modules: modules[0] (filter): where: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: got %v, want %q", where, err, want)
		}
	}
}

// Who connects may search for less than who configures.
func TestPatternsOfConnections(t *testing.T) {
	for where, ok := range map[string]bool{
		`glob(name, "*.tmp") || name matches "^run-[0-9]+[.]h5$"`:            true,
		`name matches ".{600}"`:                                              false,
		`not (uid == 0 and glob(name, "` + strings.Repeat("?*", 300) + `"))`: false,
	} {
		for _, connection := range []bool{false, true} {
			_, err := modules.Parse([]modules.Spec{{Name: "filter", Options: map[string]any{"where": where}}}, modules.Builtin(),
				modules.Use{Scope: modules.ForListeners, Connection: connection})
			if (err == nil) != (ok || !connection) || err != nil && !strings.Contains(err.Error(), "too many steps; repeat less in it, or have fewer patterns, in line 1, column ") {
				t.Errorf("%.60s, over a connection %v: %v", where, connection, err)
			}
		}
	}
	_, err := modules.Parse(slices.Repeat([]modules.Spec{{Name: "rate", Options: map[string]any{"records": 1}}}, 5), modules.Builtin(),
		modules.Use{Scope: modules.ForListeners, Connection: true})
	if err == nil || !strings.Contains(err.Error(), "5 modules, at most 4 are allowed") {
		t.Error(err)
	}
}

// Types are a mask as lctl reads it; one that begins with an operator says what differs from all.
func TestFilterTypes(t *testing.T) {
	all := "CREAT f=1 n=9/a;OPEN f=1;CLOSE f=1;MARK f=1;77 f=1;UNLNK f=1 n=9/a last"
	for types, left := range map[string]string{
		"CREAT UNLNK":       "1 4 6",
		"creat,unlnk -MARK": "1 6",
		"-OPEN":             "1 3 4 5 6",
		"-OPEN,-CLOSE":      "1 4 5 6",
		"ALL":               "1 2 3 4 5 6",
		"DEFAULT":           "1 3 4 6",
	} {
		check(t, `[{filter: {types: "`+types+`"}}]`, modules.Use{}, modules.Start{}, []ruled{{types, all, left}})
		// Not as the first module, where it takes another way.
		check(t, `[{project: {fields: [rename]}}, {filter: {types: "`+types+`"}}]`, modules.Use{}, modules.Start{}, []ruled{{types + " second", all, left}})
	}
}

// An evaluation allocates nothing.
func TestExpressionsDoNotAllocate(t *testing.T) {
	c := plan(t, `[{filter: {where: 'type == "MARK" && uid == 7 && jobid startsWith "x" && glob(name, "*.tmp") && in_net(nid, "10.0.0.0/8") && open == "rw-"'}}]`, modules.Use{}).New(modules.Start{})
	packed, from := line(t, 1, "CLOSE f=1"), uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		changelog.SetIndex(packed, from+1)
		if _, err := c.Push(time.Unix(1, 0), modules.Batch{From: from, To: from + 1, Records: packed}); err != nil {
			t.Fatal(err)
		}
		from++
	}); n > 1 { // the scanner
		t.Errorf("%v allocations", n)
	}
}

package chart

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

var update = flag.Bool("update", false, "write the expected pictures in testdata anew")

// golden compares a picture with the one in testdata, after it was found to be XML.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	parse(t, got)
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is another picture (-update writes it anew):\n%s", file, got)
	}
}

// element is one of a picture.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Elements []element  `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (e *element) attr(name string) (value string) {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e *element) number(t *testing.T, name string) (v float64) {
	t.Helper()
	if _, err := fmt.Sscan(e.attr(name), &v); err != nil {
		t.Fatalf("%s of %v: %v", name, e, err)
	}
	return v
}

// parse reads a picture, which must reach for nothing outside and run nothing.
func parse(t *testing.T, picture []byte) (root element) {
	t.Helper()
	if err := xml.Unmarshal(picture, &root); err != nil {
		t.Fatalf("%v in %s", err, picture)
	}
	for _, bad := range []string{"<script", "href", "@import", "url(", "onload", "NaN", "Inf"} {
		if bytes.Contains(picture, []byte(bad)) {
			t.Errorf("the picture has %q", bad)
		}
	}
	return root
}

// made returns a profile with stacks, each from the caller to the callee, and their milliseconds.
func made(t *testing.T, stacks map[string]int64) *bytes.Buffer {
	t.Helper()
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	locations := map[string]*profile.Location{}
	for stack, ms := range stacks {
		s := &profile.Sample{Value: []int64{1, ms * 1e6}}
		for name := range strings.SplitSeq(stack, " ") {
			l := locations[name]
			if l == nil {
				l = &profile.Location{ID: uint64(len(p.Location) + 1), Address: uint64(len(p.Location)) << 8}
				for inlined := range strings.SplitSeq(name, "+") { // the callee stands first
					f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: inlined}
					p.Function = append(p.Function, f)
					l.Line = append([]profile.Line{{Function: f}}, l.Line...)
				}
				p.Location, locations[name] = append(p.Location, l), l
			}
			s.Location = append([]*profile.Location{l}, s.Location...)
		}
		p.Sample = append(p.Sample, s)
	}
	b := new(bytes.Buffer)
	if err := p.Write(b); err != nil {
		t.Fatal(err)
	}
	return b
}

var stacks = map[string]int64{
	"main.main+github.com/lcapd/lcapd/broker.(*loop).run":                                                   500,
	"main.main+github.com/lcapd/lcapd/broker.(*loop).run net.(*conn).Write syscall.write":                   300,
	"main.main+github.com/lcapd/lcapd/broker.(*loop).run slices.Sort[go.shape.struct{github.com/a/b.X<&>}]": 120,
	"main.main github.com/go-zeromq/zmq4.(*Conn).read":                                                      40,
	"runtime.mcall runtime.park_m":                                                                          34,
	"main.main a.a":                                                                                         3, "main.main b.b": 2, "main.main c.c": 1,
}

func TestFlame(t *testing.T) {
	var picture bytes.Buffer
	if err := WriteFlame(&picture, made(t, stacks), `one group <&"'> of 1`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<title>one group &lt;&amp;&#34;&#39;&gt; of 1</title>",
		"<title>slices.Sort[go.shape.struct{github.com/a/b.X&lt;&amp;&gt;}]: 12.0 %, 0.12 s</title>", ">broker.(*loop).run</text>",
		"<title>github.com/lcapd/lcapd/broker.(*loop).run: 92.0 %, 0.92 s</title>", "<title>3 smaller: 0.6 %, 0.01 s</title>", `class="f sys"`, `class="f mod"`,
	} {
		if !bytes.Contains(picture.Bytes(), []byte(want)) {
			t.Errorf("%s is missing", want)
		}
	}
	golden(t, "flame.svg", picture.Bytes())
}

// Each frame stands upon its caller, and what one calls is never wider than itself: as wide as
// it, if it spent no time itself.
func TestWidthsOfFrames(t *testing.T) {
	root, unit := func() (*frame, string) {
		p, err := profile.Parse(made(t, stacks))
		if err != nil {
			t.Fatal(err)
		}
		return framesOf(p)
	}()
	if root.value != 1e9 || unit != "nanoseconds" {
		t.Fatalf("all is %d %s", root.value, unit)
	}
	root.fold(5e6)
	var check func(f *frame)
	check = func(f *frame) {
		sum := int64(0)
		for _, c := range f.callees {
			sum += c.value
			check(c)
		}
		if self := map[string]int64{"all": 0, "main.main": 0, "net.(*conn).Write": 0, "runtime.mcall": 0}; sum > f.value {
			t.Errorf("%s has %d, its callees %d", f.name, f.value, sum)
		} else if _, none := self[f.name]; none && sum != f.value {
			t.Errorf("of %s %d of %d are lost", f.name, f.value-sum, f.value)
		}
	}
	check(root)

	var picture bytes.Buffer
	if err := WriteFlame(&picture, made(t, stacks), "x"); err != nil {
		t.Fatal(err)
	}
	rows := map[float64]float64{}
	svg := parse(t, picture.Bytes())
	for _, g := range svg.Elements {
		if g.XMLName.Local != "g" {
			continue
		}
		for _, r := range g.Elements {
			if r.XMLName.Local == "rect" {
				rows[r.number(t, "y")] += r.number(t, "width")
				if x := r.number(t, "x"); x < flameMargin || x+r.number(t, "width") > flameWidth-flameMargin+0.2 {
					t.Errorf("%v stands outside", r)
				}
			}
		}
	}
	const all = flameWidth - 2*flameMargin
	bottom, least := 0.0, math.Inf(1)
	for y, width := range rows {
		bottom, least = max(bottom, y), min(least, y)
		if width > all+1 {
			t.Errorf("the row at %v is %v wide", y, width)
		}
	}
	if math.Abs(rows[bottom]-all) > 0.2 || math.Abs(rows[least]-all*0.3) > 0.2 {
		t.Errorf("rows are %v wide", rows)
	}
}

// What Go itself writes can be read, and a file that is no profile is told.
func TestFlameOfThisProgram(t *testing.T) {
	var raw, picture bytes.Buffer
	if err := pprof.StartCPUProfile(&raw); err != nil {
		t.Skipf("profiled already: %v", err)
	}
	pprof.StopCPUProfile()
	if err := WriteFlame(&picture, &raw, "nothing"); err != nil {
		t.Fatal(err)
	}
	parse(t, picture.Bytes())
	if err := WriteFlame(io.Discard, strings.NewReader("no profile"), "x"); err == nil {
		t.Error("that was no profile")
	}
}

func TestShortNames(t *testing.T) {
	for name, want := range map[string]string{
		"github.com/lcapd/lcapd/broker/ingest.(*Sealer).Add": "ingest.(*Sealer).Add",
		"slices.Sort[go.shape.[]github.com/a/b.T]":           "slices.Sort[go.shape.[]github.com/a/b.T]",
		"runtime.memmove": "runtime.memmove", "?": "?",
	} {
		if got := (&frame{name: name}).short(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := shortened("söme/näme", 4); got != "söm…" {
		t.Error(got)
	}
}

func TestLines(t *testing.T) {
	points := func(by float64, at ...float64) (list []Point) {
		for _, x := range at {
			list = append(list, Point{X: x, Y: by * x, Least: by * x * 0.9, Most: by * x * 1.3})
		}
		return list
	}
	tick := func(x float64) string { return fmt.Sprint(x) }
	names := []string{"lcapd", "the <limit>"}
	charts := []Lines{
		{Title: "members & all", XTitle: "members", YTitle: "records/s", Names: names, Points: [][]Point{points(1, 1, 2, 4, 8), points(1.5, 1, 2, 4, 8)}, Tick: tick},
		{Title: "one point", XTitle: "groups", YTitle: "records/s", Names: names, Points: [][]Point{points(0, 3), points(0.001, 3)}, Tick: tick},
		{Title: "no point", XTitle: "groups", YTitle: "records/s", Names: names, Points: [][]Point{nil, nil}, Tick: tick},
	}
	var picture bytes.Buffer
	if err := WriteLines(&picture, "Rates", "a note", charts); err != nil {
		t.Fatal(err)
	}
	golden(t, "lines.svg", picture.Bytes())
	svg := parse(t, picture.Bytes())
	lines := 0
	var in func(e element)
	in = func(e element) {
		for _, c := range e.Elements {
			in(c)
		}
		if e.XMLName.Local != "polyline" {
			return
		}
		lines++
		for point := range strings.FieldsSeq(e.attr("points")) {
			var x, y float64
			if _, err := fmt.Sscanf(point, "%f,%f", &x, &y); err != nil || x < left || x > chartWidth-right || y < top || y > chartHeight-below {
				t.Errorf("the point %q stands outside: %v", point, err)
			}
		}
	}
	in(svg)
	if lines != 6 {
		t.Errorf("%d lines", lines)
	}
}

func TestSteps(t *testing.T) {
	for end, want := range map[float64]float64{0: 1, 0.9: 0.2, 1: 0.2, 4: 1, 13.1: 2, 17: 5, 65: 10, 100: 20, 99: 20} {
		if got := stepOf(end); math.Abs(got-want) > 1e-9 {
			t.Errorf("up to %v in steps of %v, want %v", end, got, want)
		}
	}
}

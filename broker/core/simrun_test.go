package core

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	seeds     = flag.Uint64("seeds", defaultSeeds(), "how many seeds TestSimulation runs; 0: until it is stopped")
	firstSeed = flag.Uint64("seed", 0, "the first of them")
	keepGoing = flag.Bool("keep-going", false, "run all seeds and count those that fail")
	oneFails  = flag.Bool("one", false, "only say which seed fails first, and how")
)

// defaultSeeds is less with the race detector, which is slow and has nothing to find in a
// package without goroutines.
func defaultSeeds() uint64 {
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return 500
	}
	return 2000
}

// dice make the choices of a world. Each is recorded; a script has them made again.
// Behind what it says they are thrown.
type dice struct {
	rng    *rand.Rand
	script []int // choices still to make
	made   []int
}

func newDice(seed uint64) *dice { return &dice{rng: rand.New(rand.NewPCG(seed, 2))} }

// IntN makes a choice of n.
func (d *dice) IntN(n int) int {
	var x int
	if len(d.script) > 0 {
		x = d.script[0] % n // there may be less to choose from than there was
		d.script = d.script[1:]
	} else {
		x = d.rng.IntN(n)
	}
	d.made = append(d.made, x)
	return x
}

// line is a line of a script: something that happens, and the choices in it. The first
// line makes the world.
type line struct {
	name    string
	choices []int
}

func (l line) String() string {
	words := []string{l.name}
	for _, x := range l.choices {
		words = append(words, strconv.Itoa(x))
	}
	return strings.Join(words, " ")
}

// runSeed runs a seed. It returns what happened, and why it failed; "" if it did not.
func runSeed(seed uint64) (script []line, why string) {
	d := newDice(seed)
	all := worldsActs(d.rng)
	why = try(func() {
		record := func(name string) { script, d.made = append(script, line{name, d.made}), nil }
		var w *world
		func() {
			defer record("world")
			w = newWorld(d)
		}()
		for range d.rng.IntN(400) + 100 {
			name := all[d.rng.IntN(len(all))]
			func() {
				defer record(name)
				w.act(name)
			}()
		}
		d.rng = endDice()
		w.finish()
	})
	return script, why
}

// worldsActs returns what happens in a world, by its name as often as it is likely. In
// some worlds rare things meet.
func worldsActs(rng *rand.Rand) (names []string) {
	often := [][]string{{}, {"crash", "reveal", "seek", "join", "tick"}, {"upset", "skip", "delete", "create"}, {"limit", "crash", "tick", "tick", "tick", "die"}}[rng.IntN(4)]
	for _, a := range acts {
		weight := a.weight
		if slices.Contains(often, a.name) {
			weight += 5
		}
		names = append(names, slices.Repeat([]string{a.name}, weight)...)
	}
	return names
}

// endDice are for the end of a run, when all behave.
func endDice() *rand.Rand { return rand.New(rand.NewPCG(1, 3)) }

// runScript has happen what a script says.
func runScript(script []line) (log []string, why string) {
	d := newDice(0)
	var w *world
	why = try(func() {
		for i, l := range script {
			d.rng, d.script, d.made = rand.New(rand.NewPCG(uint64(i), 4)), l.choices, nil
			if i == 0 {
				w = newWorld(d)
			} else {
				w.act(l.name)
			}
		}
		d.rng, d.script = endDice(), nil
		w.finish()
	})
	if w != nil {
		log = w.log
	}
	return log, why
}

func (w *world) act(name string) {
	for _, a := range acts {
		if a.name == name {
			a.do(w)
			return
		}
	}
	w.fail("nothing is called %q", name)
}

// try returns how f failed; "" if it did not.
func try(f func()) (why string) {
	defer func() {
		switch x := recover().(type) {
		case nil:
		case failure:
			why = string(x)
		default:
			why = fmt.Sprintf("panic: %v\n%s", x, debug.Stack())
		}
	}()
	f()
	return ""
}

// shrink leaves out lines as long as the script fails, in whatever way.
func shrink(script []line) []line {
	for size := len(script) / 2; size > 0; size /= 2 {
		for at := 1; at < len(script); {
			tried := slices.Delete(slices.Clone(script), at, min(at+size, len(script)))
			if _, why := runScript(tried); why != "" {
				script = tried
			} else {
				at += size
			}
		}
	}
	return script
}

// TestSimulation runs seeds. One that fails is shrunk to a script, which is told with
// what happens in it, and can be kept in testdata:
//
//	go test ./broker/core -run Simulation -seed 4711 -seeds 1
func TestSimulation(t *testing.T) {
	failed, began := 0, time.Now()
	for n := uint64(0); n < *seeds || *seeds == 0; n++ {
		seed := *firstSeed + n
		if n > 0 && n%100_000 == 0 {
			fmt.Printf("%d seeds, up to %d, %.0f a second\n", n, seed-1, float64(n)/time.Since(began).Seconds())
		}
		script, why := runSeed(seed)
		switch {
		case why == "":
			continue
		case *oneFails:
			t.Fatalf("seed %d fails first: %s", seed, why)
		case *keepGoing:
			failed++
			continue
		}
		tell(t, seed, script, why)
	}
	if failed > 0 {
		t.Fatalf("%d of %d seeds failed", failed, *seeds)
	}
}

// tell ends the test with a script that fails, as short as it gets.
func tell(t *testing.T, seed uint64, script []line, why string) {
	if _, again := runScript(script); again == "" {
		t.Fatalf("seed %d fails, but not as a script: %s", seed, why)
	}
	short := shrink(script)
	log, why := runScript(short)
	var text strings.Builder
	for _, l := range short {
		fmt.Fprintln(&text, l)
	}
	t.Fatalf("seed %d fails, with %d of its %d lines, which can stand in testdata/NAME.script:\n%s\nThis happens:\n%s\n%s",
		seed, len(short)-1, len(script)-1, &text, strings.Join(log[max(0, len(log)-400):], "\n"), why)
}

// TestScripts runs the scripts in testdata: each was what a bug was shrunk to.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if log, why := runScript(parseScript(t, string(text))); why != "" {
				t.Errorf("%s\n%s", strings.Join(log, "\n"), why)
			}
		})
	}
}

// parseScript reads a script; lines that begin with # are for readers.
func parseScript(t *testing.T, text string) (script []line) {
	for s := range strings.Lines(text) {
		words := strings.Fields(s)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		l := line{name: words[0]}
		for _, word := range words[1:] {
			x, err := strconv.Atoi(word)
			if err != nil || x < 0 {
				t.Fatalf("%q: a choice is a number", s)
			}
			l.choices = append(l.choices, x)
		}
		script = append(script, l)
	}
	return script
}

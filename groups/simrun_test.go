package groups

import (
	"flag"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	seeds     = flag.Uint64("seeds", defaultSeeds(), "how many seeds TestSimulation runs; 0: until it is stopped")
	firstSeed = flag.Uint64("seed", 0, "the first of them")
	keepGoing = flag.Bool("keep-going", false, "run all seeds and count those that fail")
)

// defaultSeeds is less with the race detector, which is slow and has nothing to find
// in a package without goroutines.
func defaultSeeds() uint64 {
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return 1000
	}
	return 5000
}

// TestSimulation runs seeds. One that fails is shrunk and told:
//
//	go test ./groups -run Simulation -seed 4711 -seeds 1
func TestSimulation(t *testing.T) {
	failed, began := 0, time.Now()
	for n := uint64(0); n < *seeds || *seeds == 0; n++ {
		seed := *firstSeed + n
		if n > 0 && n%100_000 == 0 {
			fmt.Printf("%d seeds, up to %d, %.0f a second\n", n, seed-1, float64(n)/time.Since(began).Seconds())
		}
		_, why := runSim(seed, nil, false)
		if why == "" {
			continue
		}
		if failed++; *keepGoing {
			continue
		}
		left, steps := shrink(seed)
		s, why := runSim(seed, left, true)
		t.Fatalf("seed %d fails, with %d of its %d steps:\n%s\n%s", seed, len(left), steps, strings.Join(s.log, "\n"), why)
	}
	if failed > 0 {
		t.Fatalf("%d of %d seeds failed", failed, *seeds)
	}
}

// runSim runs a seed, or only some of its steps, and returns why it failed; "" if it
// did not.
func runSim(seed uint64, only []int, verbose bool) (s *sim, why string) {
	defer func() {
		switch failure := recover().(type) {
		case nil:
		case simFailure:
			why = string(failure)
		default:
			why = fmt.Sprintf("panic: %v", failure)
			if verbose {
				why += "\n" + string(debug.Stack())
			}
		}
	}()
	s = newSim(seed, verbose)
	for _, i := range s.steps(only) {
		s.source.Seed(seed, uint64(i)+1)
		s.step()
		s.work(s.rng.IntN(30))
	}
	s.source.Seed(seed, 1<<40)
	s.finish()
	return s, ""
}

// steps returns the numbers of the steps to do.
func (s *sim) steps(only []int) []int {
	if only != nil {
		return only
	}
	all := make([]int, s.rng.IntN(300)+50)
	for i := range all {
		all[i] = i
	}
	return all
}

// shrink leaves out steps of a failing seed as long as it fails, in whatever way. It
// returns those that are left, and how many there were.
func shrink(seed uint64) (left []int, steps int) {
	left = newSim(seed, false).steps(nil)
	steps = len(left)
	for size := len(left) / 2; size > 0; size /= 2 {
		for at := 0; at < len(left); {
			tried := slices.Delete(slices.Clone(left), at, min(at+size, len(left)))
			if _, why := runSim(seed, tried, false); why != "" {
				left = tried
			} else {
				at += size
			}
		}
	}
	return left, steps
}

package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// mutantSeeds is how many seeds of the simulation have to find a mutant.
const mutantSeeds = 2000

// TestMutants puts plausible bugs into groups and the broker's core, one at a time, and
// demands that a simulation finds each: else a green simulation says little. Those that need what is
// too rare for so few seeds, or that only cost speed, another test of the room finds. The bugs are
// the patches here; those named core-* and late-* are for the simulation of the
// core, which ends at the first seed that fails. They are applied to copies in memory; who
// changes the code under one of them has to mend the patch, with its first line in mind,
// which says what the bug is.
func TestMutants(t *testing.T) {
	patches, err := filepath.Glob("*.patch")
	if err != nil || len(patches) < 8 {
		t.Fatalf("only %d mutants (%v)", len(patches), err)
	}
	cores := runtime.NumCPU()
	for part := range cores { // they work, and wait for nothing: no more at a time than there are cores
		t.Run(fmt.Sprint("part ", part+1), func(t *testing.T) {
			t.Parallel()
			for i := part; i < len(patches); i += cores {
				t.Run(strings.TrimSuffix(filepath.Base(patches[i]), ".patch"), func(t *testing.T) { testPatch(t, patches[i]) })
			}
		})
	}
}

func testPatch(t *testing.T, file string) {
	patch, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if name := filepath.Base(file); strings.HasPrefix(name, "core-") || strings.HasPrefix(name, "late-") {
		testMutant(t, string(patch), "./broker/core", "-one", firstFailed)
	} else {
		testMutant(t, string(patch), "./groups", "-keep-going", seedsFailed)
	}
}

// seedsFailed is the last line of a simulation that was told to keep going, firstFailed
// that of one that was not.
var (
	seedsFailed = regexp.MustCompile(`(\d+ of \d+ seeds) failed`)
	firstFailed = regexp.MustCompile(`(seed \d+) fails first: .*`)
	testFailed  = regexp.MustCompile(`--- FAIL: (Test\w+) `)
)

// testMutant runs a simulation with a patch, and expects its last line; else another test that
// fails.
func testMutant(t *testing.T, patch, room, flag string, ends *regexp.Regexp) {
	overlay, err := patchOverlay(patch, t.TempDir())
	if err != nil {
		t.Fatalf("the patch does not fit any more: %v", err)
	}
	out, found := failure(t, ends, overlay, room, "-run=^TestSimulation$", "-args", flag, fmt.Sprint("-seeds=", mutantSeeds))
	if found == nil {
		out, found = failure(t, testFailed, overlay, room, "-skip=^TestSimulation$")
	}
	if found == nil {
		t.Fatalf("no seed of %d finds this bug and no other test, or the patch does not compile:\n%s\n%s", mutantSeeds, patch, out)
	}
	t.Logf("%s: %s (%s)", strings.SplitN(patch, "\n", 2)[0], found[1], found[0])
}

// failure runs tests of a room with an overlay, and finds how they fail.
func failure(t *testing.T, how *regexp.Regexp, overlay, room string, args ...string) (out []byte, found [][]byte) {
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-overlay", overlay, "-vet=off", "-count=1", "-timeout=10m", room}, args...)...)
	cmd.Dir = "../.."
	out, _ = cmd.CombinedOutput()
	return out, how.FindSubmatch(out)
}

// patchOverlay writes the patched files to dir, and a file for go's -overlay flag that
// puts them in the place of our own. It returns that file's name.
func patchOverlay(patch, dir string) (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for i, change := range strings.Split(patch, "\n--- a/")[1:] {
		name, hunks, _ := strings.Cut(change, "\n")
		ours := filepath.Join(root, filepath.FromSlash(name))
		source, err := os.ReadFile(ours)
		if err != nil {
			return "", err
		}
		patched, err := applyHunks(string(source), hunks)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		replace[ours] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(replace[ours], []byte(patched), 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}

// applyHunks changes source as the hunks of a unified diff say. Line numbers do not
// count: what a hunk changes, with the lines around it, must be there exactly once.
func applyHunks(source, hunks string) (string, error) {
	for _, hunk := range strings.Split("\n"+hunks, "\n@@ ")[1:] {
		_, hunk, _ = strings.Cut(hunk, "\n")
		var before, after strings.Builder
		for line := range strings.Lines(strings.TrimRight(hunk, "\n") + "\n") {
			if line == "\n" {
				line = " \n" // an editor has taken the blank away
			}
			if line[0] != '+' {
				before.WriteString(line[1:])
			}
			if line[0] != '-' {
				after.WriteString(line[1:])
			}
		}
		if n := strings.Count(source, before.String()); n != 1 {
			return "", fmt.Errorf("this is there %d times:\n%s", n, before.String())
		}
		source = strings.Replace(source, before.String(), after.String(), 1)
	}
	return source, nil
}

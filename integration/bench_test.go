package integration

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBench runs the benchmark as its users do, in its short form: it must come to its
// end, measure all that it promises, and meet its wide targets, which are ratios of one run.
func TestBench(t *testing.T) {
	bin := buildPrograms(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a failure bound, not a measure
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "lcapcli"), "bench", "--preset", "quick", "--dir", t.TempDir(), "-o", "json")
	out, err := cmd.Output()
	var report struct {
		Results []struct {
			Name     string
			Values   map[string]struct{ Median float64 }
			Syscalls struct {
				PerBatch map[string]float64 `json:"per_batch"`
			}
		}
		NoSyscalls string `json:"no_syscalls"`
		Targets    []struct {
			Name string
			Met  bool
		}
	}
	if jsonErr := json.Unmarshal(out, &report); err != nil || jsonErr != nil {
		t.Fatalf("%v, %v:\n%s", err, jsonErr, out)
	}
	if len(report.Targets) == 0 {
		t.Error("nothing is demanded")
	}
	measured := map[string][]string{
		"one":      {"records_per_s", "ratio", "lcapd_cpu_ratio", "member_cpu_ratio", "peak_mib", "held_mib", "records_per_batch"},
		"fid":      {"records_per_s", "ratio"},
		"retained": {"retained_ratio"},
		"idle":     {"latency_p50_us", "latency_p999_us", "round_trip_p50_us", "latency_p50_in_round_trips"},
		"loop":     {"step_one_ns", "step_many_ns", "step_ratio"},
		"day":      {"batches", "connections", "memory_growth"},
	}
	for _, result := range report.Results {
		for _, name := range measured[result.Name] {
			if result.Values[name].Median <= 0 {
				t.Errorf("%s: %s is missing", result.Name, name)
			}
		}
		if calls := result.Syscalls.PerBatch; result.Name == "one" && calls["writev"] <= 0 && report.NoSyscalls == "" {
			t.Errorf("system calls are %v, and it is not said why", calls)
		}
		delete(measured, result.Name)
	}
	if len(measured) > 0 {
		t.Errorf("not measured: %v", measured)
	}
}

// TestBenchPlot runs the loads of a picture, as small as they can be, and looks at the picture as
// whoever opens it: four charts, each with a point of lcapd and one of the limit for every load.
func TestBenchPlot(t *testing.T) {
	bin, dir := buildPrograms(t), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a failure bound, not a measure
	defer cancel()
	picture, numbers, profiles := filepath.Join(dir, "rates.svg"), filepath.Join(dir, "rates.json"), filepath.Join(dir, "profiles")
	bench := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "lcapcli"), append([]string{"bench", "--dir", dir, "--repeat", "1", "--duration", "50ms", "--warm-up", "50ms", "--memory", "64MiB"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v:\n%s", args, err, out)
		}
		return string(out)
	}
	said := bench("--records", "20000", "--plot", picture, "--save", numbers)
	for _, want := range []string{"15 loads, each once: about ", "Members of one group", "Groups of one member", "Largest batch", "Backlog on disk"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	elements, text := readPicture(t, picture)
	if elements["polyline"] != 8 || elements["circle"] != 4*(4+1) {
		t.Errorf("there are %d lines, %d points of lcapd with the legends", elements["polyline"], elements["circle"])
	}
	for _, want := range []string{"members", "groups", "bytes of records in a batch, at most", "256 KiB", "records that the group is behind when its member comes", "20,000", "million records/s, all together", "limit"} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	checkSweeps(t, numbers)

	if err := os.Mkdir(profiles, 0o755); err != nil {
		t.Fatal(err)
	}
	bench("--batch", "2MiB", "--profile", profiles, "--save", numbers)
	for _, of := range []string{"lcapd", "member"} {
		if elements, text := readPicture(t, filepath.Join(profiles, "custom-0-"+of+".svg")); elements["rect"] < 10 || !strings.Contains(text, "CPU time of "+of) {
			t.Errorf("the profile of %s has %d frames", of, elements["rect"])
		}
	}
	if results := readResults(t, numbers); results["custom"]["records_per_batch"] < 1<<20/148 {
		t.Errorf("batches of 2 MiB have %v records", results["custom"]["records_per_batch"])
	}
}

// readPicture counts the elements of an SVG file, and returns its text.
func readPicture(t *testing.T, file string) (elements map[string]int, text string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	elements = map[string]int{}
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		switch x := token.(type) {
		case xml.StartElement:
			elements[x.Name.Local]++
		case xml.CharData:
			text += string(x) + "\n"
		}
		if errors.Is(err, io.EOF) {
			return elements, text
		}
		if err != nil {
			t.Fatalf("%s is no XML: %v", file, err)
		}
	}
}

// readResults returns the medians of what was saved, by scenario.
func readResults(t *testing.T, file string) map[string]map[string]float64 {
	t.Helper()
	var report struct {
		Results []struct {
			Name   string
			Values map[string]struct{ Median float64 }
		}
	}
	readJSON(t, file, &report)
	results := map[string]map[string]float64{}
	for _, r := range report.Results {
		results[r.Name] = map[string]float64{}
		for name, v := range r.Values {
			results[r.Name][name] = v.Median
		}
	}
	return results
}

// checkSweeps looks whether what was saved has each point of the picture.
func checkSweeps(t *testing.T, file string) {
	t.Helper()
	var report struct {
		Sweeps []struct {
			Of     string
			Points []struct {
				At       int
				Scenario string
			}
		}
	}
	readJSON(t, file, &report)
	results, points := readResults(t, file), 0
	for _, s := range report.Sweeps {
		for _, p := range s.Points {
			points++
			for _, name := range []string{"records_per_s", "limit_records_per_s", "ratio"} {
				if results[p.Scenario][name] <= 0 {
					t.Errorf("%s at %d: %s of %s is missing", s.Of, p.At, name, p.Scenario)
				}
			}
		}
	}
	if len(report.Sweeps) != 4 || points != 16 || len(results) != 15 {
		t.Errorf("%d sweeps with %d points of %d scenarios", len(report.Sweeps), points, len(results))
	}
}

func readJSON(t *testing.T, file string, to any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

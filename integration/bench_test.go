package integration

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
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
			Name   string
			Values map[string]struct{ Median float64 }
		}
		Targets []struct {
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
	}
	for _, result := range report.Results {
		for _, name := range measured[result.Name] {
			if result.Values[name].Median <= 0 {
				t.Errorf("%s: %s is missing", result.Name, name)
			}
		}
		delete(measured, result.Name)
	}
	if len(measured) > 0 {
		t.Errorf("not measured: %v", measured)
	}
}

package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestConservation runs the program conserve, in a process of its own so that its
// memory can be told: every record of four local changelogs goes to two groups of
// three members, which are killed and come back; what each group acknowledged must be
// what there was, nothing may be cleared before, and the memory stays within its limit.
// In CI each changelog has a million records.
func TestConservation(t *testing.T) {
	records := "200000"
	if os.Getenv("CI") == "true" {
		records = "1000000"
	}
	program := filepath.Join(t.TempDir(), "conserve")
	if out, err := exec.Command("go", "build", "-o", program, "./conserve").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "-dir", t.TempDir(), "-records", records, "-memory", "268435456")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Logf("%s%s", out, &stderr)
	if err != nil {
		t.Fatalf("conserve: %v", err)
	}
	var r struct {
		Missing     int   `json:"missing"`
		EarlyClears int   `json:"early_clears"`
		Kills       int   `json:"kills"`
		PeakAnonMiB int64 `json:"peak_anon_mib"`
		LimitMiB    int64 `json:"limit_mib"`
		Delivered   int   `json:"delivered"`
		Records     int   `json:"records"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Missing > 0 || r.EarlyClears > 0 {
		t.Errorf("%d records were not acknowledged, %d clears came too early", r.Missing, r.EarlyClears)
	}
	if r.Delivered < 2*r.Records || r.Kills < 10 {
		t.Errorf("%d deliveries of %d records and %d kills are no test", r.Delivered, r.Records, r.Kills)
	}
	if r.PeakAnonMiB > r.LimitMiB+64 {
		t.Errorf("%d MiB of anonymous memory, the limit is %d", r.PeakAnonMiB, r.LimitMiB)
	}
}

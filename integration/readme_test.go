package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/upstream/watch"
)

// readmeFiles are files that the README shows by cat, and takes for granted.
var readmeFiles = []string{"records.json", "lcapd.yaml"}

// tourFolder is where the README has its reader work.
const tourFolder = "/tmp/tour"

// TestReadme types every command of the README's console blocks, in one empty
// folder, and compares what is printed with what the README shows.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	bin, dir := buildPrograms(t), t.TempDir()
	steps := consoleSteps(strings.ReplaceAll(string(readme), tourFolder, dir))
	if len(steps) < 10 {
		t.Fatalf("the README has only %d commands in its console blocks", len(steps))
	}
	t.Cleanup(func() { shell(t, bin, dir, "kill -KILL $(cat lcapd.pid watch.pid)") }) // if a step failed
	cannot := watch.Check(dir)
	if cannot != nil && os.Getenv("CI") == "true" {
		t.Fatal(cannot)
	}
	for _, s := range steps {
		if s.root && cannot != nil {
			continue
		}
		if name, value, ok := strings.Cut(strings.TrimPrefix(s.command, "export "), "="); ok && strings.HasPrefix(s.command, "export ") {
			t.Setenv(name, value)
			continue
		}
		for _, name := range readmeFiles {
			if s.command == "cat "+name {
				writeFile(t, filepath.Join(dir, name), s.output)
			}
		}
		if got := shell(t, bin, dir, s.command); got != s.output {
			t.Errorf("$ %s\nprinted:\n%s\nthe README shows:\n%s", s.command, got, s.output)
		}
	}
}

// step is a command and what it prints. root says that only root may run it.
type step struct {
	command, output string
	root            bool
}

// consoleSteps returns the commands in the fenced blocks marked console, or console root.
func consoleSteps(markdown string) []step {
	var steps []step
	inside, root := false, false
	for line := range strings.Lines(markdown) {
		switch {
		case strings.HasPrefix(line, "```"):
			root = strings.TrimSpace(line) == "```console root"
			inside = root || strings.TrimSpace(line) == "```console"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{command: strings.TrimSpace(line[2:]), root: root})
		case len(steps) > 0:
			steps[len(steps)-1].output += line
		}
	}
	return steps
}

// buildPrograms builds all commands and returns the folder that holds them.
func buildPrograms(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "../cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// shell runs a command line in dir and returns what it printed on both streams.
func shell(t *testing.T, bin, dir, command string) string {
	t.Helper()
	var out bytes.Buffer
	const patience = time.Minute // a failure bound, not a measure
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.WaitDelay = time.Second
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // some are shown to fail: what they print is compared
	return out.String()
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

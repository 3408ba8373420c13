package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// childVar holds, in the environment of a process that a test started, what that
// process is to be instead of a run of the tests: "role directory".
const childVar = "STATE_TEST_CHILD"

// TestMain makes the test binary usable as the processes that tests kill.
func TestMain(m *testing.M) {
	if what := os.Getenv(childVar); what != "" {
		role, dir, _ := strings.Cut(what, " ")
		fmt.Fprintln(os.Stderr, "child:", runChild(role, dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func runChild(role, dir string) error {
	go func() { // a parent that died leaves no children behind
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s, err := Open(dir)
	if err != nil {
		return err
	}
	switch role {
	case "hold":
		fmt.Println("held")
		select {}
	case "write":
		return writeForever(s)
	}
	return errors.New("unknown role " + role)
}

// child is a process that a test started.
type child struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr *strings.Builder
}

func startChild(t *testing.T, role, dir string) *child {
	t.Helper()
	c := &child{cmd: exec.Command("/proc/self/exe"), stderr: &strings.Builder{}}
	c.cmd.Env = append(childEnv(), childVar+"="+role+" "+dir)
	c.cmd.Stderr = c.stderr
	_, err := c.cmd.StdinPipe()
	check(t, err)
	out, err := c.cmd.StdoutPipe()
	check(t, err)
	check(t, c.cmd.Start())
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // of no effect on one that is gone
	c.lines = bufio.NewScanner(out)
	return c
}

// childEnv is the environment for the processes that tests start: the race
// detector makes each wait a second before it ends, unless told otherwise.
func childEnv() []string {
	return append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
}

// await reads the next line, which must be want.
func (c *child) await(t *testing.T, want string) {
	t.Helper()
	if !c.lines.Scan() || c.lines.Text() != want {
		_ = c.cmd.Wait()
		t.Fatalf("the child says %q, want %q\n%s", c.lines.Text(), want, c.stderr)
	}
}

// kill ends the process at once, and returns what it said since the last line.
func (c *child) kill(t *testing.T) (lines []string) {
	t.Helper()
	check(t, c.cmd.Process.Kill())
	for c.lines.Scan() {
		lines = append(lines, c.lines.Text())
	}
	err := c.cmd.Wait()
	if err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the child ended by itself: %v\n%s", err, c.stderr)
	}
	return lines
}

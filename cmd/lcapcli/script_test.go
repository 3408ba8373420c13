package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// exitCode runs a command and demands its exit code: exitcode 2 lcapcli decode.
// Its streams can be compared like those of exec.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d instead of %s; stderr: %s", code, args[0], ts.ReadFile("stderr"))
	}
	if lines := strings.Count(ts.ReadFile("stderr"), "\n"); code != 0 && lines != 1 {
		ts.Fatalf("an error is one line, not %d: %s", lines, ts.ReadFile("stderr"))
	}
}

// head copies the first bytes of a file: head 100 FROM TO.
func head(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	data := ts.ReadFile(args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(data[:n]), 0o644))
}

// flip inverts a bit of the byte at an offset of a file: flip 200 FILE.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	data := []byte(ts.ReadFile(args[1]))
	data[n] ^= 0x10
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
}

// canMount is the condition mount: file systems in user space can be mounted here, in a
// namespace of their own. In CI they must.
func canMount(condition string) (bool, error) {
	if condition != "mount" {
		return false, fmt.Errorf("there is no condition %q", condition)
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(device.Close(), exec.Command("unshare", "--mount", "true").Run())
	}
	if err != nil && os.Getenv("CI") == "true" {
		return false, fmt.Errorf("CI must be able to mount: %w", err)
	}
	return err == nil, nil
}

// Command lcapcli works with Lustre changelogs: it decodes packed records, reads
// and clears changelogs as lfs does, and makes and inspects local ones.
//
// Each command is a file. A command is a constructor that returns a cobra
// command; it writes to the command's streams and returns an error, which main
// turns into one line and an exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes, which scripts rely on.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: it returns the exit code and has written one line on
// stderr if that is not 0.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "lcapcli: %v\n", err)
	if errors.As(err, new(*usageError)) {
		return exitUsage
	}
	return exitFailed
}

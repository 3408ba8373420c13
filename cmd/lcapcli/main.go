// Command lcapcli works with Lustre changelogs and with lcapd, which hands them out: it
// shows and changes what a server does, prints what members and listeners get, decodes
// packed records, reads and clears changelogs as lfs does, and makes and inspects local
// ones.
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
	"strings"
	"syscall"
)

// The exit codes, which scripts rely on.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
	// exitUnreached: nobody answers at the server's address, or the server ended the conversation.
	exitUnreached = 3
	exitRefused   = 4 // the server understood, and does not grant it
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
	fmt.Fprintf(stderr, "lcapcli: %s\n", oneLine(withRemedy(err).Error()))
	if errors.As(err, new(*usageError)) {
		return exitUsage
	}
	if code, ok := serverCode(err); ok {
		return code
	}
	return exitFailed
}

// oneLine makes one line of a text that may come from anybody.
func oneLine(s string) string { return printable(strings.ReplaceAll(s, "\n", "; ")) }

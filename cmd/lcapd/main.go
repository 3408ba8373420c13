// Command lcapd reads the changelogs of a Lustre file system and hands them on to
// consumer groups and listeners.
//
//	main.go    the command line and its exit codes
//	build.go   what a configuration asks for is built
//	daemon.go  it runs, until it is told to stop
//	http.go    metrics, health and status
//	init.go    the state is made; check.go: a configuration is looked at
//	restore.go a backup is made the state
//	limits.go  the system's limits, and ours
//	demo.go    all of it on one machine, with made-up records
//	watch.go   all of it on one machine, with the changes of a directory tree
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

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/config"
)

// The exit codes, which scripts and service managers rely on.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage, configuration or state: starting it again does not help
)

// version is set by the linker for releases.
var version = "dev"

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // for as long as the program
		<-signals
		giveBack(signals)
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// giveBack has further signals end the program at once. It comes before anybody sees that
// the program ends, so that no second signal is lost.
func giveBack(signals chan os.Signal) {
	signal.Stop(signals)
	select {
	case second := <-signals:
		if s, ok := second.(syscall.Signal); ok {
			_ = syscall.Kill(os.Getpid(), s) // it cannot fail: we may signal ourselves
		}
	default:
	}
}

// usageError is an error that starting again does not mend.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run is the program: it returns the exit code and has said why if that is not 0.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var bad *config.Errors
	if errors.As(err, &bad) {
		for _, p := range bad.Problems {
			if p.Line == 0 && p.Key == "" { // the file cannot be read: no line of it is meant
				fmt.Fprint(stderr, "lcapd: ")
			}
			fmt.Fprintln(stderr, p)
		}
		return exitUsage
	}
	fmt.Fprintf(stderr, "lcapd: %s\n", oneLine(err))
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// oneLine is an error in one line, also when it is several together.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func newRoot() *cobra.Command {
	var file string
	var trees watchOptions
	root := &cobra.Command{
		Use:   "lcapd -c FILE",
		Short: "Hand Lustre changelogs on to consumer groups and listeners",
		Long: `Hand Lustre changelogs on to consumer groups and listeners.

Exit codes: 0 ended as it was told to, 1 failed, 2 wrong usage, configuration or state:
starting it again does not help.`,
		Example: `  lcapd demo                          see it work: no root, no Lustre, no file
  lcapd init -c /etc/lcapd.yaml       make the state, once
  lcapd -c /etc/lcapd.yaml            run
  lcapd --watch /home                 make a changelog of a local directory tree, and serve it`,
		Version:       version,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := trees.check(file); err != nil {
				return err
			}
			if len(trees.trees) > 0 {
				return runWatch(cmd.Context(), trees, cmd.ErrOrStderr())
			}
			if file == "" {
				return usageError{errors.New("which configuration? lcapd -c FILE; to see it work without one: lcapd demo")}
			}
			return runDaemon(cmd.Context(), file, cmd.ErrOrStderr())
		},
	}
	trees.addTo(root)
	root.SetVersionTemplate("lcapd {{.Version}}\n")
	root.PersistentFlags().StringVarP(&file, "config", "c", "", "the configuration: YAML, or what the file's ending says")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newInit(&file), newRestore(&file), newCheck(&file), newConfig(), newDemo())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}

// load reads the configuration that a flag names.
func load(file string) (*config.Config, error) {
	if file == "" {
		return nil, usageError{errors.New("which configuration? use -c FILE")}
	}
	return config.Load(file)
}

// newConfig prints a configuration to begin with.
func newConfig() *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		Short:   "Print a configuration with every key, its default and what it is for",
		Example: "  lcapd config > /etc/lcapd.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.DefaultFile())
			return err
		},
	}
}

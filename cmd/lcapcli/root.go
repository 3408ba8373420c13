package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is a command line that cannot be carried out as it stands.
type usageError struct {
	command string // the command's path, such as "lcapcli llog create"
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see '%s --help'", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// flagError says of a flag's value what is wanted, in place of which function of Go did not take it.
func flagError(err error) error {
	what, _, isTime := strings.Cut(err.Error(), ": time: ")
	var number *strconv.NumError
	switch {
	case isTime:
		return fmt.Errorf("%s: a time with its unit is wanted, such as 30s", what)
	case !errors.As(err, &number):
		return err
	}
	what, _, _ = strings.Cut(what, ": strconv.")
	switch {
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("%s: the number is too large", what)
	case number.Func == "ParseUint":
		return fmt.Errorf("%s: a whole number is wanted, 0 or more", what)
	}
	return fmt.Errorf("%s: a whole number is wanted", what)
}

// badUsage makes a usageError of cmd.
func badUsage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd.CommandPath(), fmt.Errorf(format, args...)}
}

const rootHelp = `lcapcli works with Lustre changelogs, and with lcapd, which hands them out.

A changelog is the list of what happened on one metadata server (MDT): files
created, renamed, removed and so on. Its users register, read the records, and
clear what they have dealt with; what every user has cleared is gone.

To try it without Lustre, make a local changelog, put a record in it, read it as
text, and clear it:

  lcapcli llog create /tmp/log --mdt local-MDT0000
  lcapcli llog register /tmp/log               # prints the user's id, cl1
  echo '{"record_type":"CREAT","filename":"hello"}' >records.json
  lcapcli encode records.json >records.bin     # JSON to packed records
  lcapcli llog append --renumber /tmp/log records.bin
  lcapcli changelog /tmp/log                   # as "lfs changelog" prints it
  lcapcli changelog_clear /tmp/log cl1 1       # up to and with index 1

Packed records are what the changelog device of a Lustre client delivers:

  cat /dev/changelog-lustre-MDT0000 | lcapcli decode -

A running lcapd is asked with status, mdts, groups, members and listeners; consume
and listen print what it hands out:

  lcapcli status
  lcapcli consume --group audit --format json

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 server not reached, 4 refused by
the server.`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "lcapcli",
		Short:         "Work with Lustre changelogs and lcapd",
		Long:          rootHelp,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needCommand,
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{cmd.CommandPath(), flagError(err)} })
	root.AddGroup(
		&cobra.Group{ID: "server", Title: "A running lcapd:"},
		&cobra.Group{ID: "records", Title: "Records and changelogs:"},
		&cobra.Group{ID: "local", Title: "Local changelogs:"},
	)
	root.AddCommand(newDecode(), newEncode(), newTestModule(), newChangelog(), newChangelogClear(), newLlog(),
		newStatus(), newBackup(), newMDTs(), newGroups(), newMembers(), newModules(), newListeners(), newConsume(), newListen(), newBench(), newBenchPeer())
	addServerFlags(root)
	return root
}

// version is that of the build, from the module or the version control system.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// needCommand is the action of a command that only groups others: help when it
// is called alone, an error that suggests something for an unknown word.
func needCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	hint := ""
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return badUsage(cmd, "there is no command %q%s", args[0], hint)
}

// arguments demands between least and most arguments, named for the error.
func arguments(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return badUsage(cmd, "%s needs %s", cmd.Name(), names)
		case len(args) > most && most == 0:
			return badUsage(cmd, "%s takes no argument; %q is too much", cmd.Name(), args[0])
		case len(args) > most:
			return badUsage(cmd, "%s takes only %s; %q is too much", cmd.Name(), names, args[most])
		}
		return nil
	}
}

// joinClose adds the error of closing to *err.
func joinClose(err *error, closer func() error) { *err = errors.Join(*err, closer()) }

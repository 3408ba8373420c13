package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/broker/state"
)

const restoreHelp = `Make a backup the state, while lcapd is stopped. It says for each group what that
means. The state that was there is kept beside it as state.db.old, and what it knew of
clears is taken over. A backup of another installation, or one that is damaged, changes
nothing.

Backups are made by 'lcapcli backup FILE'.`

// newRestore makes a backup the state.
func newRestore(file *string) *cobra.Command {
	return &cobra.Command{
		Use:     "restore -c FILE BACKUP",
		Short:   "Make a backup the state, while lcapd is stopped",
		Long:    restoreHelp,
		Example: "  lcapd restore -c /etc/lcapd.yaml /backup/lcapd.db",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes one BACKUP; see %[1]s --help", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(*file)
			if err != nil {
				return err
			}
			backup, err := readBackup(args[0])
			if err != nil {
				return err
			}
			if err := errors.Join(agree(cfg, backup.Snapshot)...); err != nil {
				return usageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			replaced, err := backup.Restore(cfg.State)
			if err != nil {
				return stateError(cfg.State, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is the state of lcapd %s again, as it was in %s\n", cfg.State, backup.Snapshot.Identity.ID, args[0])
			return sayRestored(cmd.OutOrStdout(), backup.Snapshot, replaced)
		},
	}
}

func readBackup(path string) (*state.Copy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close() // it was only read
	backup, err := state.ReadBackup(f)
	if err != nil {
		return nil, stateError(path, err)
	}
	return backup, nil
}

// sayRestored says what comes again, and what will not.
func sayRestored(w io.Writer, now state.Snapshot, replaced *state.Snapshot) error {
	if replaced == nil {
		_, err := fmt.Fprint(w, "What its groups have acknowledged since comes again, as far as the MDTs still hold it; what\n"+
			"lcapd has cleared since is reported to them as gone. Groups made since are unknown: they hold\n"+
			"nothing any more. Groups deleted since are back, and hold the clear: lcapcli groups delete NAME.\n")
		return err
	}
	for _, g := range replaced.Groups {
		if !slices.ContainsFunc(now.Groups, func(x state.Group) bool { return x.Name == g.Name }) {
			fmt.Fprintf(w, "group %s was made since: it is gone, and what it has not acknowledged may be cleared; make it again before lcapd serves: lcapcli groups create %[1]s\n", g.Name)
		}
	}
	for _, g := range now.Groups {
		if !slices.ContainsFunc(replaced.Groups, func(x state.Group) bool { return x.Name == g.Name }) {
			fmt.Fprintf(w, "group %s was deleted since: it is back, and holds the clear: lcapcli groups delete %[1]s\n", g.Name)
		}
	}
	return sayAgain(w, now, *replaced)
}

// sayAgain lists what each group gets again.
func sayAgain(w io.Writer, now, replaced state.Snapshot) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GROUP\tMDT\tWAS AT\tGOES ON BEHIND\tCOMES AGAIN")
	for _, is := range now.Tracks {
		i := slices.IndexFunc(replaced.Tracks, func(x state.Track) bool { return x.Group == is.Group && x.MDT == is.MDT && x.Epoch == is.Epoch })
		if i < 0 {
			fmt.Fprintf(t, "%s\t%s\t-\t%d\t-\n", is.Group, is.MDT, is.Mark)
			continue
		}
		from, was := max(is.Mark, clearedOf(replaced, is)), replaced.Tracks[i].Mark
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d indexes\n", is.Group, is.MDT, was, from, was-min(was, from))
	}
	return t.Flush()
}

// clearedOf returns how far the MDT of a track was cleared.
func clearedOf(s state.Snapshot, of state.Track) uint64 {
	for _, m := range s.MDTs {
		if m.Name == of.MDT && m.Epoch == of.Epoch {
			return m.Cleared
		}
	}
	return 0
}

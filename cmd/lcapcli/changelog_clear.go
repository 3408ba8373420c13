package main

import (
	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/llog"
)

const changelogClearHelp = `Tell a changelog that a user no longer needs the records up to END.

MDT is the name of an MDT whose file system is mounted on this node, the path of
its device, or the directory of a local changelog. ID is the user's id as it was
registered, such as cl1. END is inclusive; it may not lie beyond the last record
nor before what the user cleared already. Records that no user needs any more
are gone at once.

Everything up to now is cleared by --all. (lfs takes END 0 for that. Here 0 is
refused: a number that somebody forgot to fill in must not lose records.)`

func newChangelogClear() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "changelog_clear MDT ID END|--all",
		Short:   "Acknowledge records of a changelog",
		Long:    changelogClearHelp,
		GroupID: "records",
		Example: "  lcapcli changelog_clear lustre-MDT0000 cl1 4711\n" +
			"  lcapcli changelog_clear /tmp/log cl1 4711\n" +
			"  lcapcli changelog_clear /tmp/log cl1 --all",
		Args: arguments(2, 3, "MDT ID END, or MDT ID --all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return clearRecords(cmd, args, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "clear everything up to now, read or not")
	return cmd
}

func clearRecords(cmd *cobra.Command, args []string, all bool) error {
	id, err := llog.ParseUserID(args[1])
	if err != nil {
		return badUsage(cmd, "%w", err)
	}
	if all == (len(args) == 3) {
		return badUsage(cmd, "name either END or --all")
	}
	var end uint64
	if !all {
		if end, err = parseIndex(args[2]); err != nil {
			return badUsage(cmd, "END %w", err)
		}
		if end == 0 {
			return badUsage(cmd, "END 0 would clear everything, records never read too; if that is meant, say --all")
		}
	}
	c, err := openChangelog(args[0], id.String())
	switch {
	case err != nil:
		return err
	case c.device != nil && all:
		return c.device.ClearAll(cmd.Context())
	case c.device != nil:
		return c.device.Clear(cmd.Context(), end)
	case all:
		_, err = c.log.ClearAll(cmd.Context(), id)
		return err
	}
	return c.log.Clear(cmd.Context(), id, end)
}

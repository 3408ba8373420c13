package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/llog"
)

const repairHelp = `Give up what cannot be read of a damaged changelog.

Segments that are damaged are rewritten with the records that can still be read;
the rest of them is lost, for every user. Restore the files from a backup instead
if there is one. Nothing may append meanwhile.`

func newLlogRepair() *cobra.Command {
	return &cobra.Command{
		Use:     "repair DIR",
		Short:   "Give up what cannot be read of a damaged changelog",
		Long:    repairHelp,
		Example: "  lcapcli llog repair /tmp/log",
		Args:    arguments(1, 1, "one DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := llog.Open(args[0])
			if err != nil {
				return err
			}
			repaired, err := log.Repair(cmd.Context())
			for _, r := range repaired {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: kept %d records, gave up %d bytes\n", r.File, r.Records, r.Bytes)
			}
			if err == nil && len(repaired) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing is damaged")
			}
			return err
		},
	}
}

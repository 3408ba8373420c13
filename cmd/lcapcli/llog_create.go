package main

import (
	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/llog"
)

func newLlogCreate() *cobra.Command {
	var mdt string
	cmd := &cobra.Command{
		Use:     "create DIR --mdt NAME",
		Short:   "Make an empty changelog",
		Long:    "Make an empty changelog in DIR, which must be missing or empty, for the MDT of that name.",
		Example: "  lcapcli llog create /tmp/log --mdt local-MDT0000",
		Args:    arguments(1, 1, "one DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !llog.MDTName.MatchString(mdt) {
				return badUsage(cmd, "--mdt %q is not a name: letters, digits, dot, dash and underscore, such as local-MDT0000", mdt)
			}
			log, err := llog.Create(args[0], mdt)
			if err != nil {
				return err
			}
			cmd.Printf("created the changelog of %s in %s; nothing is kept until a user is registered: lcapcli llog register %s\n", log.MDT(), args[0], args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&mdt, "mdt", "", "name of the MDT, such as local-MDT0000 (required)")
	return cmd
}

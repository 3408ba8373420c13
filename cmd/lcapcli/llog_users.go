package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/llog"
)

const registerHelp = `Register a user of a changelog and print its id, such as cl1.

From now on records are kept until this user clears them. It owes nothing of the
past: its first record is the next one appended. With --mask it wants only some
types recorded, named as lctl takes them: "CREAT,UNLNK", "ALL", "+OPEN" or
"-CLOSE" to change the default mask. The log records what any user wants; a user
without a mask wants everything.`

func newLlogRegister() *cobra.Command {
	var name, mask string
	cmd := &cobra.Command{
		Use:     "register DIR",
		Short:   "Register a user, and print its id",
		Long:    registerHelp,
		Example: "  lcapcli llog register /tmp/log --user audit --mask ALL",
		Args:    arguments(1, 1, "one DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted := changelog.Mask(0)
			if cmd.Flags().Changed("mask") {
				var err error
				if wanted, err = changelog.ParseMask(mask, changelog.MaskDefault); err != nil {
					return badUsage(cmd, "--mask: %w", err)
				}
				if wanted == 0 {
					return badUsage(cmd, "--mask %q leaves no type", mask)
				}
			}
			log, err := llog.Open(args[0])
			if err != nil {
				return err
			}
			user, err := log.Register(cmd.Context(), name, wanted)
			if errors.Is(err, llog.ErrUserName) {
				return badUsage(cmd, "%w", err)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), user.ID)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "user", "", "a name for the user, to tell it from others")
	cmd.Flags().StringVar(&mask, "mask", "", "types that the user wants recorded (default: all)")
	return cmd
}

func newLlogDeregister() *cobra.Command {
	return &cobra.Command{
		Use:     "deregister DIR ID",
		Short:   "Remove a user",
		Long:    "Remove the user with that id. Records that only this user had not cleared are gone; with the last user, all are.",
		Example: "  lcapcli llog deregister /tmp/log cl1",
		Args:    arguments(2, 2, "DIR ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := llog.ParseUserID(args[1])
			if err != nil {
				return badUsage(cmd, "%w", err)
			}
			log, err := llog.Open(args[0])
			if err != nil {
				return err
			}
			return log.Deregister(cmd.Context(), id)
		},
	}
}

func newLlogUsers() *cobra.Command {
	return &cobra.Command{
		Use:   "users DIR",
		Short: "List the users and what they have cleared",
		Long: "List the users in the form of an MDT's changelog_users: id, last index cleared,\n" +
			"seconds since the last clear, and mask if there is one.",
		Example: "  lcapcli llog users /tmp/log",
		Args:    arguments(1, 1, "one DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := llog.Open(args[0])
			if err != nil {
				return err
			}
			info, err := log.Info()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(emulated.AppendUsers(nil, info, emulated.NewestVersion, time.Now()))
			return err
		},
	}
}

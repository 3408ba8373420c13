package main

import (
	"github.com/spf13/cobra"
)

const llogHelp = `Make, fill and inspect local changelogs.

A local changelog is a directory with the records and users of one MDT, real or
not. It keeps an MDT's rules: records are kept from the first registration on,
until every user has cleared them. lcapd can read it in the place of a Lustre
changelog. One process appends at a time; any number may read, register and
clear.

Start with 'lcapcli llog create', then 'register', then 'append'; read with
'lcapcli changelog DIR', acknowledge with 'lcapcli changelog_clear DIR ID END'.`

func newLlog() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "llog",
		Short:   "Make, fill and inspect local changelogs",
		Long:    llogHelp,
		GroupID: "local",
		Args:    cobra.ArbitraryArgs,
		RunE:    needCommand,
	}
	cmd.AddCommand(newLlogCreate(), newLlogRegister(), newLlogDeregister(), newLlogUsers(),
		newLlogAppend(), newLlogInfo(), newLlogRepair(), newLlogServe())
	return cmd
}

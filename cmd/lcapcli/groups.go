package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/wire"
)

const groupsHelp = `List the consumer groups of a server, and work on them.

LAG is how many indexes were read and are not acknowledged, all MDTs together; IN
FLIGHT is what members have and did not acknowledge. STATE says why nothing is
handed out, if so; 'groups show NAME' says who waits for whom.`

func newGroups() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "groups",
		Short:   "List consumer groups, and work on them",
		Long:    groupsHelp,
		GroupID: "server",
		Example: "  lcapcli groups\n  lcapcli groups show audit\n  lcapcli -o json groups | jq '.[].lag'",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return needCommand(cmd, args)
			}
			return show(cmd, func(ctx context.Context, o *client.Operator) ([]wire.GroupStatus, error) { return o.Groups(ctx) }, printGroups)
		},
	}
	cmd.AddCommand(newGroupsShow(), newGroupsCreate(), newGroupsDelete(), newGroupsSeek(),
		newGroupsPause(true), newGroupsPause(false), newGroupsSkip(), newGroupsLimit(), newGroupsSet())
	return cmd
}

func printGroups(w io.Writer, groups []wire.GroupStatus, _ time.Time) error {
	t := newTable("GROUP", "DISTRIBUTION", ">MEMBERS", ">LAG", ">IN FLIGHT", "STATE")
	for _, g := range groups {
		t.add(g.Group, g.Distribution, len(g.Members), g.Lag, bytesText(g.InFlight), groupState(g))
	}
	return t.write(w)
}

// groupState says why a group hands nothing out, as far as that is known.
func groupState(g wire.GroupStatus) string {
	waits, reason := 0, ""
	for _, t := range g.Tracks {
		if len(t.Poisoned) > 0 {
			return fmt.Sprintf("%s: records fail again and again", t.MDT)
		}
		for _, w := range t.Waits {
			waits++
			if reason == "" {
				reason = fmt.Sprintf("%s waits: %s", t.MDT, w.Reason)
			}
		}
	}
	switch {
	case g.Paused:
		return "paused"
	case !g.Stored:
		return "not yet on disk"
	case waits > 1:
		return fmt.Sprintf("%s, and %d more", reason, waits-1)
	case waits == 1:
		return reason
	}
	return "running"
}

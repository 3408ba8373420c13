package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/wire"
)

const membersHelp = `List the members of one consumer group, or of all.

LEASES are batches that a member has and did not acknowledge, IN FLIGHT their
bytes, CREDIT how many more it takes, RECORDS what it got since it joined, IDLE the
time since its last sign of life. The fields that it wants are in JSON.`

func newMembers() *cobra.Command {
	return &cobra.Command{
		Use:     "members [GROUP]",
		Short:   "List the members of groups",
		Long:    membersHelp,
		GroupID: "server",
		Example: "  lcapcli members\n  lcapcli -o json members audit",
		Args:    arguments(0, 1, "one GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := ""
			if len(args) > 0 {
				group = args[0]
			}
			return show(cmd, func(ctx context.Context, o *client.Operator) ([]wire.MemberStatus, error) {
				return o.Members(ctx, group)
			}, printMembers)
		},
	}
}

func printMembers(w io.Writer, members []wire.MemberStatus, _ time.Time) error {
	t := newTable("GROUP", "MEMBER", "REMOTE", "MDTS", ">LEASES", ">IN FLIGHT", ">CREDIT", ">RECORDS", ">IDLE")
	for _, m := range members {
		t.add(m.Group, m.Name, m.Remote, listText(m.MDTs), m.Leases, bytesText(m.InFlight), m.Credit, m.Records, timeText(m.Idle))
	}
	return t.write(w)
}

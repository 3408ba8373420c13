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

const mdtsHelp = `List the MDTs of a server.

READ is the last index read, CLEARED the last one that the MDT was told nobody
needs any more, KEPT how far they are apart: what the MDT keeps for us. HELD BY is
the group that has not acknowledged more, WINDOW what is in memory. Below are
errors, and second readings for groups that are behind the window.`

func newMDTs() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "mdts",
		Short:   "List the MDTs",
		Long:    mdtsHelp,
		GroupID: "server",
		Example: "  lcapcli mdts\n  lcapcli -o json mdts | jq '.[] | select(.state != \"reading\")'",
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, func(ctx context.Context, o *client.Operator) ([]wire.MDTStatus, error) { return o.MDTs(ctx) }, printMDTs)
		},
	}
	cmd.AddCommand(newMDTsRestart())
	return cmd
}

func newMDTsRestart() *cobra.Command {
	return &cobra.Command{
		Use:   "restart MDT",
		Short: "Read on where bad records have stopped the reading of an MDT",
		Long: "Read on where bytes that are no records have stopped the reading of an MDT: lcapd does not\n" +
			"guess what follows them. Mend the cause first, as lcapd's log shows it.",
		Example: "  lcapcli mdts restart lustre-MDT0000",
		Args:    arguments(1, 1, "one MDT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, func(ctx context.Context, o *client.Operator) error { return o.Restart(ctx, args[0]) })
		},
	}
}

func printMDTs(w io.Writer, mdts []wire.MDTStatus, now time.Time) error {
	t := newTable("MDT", "USER", "STATE", ">READ", ">CLEARED", ">KEPT", "HELD BY", ">WINDOW")
	for _, m := range mdts {
		t.add(m.MDT, m.User, m.State, m.Read, m.Cleared, m.Read-min(m.Cleared, m.Read), orDash(m.HeldBy), bytesText(m.Window.Bytes))
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, m := range mdts {
		if m.Error != "" {
			fmt.Fprintf(w, "%s %s for %s: %s\n", printable(m.MDT), printable(m.State), timeText(now.Sub(m.Since)), printable(m.Error))
		}
		for _, c := range m.CatchUps {
			fmt.Fprintf(w, "%s: a second reading at %d, for groups behind the window\n", printable(m.MDT), c.At)
		}
		if m.Holes > 0 {
			fmt.Fprintf(w, "%s: %s in the indexes to be looked at again before more is cleared\n", printable(m.MDT), countText(m.Holes, "hole"))
		}
	}
	return nil
}

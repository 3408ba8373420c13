package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/wire"
)

const listenersHelp = `List who listens: since when, what was sent, and how many gaps were told in place of
how many records, because they came too fast.`

func newListeners() *cobra.Command {
	return &cobra.Command{
		Use:     "listeners",
		Short:   "List who listens",
		Long:    listenersHelp,
		GroupID: "server",
		Example: "  lcapcli listeners",
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, func(ctx context.Context, o *client.Operator) ([]wire.ListenerStatus, error) { return o.Listeners(ctx) }, printListeners)
		},
	}
}

func printListeners(w io.Writer, listeners []wire.ListenerStatus, now time.Time) error {
	t := newTable("LISTENER", "REMOTE", "MDTS", ">FOR", ">RECORDS", ">SENT", ">GAPS", ">MISSED")
	for _, l := range listeners {
		t.add(l.Name, l.Remote, listText(l.MDTs), timeText(now.Sub(l.Since)), l.Records, bytesText(l.Bytes), l.Gaps, l.Missed)
	}
	return t.write(w)
}

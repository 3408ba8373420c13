package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/wire"
)

const listenersHelp = `List who listens: since when, what was sent, and how many gaps were told in place of
how many records, because they came too fast. FILTERED records are those that the listener's filter and
modules left out; what these are follows the table.`

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
	t := newTable("LISTENER", "REMOTE", "MDTS", ">FOR", ">RECORDS", ">SENT", ">FILTERED", ">GAPS", ">MISSED")
	for _, l := range listeners {
		t.add(l.Name, l.Remote, listText(l.MDTs), timeText(now.Sub(l.Since)), l.Records, bytesText(l.Bytes), l.Filtered, l.Gaps, l.Missed)
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, l := range listeners {
		if err := printWish(w, l); err != nil {
			return err
		}
	}
	return nil
}

// printWish tells what a listener wants, if that is not everything.
func printWish(w io.Writer, l wire.ListenerStatus) error {
	var parts []string
	if l.Filter != "" {
		parts = append(parts, "filter: "+l.Filter)
	}
	if l.Modules != "" {
		parts = append(parts, "modules: "+l.Modules)
	}
	if l.Fields != "all" && l.Fields != "" {
		parts = append(parts, "fields: "+l.Fields)
	}
	if parts == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s (%s) wants %s\n", printable(l.Name), printable(l.Remote), printable(strings.Join(parts, "; ")))
	return err
}

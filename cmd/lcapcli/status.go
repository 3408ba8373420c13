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

const statusHelp = `Show how a server is: what it reads, what its groups have got, who listens, how
much memory it keeps, and what endangers a promise, with the remedy.

The exit code is 0 whatever it says: scripts look at "ready" and "problems" of
-o json, whose names are stable.`

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show how a server is",
		Long:    statusHelp,
		GroupID: "server",
		Example: "  lcapcli status\n  lcapcli -s tcp://lcapd:8189 -o json status",
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, func(ctx context.Context, o *client.Operator) (wire.Status, error) { return o.Status(ctx) }, printStatus)
		},
	}
}

// mostWishes is of how many listeners the status tells what they want.
const mostWishes = 20

func printStatus(w io.Writer, s wire.Status, now time.Time) error {
	ready := "ready"
	if !s.Ready {
		ready = "NOT READY"
	}
	m := s.Memory
	fmt.Fprintf(w, "lcapd %s, state %s, up %s: %s\n", printable(s.Version), printable(s.Broker), timeText(now.Sub(s.Started)), ready)
	fmt.Fprintf(w, "memory: %s of %s in batches, %s of that held by writers only, %s for listeners, %s filtered or cut\n",
		bytesText(m.Batches), bytesText(m.Limit), bytesText(m.Pinned), bytesText(m.Listened), bytesText(m.Views))
	if text := passing(s.Modules); text != "" {
		fmt.Fprintf(w, "all records pass: %s (lcapcli modules '*' tells what it drops)\n", text)
	}
	for _, p := range s.Problems {
		since := ""
		if !p.Since.IsZero() {
			since = " (for " + timeText(now.Sub(p.Since)) + ")"
		}
		fmt.Fprintf(w, "problem: %s: %s: %s%s\n  remedy: %s\n", printable(string(p.Kind)), printable(p.About), printable(p.Text), since, orDash(printable(p.Remedy)))
	}
	fmt.Fprintln(w)
	if err := printMDTs(w, s.MDTs, now); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printGroups(w, s.Groups, now); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", countText(len(s.Listeners), "listener")); err != nil {
		return err
	}
	for _, l := range s.Listeners[:min(len(s.Listeners), mostWishes)] {
		if err := printWish(w, l); err != nil {
			return err
		}
	}
	if more := len(s.Listeners) - mostWishes; more > 0 {
		_, err := fmt.Fprintf(w, "and of %d more lcapcli listeners tells what they want\n", more)
		return err
	}
	return nil
}

// passing names the modules that all records pass before anybody is given them; empty for none.
func passing(modules []wire.ModuleStatus) string {
	var names []string
	for _, m := range modules {
		if m.Group == wire.Everybody && m.MDT == modules[0].MDT {
			names = append(names, printable(m.Module))
		}
	}
	return strings.Join(names, ", ")
}

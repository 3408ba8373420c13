package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/wire"
)

const groupsShowHelp = `Show one consumer group: how far it is in each MDT, who waits for whom, the oldest
leases, and its members.

MARK is the index up to which everything is acknowledged, ON DISK what of that
survives a crash, HANDED the highest index that a member got, LAG what is between
mark and the last index read.`

func newGroupsShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show how far a group is, and who waits for whom",
		Long:    groupsShowHelp,
		Example: "  lcapcli groups show audit\n  lcapcli -o yaml groups show audit",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd, func(ctx context.Context, o *client.Operator) (wire.GroupStatus, error) { return o.Group(ctx, args[0]) }, printGroup)
		},
	}
}

func printGroup(w io.Writer, g wire.GroupStatus, now time.Time) error {
	fmt.Fprintf(w, "group %s: %s, started at %s, %s\n", printable(g.Group), g.Distribution, g.Start, printable(groupState(g)))
	fmt.Fprintf(w, "lag %d, in flight %s, %s\n\n", g.Lag, bytesText(g.InFlight), countText(len(g.Members), "member"))
	printLimits(w, g)
	printChain(w, g)
	tracks := newTable("MDT", ">EPOCH", ">MARK", ">ON DISK", ">HANDED", ">READ", ">LAG")
	for _, t := range g.Tracks {
		tracks.add(t.MDT, t.Epoch, t.Mark, t.Durable, t.Handed, t.Read, t.Lag)
	}
	if err := tracks.write(w); err != nil {
		return err
	}
	for _, part := range []*table{waitsOf(g), leasesOf(g), troubleOf(g)} {
		if len(part.rows) == 0 {
			continue
		}
		fmt.Fprintln(w)
		if err := part.write(w); err != nil {
			return err
		}
	}
	if len(g.Members) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return printMembers(w, g.Members, now)
}

// printLimits says when the group counts as abandoned, if ever.
func printLimits(w io.Writer, g wire.GroupStatus) {
	var limits []string
	if g.MaxBacklog > 0 {
		limits = append(limits, fmt.Sprintf("with more than %d indexes unacknowledged", g.MaxBacklog))
	}
	if g.MaxIdle > 0 {
		limits = append(limits, "after "+timeText(g.MaxIdle)+" without an acknowledgement")
	}
	if len(limits) == 0 {
		return
	}
	then := "lcapd warns"
	if g.Expire {
		then = "it gives up its hold"
	}
	fmt.Fprintf(w, "abandoned %s: then %s\n\n", strings.Join(limits, ", or "), then)
}

// printChain says what is done with records before the group is handed them.
func printChain(w io.Writer, g wire.GroupStatus) {
	if g.Filter != "" {
		fmt.Fprintf(w, "filter: %s\n", printable(g.Filter))
	}
	if g.Modules != "" {
		fmt.Fprintf(w, "modules: %s\n", printable(g.Modules))
	}
	if g.Filter+g.Modules != "" {
		fmt.Fprintf(w, "consumers: %s\n\n", cmp.Or(g.Consumers, "every-record"))
	}
}

// waitsOf is who waits for whom.
func waitsOf(g wire.GroupStatus) *table {
	waits := newTable("WAITING", ">AT", "OWNER", "REASON", "FOR", ">UNTIL")
	for _, t := range g.Tracks {
		for _, x := range t.Waits {
			until := "-"
			if x.Until != 0 {
				until = fmt.Sprint(x.Until)
			}
			reason := x.Reason
			if x.Keys > 0 {
				reason += " (" + countText(x.Keys, "key") + ")"
			}
			waits.add(t.MDT, x.At, orDash(x.Owner), reason, orDash(x.For), until)
		}
	}
	return waits
}

// leasesOf is the oldest lease by MDT.
func leasesOf(g wire.GroupStatus) *table {
	leases := newTable("OLDEST LEASE", ">NUMBER", "MEMBER", ">ACKED", ">TO", ">DELIVERY", ">AGE", ">IDLE")
	for _, t := range g.Tracks {
		if x := t.Oldest; x != nil {
			leases.add(t.MDT, x.Lease, x.Member, x.Acked, x.To, x.Delivery, timeText(x.Age), timeText(x.Idle))
		}
	}
	return leases
}

// troubleOf is what an operator should look at.
func troubleOf(g wire.GroupStatus) *table {
	trouble := newTable("NOTE", "WHAT")
	for _, t := range g.Tracks {
		for _, r := range t.Poisoned {
			trouble.add(t.MDT, fmt.Sprintf("records %d to %d were delivered too often: 'groups skip' passes over one", r.From+1, r.To))
		}
		if t.Lost > 0 {
			trouble.add(t.MDT, fmt.Sprintf("records up to %d were gone upstream before the group got them", t.Lost))
		}
		for _, x := range t.Missed {
			told := "no member knows yet"
			if x.Told {
				told = "its members were told"
			}
			trouble.add(t.MDT, fmt.Sprintf("gave up %d to %d of epoch %d, when abandoned; %s", x.From+1, x.To, x.Epoch, told))
		}
		if len(t.Skips) > 0 {
			trouble.add(t.MDT, fmt.Sprintf("skips %d", t.Skips))
		}
		if t.Late > 0 {
			trouble.add(t.MDT, countText(t.Late, "record")+" that appeared late, not yet acknowledged")
		}
	}
	return trouble
}

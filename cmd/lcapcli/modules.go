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

const modulesHelp = `List the modules of groups: what each was given, kept, dropped by which rule, and what
it holds back, in each MDT. What was read again counts again. The group * stands for
everybody: what all records pass before groups and listeners are given them.

STATE is running; resting while no member asks for records; failing when nothing is
handed out because of it; disabled when a module failed and lets every record pass.`

func newModules() *cobra.Command {
	return &cobra.Command{
		Use:     "modules [GROUP]",
		Short:   "List the modules of groups, and what they have done",
		Long:    modulesHelp,
		GroupID: "server",
		Example: "  lcapcli modules\n  lcapcli -o json modules policies | jq '.[] | {module, in, kept}'",
		Args:    arguments(0, 1, "one GROUP or none"),
		RunE: func(cmd *cobra.Command, args []string) error {
			group := strings.Join(args, "")
			return show(cmd, func(ctx context.Context, o *client.Operator) ([]wire.ModuleStatus, error) {
				return o.Modules(ctx, group)
			}, printModules)
		},
	}
}

func printModules(w io.Writer, modules []wire.ModuleStatus, _ time.Time) error {
	t := newTable("GROUP", "MDT", "MODULE", ">IN", ">KEPT", ">DROPPED", ">HELD", ">BYTES", ">OLDEST", ">AGE", "STATE")
	for _, m := range modules {
		dropped := uint64(0)
		for _, d := range m.Dropped {
			dropped += d.Records
		}
		state := m.State
		if m.Error != "" {
			state += ": " + m.Error
		}
		oldest, age := "-", "-"
		if m.Held > 0 {
			oldest, age = fmt.Sprint(m.Oldest), timeText(m.Age)
		}
		t.add(m.Group, m.MDT, fmt.Sprintf("%d %s", m.Position, m.Module), m.In, m.Kept, dropped, m.Held, bytesText(m.Bytes), oldest, age, state)
	}
	if err := t.write(w); err != nil || len(modules) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return droppedBy(modules).write(w)
}

// droppedBy is what each rule has dropped, and what was changed, all MDTs together.
func droppedBy(modules []wire.ModuleStatus) *table {
	type rule struct{ group, module, rule string }
	records := make(map[rule]uint64)
	var rules []rule
	add := func(m wire.ModuleStatus, what string, n uint64) {
		r := rule{m.Group, fmt.Sprintf("%d %s", m.Position, m.Module), what}
		if _, known := records[r]; !known && n > 0 {
			rules = append(rules, r)
		}
		if n > 0 {
			records[r] += n
		}
	}
	for _, m := range modules {
		for _, d := range m.Dropped {
			add(m, "dropped: "+d.Rule, d.Records)
		}
		add(m, "changed", m.Changed)
	}
	t := newTable("GROUP", "MODULE", "WHAT", ">RECORDS")
	for _, r := range rules {
		t.add(r.group, r.module, r.rule, records[r])
	}
	return t
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
)

// distributions, starts and needs of consumers are what a group may be created with.
var (
	distributions = []string{"round-robin", "mdt", "fid"}
	starts        = []string{"earliest", "latest"}
	needs         = []string{"every-record", "changes", "state"}
)

// oneOf demands that a flag is empty or has one of some values.
func oneOf(cmd *cobra.Command, flag, value string, values []string) error {
	if value == "" {
		return nil
	}
	list := ""
	for i, v := range values {
		switch {
		case v == value:
			return nil
		case i == 0:
			list = v
		case i == len(values)-1:
			list += " or " + v
		default:
			list += ", " + v
		}
	}
	return badUsage(cmd, "--%s %q is unknown: %s", flag, value, list)
}

const groupsCreateHelp = `Make a consumer group. From then on every record that it has not acknowledged is kept
upstream, whether it has members or not.

Its distribution stays: round-robin gives batches to members in turn and orders
nothing, mdt keeps the order of each MDT, fid that of each file.`

func newGroupsCreate() *cobra.Command {
	var spec client.GroupSpec
	var limits func(*client.GroupLimits) error
	var chain func(*client.GroupChain) error
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a group",
		Long:    groupsCreateHelp,
		Example: "  lcapcli groups create audit --distribution mdt --start earliest",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, "distribution", spec.Distribution, distributions); err != nil {
				return err
			}
			if err := oneOf(cmd, "start", spec.Start, starts); err != nil {
				return err
			}
			if err := limits(&spec.Limits); err != nil {
				return err
			}
			if err := chain(&spec.Chain); err != nil {
				return err
			}
			return ask(cmd, func(ctx context.Context, o *client.Operator) error { return o.Create(ctx, args[0], spec) })
		},
	}
	cmd.Flags().StringVar(&spec.Distribution, "distribution", "", "round-robin, mdt or fid (default: round-robin)")
	cmd.Flags().StringVar(&spec.Start, "start", "", "earliest (all that is still there) or latest (what comes; default)")
	cmd.Flags().StringSliceVar(&spec.MDTs, "mdts", nil, "only these MDTs (default: all, later ones too)")
	complete(cmd, "distribution", distributions...)
	complete(cmd, "start", starts...)
	limits, chain = limitFlags(cmd), chainFlags(cmd)
	return cmd
}

// chainFlags are the flags that say what is done with records before a group is handed them. What
// they say replaces what was there.
func chainFlags(cmd *cobra.Command) func(*client.GroupChain) error {
	filter := cmd.Flags().String("filter", "", "an expression that records must match, such as 'uid >= 1000'")
	modules := cmd.Flags().String("modules", "", "a list of modules behind it, such as '[{coalesce: {age: 2s}}]', or @FILE")
	consumers := cmd.Flags().String("consumers", "", "what its consumers need: every-record (default), changes or state")
	complete(cmd, "consumers", needs...)
	return func(c *client.GroupChain) error {
		if cmd.Flags().Changed("filter") {
			c.Filter = *filter
		}
		if cmd.Flags().Changed("consumers") {
			c.Consumers = *consumers
		}
		if cmd.Flags().Changed("modules") {
			text, err := chainText(*modules)
			if err != nil {
				return err
			}
			c.Modules = text
		}
		return oneOf(cmd, "consumers", *consumers, needs)
	}
}

const groupsSetHelp = `Change the filter and the modules of a group; what is left out stays, an empty text
takes it away. No member may be connected: end them first.

What lies above the group's mark is decided anew. What was dropped below it stays so:
'groups seek' goes back, as far as the changelog still has it. docs/modules.md says what
the modules do; 'lcapcli test-module' shows it with records of yours.`

func newGroupsSet() *cobra.Command {
	var chain func(*client.GroupChain) error
	cmd := &cobra.Command{
		Use:     "set NAME [--filter E] [--modules LIST] [--consumers WHAT]",
		Short:   "Change the filter and the modules of a group",
		Long:    groupsSetHelp,
		Example: "  lcapcli groups set audit --filter 'uid >= 1000'\n  lcapcli groups set policies --consumers state --modules '[cancel, {coalesce: {age: 2s}}]'",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f := cmd.Flags(); !f.Changed("filter") && !f.Changed("modules") && !f.Changed("consumers") {
				return badUsage(cmd, "name what to change: --filter, --modules or --consumers")
			}
			if err := chain(new(client.GroupChain)); err != nil {
				return err
			}
			return ask(cmd, func(ctx context.Context, o *client.Operator) error {
				g, err := o.Group(ctx, args[0])
				if err != nil {
					return err
				}
				c := client.GroupChain{Filter: g.Filter, Modules: g.Modules, Consumers: g.Consumers}
				if err := chain(&c); err != nil {
					return err
				}
				return o.Set(ctx, args[0], c)
			})
		},
	}
	chain = chainFlags(cmd)
	return cmd
}

// limitFlags are the flags that say when a group counts as abandoned. What they say is
// there when the command runs.
func limitFlags(cmd *cobra.Command) func(*client.GroupLimits) error {
	backlog := cmd.Flags().Uint64("max-backlog", 0, "abandoned with more unacknowledged indexes of an MDT (default: any number)")
	idle := cmd.Flags().Duration("max-idle", 0, "abandoned after so long without an acknowledgement while something waits (default: never)")
	what := cmd.Flags().String("abandoned", "warn", "warn, or expire: an abandoned group gives up its hold on the changelogs")
	actions := []string{"warn", "expire"}
	complete(cmd, "abandoned", actions...)
	return func(l *client.GroupLimits) error {
		*l = client.GroupLimits{MaxBacklog: *backlog, MaxIdle: *idle, Expire: *what == "expire"}
		switch {
		case *idle != 0 && *idle < time.Second:
			return badUsage(cmd, "--max-idle %s: a second is the least", *idle)
		case l.Expire && *backlog == 0 && *idle == 0:
			return badUsage(cmd, "--abandoned expire needs --max-backlog or --max-idle")
		}
		return oneOf(cmd, "abandoned", *what, actions)
	}
}

const groupsLimitHelp = `Say when a group counts as abandoned: with more than --max-backlog unacknowledged
indexes of an MDT, or after --max-idle without an acknowledgement while something
waits. lcapd then warns or, with --abandoned expire, has the group give up what only
it holds back: its members are told what they missed when they come back, and 'groups
show' keeps it. What is left out is no limit any more.`

func newGroupsLimit() *cobra.Command {
	var limits func(*client.GroupLimits) error
	cmd := &cobra.Command{
		Use:     "limit NAME [--max-backlog N] [--max-idle D] [--abandoned warn|expire]",
		Short:   "Say when a group counts as abandoned, and whether it expires then",
		Long:    groupsLimitHelp,
		Example: "  lcapcli groups limit audit --max-idle 720h --abandoned expire",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var l client.GroupLimits
			if err := limits(&l); err != nil {
				return err
			}
			return ask(cmd, func(ctx context.Context, o *client.Operator) error { return o.Limit(ctx, args[0], l) })
		},
	}
	limits = limitFlags(cmd)
	return cmd
}

func newGroupsDelete() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "End a group and its hold on the changelogs",
		Long: "End a group. What only it had not acknowledged is cleared upstream, and gone for good.\n" +
			"With members it is refused; --force sends them away.",
		Example: "  lcapcli groups delete audit",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, func(ctx context.Context, o *client.Operator) error { return o.Delete(ctx, args[0], force) })
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "although it has members")
	return cmd
}

const groupsSeekHelp = `Have a group go on elsewhere: behind an index of one MDT, or where a new group would
start, in one MDT or in all.

Forward, what lies between is never delivered to the group; backward, what is
still there is delivered again. What members have is taken from them.

An index beyond what lcapd has read would let the group pass over records that do not
exist yet: it is refused without --force.`

func newGroupsSeek() *cobra.Command {
	var mdt, to string
	var index uint64
	var force bool
	cmd := &cobra.Command{
		Use:     "seek NAME --index N --mdt MDT [--force] | --to latest|earliest [--mdt MDT]",
		Short:   "Have a group go on elsewhere",
		Long:    groupsSeekHelp,
		Example: "  lcapcli groups seek audit --to latest\n  lcapcli groups seek audit --mdt lustre-MDT0000 --index 4711",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			byIndex := cmd.Flags().Changed("index")
			switch {
			case byIndex == (to != ""):
				return badUsage(cmd, "name either --index or --to")
			case byIndex && mdt == "":
				return badUsage(cmd, "--index needs the --mdt that it is of")
			}
			if err := oneOf(cmd, "to", to, starts); err != nil {
				return err
			}
			return ask(cmd, func(ctx context.Context, o *client.Operator) error {
				if !byIndex {
					return o.SeekTo(ctx, args[0], mdt, to)
				}
				if !force {
					if err := notBeyond(ctx, o, mdt, index); err != nil {
						return err
					}
				}
				return o.Seek(ctx, args[0], mdt, index)
			})
		},
	}
	cmd.Flags().StringVar(&mdt, "mdt", "", "the MDT (default with --to: all)")
	cmd.Flags().StringVar(&to, "to", "", "latest or earliest")
	cmd.Flags().Uint64Var(&index, "index", 0, "everything up to this index counts as done")
	cmd.Flags().BoolVar(&force, "force", false, "although the index lies beyond what was read: what comes up to it is never delivered")
	complete(cmd, "to", starts...)
	return cmd
}

// notBeyond refuses an index that is not read yet: a digit too many would have the group miss what is
// going to happen. An MDT that nobody knows is left to the server to refuse.
func notBeyond(ctx context.Context, o *client.Operator, mdt string, index uint64) error {
	list, err := o.MDTs(ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		if m.MDT == mdt && index > m.Read {
			return fmt.Errorf("index %d lies beyond %d, the last one that was read of %s: the group would not be given what comes up to it; if that is meant, say --force",
				index, m.Read, mdt)
		}
	}
	return nil
}

// newGroupsPause returns the command pause, or resume.
func newGroupsPause(pause bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pause NAME",
		Short:   "Hand out nothing to a group until it is resumed",
		Long:    "Hand out nothing to a group until 'groups resume'. Members stay, and may acknowledge what\nthey have. Upstream, the records are kept meanwhile.",
		Example: "  lcapcli groups pause audit",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, func(ctx context.Context, o *client.Operator) error { return o.Pause(ctx, args[0], pause) })
		},
	}
	if !pause {
		cmd.Use, cmd.Short, cmd.Long = "resume NAME", "Go on with a paused group", "Go on with a group that 'groups pause' has stopped."
		cmd.Example = "  lcapcli groups resume audit"
	}
	return cmd
}

func newGroupsSkip() *cobra.Command {
	var mdt string
	var index uint64
	cmd := &cobra.Command{
		Use:   "skip NAME --mdt MDT --index N",
		Short: "Have a group pass over one record",
		Long: "Have a group pass over one record that its members cannot deal with, as if it were\n" +
			"acknowledged. The server's log keeps who did it.",
		Example: "  lcapcli groups skip audit --mdt lustre-MDT0000 --index 4711",
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if mdt == "" || index == 0 {
				return badUsage(cmd, "name the record with --mdt and --index")
			}
			return ask(cmd, func(ctx context.Context, o *client.Operator) error { return o.Skip(ctx, args[0], mdt, index) })
		},
	}
	cmd.Flags().StringVar(&mdt, "mdt", "", "the MDT of the record")
	cmd.Flags().Uint64Var(&index, "index", 0, "the record's index")
	return cmd
}

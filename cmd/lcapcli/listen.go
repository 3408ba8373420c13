package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/modules"
)

const listenHelp = `Listen, and print the records as they come, one a line.

A listener gets what is recorded while it is connected. It acknowledges nothing and
holds nothing up. Who is too slow, or was away, is told of a gap before the next
record: a line {"gap": {...}} in JSON, a line on stderr in the other formats.

--filter is an expression over the record's fields, --modules a chain of the modules
filter, sample, rate and project behind it, or @ and the name of a file with it. The
server leaves out what does not pass; a gap counts the records before that.

An interrupt ends it with exit code 0.`

// listenOptions are what listen was told.
type listenOptions struct {
	streamOptions
	filter, modules string
}

func newListen() *cobra.Command {
	var o listenOptions
	cmd := &cobra.Command{
		Use:     "listen",
		Short:   "Print records as they come",
		Long:    listenHelp,
		GroupID: "server",
		Example: "  lcapcli listen\n  lcapcli listen --mdts lustre-MDT0000 --format json --fields rename,jobid\n" +
			"  lcapcli listen --filter 'type in [\"UNLNK\", \"RMDIR\"] and uid >= 1000'\n" +
			"  lcapcli listen --modules '[{filter: {types: \"-OPEN -CLOSE\"}}, {rate: {records: 100}}]'",
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return listen(cmd, &o)
		},
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.filter, "filter", "", "only records of which this is true, such as 'uid >= 1000' (docs/modules.md)")
	cmd.Flags().StringVar(&o.modules, "modules", "", "what records pass besides: a list of modules, or @FILE")
	return cmd
}

// passing are the options for what records shall pass. Where there is a mistake in an expression the
// server tells.
func (o *listenOptions) passing(cmd *cobra.Command) ([]client.ListenOption, error) {
	text, err := chainText(o.modules)
	if err != nil {
		return nil, err
	}
	specs, err := modules.ParseSpecs(text)
	if err == nil {
		text, err = modules.FormatSpecs(specs) // YAML becomes JSON, which the server wants
	}
	if err != nil {
		return nil, badUsage(cmd, "--modules: %w", err)
	}
	return []client.ListenOption{client.Filter(o.filter), client.Modules(text)}, nil
}

func listen(cmd *cobra.Command, o *listenOptions) (err error) {
	addr, err := serverOf(cmd)
	if err != nil {
		return err
	}
	p, err := o.printer(cmd, false)
	if err != nil {
		return err
	}
	opts, err := o.passing(cmd)
	if err != nil {
		return err
	}
	for _, opt := range o.options(p) {
		opts = append(opts, opt)
	}
	l, err := client.Listen(cmd.Context(), []string{addr}, opts...)
	if err != nil {
		return interrupted(cmd, err)
	}
	defer l.Close()
	defer joinClose(&err, p.flush)
	return o.hear(cmd.Context(), l, p)
}

// hear prints until the end.
func (o *streamOptions) hear(ctx context.Context, l *client.Listener, p *streamPrinter) error {
	for printed := 0; ctx.Err() == nil && (o.count == 0 || printed < o.count); {
		wait, cancel := o.wait(ctx)
		b, gap, err := l.Next(wait)
		cancel()
		switch {
		case err != nil && ended(err):
			return nil
		case err != nil:
			return err
		case gap != nil:
			err = p.gap(gap)
		default:
			for rec := range b.Records() {
				if o.count > 0 && printed == o.count {
					break
				}
				if err := p.record(client.Record{Record: rec, Batch: b}); err != nil {
					return err
				}
				printed++
			}
			b.Release()
		}
		if err == nil {
			err = p.flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

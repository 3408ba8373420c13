package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
)

const listenHelp = `Listen, and print the records as they come, one a line.

A listener gets what is recorded while it is connected. It acknowledges nothing and
holds nothing up. Who is too slow, or was away, is told of a gap before the next
record: a line {"gap": {...}} in JSON, a line on stderr in the other formats.

An interrupt ends it with exit code 0.`

func newListen() *cobra.Command {
	var o streamOptions
	cmd := &cobra.Command{
		Use:     "listen",
		Short:   "Print records as they come",
		Long:    listenHelp,
		GroupID: "server",
		Example: "  lcapcli listen\n  lcapcli listen --mdts lustre-MDT0000 --format json",
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return listen(cmd, &o)
		},
	}
	o.add(cmd)
	return cmd
}

func listen(cmd *cobra.Command, o *streamOptions) (err error) {
	addr, err := serverOf(cmd)
	if err != nil {
		return err
	}
	p, err := o.printer(cmd, false)
	if err != nil {
		return err
	}
	var opts []client.ListenOption
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

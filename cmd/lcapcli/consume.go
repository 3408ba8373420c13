package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
)

const consumeHelp = `Be a member of a consumer group, and print what it gets, one record a line.

Records are acknowledged when they have been written; --no-ack leaves them to come
again. What was printed and not acknowledged, because the connection was lost or
the program died, is delivered again, to this member or another.

JSON has "mdt", "epoch" and "delivery" (1 for the first time) in addition to the
record's own members, "maybe_redelivered" when an earlier run of the server may have
delivered it, and "late" when it appeared behind later ones. Records that were gone
before the group got them are a line {"lost": {...}}, on stderr in the other formats.

An interrupt ends it with exit code 0, after it has left the group.`

type consumeOptions struct {
	streamOptions
	group, distribution, start string
	create, noAck              bool
	ackEvery                   int
	delay                      time.Duration
}

func newConsume() *cobra.Command {
	var o consumeOptions
	cmd := &cobra.Command{
		Use:     "consume --group G",
		Short:   "Be a member of a group, and print what it gets",
		Long:    consumeHelp,
		GroupID: "server",
		Example: "  lcapcli consume --group audit\n" +
			"  lcapcli consume --group audit --create --start earliest --format json --idle 2s\n" +
			"  lcapcli consume --group audit --count 10 --no-ack   # look, and leave them",
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return o.run(cmd)
		},
	}
	o.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.group, "group", "", "the group (must be given)")
	flags.StringVar(&o.distribution, "distribution", "", "what the group must have, or is made with: round-robin, mdt or fid")
	flags.StringVar(&o.start, "start", "", "where the group must have started, or starts when it is made: earliest or latest")
	flags.BoolVar(&o.create, "create", false, "make the group if it is not there, where the server allows it")
	flags.BoolVar(&o.noAck, "no-ack", false, "acknowledge nothing")
	flags.IntVar(&o.ackEvery, "ack-every", 0, "acknowledge after so many records, and in the end (default: after each batch)")
	flags.DurationVar(&o.delay, "delay", 0, "take so long for each record, such as 10ms")
	complete(cmd, "distribution", distributions...)
	complete(cmd, "start", starts...)
	return cmd
}

func (o *consumeOptions) check(cmd *cobra.Command) error {
	switch {
	case o.group == "":
		return badUsage(cmd, "consume needs --group; 'lcapcli groups' lists them")
	case o.ackEvery < 0:
		return badUsage(cmd, "--ack-every %d is negative", o.ackEvery)
	case o.ackEvery > 0 && o.noAck:
		return badUsage(cmd, "--ack-every does not go with --no-ack")
	case o.delay < 0:
		return badUsage(cmd, "--delay %s is negative", o.delay)
	}
	return errors.Join(oneOf(cmd, "distribution", o.distribution, distributions), oneOf(cmd, "start", o.start, starts),
		o.streamOptions.check(cmd))
}

func (o *consumeOptions) run(cmd *cobra.Command) (err error) {
	addr, err := serverOf(cmd)
	if err != nil {
		return err
	}
	p, err := o.printer(cmd, true)
	if err != nil {
		return err
	}
	opts := []client.JoinOption{client.Distribution(o.distribution), client.Start(o.start)}
	for _, opt := range o.options(p) {
		opts = append(opts, opt)
	}
	if o.create {
		opts = append(opts, client.CreateGroup())
	}
	if o.count > 0 || o.delay > 0 {
		opts = append(opts, client.Window(1, 1<<20)) // what is not going to be printed soon is for others
	}
	m, err := client.Join(cmd.Context(), []string{addr}, o.group, opts...)
	if err != nil {
		return interrupted(cmd, err)
	}
	defer m.Close()
	c := &consumer{consumeOptions: o, member: m, printer: p}
	return c.consume(cmd.Context())
}

// interrupted drops an error that comes of a signal.
func interrupted(cmd *cobra.Command, err error) error {
	if cmd.Context().Err() != nil {
		return nil
	}
	return err
}

// A consumer is a member that prints.
type consumer struct {
	*consumeOptions
	member  *client.Member
	printer *streamPrinter
	printed int
	since   int             // printed since the last acknowledgement
	waiting []*client.Batch // printed as a whole, to be acknowledged
}

// consume prints and acknowledges until the end. What is printed in the end is acknowledged, too.
func (c *consumer) consume(ctx context.Context) error {
	for ctx.Err() == nil && (c.count == 0 || c.printed < c.count) {
		wait, cancel := c.wait(ctx)
		b, err := c.member.Next(wait)
		cancel()
		if err == nil {
			err = c.take(ctx, b)
		} else if ended(err) {
			break
		}
		if err != nil {
			return err
		}
	}
	return c.settle(nil, 0)
}

// take prints a batch, or as much of it as is wanted.
func (c *consumer) take(ctx context.Context, b *client.Batch) error {
	if c.printer.failed != nil {
		return c.printer.failed
	}
	var last uint64
	for rec := range b.Records() {
		if ctx.Err() != nil || c.count > 0 && c.printed == c.count {
			break
		}
		if err := c.printer.record(client.Record{Record: rec, Batch: b}); err != nil {
			return err
		}
		c.pause(ctx)
		c.printed++
		c.since++
		last = rec.Index()
		if c.ackEvery > 0 && c.since >= c.ackEvery && last < b.Last {
			if err := c.settle(b, last); err != nil {
				return err
			}
		}
	}
	b.Release()
	if last < b.Last { // it ends here
		return c.settle(b, last)
	}
	c.waiting = append(c.waiting, b)
	if c.ackEvery == 0 || c.since >= c.ackEvery {
		return c.settle(nil, 0)
	}
	return c.printer.flush()
}

// pause takes the time that was wished for.
func (c *consumer) pause(ctx context.Context) {
	if c.delay == 0 {
		return
	}
	timer := time.NewTimer(c.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settle writes out what is printed, and then acknowledges it: what waits, and b up to an index.
func (c *consumer) settle(b *client.Batch, upTo uint64) error {
	if err := c.printer.flush(); err != nil {
		return err
	}
	c.since = 0
	if c.noAck {
		c.waiting = nil
		return nil
	}
	var errs []error
	for _, w := range c.waiting {
		errs = append(errs, c.tolerate(c.member.Ack(w)))
	}
	c.waiting = nil
	if b != nil && upTo > 0 {
		errs = append(errs, c.tolerate(c.member.AckUpTo(b, upTo)))
	}
	return errors.Join(errs...)
}

// tolerate makes a warning of a lost lease.
func (c *consumer) tolerate(err error) error {
	if errors.Is(err, client.ErrLeaseLost) {
		c.printer.cmd.PrintErrf("lcapcli: warning: %s\n", oneLine(err.Error()))
		return nil
	}
	return err
}

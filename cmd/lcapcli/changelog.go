package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

const changelogHelp = `Print the records of a changelog, as "lfs changelog" does.

MDT is the name of an MDT whose file system is mounted on this node, the path of
its device, or the directory of a local changelog (see 'lcapcli llog'). START is the
first index wanted, END the last one; without them, everything that is there.
Reading needs no registered user and clears nothing. With --follow the command
goes on as records are appended, until END or an interrupt.`

// readBuffer is how much is read of a changelog at once, in bytes.
const readBuffer = 256 << 10

type changelogOptions struct {
	output     outputFlags
	follow     bool
	last       int
	start, end uint64
}

func newChangelog() *cobra.Command {
	var o changelogOptions
	cmd := &cobra.Command{
		Use:     "changelog MDT [START [END]]",
		Short:   "Print the records of a changelog",
		Long:    changelogHelp,
		GroupID: "records",
		Example: "  lcapcli changelog lustre-MDT0000\n" +
			"  lcapcli changelog /tmp/log\n" +
			"  lcapcli changelog --follow /tmp/log 1000\n" +
			"  lcapcli changelog --last 10 --format json /tmp/log",
		Args: arguments(1, 3, "MDT [START [END]]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(cmd, args[1:]); err != nil {
				return err
			}
			return o.run(cmd, args[0])
		},
	}
	o.output.add(cmd)
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on as records are appended")
	cmd.Flags().IntVar(&o.last, "last", 0, "print the newest N records only")
	return cmd
}

func (o *changelogOptions) parse(cmd *cobra.Command, args []string) (err error) {
	if len(args) > 0 {
		if o.start, err = parseIndex(args[0]); err != nil {
			return badUsage(cmd, "START %w", err)
		}
	}
	if len(args) > 1 {
		if o.end, err = parseIndex(args[1]); err != nil {
			return badUsage(cmd, "END %w", err)
		}
	}
	switch {
	case o.end != 0 && o.end < o.start:
		return badUsage(cmd, "END %d lies before START %d", o.end, o.start)
	case o.last < 0:
		return badUsage(cmd, "--last %d is negative", o.last)
	case o.last > 0 && (o.follow || len(args) > 0):
		return badUsage(cmd, "--last goes with neither --follow nor START")
	}
	return nil
}

// parseIndex reads the index of a record.
func parseIndex(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not an index: a number from 0 to 18446744073709551615", s)
	}
	return n, nil
}

func (o *changelogOptions) run(cmd *cobra.Command, where string) (err error) {
	c, err := openChangelog(where, "")
	if err != nil {
		return err
	}
	p, err := o.output.printer(cmd, c.mdt)
	if err != nil {
		return err
	}
	defer joinClose(&err, p.flush)
	if o.last > 0 {
		return o.printTail(cmd, c, p)
	}
	reader, err := c.open(cmd.Context(), o.start)
	if err != nil {
		return err
	}
	defer joinClose(&err, reader.Close)
	return o.copyRecords(cmd.Context(), reader, p)
}

func (o *changelogOptions) printTail(cmd *cobra.Command, c changelogSource, p *printer) error {
	if c.log == nil {
		return badUsage(cmd, "--last works with local changelogs only: a device is read from its start on")
	}
	tail, err := c.log.Tail(o.last)
	if err != nil {
		return err
	}
	for _, rec := range tail {
		if err := p.print(rec); err != nil {
			return err
		}
	}
	return nil
}

// errEnd says that END has been reached.
var errEnd = errors.New("end of the wanted records")

// copyRecords prints until the end of the changelog or, when following, until END
// or the end of ctx.
func (o *changelogOptions) copyRecords(ctx context.Context, reader upstream.Reader, p *printer) error {
	buf := make([]byte, readBuffer)
	for ctx.Err() == nil {
		n, err := reader.Read(buf)
		if err == nil {
			err = o.printAll(buf[:n], p)
		}
		switch {
		case err == errEnd:
			return nil
		case err == nil && n > 0:
			continue
		case err != nil && err != io.EOF:
			return err
		case err == io.EOF && !o.follow:
			return nil
		}
		if err := p.flush(); err != nil {
			return err
		}
		if err := reader.Wait(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil // interrupted, as one ends a follow
}

func (o *changelogOptions) printAll(packed []byte, p *printer) error {
	s := changelog.NewScanner(packed)
	for s.Scan() {
		if o.end != 0 && s.Record().Index() > o.end {
			return errEnd
		}
		if err := p.print(s.Record()); err != nil {
			return err
		}
	}
	if s.Err() == nil && o.end != 0 && s.Last >= o.end {
		return errEnd
	}
	return s.Err()
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
)

// streamOptions are the options that consume and listen share.
type streamOptions struct {
	output outputFlags
	name   string
	mdts   []string
	count  int
	idle   time.Duration
}

func (o *streamOptions) add(cmd *cobra.Command) {
	o.output.add(cmd)
	cmd.Flags().StringVar(&o.name, "name", "", "the name to be known by (default: host name and process id)")
	cmd.Flags().StringSliceVar(&o.mdts, "mdts", nil, "only the records of these MDTs (default: all)")
	cmd.Flags().IntVar(&o.count, "count", 0, "end after so many records")
	cmd.Flags().DurationVar(&o.idle, "idle", 0, "end when nothing came for so long, such as 2s")
}

// check refuses values that mean nothing.
func (o *streamOptions) check(cmd *cobra.Command) error {
	switch {
	case o.count < 0:
		return badUsage(cmd, "--count %d is negative", o.count)
	case o.idle < 0:
		return badUsage(cmd, "--idle %s is negative", o.idle)
	case cmd.Flags().Changed("name") && o.name == "":
		return badUsage(cmd, "--name is empty")
	}
	return nil
}

// options are those for the client.
func (o *streamOptions) options(p *streamPrinter) []client.Option {
	opts := []client.Option{client.OnEvent(p.event), client.MDTs(o.mdts...)}
	if o.name != "" {
		opts = append(opts, client.Name(o.name))
	}
	if p.fields != nil {
		opts = append(opts, client.Fields(*p.fields))
	}
	return opts
}

// wait is the context for the next batch.
func (o *streamOptions) wait(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.idle == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, o.idle)
}

// ended tells whether an error of waiting is an end as one wishes: by a signal, or because nothing came.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// A streamPrinter writes records with where they come from, and what else a stream tells.
type streamPrinter struct {
	*printer
	cmd    *cobra.Command
	json   bool
	fields *changelog.Format // that --fields asks the server for; nil for none
	member bool              // deliveries are counted
	batch  *client.Batch     // that of the record being printed
	failed error             // of writing an event
}

func (o *streamOptions) printer(cmd *cobra.Command, member bool) (*streamPrinter, error) {
	inner, err := o.output.printer(cmd, "")
	if err != nil {
		return nil, err
	}
	var fields *changelog.Format
	if cmd.Flags().Changed("fields") {
		fields, inner.want = inner.want, nil // the server cuts
	}
	p := &streamPrinter{printer: inner, fields: fields, cmd: cmd, json: o.output.format == "json", member: member}
	return p, nil
}

// record prints one record of a batch.
func (p *streamPrinter) record(rec client.Record) error {
	p.batch, p.mdt = rec.Batch, rec.Batch.MDT
	if p.json {
		p.tail = p.position
	}
	return p.print(rec.Record)
}

// position appends the members of the JSON object that are not the record's own.
func (p *streamPrinter) position(dst []byte) []byte {
	b := p.batch
	dst = strconv.AppendUint(append(dst, `,"epoch":`...), uint64(b.Epoch), 10)
	if p.member {
		dst = strconv.AppendInt(append(dst, `,"delivery":`...), int64(b.Delivery), 10)
	}
	if b.MaybeRedelivered {
		dst = append(dst, `,"maybe_redelivered":true`...)
	}
	if b.Late {
		dst = append(dst, `,"late":true`...)
	}
	return dst
}

// rangeJSON is a range of records that did not come, as JSON.
type rangeJSON struct {
	MDT     string  `json:"mdt"`
	Epoch   uint32  `json:"epoch"`
	From    uint64  `json:"from"` // the range (From, To]
	To      uint64  `json:"to"`
	Count   *uint64 `json:"count,omitempty"` // if known
	Unknown bool    `json:"unknown,omitempty"`
	Why     string  `json:"why,omitempty"`
}

// gap tells a listener's gap: on stdout in JSON, else on stderr.
func (p *streamPrinter) gap(g *client.Gap) error {
	if !p.json {
		p.cmd.PrintErrf("lcapcli: %s\n", oneLine(g.Error()))
		return nil
	}
	r := rangeJSON{g.MDT, g.Epoch, g.From, g.To, &g.Count, g.Unknown, g.Why}
	if g.Unknown {
		r.Count = nil
	}
	return p.object("gap", r)
}

// object writes a line {"name": value}.
func (p *streamPrinter) object(name string, value rangeJSON) error {
	line, err := json.Marshal(map[string]rangeJSON{name: value})
	if err != nil {
		return err
	}
	_, err = p.out.Write(append(line, '\n'))
	return err
}

// event tells what happens beside the records.
func (p *streamPrinter) event(e client.Event) {
	switch e := e.(type) {
	case client.Disconnected:
		p.cmd.PrintErrf("lcapcli: warning: %s; trying again in %s\n", oneLine(e.Err.Error()), timeText(e.Again))
	case client.LeaseLost:
		p.cmd.PrintErrf("lcapcli: warning: %s\n", oneLine(fmt.Sprintf("%s: an acknowledgement came too late, its records come again: %s", e.Addr, e.Text)))
	case client.Lost:
		if p.json {
			p.failed = p.object("lost", rangeJSON{MDT: e.MDT, Epoch: e.Epoch, From: e.From, To: e.To})
			return
		}
		p.cmd.PrintErrf("lcapcli: warning: %s\n", oneLine((&client.LostError{Lost: e}).Error()))
	}
}

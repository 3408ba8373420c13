package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lcapd/lcapd/client"
)

// work is what one instance did.
type work struct {
	records, repeated, batches, commits int
	busy                                time.Duration // in the database
}

// run is one instance: it takes batches, applies and acknowledges them.
//
// Whatever fails ends it. It must not give a batch back and go on with those behind it: they
// may hold newer records of the same files. When it closes, or dies, all that it has not acknowledged
// goes to others, or to the next instance, in order.
func run(ctx context.Context, s *store, o options, _, stderr io.Writer) error {
	var did work
	var failure error // of an event
	opts := []client.JoinOption{client.CreateGroup(), client.Distribution("fid"), client.Start("earliest"), client.Patient(), client.Window(window, 8<<20),
		client.OnEvent(func(e client.Event) {
			report(stderr, e)
			if l, ok := e.(client.Lost); ok {
				failure = errors.Join(failure, s.lose(ctx, l.MDT, l.Epoch, l.From, l.To))
			}
		})}
	if o.name != "" {
		opts = append(opts, client.Name(o.name))
	}
	m, err := client.Join(ctx, strings.Split(o.server, ","), o.group, opts...)
	if err != nil {
		return err
	}
	defer m.Close()
	for ctx.Err() == nil && err == nil {
		if err = did.step(ctx, s, m, o.gather); err == nil {
			err = failure
		}
	}
	fmt.Fprintf(stderr, "policy: %d records, %d of them done before, in %d batches and %d commits; %s in the database, %.0f records/s\n",
		did.records, did.repeated, did.batches, did.commits, did.busy.Round(time.Millisecond), float64(did.records)/max(did.busy.Seconds(), 1e-9))
	if ctx.Err() != nil {
		return nil // told to end
	}
	return err
}

// patience is how long a step waits for a batch, much less than mostAge.
const patience = time.Minute

// step does what comes, if anything does.
func (w *work) step(ctx context.Context, s *store, m *client.Member, gather time.Duration) error {
	asked := time.Now()
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := m.Next(waiting)
	if err != nil {
		if waiting.Err() != nil {
			return nil // nothing came
		}
		return err
	}
	taken := w.gather(ctx, m, b, gather)
	begun := time.Now()
	var all []batch
	for _, b := range taken {
		all = append(all, batch{b.MDT, b.Epoch, b.Records(), asked})
		w.records += b.Count
	}
	repeated, err := s.apply(ctx, all...)
	if err != nil {
		return err
	}
	w.busy += time.Since(begun)
	w.repeated, w.batches, w.commits = w.repeated+repeated, w.batches+len(taken), w.commits+1
	// It is on disk: now, and not before. A lease that was lost meanwhile does no harm: the
	// records come again to somebody, who finds them applied.
	for _, b := range taken {
		if err := m.Ack(b); err != nil && !errors.Is(err, client.ErrLeaseLost) {
			return err
		}
	}
	return nil
}

const (
	// window is how many batches a member is handed ahead of its acknowledgements.
	window = 64
	// enough is how many records are worth a transaction.
	enough = 2000
)

// gather takes what else is there soon: a commit costs as much as some hundred records.
// An error is left to the next step, which meets it again.
func (w *work) gather(ctx context.Context, m *client.Member, first *client.Batch, long time.Duration) []*client.Batch {
	taken, records := []*client.Batch{first}, first.Count
	waiting, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	for len(taken) < window && records < enough {
		b, err := m.Next(waiting)
		if err != nil {
			break
		}
		taken, records = append(taken, b), records+b.Count
	}
	return taken
}

// report tells an administrator what he may want to know.
func report(to io.Writer, e client.Event) {
	switch e := e.(type) {
	case client.Disconnected:
		fmt.Fprintf(to, "policy: %s: %v; again in %s\n", e.Addr, e.Err, e.Again.Round(time.Millisecond))
	case client.Lost:
		fmt.Fprintf(to, "policy: records %d to %d of %s are lost: the file system needs a scan\n", e.From+1, e.To, e.MDT)
	}
}

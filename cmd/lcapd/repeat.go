package main

import (
	"context"
	"fmt"
	"os"

	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/upstream"
)

// repeated is the source of the driver memory: the records of a file, again and again.
// It is for benchmarks. It begins anew with each start of lcapd, so it goes with a state
// that was just made.
type repeated struct {
	mdt  string
	from *upstream.Memory
	pace upstream.Pace
}

// openRepeated reads the records.
func openRepeated(u config.Upstream) (r repeated, err error) {
	records, err := os.ReadFile(u.Path)
	if err != nil {
		return r, usageError{err}
	}
	r = repeated{mdt: u.MDT, pace: upstream.Pace{Rate: u.Rate, Records: uint64(u.Records)}}
	if u.Rate > 0 {
		r.from, err = upstream.NewPacedCycle(records)
	} else {
		r.from, err = upstream.NewCycle(records, uint64(u.Records))
	}
	if err != nil {
		return r, usageError{fmt.Errorf("%s: %w", u.Path, err)}
	}
	return r, nil
}

// repeat makes the source of an MDT.
func (d *daemon) repeat(u config.Upstream) (upstream.Source, error) {
	r, err := openRepeated(u)
	if err != nil {
		return nil, err
	}
	d.repeats = append(d.repeats, r)
	return r.from, nil
}

// show shows the records of a source that has a pace.
func (d *daemon) show(ctx context.Context, r repeated) {
	if r.pace.Rate == 0 {
		return
	}
	if err := r.from.Show(ctx, r.pace); err != nil && ctx.Err() == nil {
		d.log.Error().Str("mdt", r.mdt).Err(err).Msg("no more records are repeated")
	}
}

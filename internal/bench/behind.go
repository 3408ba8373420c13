package bench

import (
	"context"
	"fmt"
	"time"
)

// catchUp measures how fast members take what their groups are behind: from when they join
// until the last of it has come. Before they join lcapd reads ahead as far as its memory goes, as it
// has done when members come back.
func (x *run) catchUp(ctx context.Context, st *stage) (*window, error) {
	before, err := x.look(ctx, st) // there are no readers yet
	if err != nil {
		return nil, err
	}
	if err := readAhead(ctx, st.daemon); err != nil {
		return nil, err
	}
	if err := x.startReaders(ctx, st); err != nil {
		return nil, err
	}
	began, used := st.sinks[0].ready, make([]usage, len(st.sinks))
	for i, c := range st.sinks {
		if c.ready.Before(began) {
			began = c.ready
		}
		if used[i], err = usageOf(c.cmd.Process.Pid); err != nil {
			return nil, err
		}
	}
	tallies, end, err := x.untilAll(ctx, st)
	if err != nil {
		return nil, err
	}
	after, err := x.look(ctx, st)
	if err != nil {
		return nil, err
	}
	w := after.since(before)
	for i, t := range tallies {
		w.sinks = append(w.sinks, part{tally: t, seconds: end.Sub(began).Seconds(), usage: after.sinks[i].usage.since(used[i])})
	}
	return w, nil
}

// readAhead waits until lcapd reads no further.
func readAhead(ctx context.Context, d *daemon) error {
	const between, enough = 50 * time.Millisecond, 4
	read := uint64(0)
	for still := 0; still < enough; still++ {
		s, err := d.status(ctx)
		if err != nil {
			return err
		}
		now := uint64(0)
		for _, m := range s.MDTs {
			now += m.Read
		}
		if now > read || now == 0 {
			read, still = now, 0
		}
		if err := pause(ctx, between); err != nil {
			return err
		}
	}
	return nil
}

// comingPatience is how long nothing may come to anybody while something is left.
const comingPatience = time.Minute

// untilAll waits until all has come to the members of each group, and returns what each has
// counted, and when the last came.
func (x *run) untilAll(ctx context.Context, st *stage) (tallies []tally, end time.Time, err error) {
	want := uint64(x.logs[x.Name].records * x.Groups)
	tallies = make([]tally, len(st.sinks))
	const between = 20 * time.Millisecond
	for sum, came := uint64(0), time.Now(); sum < want; {
		if err := pause(ctx, between); err != nil {
			return nil, end, err
		}
		sum = 0
		for i, c := range st.sinks {
			if err := c.mark(); err != nil {
				return nil, end, err
			}
			t, err := c.answer()
			if err != nil {
				return nil, end, err
			}
			if t.Records > tallies[i].Records {
				came = time.Now()
				if t.At.After(end) {
					end = t.At
				}
			}
			tallies[i] = t
			sum += t.Records
		}
		if sum < want && time.Since(came) > comingPatience {
			return nil, end, fmt.Errorf("after %d of %d records nothing came for %v", sum, want, comingPatience)
		}
	}
	return tallies, end, nil
}

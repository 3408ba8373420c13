package upstream

import (
	"context"
	"time"

	"github.com/lcapd/lcapd/llog"
)

// Appender takes packed records and gives them the next indexes: [*llog.Appender], or
// [*Memory].
type Appender interface {
	AppendNew(ctx context.Context, records []byte) (llog.Appended, error)
}

// Pace says how fast a workload goes.
type Pace struct {
	// Rate is how many records a second; 0 for as many as the appender takes.
	Rate int
	// Records is after how many it ends; 0 for never.
	Records uint64
}

const (
	// produceBytes is how much is appended at once when there is much.
	produceBytes = 64 << 10
	// produceEvery is how often at most: faster timers cost more than they are worth.
	produceEvery = 5 * time.Millisecond
	// mostDebt is how much of what it is behind an appender has to make up for.
	mostDebt = time.Second
)

// Produce appends records to an appender at a pace, until there are enough or ctx
// ends, and returns how many it made. It starts nothing. The error is the cause of the
// end of ctx, or what the appender says; some of the last records may then be stored,
// and others not, so Tree may tell of more than there is.
//
// Nothing slows it down but the pace and the appender: a log that nobody clears grows.
func (w *Workload) Produce(ctx context.Context, to Appender, p Pace) (made uint64, err error) {
	c := clock{pace: p, start: time.Now()}
	buf := make([]byte, 0, produceBytes+llog.MinRead)
	var now time.Time
	for due := uint64(0); p.Records == 0 || made < p.Records; {
		if due == 0 {
			if now, due, err = c.wait(ctx, made); err != nil {
				return made, err
			}
		}
		if p.Records > 0 {
			due = min(due, p.Records-made)
		}
		n := uint64(0)
		for buf = buf[:0]; n < due && len(buf) < produceBytes; n++ {
			buf = w.Append(buf, now)
		}
		if _, err := to.AppendNew(ctx, buf); err != nil {
			return made, err
		}
		made, due = made+n, due-n
	}
	return made, nil
}

// clock tells when records are due.
type clock struct {
	pace  Pace
	start time.Time // when the first one was due
}

// wait waits until another record is due after made ones, and returns the time and
// how many are.
func (c *clock) wait(ctx context.Context, made uint64) (now time.Time, due uint64, err error) {
	if c.pace.Rate == 0 {
		const some = 1000 // for which one time is good enough
		return time.Now(), some, context.Cause(ctx)
	}
	next := c.at(made)
	timer := time.NewTimer(max(time.Until(next), produceEvery))
	defer timer.Stop()
	select {
	case now = <-timer.C:
	case <-ctx.Done():
		return now, 0, context.Cause(ctx)
	}
	if debt := now.Sub(next) - mostDebt; debt > 0 {
		c.start = c.start.Add(debt)
	}
	return now, c.by(now) - made, nil
}

// by returns how many records are due by now, the one that is due at that moment
// included.
func (c *clock) by(now time.Time) uint64 {
	passed, rate := now.Sub(c.start), uint64(c.pace.Rate)
	return uint64(passed/time.Second)*rate + uint64(passed%time.Second)*rate/uint64(time.Second) + 1
}

// at returns when record n is due, counted from 0.
func (c *clock) at(n uint64) time.Time {
	rate := uint64(c.pace.Rate)
	rest := time.Duration((n%rate*uint64(time.Second) + rate - 1) / rate) // rounded up, so that by agrees
	return c.start.Add(time.Duration(n/rate)*time.Second + rest)
}

package broker

import (
	"context"
	"errors"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
)

// reading is one reading of an MDT, as the loop knows it. The goroutine that reads
// owns everything else.
type reading struct {
	stop   context.CancelFunc
	grants chan int64 // what it may deliver besides; the loop sends
}

// openReader starts a reading.
func (l *loop) openReader(o core.OpenReader) {
	ctx, stop := context.WithCancel(l.ctx)
	// At most one grant is not yet used up when the next comes; one more leaves room.
	r := &reading{stop: stop, grants: make(chan int64, 2)}
	l.readings[o.Reader] = r
	source := l.mdts[o.MDT].Source
	opts := ingest.Options{MDT: o.MDT, Epoch: l.core.Epoch(o.MDT), Start: o.From + 1, Until: o.Until, Slots: true}
	l.started.Go(func() { l.b.read(ctx, o.Reader, source, opts, r.grants) })
}

func (l *loop) closeReader(id core.ReaderID) {
	if r := l.readings[id]; r != nil {
		r.stop()
		delete(l.readings, id)
	}
}

// read is the goroutine of a reading: it sends batches as far as it was granted, and
// at the end says so, unless it was told to stop.
func (b *Broker) read(ctx context.Context, id core.ReaderID, source Source, opts ingest.Options, grants <-chan int64) {
	granted := int64(0)
	err := ingest.RunFrom(ctx, source.Open, opts, func(ctx context.Context, batch *core.Batch) error {
		for granted <= 0 {
			select {
			case more := <-grants:
				granted += more
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		granted -= batch.Weight()
		return b.send(ctx, core.BatchRead{Reader: id, Batch: batch})
	})
	if ctx.Err() != nil || errors.Is(err, ErrStopped) {
		return // nobody wants to know
	}
	var bad *ingest.Stop
	if errors.As(err, &bad) {
		b.opts.Log.Error().Str("mdt", b.opts.MDTs[opts.MDT].Name).Err(err).Msg("these bytes are no changelog records; reading has stopped\n" + bad.Dump())
	}
	_ = b.send(ctx, core.ReaderEnded{Reader: id, Err: err, Stopped: bad != nil})
}

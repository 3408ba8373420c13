package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// reading is one reading of an MDT, as the loop knows it. The goroutine that reads
// owns everything else.
type reading struct {
	stop   context.CancelFunc
	grants chan int64 // what it may deliver besides; the loop sends
	mdt    groups.MDT
	stats  []modules.Stats // what its modules for everybody told last
}

// openReader starts a reading.
func (l *loop) openReader(o core.OpenReader) {
	ctx, stop := context.WithCancel(l.ctx)
	// At most one grant is not yet used up when the next comes; one more leaves room.
	r := &reading{stop: stop, grants: make(chan int64, 2), mdt: o.MDT}
	l.readings[o.Reader] = r
	w := l.mdts[o.MDT]
	opts := l.readOptions(o.MDT, o.Epoch)
	opts.Start, opts.Until = o.From+1, o.Until
	if o.Until == 0 {
		w.epoch, w.shown = o.Epoch, o.From // listeners are shown what follows, read before or not
	}
	l.started.Go(func() {
		opts, done := l.b.withModules(opts, l.everybody, o.From)
		defer done()
		l.b.read(ctx, o, w.Source, opts, r.grants)
	})
}

func (l *loop) closeReader(id core.ReaderID) {
	if r := l.readings[id]; r != nil {
		r.stop()
		delete(l.readings, id)
		l.count(r.mdt, r.stats)
	}
}

// read is the goroutine of a reading: it sends batches as far as it was granted, and
// at the end says so, unless it was told to stop.
func (b *Broker) read(ctx context.Context, o core.OpenReader, source Source, opts ingest.Options, grants <-chan int64) {
	granted := int64(0)
	err := b.greet(ctx, o, source)
	if err == nil {
		err = ingest.RunFrom(ctx, source.Open, opts, func(ctx context.Context, batch *core.Batch) error {
			for granted <= 0 {
				select {
				case more := <-grants:
					granted += more
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			granted -= batch.Weight()
			return b.deliverRead(ctx, core.BatchRead{Reader: o.Reader, Batch: batch}, opts.Modules)
		})
	}
	if ctx.Err() != nil || errors.Is(err, ErrStopped) || errors.Is(err, errReset) {
		return // nobody wants to know
	}
	var bad *ingest.Stop
	var failed *ingest.ModulesError
	errors.As(err, &failed)
	if errors.As(err, &bad) {
		b.opts.Log.Error().Str("mdt", b.opts.MDTs[o.MDT].Name).Err(err).Msg("these bytes are no changelog records; reading has stopped\n" + bad.Dump())
	}
	_ = b.send(ctx, core.ReaderEnded{Reader: o.Reader, Err: err, Stopped: bad != nil || failed != nil})
}

// errReset ends a reading of an MDT that is not the one it was: there will be another.
var errReset = errors.New("the MDT was reset")

// greet looks whether the MDT is still the one that it was, before the live reading
// begins, and says that it does.
func (b *Broker) greet(ctx context.Context, o core.OpenReader, source Source) error {
	found, err := ingest.Recognise(ctx, source.Open, o.Known, o.Cleared)
	if err != nil {
		return err
	}
	if found.Reset {
		if err := b.send(ctx, core.Reset{MDT: o.MDT, Epoch: o.Epoch + 1}); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s", errReset, b.opts.MDTs[o.MDT].Name)
	}
	if found.PurgedTo > 0 {
		if err := b.send(ctx, core.Purged{MDT: o.MDT, Epoch: o.Epoch, To: found.PurgedTo, Cleared: o.Cleared}); err != nil {
			return err
		}
	}
	return b.send(ctx, core.ReaderStarted{Reader: o.Reader})
}

package broker

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
)

// clearOrder is a clear to be sent to an MDT, as it was known when that was decided.
type clearOrder struct {
	core.Clear
	known core.MDTState
}

// clear has an MDT cleared. Clears of an MDT come one at a time.
func (l *loop) clear(o core.Clear) {
	w := l.mdts[o.MDT]
	w.clears <- clearOrder{o, l.known(w)}
}

// askForUser has it looked whether the MDT still knows the changelog user that lcapd is. A clear
// would tell too; but an MDT whose last user was deregistered records nothing any more, so there is
// nothing more to clear.
func (l *loop) askForUser(w *mdtWork, now time.Time) {
	w.greeted, w.greeting = now, true
	ask := func(ctx context.Context) func() {
		known, err := w.Registered(ctx)
		return func() {
			switch w.greeting = false; {
			case err != nil: // what is in the way shows when it is cleared
			case known:
				w.gone = time.Time{}
			case w.gone.IsZero():
				w.gone = time.Now()
			}
		}
	}
	l.look(w, func() errand { return ask })
}

// clearUpstream is the goroutine that clears one MDT: a clear can take long.
func (l *loop) clearUpstream(w *mdtWork) {
	var done core.Clear // the last one that the MDT is known to have done
	for {
		select {
		case <-l.ctx.Done():
			return
		case o := <-w.clears:
			answer, sent := l.clearIfSame(w, o, done)
			if c, ok := answer.(core.Cleared); ok && sent && c.Err == nil {
				done = o.Clear
			}
			if l.b.send(l.ctx, answer) != nil {
				return
			}
		}
	}
}

// clearIfSame clears an MDT, unless it shows other records than it did. One that lost its
// end in a crash issues the indexes of the end again (ABI 10.8), and may have done so since
// it was looked at last: a clear would take records that nobody has seen. Where there is
// no record there is nothing to clear, and no way to know whether it is the MDT that
// was read; what it has done already it is told again, to show that we are there.
func (l *loop) clearIfSame(w *mdtWork, o clearOrder, done core.Clear) (_ core.Event, sent bool) {
	answer := core.Cleared{MDT: o.MDT, Epoch: o.Epoch, Index: o.Index}
	found, err := ingest.Recognise(l.ctx, w.Source.Open, o.known.Recent, o.known.Cleared)
	if err != nil {
		answer.Err = err
		return answer, false
	}
	switch changed := change(w, o.known, found).(type) {
	case core.Reset:
		return changed, false // which makes the clear void
	case core.Purged:
		_ = l.b.send(l.ctx, changed) // the clear holds
	}
	if found.Empty && o.Clear != done {
		return answer, false
	}
	answer.Err = w.Source.Clear(l.ctx, o.Index)
	answer.Refused = errors.Is(answer.Err, syscall.EINVAL) || errors.Is(answer.Err, syscall.ENOENT)
	return answer, true
}

package broker

import (
	"context"
	"errors"
	"fmt"
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

// clear has an MDT cleared. Clears of an epoch come one at a time. One whose epoch has ended since it was decided
// is void: what it names is another record now, and the core does not wait for it any more.
func (l *loop) clear(o core.Clear) {
	w := l.mdts[o.MDT]
	known := l.known(w)
	if known.Epoch != o.Epoch {
		return
	}
	select {
	case <-w.clears: // of an epoch that has ended: the one before it is still under way
	default:
	}
	w.clears <- clearOrder{o, known} // there is room: the loop is the only one that sends
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

// freshLook is how old it may be that an MDT was seen to be the one to be cleared: the
// descriptor shows that another one was mounted, but not that the MDS crashed. Within so short
// a time none fails over and issues anew what it lost, up to what every group had acknowledged.
// The look itself may take longer: it goes over all that a group far behind holds back.
const freshLook = 10 * time.Second

var (
	errAnotherMDT     = errors.New("the MDT is not the one that was read")
	errNothingToClear = errors.New("nothing to clear") // an MDT without records does not need it
)

// clearIfSame clears an MDT, unless it shows other records than it did. One that lost its
// end in a crash issues the indexes of the end again (ABI 10.8), and may have done so since
// it was looked at last: a clear would take records that nobody has seen. Where there is
// no record there is nothing to clear, and no way to know whether it is the MDT that
// was read; what it has done already it is told again, to show that we are there.
func (l *loop) clearIfSame(w *mdtWork, o clearOrder, done core.Clear) (_ core.Event, sent bool) {
	var void error // why the clear is not sent
	err := w.Source.ClearIf(l.ctx, o.Index, func() error {
		void = l.mayClear(w, o, done)
		return void
	})
	answer := core.Cleared{MDT: o.MDT, Epoch: o.Epoch, Index: o.Index}
	switch {
	case errors.Is(void, errAnotherMDT):
		return core.Reset{MDT: o.MDT, Epoch: o.known.Epoch + 1}, false
	case errors.Is(void, errNothingToClear):
		return answer, false
	case void == nil:
		answer.Refused = errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT)
	}
	answer.Err = err
	return answer, void == nil
}

// mayClear says why an MDT is not to be cleared now, nil if it is.
func (l *loop) mayClear(w *mdtWork, o clearOrder, done core.Clear) error {
	found, err := ingest.Recognise(l.ctx, w.Source.Open, o.known.Recent, o.known.Cleared)
	if err != nil {
		return err
	}
	switch changed := change(w, o.known, found).(type) {
	case core.Reset:
		return errAnotherMDT
	case core.Purged:
		_ = l.b.send(l.ctx, changed) // the clear holds
	}
	if found.Empty && o.Clear != done {
		return errNothingToClear
	}
	if age := time.Since(found.Looked); age > freshLook {
		return fmt.Errorf("that it is still the MDT that was read was seen %v ago, and it may be another one by now: more than %v", age.Round(time.Second), freshLook)
	}
	return nil
}

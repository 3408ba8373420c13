package broker

import (
	"context"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
)

// A look reads something of an MDT again, beside its reading, and returns what the loop
// is to do about it.
type look func(context.Context) func()

// look has something looked at upstream now, or after what is being looked at.
func (l *loop) look(w *mdtWork, at look) {
	if w.busy {
		w.queue = append(w.queue, at)
		return
	}
	w.busy = true
	w.looks <- at // there is room: nothing is under way
}

func (l *loop) looksDone(w *mdtWork) {
	w.busy = false
	if len(w.queue) > 0 {
		next := w.queue[0]
		w.queue = w.queue[1:]
		l.look(w, next)
	}
}

// lookUpstream is the goroutine that looks at what an MDT showed before. An MDT may not
// answer, so each look is limited; who wanted it asks again.
func (l *loop) lookUpstream(w *mdtWork) {
	const patience = 30 * time.Second
	for {
		select {
		case <-l.ctx.Done():
			return
		case at := <-w.looks:
			ctx, cancel := context.WithTimeout(l.ctx, patience)
			then := at(ctx)
			cancel()
			err := l.b.call(l.ctx, func(l *loop) {
				l.looksDone(w)
				then()
			})
			if err != nil {
				return
			}
		}
	}
}

// checkHole reads a hole again. If that fails the MDT may be another one by now.
func (l *loop) checkHole(o core.CheckHole) {
	w := l.mdts[o.MDT]
	opts := l.readOptions(o.MDT, o.Epoch)
	l.look(w, func(ctx context.Context) func() {
		found, err := ingest.CheckHole(ctx, w.Source.Open, opts, o.Hole)
		checked := core.HoleChecked{MDT: o.MDT, Epoch: o.Epoch, Hole: o.Hole, Found: found, Late: ingest.LateRecords(found), Err: err}
		return func() {
			l.core.Step(checked)
			if err != nil {
				l.recognise(w, time.Now())
			}
		}
	})
}

// silence is after how long without a record an MDT may have been away, and come back
// without its last records. No MDS is back sooner, and no client tells.
const silence = time.Second

// hear notes that an MDT delivered a batch. After a silence it may be another one: then
// the records known before are looked for, until that worked, and those alone count.
// What is read on meanwhile could push them out of what is remembered.
func (l *loop) hear(w *mdtWork, now time.Time) {
	quiet := now.Sub(w.heard)
	w.heard = now
	if quiet < silence || w.doubt != nil {
		return
	}
	known := l.core.Known(w.id)
	w.doubt = &known
	l.recognise(w, now)
}

// known returns how an MDT is known: what it is to be recognised by.
func (l *loop) known(w *mdtWork) core.MDTState {
	known := l.core.Known(w.id)
	if w.doubt != nil && w.doubt.Epoch == known.Epoch {
		known.Recent = w.doubt.Recent
	}
	return known
}

// recognise looks whether an MDT is still the one that was read. One that shows records is
// looked at when its reading is opened, too.
func (l *loop) recognise(w *mdtWork, now time.Time) {
	w.looked = now
	known, doubt := l.known(w), w.doubt
	l.look(w, func(ctx context.Context) func() {
		found, err := ingest.Recognise(ctx, w.Source.Open, known.Recent, known.Cleared)
		return func() {
			if err != nil {
				return // the reading has the same trouble, and says so
			}
			if w.doubt == doubt {
				w.doubt = nil
			}
			if ev := change(w, known, found); ev != nil {
				l.core.Step(ev)
			}
		}
	})
}

// change returns what has happened to an MDT, nil for nothing.
func change(w *mdtWork, known core.MDTState, found ingest.Finding) core.Event {
	switch {
	case found.Reset:
		return core.Reset{MDT: w.id, Epoch: known.Epoch + 1}
	case found.PurgedTo > 0:
		return core.Purged{MDT: w.id, Epoch: known.Epoch, To: found.PurgedTo, Cleared: known.Cleared}
	}
	return nil
}

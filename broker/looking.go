package broker

import (
	"context"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
)

// A look reads something of an MDT again, beside its reading. The loop calls it when its turn
// has come, and so what it remembers does not grow old in the queue, nor large.
type look func() errand

// An errand is what the goroutine that looks does: it reads, and returns what the loop is to do
// about it.
type errand func(context.Context) func()

// look has something looked at upstream now, or after what is being looked at.
func (l *loop) look(w *mdtWork, at look) {
	if w.busy {
		w.queue = append(w.queue, at)
		return
	}
	w.busy = true
	w.looks <- at() // there is room: nothing is under way
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
				then()
				l.looksDone(w)
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
	check := func(ctx context.Context) func() {
		opts, done := l.b.withModules(opts, l.everybody, o.Hole.From)
		defer done()
		found, err := ingest.CheckHole(ctx, w.Source.Open, opts, o.Hole)
		checked := core.HoleChecked{MDT: o.MDT, Epoch: o.Epoch, Hole: o.Hole, Found: found, Late: ingest.LateRecords(found), Err: err}
		stats := statsOf(opts.Modules)
		return func() {
			l.count(o.MDT, stats)
			l.core.Step(checked)
			if err != nil {
				l.recognise(w, time.Now())
			}
		}
	}
	l.look(w, func() errand { return check })
}

// silence is after how long without a record an MDT may have been away, and come back
// without its last records. No MDS is back sooner, and no client tells.
const silence = time.Second

// A doubt is whether an MDT that was silent came back as another one. What it shows first
// may have been fetched before it went away, and what follows without a gap may have been
// issued in the place of records that nobody has seen (ABI 10.8). So all of that is looked
// for once more, until enough of it was found that nothing fetched before can follow.
type doubt struct {
	epoch core.Epoch
	known []core.RecordID // before the silence, or the last one that was found since
	heard []*core.Batch   // since, and not found yet
	found int             // batches that were
	count int             // records heard since the silence
}

// fetchedBefore is more records than can have been on their way to us while an MDT was
// away: 1,024 in the client (ABI 8.3), the rest in our own buffers.
const fetchedBefore = 8192

// hear notes that an MDT delivered a batch. When it was read counts: a reading that waits for memory may have it
// since before the MDT went away.
func (l *loop) hear(w *mdtWork, b *core.Batch, now time.Time) {
	quiet := b.Came.Sub(w.asked) >= silence
	w.asked = b.Asked
	shown := b.Shown() // what modules drop tells as much of the MDT as what they keep
	if !quiet && w.doubt == nil || shown == 0 {
		return
	}
	known := l.core.Known(w.id)
	if w.doubt != nil && w.doubt.epoch != known.Epoch {
		w.doubt = nil // it was another one
	}
	if quiet && !w.unsure() {
		before := slices.DeleteFunc(known.Recent, func(id core.RecordID) bool { return id.Index > b.From })
		w.doubt = &doubt{epoch: known.Epoch, known: before}
	}
	d := w.doubt
	if d == nil || d.count >= fetchedBefore {
		return
	}
	first := d.count == 0
	d.heard = append(d.heard, b)
	l.lend(b)
	if d.count += shown; first || d.count >= fetchedBefore {
		l.recognise(w, now)
	}
}

// unsure tells whether something that an MDT showed is still to be found once more.
func (w *mdtWork) unsure() bool { return w.doubt != nil && len(w.doubt.heard) > 0 }

// known returns how an MDT is known: what it is to be recognised by.
func (l *loop) known(w *mdtWork) core.MDTState {
	known := l.core.Known(w.id)
	if w.unsure() && w.doubt.epoch == known.Epoch {
		known.Recent = slices.Clone(w.doubt.known)
		for _, b := range w.doubt.heard {
			known.Recent = append(known.Recent, ingest.RecordIDs(b)...)
		}
	}
	return known
}

// recognise has it looked whether an MDT is still the one that was read. One that shows records is
// looked at when its reading is opened, too. An MDT may answer slowly, so that many ask for the
// same: one look is for all of them.
func (l *loop) recognise(w *mdtWork, now time.Time) {
	w.looked = now
	if !w.again {
		w.again = true
		l.look(w, func() errand { return l.recognition(w) })
	}
}

// recognition is the errand of recognising an MDT by how it is known now.
func (l *loop) recognition(w *mdtWork) errand {
	w.again = false
	known := l.known(w)
	if w.doubt != nil && w.doubt.epoch != known.Epoch {
		w.doubt = nil // it was another one, which the reading has noticed first
	}
	d, batches := w.doubt, 0
	if d != nil {
		batches = d.found + len(d.heard)
	}
	return func(ctx context.Context) func() {
		found, err := ingest.Recognise(ctx, w.Source.Open, known.Recent, known.Cleared)
		return func() {
			if err != nil {
				return // the reading has the same trouble, and says so
			}
			if ev := change(w, known, found); ev != nil {
				l.core.Step(ev)
			}
			if d != nil && d == w.doubt {
				w.foundAgain(known.Recent, batches)
			}
		}
	}
}

// foundAgain notes that so many batches, counted since the silence, were found once more,
// by their records.
func (w *mdtWork) foundAgain(ids []core.RecordID, batches int) {
	d := w.doubt
	n := batches - d.found
	if n <= 0 {
		return // another look has found them
	}
	d.known, d.heard, d.found = ids[len(ids)-1:], d.heard[n:], batches
	if d.count >= fetchedBefore && len(d.heard) == 0 {
		w.doubt = nil
	}
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

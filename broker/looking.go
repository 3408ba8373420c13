package broker

import (
	"context"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/broker/state"
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
	count int             // records heard since the last silence
	total int             // records heard since the first one
}

// fetchedBefore is more records than can have been on their way to us while an MDT was
// away: 1,024 in the client (ABI 8.3), the rest in our own buffers.
const fetchedBefore = 8192

// mostHeard is how many records are remembered at most of an MDT that cannot be looked at: through how many silences
// is not known, and each may have been the one.
const mostHeard = 8 * fetchedBefore

// hear notes that an MDT delivered a batch. When it was read counts: a reading that waits for memory may have it
// since before the MDT went away.
func (l *loop) hear(w *mdtWork, b *core.Batch, now time.Time) {
	quiet := b.Came.Sub(w.asked) >= silence
	w.asked = b.Asked
	defer func() { w.last, w.lastEpoch = b.Newest, b.Epoch }()
	shown := b.Shown() // what modules drop tells as much of the MDT as what they keep
	if !quiet && w.doubt == nil || shown == 0 {
		return
	}
	known := l.core.Known(w.id)
	if w.doubt != nil && w.doubt.epoch != known.Epoch {
		w.doubt = nil // it was another one
	}
	switch {
	case b.Epoch != known.Epoch:
		return // that one is known to be gone
	case !quiet:
	case !w.unsure():
		w.doubt = &doubt{epoch: known.Epoch, known: w.knownUpTo(b.From, known)}
	case w.doubt.total < mostHeard:
		w.doubt.count = 0 // what was heard before is still to be found, and as much again
	}
	d := w.doubt
	if d == nil || d.count >= fetchedBefore {
		return
	}
	first := d.count == 0
	d.heard = append(d.heard, b)
	l.lend(b)
	d.total += shown
	if d.count += shown; first || d.count >= fetchedBefore {
		l.recognise(w, now)
	}
}

// knownUpTo returns what an MDT is known by up to an index, where a batch begins. The core may have taken in so many behind
// it that it has forgotten these.
func (w *mdtWork) knownUpTo(index uint64, known core.MDTState) []core.RecordID {
	ids := slices.DeleteFunc(known.Recent, func(id core.RecordID) bool { return id.Index > index })
	if n := len(ids); w.lastEpoch == known.Epoch && (n == 0 || ids[n-1].Index < w.last.Index) && w.last != (core.RecordID{}) {
		ids = append(ids, w.last)
	}
	return ids
}

// remembered returns what is to be on disk of how an MDT is known, which the core knows by recent. While something is to
// be found once more this is more than the records read last: lcapd may end before, and these may all have been issued
// after the MDT was away.
func (d *doubt) remembered(recent []core.RecordID) []core.RecordID {
	ids := d.ids(recent)
	last := ids[len(ids)-1].Index
	newer := slices.DeleteFunc(slices.Clone(recent), func(id core.RecordID) bool { return id.Index <= last })
	return append(thinned(ids, state.MaxRecent-len(newer)), newer...)
}

// ids lists what the MDT is known by while it is doubted: the oldest that the core knows it by, and all to be found.
func (d *doubt) ids(recent []core.RecordID) []core.RecordID {
	ids := slices.Clone(d.known)
	for _, b := range d.heard {
		ids = append(ids, ingest.RecordIDs(b)...)
	}
	if len(recent) > 0 && recent[0].Index < ids[0].Index {
		ids = slices.Insert(ids, 0, recent[0])
	}
	return ids
}

// thinned returns so many of a list at most, the first and the last among them, the others evenly spread.
func thinned(ids []core.RecordID, most int) []core.RecordID {
	if len(ids) <= most {
		return ids
	}
	list := make([]core.RecordID, most)
	for i := range list {
		list[i] = ids[i*(len(ids)-1)/(most-1)]
	}
	return list
}

// unsure tells whether something that an MDT showed is still to be found once more.
func (w *mdtWork) unsure() bool { return w.doubt != nil && len(w.doubt.heard) > 0 }

// known returns how an MDT is known: what it is to be recognised by.
func (l *loop) known(w *mdtWork) core.MDTState {
	known := l.core.Known(w.id)
	if w.unsure() && w.doubt.epoch == known.Epoch {
		known.Recent = w.doubt.ids(known.Recent)
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
			if found.First.Index > known.Cleared {
				l.core.Step(core.Oldest{MDT: w.id, Epoch: known.Epoch, Record: found.First})
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

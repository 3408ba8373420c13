package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/groups"
)

// loop is the one goroutine that owns the core, and with it all that is decided. It
// waits for nobody: what it hands out goes into bounded queues, and a full one is an
// event like any other.
//
//	readers, members, operators ──events, calls──▶ loop ──▶ grants to readers
//	disk, sources ──────────────events────────────▶      ──▶ writes, clears, checks of holes
//	cutters ────────────────────calls─────────────▶      ──▶ batches to cut
//	                                                     ──▶ deliveries to members' peers
//	                                                     ──▶ history ──▶ listeners
type loop struct {
	b            *Broker
	core         *core.Core
	ctx          context.Context // of everything that the loop has started
	stop         context.CancelFunc
	started      sync.WaitGroup
	readings     map[core.ReaderID]*reading
	peers        map[core.Peer]*peer
	lastPeer     core.Peer
	mdts         []*mdtWork
	numbers      map[string]groups.MDT // of MDTs, by name
	disk         chan core.Persist     // one at a time: the core sees to that
	store        *store
	cutters      [cutters]*cutter
	history      *history
	listeners    map[uint64]*Listener
	lastListener uint64
	storing      map[string][]chan struct{} // who waits for a group to be on disk
	begun        time.Time
	mayCreate    bool // a join may make a group
}

// mdtWork is what is asked of an MDT's source besides reading: clears, one at a time,
// and looks at what was read before, one at a time.
type mdtWork struct {
	MDT
	id     groups.MDT
	clears chan clearOrder
	looks  chan func(context.Context) core.Event
	queue  []func(context.Context) core.Event // looks that wait for the one before
	busy   bool
	shown  uint64    // the last index that listeners were shown
	atEnd  bool      // the source had nothing more behind it
	looked time.Time // when the MDT was last recognised
}

func newLoop(b *Broker) (*loop, error) {
	s, st, err := loadState(b.opts)
	if err != nil {
		return nil, err
	}
	l := &loop{
		b:         b,
		core:      core.New(b.opts.Limits, st, time.Now()),
		readings:  make(map[core.ReaderID]*reading),
		peers:     make(map[core.Peer]*peer),
		numbers:   make(map[string]groups.MDT),
		disk:      make(chan core.Persist, 1),
		store:     s,
		history:   newHistory(b.opts.History),
		listeners: make(map[uint64]*Listener),
		storing:   make(map[string][]chan struct{}),
		begun:     time.Now(),
		mayCreate: b.opts.CreateGroups,
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.started.Go(l.writeToDisk)
	for i := range l.cutters {
		c := &cutter{jobs: make(chan []core.Deliver, 1)}
		l.cutters[i] = c
		l.started.Go(func() { l.cut(c) })
	}
	for i, m := range b.opts.MDTs {
		w := &mdtWork{MDT: m, id: groups.MDT(i), clears: make(chan clearOrder, 1), looks: make(chan func(context.Context) core.Event, 1), looked: l.begun}
		l.mdts = append(l.mdts, w)
		l.numbers[m.Name] = w.id
		l.started.Go(func() { l.clearUpstream(w) })
		l.started.Go(func() { l.lookUpstream(w) })
	}
	return l, nil
}

// run serves until ctx ends.
func (l *loop) run(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	l.carryOut()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			l.tick(now)
		case ev := <-l.b.events:
			l.core.Step(ev)
		case f := <-l.b.calls:
			l.takeIn() // what the caller said before counts first
			f(l)
		}
		l.carryOut()
	}
}

func (l *loop) tick(now time.Time) {
	l.core.Step(core.Tick{Now: now})
	for _, w := range l.mdts {
		if now.Sub(w.looked) >= l.b.opts.RecogniseEvery {
			w.looked = now
			l.recognise(w)
		}
	}
}

// carryOut lets streams hand out, a few at a time, and takes in what happens
// meanwhile, so that no burst of work keeps an acknowledgement waiting.
func (l *loop) carryOut() {
	const atOnce = 64
	for {
		more := l.core.Work(atOnce)
		for _, out := range l.core.Outputs() {
			l.do(out)
		}
		if !more {
			return
		}
		select {
		case ev := <-l.b.events:
			l.core.Step(ev)
		default:
		}
	}
}

// do carries out one output. None of this waits.
func (l *loop) do(out core.Output) {
	switch o := out.(type) {
	case core.OpenReader:
		l.openReader(o)
	case core.CloseReader:
		l.closeReader(o.Reader)
	case core.Grant:
		if r := l.readings[o.Reader]; r != nil {
			r.grants <- o.Bytes // there is room: the core grants when the last one is used up
		}
	case core.Persist:
		l.disk <- o
	case core.GroupStored:
		l.groupStored(o.Group)
	case core.Clear:
		l.mdts[o.MDT].clears <- clearOrder{o, l.core.Known(o.MDT)}
	case core.CheckHole:
		l.checkHole(o)
	case core.Deliver:
		l.deliver(o)
	case core.Welcome:
		l.welcome(o)
	case core.Refuse:
		l.refused(o)
	case core.Disconnect:
		l.disconnect(o.Peer, errors.New(o.Reason))
	case core.Lost:
		l.lost(o)
	case core.Restarted:
		l.mdtRestarted(o)
	case core.Alarm:
		l.alarm(o)
	case core.Publish:
		l.publish(o)
	}
}

// publish shows a batch to listeners.
func (l *loop) publish(o core.Publish) {
	w := l.mdts[o.Batch.MDT]
	if !o.Late {
		w.shown, w.atEnd = o.Batch.To, o.Batch.AtEnd
	}
	if o.Batch.Count > 0 {
		l.history.show(o.Batch, o.Late)
	}
}

// mdtRestarted tells listeners that they may have missed anything.
func (l *loop) mdtRestarted(o core.Restarted) {
	w := l.mdts[o.MDT]
	w.atEnd = false
	l.history.miss(o.MDT, o.Epoch, core.Range{})
	l.b.opts.Log.Error().Str("mdt", w.Name).Uint32("epoch", uint32(o.Epoch)).Msg("the MDT counts its indexes anew: a new epoch begins")
}

func (l *loop) alarm(o core.Alarm) {
	ev := l.b.opts.Log.Warn()
	if !o.General {
		ev = ev.Str("mdt", l.mdts[o.MDT].Name)
	}
	ev.Msg(o.Text)
}

// writeToDisk is the goroutine that uses the store.
func (l *loop) writeToDisk() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case p := <-l.disk:
			err := l.store.write(p.Update)
			if l.b.send(l.ctx, core.Persisted{Seq: p.Seq, Err: err}) != nil {
				return
			}
		}
	}
}

// clearOrder is a clear to be sent to an MDT, as it was known when that was decided.
type clearOrder struct {
	core.Clear
	known core.MDTState
}

// clearUpstream is the goroutine that clears one MDT: a clear can take long.
func (l *loop) clearUpstream(w *mdtWork) {
	for {
		select {
		case <-l.ctx.Done():
			return
		case o := <-w.clears:
			if l.b.send(l.ctx, l.clearIfSame(w, o)) != nil {
				return
			}
		}
	}
}

// clearIfSame clears an MDT, unless it shows other records than it did. One that lost its
// end in a crash issues the indexes of the end again (ABI 10.8), and may have done so since
// it was looked at last: a clear would take records that nobody has seen.
func (l *loop) clearIfSame(w *mdtWork, o clearOrder) core.Event {
	answer := core.Cleared{MDT: o.MDT, Epoch: o.Epoch, Index: o.Index}
	if changed, err := l.compare(l.ctx, w, o.known); changed != nil || err != nil {
		if _, reset := changed.(core.Reset); reset {
			return changed // which makes the clear void
		}
		if answer.Err = err; err != nil {
			return answer
		}
		_ = l.b.send(l.ctx, changed) // a purge: the clear holds
	}
	answer.Err = w.Source.Clear(l.ctx, o.Index)
	answer.Refused = errors.Is(answer.Err, syscall.EINVAL) || errors.Is(answer.Err, syscall.ENOENT)
	return answer
}

// look has something looked at upstream now, or after what is being looked at.
func (l *loop) look(w *mdtWork, do func(context.Context) core.Event) {
	if w.busy {
		w.queue = append(w.queue, do)
		return
	}
	w.busy = true
	w.looks <- do // there is room: nothing is under way
}

func (l *loop) looksDone(w *mdtWork) {
	w.busy = false
	if len(w.queue) > 0 {
		next := w.queue[0]
		w.queue = w.queue[1:]
		l.look(w, next)
	}
}

// lookUpstream is the goroutine that looks at what an MDT showed before. If nothing
// comes a reading would wait for ever, so each look is limited; the core asks again.
func (l *loop) lookUpstream(w *mdtWork) {
	const patience = 30 * time.Second
	for {
		select {
		case <-l.ctx.Done():
			return
		case do := <-w.looks:
			ctx, cancel := context.WithTimeout(l.ctx, patience)
			ev := do(ctx)
			cancel()
			err := l.b.call(l.ctx, func(l *loop) {
				l.looksDone(w)
				if ev != nil {
					l.core.Step(ev)
				}
			})
			if err != nil {
				return
			}
		}
	}
}

// checkHole reads a hole again.
func (l *loop) checkHole(o core.CheckHole) {
	w := l.mdts[o.MDT]
	opts := l.readOptions(o.MDT, o.Epoch)
	l.look(w, func(ctx context.Context) core.Event {
		found, err := ingest.CheckHole(ctx, w.Source.Open, opts, o.Hole)
		return core.HoleChecked{MDT: o.MDT, Epoch: o.Epoch, Hole: o.Hole, Found: found, Late: ingest.LateRecords(found), Err: err}
	})
}

// recognise looks whether a quiet MDT is still the one that was read. One that shows
// records is looked at when its reading is opened.
func (l *loop) recognise(w *mdtWork) {
	known := l.core.Known(w.id)
	l.look(w, func(ctx context.Context) core.Event {
		changed, _ := l.compare(ctx, w, known) // the reading has the same trouble, and says so
		return changed
	})
}

// compare looks whether an MDT still shows what was read of it. It returns what has
// happened to it, nil for nothing.
func (l *loop) compare(ctx context.Context, w *mdtWork, known core.MDTState) (core.Event, error) {
	found, err := ingest.Recognise(ctx, w.Source.Open, known.Recent, known.Cleared)
	switch {
	case err != nil:
		return nil, err
	case found.Reset:
		return core.Reset{MDT: w.id, Epoch: known.Epoch + 1}, nil
	case found.PurgedTo > 0:
		return core.Purged{MDT: w.id, Epoch: known.Epoch, To: found.PurgedTo, Cleared: known.Cleared}, nil
	}
	return nil, nil
}

func (l *loop) readOptions(id groups.MDT, epoch core.Epoch) ingest.Options {
	return ingest.Options{MDT: id, Epoch: epoch, Slots: true, AssumeEmpty: l.b.opts.AssumeEmpty}
}

// finish ends everything that was started, writes what members have reached, clears
// what that allows, and sends everybody away.
func (l *loop) finish() error {
	for id := range l.readings {
		l.closeReader(id)
	}
	l.takeIn()
	err := l.settle()
	for _, id := range slices.Sorted(maps.Keys(l.peers)) {
		l.disconnect(id, ErrStopped)
	}
	l.stop()
	l.started.Wait()
	return err
}

// takeIn takes in the events that are there.
func (l *loop) takeIn() {
	for range len(l.b.events) {
		l.core.Step(<-l.b.events) // the loop is the only one that receives
	}
}

// settle has the state written and the MDTs cleared until nothing is left to do, or it
// has taken too long.
func (l *loop) settle() error {
	const patience = 10 * time.Second
	timeout := time.After(patience)
	for l.core.Save() {
		for _, out := range l.core.Outputs() {
			switch o := out.(type) {
			case core.Persist:
				l.disk <- o
			case core.Clear:
				l.mdts[o.MDT].clears <- clearOrder{o, l.core.Known(o.MDT)}
			}
		}
		select {
		case ev := <-l.b.events:
			if p, ok := ev.(core.Persisted); ok && p.Err != nil {
				return p.Err
			}
			l.core.Step(ev)
		case f := <-l.b.calls:
			f(l)
		case <-timeout:
			return context.DeadlineExceeded
		}
	}
	return nil
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/wire"
)

// loop is the one goroutine that owns the core, and with it all that is decided. It
// waits for nobody: what it hands out goes into bounded queues, and a full one is an
// event like any other.
//
//	readers, members, operators ──events, calls──▶ loop ──▶ grants to readers
//	disk, sources ──────────────events────────────▶      ──▶ writes, clears, checks of holes
//	cutters ────────────────────calls─────────────▶      ──▶ batches to cut
//	stages of chains ───────────calls─────────────▶      ──▶ batches for them
//	                                                     ──▶ deliveries to members' peers
//	                                                     ──▶ history ──▶ listeners
type loop struct {
	b            *Broker
	core         *core.Core
	ctx          context.Context // of everything that the loop has started
	stop         context.CancelFunc
	started      sync.WaitGroup
	readings     map[core.ReaderID]*reading
	stages       map[core.ChainID]*stage
	tallies      map[chainKey][]modules.Stats // of instances that have ended
	peers        map[core.Peer]*peer
	lastPeer     core.Peer
	mdts         []*mdtWork
	numbers      map[string]groups.MDT // of MDTs, by name
	disk         chan writeOrder       // one at a time: the core sees to that
	store        *store
	cutters      [cutters]*cutter
	history      *history
	views        *views
	listeners    map[uint64]*Listener
	lastListener uint64
	storing      map[string][]chan struct{} // who waits for a group to be on disk
	begun        time.Time
	mayCreate    bool // a join may make a group
	watch        watch
	past         listenerCounts           // of listeners that are gone
	everybody    *modules.Plan            // what all records pass before anybody is given them; nil for nothing
	windows      map[string]WindowUse     // of all groups, by name
	lent         map[*core.Batch]struct{} // whose memory is not ours alone: see spare.go
}

// mdtWork is what is asked of an MDT's source besides reading: clears, one at a time,
// and looks at what was read before, one at a time.
type mdtWork struct {
	MDT
	id     groups.MDT
	clears chan clearOrder
	looks  chan errand
	queue  []look // looks that wait for the one before
	busy   bool
	again  bool // one of them is whether the MDT is still the one that was read

	// Where listeners are: the core may be ahead, by what it has put out and nobody has carried out yet.
	epoch  core.Epoch
	shown  uint64 // the last index that listeners were shown
	atEnd  bool   // the source had nothing more behind it
	asides []aside

	greeted  time.Time // when it was last asked whether it knows the user
	greeting bool      // it is being asked
	gone     time.Time // since when it does not; zero if it does, as far as known

	behind time.Time // since when the reading has not seen the end; zero if it has
	asked  time.Time // when the last batch that came was asked for
	looked time.Time // when the MDT was last to be recognised
	doubt  *doubt    // whether it is still the one that was read; nil for none

	last      core.RecordID // the last record that was heard
	lastEpoch core.Epoch    // its epoch
}

func newLoop(b *Broker) (*loop, error) {
	s, st, err := loadState(b.opts)
	if err != nil {
		return nil, err
	}
	everybody, err := b.opts.PlanEverybody(b.opts.Everybody)
	if err != nil {
		return nil, fmt.Errorf("what all records pass: %w", err)
	}
	l := &loop{
		b:         b,
		core:      core.New(b.opts.Limits, st, time.Now()),
		readings:  make(map[core.ReaderID]*reading),
		stages:    make(map[core.ChainID]*stage),
		tallies:   make(map[chainKey][]modules.Stats),
		peers:     make(map[core.Peer]*peer),
		numbers:   make(map[string]groups.MDT),
		disk:      make(chan writeOrder, 1),
		store:     s,
		history:   newHistory(b.opts.History),
		views:     newViews(b.opts.Views, &b.viewCounts),
		listeners: make(map[uint64]*Listener),
		storing:   make(map[string][]chan struct{}),
		begun:     time.Now(),
		mayCreate: b.opts.CreateGroups,
		watch:     newWatch(),
		lent:      make(map[*core.Batch]struct{}),
		everybody: everybody,
		windows:   make(map[string]WindowUse),
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.started.Go(l.writeToDisk)
	for i := range l.cutters {
		c := &cutter{jobs: make(chan []order, 1)}
		l.cutters[i] = c
		l.started.Go(func() { l.cut(c) })
	}
	for i, m := range b.opts.MDTs {
		w := &mdtWork{MDT: m, id: groups.MDT(i), clears: make(chan clearOrder, 1), looks: make(chan errand, 1), asked: l.begun, looked: l.begun}
		l.mdts = append(l.mdts, w)
		l.numbers[m.Name] = w.id
		l.started.Go(func() { l.clearUpstream(w) })
		l.started.Go(func() { l.lookUpstream(w) })
	}
	l.measureWindows(st.Groups)
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
	if now.Sub(l.watch.looked) >= reviewEvery {
		l.review(now)
	}
	for _, w := range l.mdts {
		if since := now.Sub(w.looked); since >= l.b.opts.RecogniseEvery || w.unsure() && since >= silence {
			l.recognise(w, now)
		}
		if w.Registered != nil && !w.greeting && now.Sub(w.greeted) >= l.b.opts.StuckAfter {
			l.askForUser(w, now)
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
		l.cutQueued()
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
	case core.OpenChain:
		l.openChain(o)
	case core.Process:
		l.lend(o.Batch)               // derived batches may share its memory
		l.stages[o.Chain].orders <- o // there is room: the core lets so many be unanswered
	case core.CloseChain:
		l.closeChain(o.Chain)
	case core.Persist:
		l.persist(o)
	case core.GroupStored:
		l.groupStored(o.Group)
	case core.Clear:
		l.clear(o)
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
	case core.Free:
		l.free(o.Batch)
	}
}

// publish shows a batch to listeners.
func (l *loop) publish(o core.Publish) {
	w := l.mdts[o.Batch.MDT]
	if !o.Late {
		w.shown, w.atEnd = o.Batch.To, o.Batch.AtEnd
		now := time.Now()
		switch {
		case o.Batch.AtEnd:
			w.behind = time.Time{}
		case w.behind.IsZero():
			w.behind = now
		}
		l.hear(w, o.Batch, now)
	}
	if o.Batch.Count == 0 {
		return
	}
	if o.Late {
		w.remember(aside{o.Batch.Epoch, w.shown, core.Range{From: o.Batch.From, To: o.Batch.To}})
	}
	if l.history.listeners > 0 {
		l.lend(o.Batch)
	}
	l.history.show(o.Batch, l.views.forListeners(o.Batch), o.Late)
}

// mdtRestarted tells listeners that they may have missed anything.
func (l *loop) mdtRestarted(o core.Restarted) {
	w := l.mdts[o.MDT]
	w.atEnd = false
	w.remember(aside{epoch: w.epoch, shown: w.shown})
	l.history.miss(o.MDT, o.Epoch, core.Range{})
	l.b.opts.Log.Error().Str("mdt", w.Name).Uint32("epoch", uint32(o.Epoch)).Msg("the MDT counts its indexes anew: a new epoch begins")
	l.watch.recent[subject{wire.NewEpoch, w.Name}] = happening{time.Now(), fmt.Sprintf("the MDT counts its indexes anew: epoch %d has begun", o.Epoch),
		"see whether the MDT was restored or lost its end in a crash; groups were told what they lost"}
}

// writeToDisk is the goroutine that uses the store.
func (l *loop) writeToDisk() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case p := <-l.disk:
			err := l.store.write(p.update())
			if l.b.send(l.ctx, core.Persisted{Seq: p.Seq, Err: err}) != nil {
				return
			}
		case o := <-l.b.copies:
			o.answer <- l.store.copy()
		}
	}
}

func (l *loop) readOptions(id groups.MDT, epoch core.Epoch) ingest.Options {
	return ingest.Options{MDT: id, Epoch: epoch, Slots: true, AssumeEmpty: l.b.opts.AssumeEmpty, BatchBytes: l.b.opts.BatchBytes, Spare: l.b.spare}
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
			case core.Publish:
				if !o.Late {
					l.hear(l.mdts[o.Batch.MDT], o.Batch, time.Now())
				}
			case core.Persist:
				l.persist(o)
			case core.Clear:
				l.clear(o)
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

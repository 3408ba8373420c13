package broker

import (
	"context"
	"errors"
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
//	                                                     ──▶ deliveries into members' inboxes
type loop struct {
	b        *Broker
	core     *core.Core
	ctx      context.Context // of everything that the loop has started
	stop     context.CancelFunc
	started  sync.WaitGroup
	readings map[core.ReaderID]*reading
	members  map[core.Peer]*Member
	lastPeer core.Peer
	mdts     []*mdtWork
	disk     chan core.Persist // one at a time: the core sees to that
	store    *store
}

// mdtWork is what is asked of an MDT's source besides reading: clears, one at a time,
// and second looks at holes, one at a time.
type mdtWork struct {
	MDT
	id     groups.MDT
	clears chan core.Clear
	holes  chan core.CheckHole
	queue  []core.CheckHole // holes that wait for the one being checked
	busy   bool
}

func newLoop(b *Broker) (*loop, error) {
	s, st, err := loadState(b.opts)
	if err != nil {
		return nil, err
	}
	l := &loop{
		b:        b,
		core:     core.New(b.opts.Limits, st, time.Now()),
		readings: make(map[core.ReaderID]*reading),
		members:  make(map[core.Peer]*Member),
		disk:     make(chan core.Persist, 1),
		store:    s,
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.started.Go(l.writeToDisk)
	for i, m := range b.opts.MDTs {
		w := &mdtWork{MDT: m, id: groups.MDT(i), clears: make(chan core.Clear, 1), holes: make(chan core.CheckHole, 1)}
		l.mdts = append(l.mdts, w)
		l.started.Go(func() { l.clearUpstream(w) })
		l.started.Go(func() { l.checkHoles(w) })
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
			l.core.Step(core.Tick{Now: now})
		case ev := <-l.b.events:
			l.step(ev)
		case f := <-l.b.calls:
			f(l)
		}
		l.carryOut()
	}
}

func (l *loop) step(ev core.Event) {
	if h, ok := ev.(core.HoleChecked); ok {
		l.holeDone(h)
	}
	l.core.Step(ev)
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
			l.step(ev)
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
	case core.Clear:
		l.mdts[o.MDT].clears <- o
	case core.CheckHole:
		l.checkHole(o)
	case core.Deliver:
		l.tell(o.Member, &Delivery{d: o, mdt: l.mdts[o.MDT].Name})
	case core.Welcome:
		l.tell(o.Peer, o)
	case core.Refuse:
		l.tell(o.Peer, o)
	case core.Disconnect:
		l.disconnect(o.Peer, o.Reason)
	case core.Lost:
		l.b.opts.Log.Error().Str("group", o.Group).Str("mdt", l.mdts[o.MDT].Name).
			Uint64("after", o.Range.From).Uint64("to", o.Range.To).Msg("records are gone that the group had not acknowledged")
	case core.Alarm:
		l.b.opts.Log.Warn().Uint32("mdt", uint32(o.MDT)).Msg(o.Text)
	case core.Publish: // there are no listeners yet
	}
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

// clearUpstream is the goroutine that clears one MDT: a clear can take long.
func (l *loop) clearUpstream(w *mdtWork) {
	for {
		select {
		case <-l.ctx.Done():
			return
		case o := <-w.clears:
			err := w.Source.Clear(l.ctx, o.Index)
			refused := errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT)
			if l.b.send(l.ctx, core.Cleared{MDT: o.MDT, Epoch: o.Epoch, Index: o.Index, Err: err, Refused: refused}) != nil {
				return
			}
		}
	}
}

// checkHole has a hole looked at now, or after the one that is being looked at.
func (l *loop) checkHole(o core.CheckHole) {
	w := l.mdts[o.MDT]
	if w.busy {
		w.queue = append(w.queue, o)
		return
	}
	w.busy = true
	w.holes <- o
}

func (l *loop) holeDone(h core.HoleChecked) {
	w := l.mdts[h.MDT]
	w.busy = false
	if len(w.queue) > 0 {
		next := w.queue[0]
		w.queue = w.queue[1:]
		l.checkHole(next)
	}
}

// checkHoles is the goroutine that reads holes of one MDT again.
func (l *loop) checkHoles(w *mdtWork) {
	for {
		select {
		case <-l.ctx.Done():
			return
		case o := <-w.holes:
			found, err := l.secondLook(w, o)
			if l.b.send(l.ctx, core.HoleChecked{MDT: o.MDT, Hole: o.Hole, Found: found, Err: err}) != nil {
				return
			}
		}
	}
}

// secondLook reads a hole again. If nothing behind it exists any more the reading
// would wait for ever, so it is limited; the core asks again.
func (l *loop) secondLook(w *mdtWork, o core.CheckHole) ([]*core.Batch, error) {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	return ingest.CheckHole(ctx, w.Source.Open, ingest.Options{MDT: o.MDT, Epoch: o.Epoch, Slots: true}, o.Hole)
}

// finish ends everything that was started, writes what members have reached, and
// sends the members away.
func (l *loop) finish() error {
	for id := range l.readings {
		l.closeReader(id)
	}
	err := l.saveMarks()
	for id := range l.members {
		l.disconnect(id, "lcapd stops")
	}
	l.stop()
	l.started.Wait()
	return err
}

// saveMarks has the state written until nothing is left to write.
func (l *loop) saveMarks() error {
	const patience = 10 * time.Second
	timeout := time.After(patience)
	for l.core.Save() {
		for _, out := range l.core.Outputs() {
			if p, ok := out.(core.Persist); ok {
				l.disk <- p
			}
		}
		select {
		case ev := <-l.b.events:
			if p, ok := ev.(core.Persisted); ok && p.Err != nil {
				return p.Err
			}
			l.step(ev)
		case <-timeout:
			return context.DeadlineExceeded
		}
	}
	return nil
}

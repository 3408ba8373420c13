package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// stream is what a member and a listener have in common: links, and what comes out of them. The caller's
// goroutines and the links share its channels and nothing else.
type stream struct {
	settings settings
	// life ends with Close, or when a link fails for good; its cause is the reason.
	life    context.Context
	end     context.CancelCauseFunc
	items   chan item
	links   []*link
	running sync.WaitGroup
	bufs    sync.Pool // of *memory, for batches
}

// An item is what Next gets: one of the three.
type item struct {
	batch *Batch
	size  int // of the batch: it is the caller's when the link wants to know
	gap   *Gap
	event Event
}

// newStream opens a stream from all addresses, and waits for all of them unless it is patient.
func newStream(ctx context.Context, addrs []string, s settings, as func(*settings) role) (*stream, error) {
	if err := s.check(addrs); err != nil {
		return nil, err
	}
	st := &stream{settings: s, items: make(chan item)}
	st.life, st.end = context.WithCancelCause(context.Background())
	for _, addr := range addrs {
		l := &link{stream: st, addr: addr, role: as(&st.settings), calls: make(chan call), gone: make(chan struct{}),
			first: make(chan error, 1), delay: s.least}
		st.links = append(st.links, l)
		st.running.Go(l.run)
	}
	if s.patient {
		return st, nil
	}
	for _, l := range st.links {
		var err error
		select {
		case err = <-l.first:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			st.close(err)
			return nil, err
		}
	}
	return st, nil
}

// next returns the next item that is not an event. Events go to the handler.
func (st *stream) next(ctx context.Context) (item, error) {
	for {
		select {
		case it := <-st.items:
			if it.event == nil {
				return it, nil
			}
			if st.settings.onEvent != nil {
				st.settings.onEvent(it.event)
			} else if lost, ok := it.event.(Lost); ok {
				return item{}, &LostError{lost}
			}
		case <-st.life.Done():
			return item{}, context.Cause(st.life)
		case <-ctx.Done():
			return item{}, context.Cause(ctx)
		}
	}
}

// close ends the stream for a reason, and waits until nothing of it runs.
func (st *stream) close(reason error) {
	st.end(reason)
	st.running.Wait()
}

// A role is in what members and listeners differ. It belongs to its link.
type role interface {
	// opening returns what makes the connection a member or listener. The attempt calls it, at a
	// time when the link calls nothing else.
	opening() wire.Message
	// opened is told the answer. It returns the event of it, and false for an answer of the wrong kind.
	opened(l *link, answer wire.Message) (Connected, bool)
	// received is told of a batch or gap that goes into the queue. False says that the server broke a rule.
	received(l *link, it item) bool
	// taken is told of a batch that the caller took, and of its bytes.
	taken(l *link, bytes int)
	// isFull tells that no more should be received.
	isFull(l *link) bool
	// hasLeases tells whether batches end with their connection, and whether leaving takes a word.
	hasLeases() bool
}

// A link is what is known of one broker. Its goroutine owns all of it, and never blocks: run
// is the one place where it waits, for everybody at once.
type link struct {
	stream *stream
	addr   string
	role   role
	calls  chan call     // from the caller; answered at once
	gone   chan struct{} // closed when run has returned
	first  chan error    // how the first attempt went

	attempt   *attempt // nil between attempts
	up        bool     // the attempt is in
	gen       uint64   // counts attempts
	delay     time.Duration
	retry     *time.Timer // between attempts
	heartbeat time.Duration
	beat      *time.Timer       // to say something
	queue     []item            // received and not taken
	events    int               // in it
	bytes     int               // of the batches in it
	leases    map[uint64]uint64 // the leases that are ours, acknowledged up to which index
	nacked    map[uint64]bool   // leases that were given back, as long as the server has not said so
	out       outgoing
	reported  bool // on first
	leaving   bool
	linger    *time.Timer // while leaving: patience
}

// A call is what a caller wants to be done with a lease.
type call struct {
	lease, gen, last uint64
	upTo             uint64 // ack
	nack             bool
	from             uint64
	delay            time.Duration
	reply            chan error // has room for the answer
}

// maxEvents is how many events wait for the caller. Batches cause few, and a server that tells
// more is not heard until they are taken.
const maxEvents = 1024

// lingerTime is how long a server may take to answer a leave.
const lingerTime = 2 * time.Second

// stopped returns a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// run is the link's goroutine.
func (l *link) run() {
	defer close(l.gone)
	l.retry, l.beat, l.linger = stopped(), stopped(), stopped()
	life := l.stream.life.Done()
	l.connect()
	for l.attempt != nil || !l.leaving {
		heard, over := l.ears()
		say, next := l.mouth()
		items, first := l.hand()
		select {
		case m := <-heard:
			l.hear(m)
		case <-over:
			l.down(l.attempt.err)
		case say <- next:
			l.out.said(next)
			l.rest()
		case items <- first:
			l.pop()
		case c := <-l.calls:
			c.reply <- l.answer(c)
		case <-l.beat.C:
			l.out.heartbeat = true
		case <-l.retry.C:
			l.connect()
		case <-life:
			life = nil
			l.leave()
		case <-l.linger.C:
			l.attempt.cancel(transport.ErrClosed)
		}
	}
}

// ears returns what to listen to. A full queue hears nothing but the end, unless a nack is on its way: nothing
// is taken from the queue then until its answer is heard, and the leases bound how much comes before that.
func (l *link) ears() (<-chan message, <-chan struct{}) {
	if l.attempt == nil {
		return nil, nil
	}
	if !l.leaving && len(l.nacked) == 0 && (l.events >= maxEvents || l.role.isFull(l)) {
		return nil, l.attempt.over
	}
	return l.attempt.heard, l.attempt.over
}

// mouth returns where to say what, if there is anything to say.
func (l *link) mouth() (chan<- wire.Message, wire.Message) {
	if !l.up {
		return nil, nil
	}
	if next := l.out.next(); next != nil {
		return l.attempt.say, next
	}
	return nil, nil
}

// hand returns where to hand what, if there is anything for the caller. While a nack is on its
// way nothing is: of what was received the server takes back what comes behind it in order.
func (l *link) hand() (chan<- item, item) {
	if l.leaving || len(l.queue) == 0 || len(l.nacked) > 0 {
		return nil, item{}
	}
	return l.stream.items, l.queue[0]
}

// rest puts the next heartbeat off: something was said.
func (l *link) rest() {
	if l.heartbeat > 0 {
		l.beat.Reset(l.heartbeat)
	}
}

// connect begins an attempt.
func (l *link) connect() {
	l.gen++
	l.leases, l.nacked = map[uint64]uint64{}, map[uint64]bool{}
	l.attempt = begin(l.addr, l.stream.settings.pipe, l.role.opening, l.stream.settings.fields, &l.stream.bufs)
}

// hear takes what the server said.
func (l *link) hear(m message) {
	if l.leaving || l.attempt.ctx.Err() != nil {
		if m.batch != nil {
			m.batch.Release()
		}
		return
	}
	switch msg := m.msg.(type) {
	case nil:
		l.opened(m.opened)
	case *wire.Batch:
		l.receive(item{batch: m.batch})
	case *wire.Gap:
		l.receive(item{gap: &Gap{Addr: l.addr, MDT: msg.MDT, Epoch: uint32(msg.Epoch), From: msg.From, To: msg.To,
			Count: msg.Count, Unknown: msg.Unknown, Why: msg.Why}})
	case *wire.Lost:
		l.tell(Lost{l.addr, msg.MDT, uint32(msg.Epoch), msg.From, msg.To})
	case *wire.Error:
		if msg.Lease == 0 {
			l.drop(answered(l.addr, msg.Code, msg.Text))
			return
		}
		if l.revoke(msg.Lease) {
			l.tell(LeaseLost{l.addr, msg.Lease, msg.Text})
		}
	}
}

// revoke forgets a lease that has ended, and its batch if nobody took it: it comes again.
// It tells whether that is news to the caller.
func (l *link) revoke(lease uint64) bool {
	if delete(l.leases, lease); l.nacked[lease] {
		delete(l.nacked, lease)
		return false
	}
	for i, it := range l.queue {
		if it.batch == nil || it.batch.lease != lease || it.batch.gen != l.gen {
			continue
		}
		l.queue = slices.Delete(l.queue, i, i+1)
		l.bytes -= it.size
		l.role.taken(l, it.size)
		it.batch.Release()
		return false
	}
	return true
}

// opened has the broker's word that we are in.
func (l *link) opened(o *opened) {
	event, ok := l.role.opened(l, o.answer)
	if !ok {
		l.drop(fmt.Errorf("%s: %w: %s is no answer to that", l.addr, ErrProtocol, o.answer.Kind()))
		return
	}
	l.up, l.delay, l.heartbeat = true, l.stream.settings.least, o.heartbeat
	l.rest()
	l.report(nil)
	event.Addr, event.Broker = l.addr, o.broker
	l.tell(event)
}

// receive queues a batch or gap.
func (l *link) receive(it item) {
	if !l.role.received(l, it) {
		l.drop(fmt.Errorf("%s: %w: more than there was credit for, or of the wrong kind", l.addr, ErrProtocol))
		return
	}
	if b := it.batch; b != nil {
		it.size = len(b.packed)
		l.bytes += it.size
	}
	l.queue = append(l.queue, it)
}

// tell queues an event. Comings and goings are left out when the caller has let many wait.
func (l *link) tell(e Event) {
	switch e.(type) {
	case Connected, Disconnected:
		if l.events >= maxEvents {
			return
		}
	}
	l.events++
	l.queue = append(l.queue, item{event: e})
}

// pop takes the first item off the queue: the caller has it.
func (l *link) pop() {
	it := l.queue[0]
	l.queue = slices.Delete(l.queue, 0, 1)
	if it.event != nil {
		l.events--
	}
	if it.batch != nil {
		size := it.size
		l.bytes -= size
		l.role.taken(l, size)
	}
}

// drop ends the attempt for a reason.
func (l *link) drop(reason error) {
	l.up = false
	l.attempt.cancel(reason)
}

// down is told that the attempt has ended.
func (l *link) down(err error) {
	l.attempt, l.up, l.out, l.leases, l.nacked = nil, false, outgoing{}, nil, nil
	l.beat.Stop()
	if l.role.hasLeases() {
		l.forget()
	}
	l.report(err)
	switch {
	case l.leaving:
	case isPermanent(err):
		l.stream.end(err)
	default:
		again := l.delay/2 + rand.N(l.delay/2+1)
		l.delay = min(2*l.delay, l.stream.settings.most)
		l.retry.Reset(again)
		l.tell(Disconnected{l.addr, err, again})
	}
}

// forget drops the batches that nobody took: they come again.
func (l *link) forget() {
	l.bytes = 0
	l.queue = slices.DeleteFunc(l.queue, func(it item) bool {
		if it.batch != nil {
			it.batch.Release()
		}
		return it.batch != nil
	})
}

// report says how the first attempt went.
func (l *link) report(err error) {
	if !l.reported {
		l.reported = true
		l.first <- err
	}
}

// leave says farewell, if there is anybody who would hear it.
func (l *link) leave() {
	l.leaving = true
	l.retry.Stop()
	switch {
	case l.up && l.role.hasLeases():
		l.out.leave = true
		l.linger.Reset(lingerTime)
	case l.attempt != nil:
		l.attempt.cancel(context.Cause(l.stream.life))
	}
}

// answer does what a caller wants, and returns what it is told.
func (l *link) answer(c call) error {
	acked, ours := l.leases[c.lease]
	switch {
	case c.gen != l.gen || !ours:
		return ErrLeaseLost
	case c.nack:
		delete(l.leases, c.lease)
		l.nacked[c.lease] = true
		l.out.nack(c.lease, c.from, c.delay)
	case c.upTo > acked:
		l.out.ack(c.lease, c.upTo)
		l.leases[c.lease] = c.upTo
		if c.upTo >= c.last {
			delete(l.leases, c.lease)
		}
	}
	return nil
}

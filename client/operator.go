package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// An Operator asks one broker, over one connection. It does not connect again: when the connection
// ends, its requests return the reason.
type Operator struct {
	addr    string
	broker  string
	asks    chan ask
	closing chan struct{}
	close   func() // closes closing, once
	gone    chan struct{}
	err     error // why it ended, once gone is closed
}

// An ask is a request of a caller.
type ask struct {
	request wire.Request
	answer  chan answer // has room for it
}

// An answer is what a request led to.
type answer struct {
	json []byte
	err  error
}

// Operate connects to a broker, within the context. The caller must call Close in the end.
func Operate(ctx context.Context, addr string) (*Operator, error) {
	o := &Operator{addr: addr, asks: make(chan ask), closing: make(chan struct{}), gone: make(chan struct{})}
	o.close = sync.OnceFunc(func() { close(o.closing) })
	a := begin(addr, nil, nil, 0, new(sync.Pool))
	select {
	case m := <-a.heard:
		o.broker = m.opened.broker
		go o.run(a, m.opened.heartbeat)
		return o, nil
	case <-a.over:
		return nil, a.err
	case <-ctx.Done():
		a.cancel(context.Cause(ctx))
		<-a.over
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, addr, context.Cause(ctx))
	}
}

// Broker returns the id of the broker's state.
func (o *Operator) Broker() string { return o.broker }

// Close ends the connection and waits until nothing is left. It may be called again.
func (o *Operator) Close() error {
	o.close()
	<-o.gone
	return nil
}

// conversation is what an operator's goroutine owns.
type conversation struct {
	attempt *attempt
	waiting map[uint64]chan answer
	queue   []wire.Message // to be said
	last    uint64         // request
}

// run is the operator's goroutine. It waits for everybody at once, and answers all who wait when
// the connection ends.
func (o *Operator) run(a *attempt, heartbeat time.Duration) {
	defer close(o.gone)
	c := &conversation{attempt: a, waiting: map[uint64]chan answer{}}
	beat := time.NewTicker(max(heartbeat, time.Millisecond))
	defer beat.Stop()
	if heartbeat == 0 {
		beat.Stop()
	}
	closing := o.closing
	for {
		var say chan<- wire.Message
		var first wire.Message
		if len(c.queue) > 0 {
			say, first = a.say, c.queue[0]
		}
		select {
		case q := <-o.asks:
			c.ask(q)
		case say <- first:
			c.queue = c.queue[1:]
		case m := <-a.heard:
			c.hear(m)
		case <-beat.C:
			if len(c.queue) == 0 {
				c.queue = append(c.queue, &wire.Heartbeat{})
			}
		case <-closing:
			closing = nil
			a.cancel(ErrStopped)
		case <-a.over:
			o.err = a.err
			for _, w := range c.waiting {
				w <- answer{err: a.err}
			}
			return
		}
	}
}

func (c *conversation) ask(q ask) {
	c.last++
	q.request.Req = c.last
	c.waiting[c.last] = q.answer
	c.queue = append(c.queue, &q.request)
}

func (c *conversation) hear(m message) {
	switch msg := m.msg.(type) {
	case *wire.Reply:
		c.answer(msg.Req, answer{json: m.payload})
	case *wire.Error:
		err := answered(c.attempt.addr, msg.Code, msg.Text)
		if !c.answer(msg.Req, answer{err: err}) {
			c.attempt.cancel(err)
		}
	}
}

// answer gives an answer to who waits for it, if anybody does.
func (c *conversation) answer(req uint64, a answer) bool {
	w, ok := c.waiting[req]
	if ok {
		w <- a
		delete(c.waiting, req)
	}
	return ok
}

// ask sends a request and reads the answer into result, if that is not nil.
func (o *Operator) ask(ctx context.Context, r wire.Request, result any) error {
	if _, err := wire.Encode(&r); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err) // no server can be told
	}
	q := ask{r, make(chan answer, 1)}
	select {
	case o.asks <- q:
	case <-o.gone:
		return o.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var a answer
	select {
	case a = <-q.answer:
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer to %s: %w", o.addr, r.Op, context.Cause(ctx))
	}
	if a.err != nil || result == nil {
		return a.err
	}
	if err := json.Unmarshal(a.json, result); err != nil {
		return fmt.Errorf("%s: %w: the answer to %s: %w", o.addr, ErrProtocol, r.Op, err)
	}
	return nil
}

// request sends a request and returns the answer.
func request[T any](ctx context.Context, o *Operator, r wire.Request) (result T, err error) {
	err = o.ask(ctx, r, &result)
	return result, err
}

// Status returns the whole: MDTs, groups, listeners, memory, problems.
func (o *Operator) Status(ctx context.Context) (wire.Status, error) {
	return request[wire.Status](ctx, o, wire.Request{Op: wire.OpStatus})
}

// MDTs returns all MDTs.
func (o *Operator) MDTs(ctx context.Context) ([]wire.MDTStatus, error) {
	return request[[]wire.MDTStatus](ctx, o, wire.Request{Op: wire.OpMDTs})
}

// Groups returns all groups.
func (o *Operator) Groups(ctx context.Context) ([]wire.GroupStatus, error) {
	return request[[]wire.GroupStatus](ctx, o, wire.Request{Op: wire.OpGroups})
}

// Group returns one group. [ErrUnknownGroup].
func (o *Operator) Group(ctx context.Context, group string) (wire.GroupStatus, error) {
	return request[wire.GroupStatus](ctx, o, wire.Request{Op: wire.OpGroup, Group: group})
}

// Members returns the members of a group, or of all groups for "". [ErrUnknownGroup].
func (o *Operator) Members(ctx context.Context, group string) ([]wire.MemberStatus, error) {
	return request[[]wire.MemberStatus](ctx, o, wire.Request{Op: wire.OpMembers, Group: group})
}

// Listeners returns all listeners.
func (o *Operator) Listeners(ctx context.Context) ([]wire.ListenerStatus, error) {
	return request[[]wire.ListenerStatus](ctx, o, wire.Request{Op: wire.OpListeners})
}

// A GroupSpec is what a new group is. Empty fields stand for the server's defaults, and for all MDTs.
type GroupSpec struct {
	Distribution string // round-robin, mdt or fid
	Start        string // earliest or latest
	MDTs         []string
	Chain        GroupChain
	Limits       GroupLimits
}

// GroupChain is what is done with records before a group is handed them.
type GroupChain struct {
	Filter    string // an expression that records must match; empty for all
	Modules   string // a list of modules behind it, as YAML or JSON; empty for none
	Consumers string // what the consumers of the group need: every-record (or empty), changes or state
}

// GroupLimits say when a group counts as abandoned; 0 is no limit.
type GroupLimits struct {
	MaxBacklog uint64        // indexes of an MDT that are not acknowledged
	MaxIdle    time.Duration // without an acknowledgement while something waits, to the millisecond
	Expire     bool          // it gives up its hold on the changelogs then; else lcapd only warns
}

// Create makes a group. It is on the server's disk when this returns nil. [ErrGroupExists], [ErrUnknownMDT].
func (o *Operator) Create(ctx context.Context, group string, g GroupSpec) error {
	return o.ask(ctx, wire.Request{Op: wire.OpCreate, Group: group, Distribution: g.Distribution, Start: g.Start,
		MDT: strings.Join(g.MDTs, ","), Filter: g.Chain.Filter, Modules: g.Chain.Modules, Consumers: g.Chain.Consumers,
		MaxBacklog: g.Limits.MaxBacklog, MaxIdleMS: uint64(g.Limits.MaxIdle.Milliseconds()), Expire: g.Limits.Expire}, nil)
}

// Set changes the filter and the modules of a group that has no members. It is refused for groups of
// the server's configuration. The change is on the server's disk when this returns nil. [ErrUnknownGroup].
func (o *Operator) Set(ctx context.Context, group string, c GroupChain) error {
	return o.ask(ctx, wire.Request{Op: wire.OpSet, Group: group, Filter: c.Filter, Modules: c.Modules, Consumers: c.Consumers}, nil)
}

// Modules returns what the modules of a group, or of all groups for "", have done. [ErrUnknownGroup].
func (o *Operator) Modules(ctx context.Context, group string) ([]wire.ModuleStatus, error) {
	return request[[]wire.ModuleStatus](ctx, o, wire.Request{Op: wire.OpModules, Group: group})
}

// Limit says when a group counts as abandoned. It is refused for groups of the server's configuration.
// [ErrUnknownGroup].
func (o *Operator) Limit(ctx context.Context, group string, l GroupLimits) error {
	return o.ask(ctx, wire.Request{Op: wire.OpLimit, Group: group,
		MaxBacklog: l.MaxBacklog, MaxIdleMS: uint64(l.MaxIdle.Milliseconds()), Expire: l.Expire}, nil)
}

// Delete ends a group and its hold on the changelogs; with force although it has members. [ErrUnknownGroup].
func (o *Operator) Delete(ctx context.Context, group string, force bool) error {
	return o.ask(ctx, wire.Request{Op: wire.OpDelete, Group: group, Force: force}, nil)
}

// Seek has a group go on behind an index of an MDT. [ErrUnknownGroup], [ErrUnknownMDT].
func (o *Operator) Seek(ctx context.Context, group, mdt string, index uint64) error {
	return o.ask(ctx, wire.Request{Op: wire.OpSeek, Group: group, MDT: mdt, Index: index}, nil)
}

// SeekTo has a group go on where a new one would start: earliest or latest, in one MDT or, for "", in all.
// [ErrUnknownGroup], [ErrUnknownMDT].
func (o *Operator) SeekTo(ctx context.Context, group, mdt, start string) error {
	return o.ask(ctx, wire.Request{Op: wire.OpSeek, Group: group, MDT: mdt, Start: start}, nil)
}

// Pause stops all hand-out of a group, or resumes it. [ErrUnknownGroup].
func (o *Operator) Pause(ctx context.Context, group string, paused bool) error {
	return o.ask(ctx, wire.Request{Op: wire.OpPause, Group: group, Paused: paused}, nil)
}

// Skip has a group pass over one record. [ErrUnknownGroup], [ErrUnknownMDT].
func (o *Operator) Skip(ctx context.Context, group, mdt string, index uint64) error {
	return o.ask(ctx, wire.Request{Op: wire.OpSkip, Group: group, MDT: mdt, Index: index}, nil)
}

// Backup returns a copy of the server's state, as 'lcapd restore' takes it.
func (o *Operator) Backup(ctx context.Context) ([]byte, error) {
	b, err := request[wire.Backup](ctx, o, wire.Request{Op: wire.OpBackup})
	if err != nil {
		return nil, err
	}
	file, err := b.File()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", o.addr, ErrProtocol, err)
	}
	return file, nil
}

// Restart has an MDT read again that bad records stopped. [ErrUnknownMDT].
func (o *Operator) Restart(ctx context.Context, mdt string) error {
	return o.ask(ctx, wire.Request{Op: wire.OpRestart, MDT: mdt}, nil)
}

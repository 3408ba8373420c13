package serve

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// listen makes the connection a listener.
func (x *session) listen(m *wire.Listen) error {
	if err := x.allow(transport.RoleListen, "listen"); err != nil {
		return err
	}
	if err := x.isFree(); err != nil {
		return err
	}
	if err := checkName(m.Name); err != nil {
		return err
	}
	o := broker.ListenOptions{
		Name: m.Name, MDTs: m.MDTs, Filter: m.Filter, Modules: m.Modules, Fields: wanted(m.Fields), Remote: x.conn.Remote(),
	}
	var err error
	if o.Plan, err = x.planOf(m); err != nil {
		return err
	}
	for _, p := range m.Seen {
		o.Seen = append(o.Seen, broker.Mark{MDT: p.MDT, Epoch: core.Epoch(p.Epoch), Index: p.Index})
	}
	listener, marks, err := x.o.Broker.Listen(x.ctx, o)
	if err != nil {
		return err
	}
	x.listener, x.form = listener, formOf(o.Fields)
	answer := &wire.Listening{Req: m.Req}
	for _, p := range marks {
		answer.MDTs = append(answer.MDTs, wire.Position{MDT: p.MDT, Epoch: wire.Epoch(p.Epoch), Index: p.Index})
	}
	x.send(answer)
	x.started.Go(x.feed)
	return nil
}

// planOf compiles what a listener's records shall pass; nil for nothing.
func (x *session) planOf(m *wire.Listen) (*modules.Plan, error) {
	var specs []modules.Spec
	if m.Modules != "" && !json.Valid([]byte(m.Modules)) { // YAML may be many times larger than its text
		return nil, &wire.Error{Code: wire.BadFilter, Text: "modules: the text of a chain is JSON here, such as [{\"filter\": {\"types\": \"CREAT\"}}]"}
	}
	specs, err := modules.ParseSpecs(m.Modules)
	if m.Filter != "" {
		specs = slices.Insert(specs, 0, modules.Spec{Name: "filter", Options: map[string]any{"where": m.Filter}})
	}
	if err != nil || len(specs) == 0 {
		return nil, badFilter(err)
	}
	use := modules.Use{Scope: modules.ForListeners, Consumers: modules.State, Connection: true}
	plan, err := modules.Parse(specs, x.o.Modules, use)
	return plan, badFilter(err)
}

// badFilter says of an error of a chain what it is, for the peer.
func badFilter(err error) error {
	if err == nil {
		return nil
	}
	return &wire.Error{Code: wire.BadFilter, Text: err.Error()}
}

// wanted returns the blocks that a peer wants; nil for records as they are.
func wanted(form wire.Form) *changelog.Format {
	if form == 0 {
		return nil
	}
	f := form.Format()
	return &f
}

// formOf returns what a peer is told of the blocks that it wants.
func formOf(wants *changelog.Format) wire.Form {
	if wants == nil {
		return 0
	}
	return wire.FormOf(wants.Repacking())
}

// atOnce is how many bytes of records a listener is sent before it is waited for.
const atOnce = 128 << 10

// feed sends a listener what it is shown: one batch, or several small ones at once if it is
// behind. Who is slow finds a gap when he comes back for more, and holds no more than that.
func (x *session) feed() {
	queued := 0 // bytes that were sent without waiting
	for {
		s, err := x.listener.Next(x.ctx)
		if err == nil {
			queued += len(s.Records)
			wait := queued >= atOnce || !x.listener.HasMore()
			if wait {
				queued = 0
			}
			err = x.show(s, wait)
		}
		switch {
		case x.ctx.Err() != nil:
			return // the session ends, and has a last word to say
		case errors.Is(err, broker.ErrModules):
			x.lastWord(spoken(err, 0, 0), err)
			return
		case err != nil:
			x.conn.Close(err)
			return
		}
	}
}

// show sends a listener something, and waits until it is with the kernel, or leaves it with
// the connection's writer: then it goes out with what comes next.
func (x *session) show(s broker.Shown, wait bool) error {
	if g := s.Gap; g != nil {
		why := "too slow, or not connected"
		frames, err := wire.Encode(&wire.Gap{
			MDT: g.MDT, Epoch: wire.Epoch(g.Epoch), From: g.From, To: g.To, Count: uint64(g.Records), Unknown: g.Unknown, Why: why,
		})
		if err != nil {
			return err
		}
		return x.hand(transport.Message{Frames: frames}, wait)
	}
	header, err := s.Header(func() ([]byte, error) { return wire.AppendHeader(nil, x.describe(s)) })
	if err != nil {
		return err
	}
	return x.hand(transport.Message{Frames: [][]byte{header}, Payload: [][]byte{s.Records}}, wait)
}

// describe says what a batch is that a listener is shown.
func (x *session) describe(s broker.Shown) *wire.Batch {
	m := &wire.Batch{
		MDT: s.MDT, Epoch: wire.Epoch(s.Epoch), From: s.From, To: s.To, First: s.First, Last: s.Last,
		N: uint64(s.Count), Delivery: 1, Form: x.form,
	}
	if s.Late {
		m.Flags |= wire.Late
	}
	return m
}

func (x *session) hand(m transport.Message, wait bool) error {
	if !wait {
		if err := x.conn.Send(m); !errors.Is(err, transport.ErrFull) {
			return err
		}
	}
	return x.conn.SendWait(x.ctx, m)
}

package serve

import (
	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
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
	if m.Filter != "" {
		return errNoFilter
	}
	if err := checkName(m.Name); err != nil {
		return err
	}
	o := broker.ListenOptions{Name: m.Name, MDTs: m.MDTs, Remote: x.conn.Remote()}
	for _, p := range m.Seen {
		o.Seen = append(o.Seen, broker.Mark{MDT: p.MDT, Epoch: core.Epoch(p.Epoch), Index: p.Index})
	}
	listener, marks, err := x.o.Broker.Listen(x.ctx, o)
	if err != nil {
		return err
	}
	x.listener = listener
	answer := &wire.Listening{Req: m.Req}
	for _, p := range marks {
		answer.MDTs = append(answer.MDTs, wire.Position{MDT: p.MDT, Epoch: wire.Epoch(p.Epoch), Index: p.Index})
	}
	x.send(answer)
	x.started.Go(x.feed)
	return nil
}

// feed sends a listener what it is shown, one by one: who is slow finds a gap when he
// comes back for more, and holds one batch.
func (x *session) feed() {
	for {
		s, err := x.listener.Next(x.ctx)
		if err == nil {
			err = x.show(s)
		}
		switch {
		case x.ctx.Err() != nil:
			return // the session ends, and has a last word to say
		case err != nil:
			x.conn.Close(err)
			return
		}
	}
}

func (x *session) show(s broker.Shown) error {
	if g := s.Gap; g != nil {
		why := "too slow, or not connected"
		frames, err := wire.Encode(&wire.Gap{
			MDT: g.MDT, Epoch: wire.Epoch(g.Epoch), From: g.From, To: g.To, Count: uint64(g.Records), Unknown: g.Unknown, Why: why,
		})
		if err != nil {
			return err
		}
		return x.conn.SendWait(x.ctx, transport.Message{Frames: frames})
	}
	m := &wire.Batch{
		MDT: s.MDT, Epoch: wire.Epoch(s.Epoch), From: s.From, To: s.To, First: s.First, Last: s.Last,
		N: uint64(s.Count), Delivery: 1,
	}
	if s.Late {
		m.Flags |= wire.Late
	}
	header, err := wire.AppendHeader(nil, m)
	if err != nil {
		return err
	}
	return x.conn.SendWait(x.ctx, transport.Message{Frames: [][]byte{header}, Payload: [][]byte{s.Records}})
}

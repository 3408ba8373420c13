package serve

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// session is one connection. The goroutine that runs it owns everything here.
type session struct {
	*Server
	conn     *transport.Conn
	roles    transport.Role
	ctx      context.Context // of all that the session has started
	cancel   context.CancelCauseFunc
	started  sync.WaitGroup
	member   *broker.Member
	listener *broker.Listener
	form     wire.Form // of the records that a listener gets
}

// errLeft ends a session whose peer said good-bye.
var errLeft = errors.New("the peer has left")

// run serves the connection until it ends, and returns why.
func (x *session) run() error {
	if t := x.conn.SocketType(); t != transport.Dealer {
		v := &transport.Violation{Reason: transport.BadSocketType, Text: fmt.Sprintf("%s; only DEALER is served", t)}
		x.conn.Close(v)
		return v
	}
	if err := x.greet(); err != nil {
		return err
	}
	x.started.Go(x.beat)
	for {
		m, err := x.receive()
		if err != nil {
			return err
		}
		if m == nil {
			m = &wire.Heartbeat{} // it was refused, and is a sign of life all the same
		}
		if err := x.do(m); err != nil {
			return err
		}
	}
}

// end gives back what the peer had, says the last word, and waits for all that was
// started. Who is told good-bye finds his name free.
func (x *session) end(why error) {
	x.cancel(why)
	if x.member != nil {
		_ = x.member.Leave() // it fails only when the broker has stopped
	}
	if x.listener != nil {
		_ = x.listener.Close() // likewise
	}
	x.started.Wait()
	switch {
	case errors.Is(why, errLeft):
		x.send(&wire.Bye{})
	case errors.Is(why, transport.ErrStopping), errors.Is(why, broker.ErrStopped):
		x.send(&wire.Bye{Code: wire.Stopping, Text: "lcapd stops"})
	}
}

// greet hears the peer's hello and answers it. ZMTP's own signs of life do not stand for one: who
// says nothing else would keep a connection from others.
func (x *session) greet() error {
	late := time.AfterFunc(x.o.Hello, func() {
		x.conn.Close(&transport.Violation{Reason: transport.HandshakeTimeout, Text: fmt.Sprintf("no hello for %s", x.o.Hello)})
	})
	defer late.Stop()
	m, err := x.receive()
	if err != nil {
		return err
	}
	theirs, ok := m.(*wire.Hello)
	if !ok {
		return x.fatal(&wire.Error{Code: wire.BadMessage, Text: "the first message must be hello"})
	}
	ours := &wire.Hello{
		V: wire.Newest, Min: wire.Oldest, Software: "lcapd " + x.o.Version, Broker: x.o.ID,
		HeartbeatMS: uint64(x.o.Heartbeat.Milliseconds()), MaxFrame: uint64(x.o.MaxFrame),
	}
	if _, err := wire.Meet(ours, theirs); err != nil {
		return x.fatal(err)
	}
	x.send(ours)
	return nil
}

// fatal tells the peer of an error that ends the connection.
func (x *session) fatal(err error) error {
	x.tell(spoken(err, 0, 0))
	return err
}

// tell tells the peer of an error, and counts it.
func (x *session) tell(e *wire.Error) {
	x.count(string(e.Code))
	x.send(e)
}

// receive returns the next message; nil if it was one that is refused and goes on.
func (x *session) receive() (wire.Message, error) {
	frames, err := x.conn.Receive()
	if err != nil {
		return nil, err
	}
	m, _, err := wire.Decode(frames)
	if err == nil {
		return m, nil
	}
	var bad *wire.Error
	if !errors.As(err, &bad) {
		return nil, err
	}
	x.tell(bad)
	if bad.Code.Closes() {
		return nil, err
	}
	return nil, nil
}

// send queues a message for the peer. One that does not get it is cut: it would wait.
func (x *session) send(m wire.Message) {
	if err := send(x.conn, m); err != nil {
		x.conn.Close(err)
	}
}

func send(c *transport.Conn, m wire.Message) error {
	frames, err := wire.Encode(m)
	if err != nil {
		return err
	}
	return c.Send(transport.Message{Frames: frames})
}

// do does what the peer asks for. An error ends the connection.
func (x *session) do(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Join:
		return x.answer(m.Req, x.join(m))
	case *wire.Listen:
		return x.answer(m.Req, x.listen(m))
	case *wire.Credit:
		return x.asMember(0, func(b *broker.Member) error { return b.Credit(x.ctx, int(m.Batches), int64(m.Bytes)) })
	case *wire.Ack:
		return x.asMember(m.Lease, func(b *broker.Member) error { return b.Ack(x.ctx, groups.LeaseID(m.Lease), m.UpTo) })
	case *wire.Nack:
		return x.asMember(m.Lease, func(b *broker.Member) error {
			return b.Nack(x.ctx, groups.LeaseID(m.Lease), m.From, time.Duration(m.DelayMS)*time.Millisecond)
		})
	case *wire.Heartbeat:
		return x.alive()
	case *wire.Request:
		if err := x.alive(); err != nil {
			return err
		}
		return x.operate(m)
	case *wire.Leave:
		if x.member == nil && x.listener == nil {
			return x.asMember(0, nil)
		}
		return errLeft
	case *wire.Bye:
		return errLeft
	case *wire.Hello:
		return x.fatal(&wire.Error{Code: wire.BadMessage, Text: "hello comes once"})
	}
	x.tell(&wire.Error{Code: wire.UnknownMessage, Text: fmt.Sprintf("%q is a server's message", m.Kind())})
	return x.alive()
}

// alive has a member keep its leases.
func (x *session) alive() error {
	if x.member == nil {
		return nil
	}
	return x.member.Heartbeat(x.ctx)
}

// answer tells the peer of an error of a request. The connection goes on, unless the
// broker has ended.
func (x *session) answer(req uint64, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, broker.ErrStopped) || x.ctx.Err() != nil {
		return err
	}
	x.tell(spoken(err, req, 0))
	return nil
}

// asMember does something that members do.
func (x *session) asMember(lease uint64, do func(*broker.Member) error) error {
	if x.member == nil {
		x.tell(&wire.Error{Code: wire.NotMember, Text: "join a group first", Lease: lease})
		return nil
	}
	return do(x.member)
}

// allow refuses what the address does not allow.
func (x *session) allow(r transport.Role, what string) error {
	if x.roles.Has(r) {
		return nil
	}
	return &wire.Error{Code: wire.Role, Text: fmt.Sprintf("to %s takes the role %s, which %s does not have here; see allow under listen in the configuration", what, r, x.conn.Remote())}
}

// beat says from time to time that we are alive. It ends all that the session waits for
// when the connection has ended.
func (x *session) beat() {
	ticker := time.NewTicker(x.o.Heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = send(x.conn, &wire.Heartbeat{}) // a full queue says that we are alive, too
		case <-x.ctx.Done():
			return
		case <-x.conn.Done():
			x.cancel(x.conn.Err())
			return
		}
	}
}

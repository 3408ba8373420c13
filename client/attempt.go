package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// An attempt is one connection, from dialling to its end: a goroutine that reads, and one that
// writes. Whoever began it owns it: takes heard until over is closed, and may end it by cancel at
// any time.
type attempt struct {
	addr    string
	pipe    *transport.Pipe     // instead of addr, if not nil
	opening func() wire.Message // join or listen; none for an operator
	wanted  wire.Form           // the blocks that records shall have, 0 for all
	pool    *sync.Pool

	ctx    context.Context // ends with the connection; its cause is the reason
	cancel context.CancelCauseFunc
	heard  chan message      // from the reader
	say    chan wire.Message // to the writer
	over   chan struct{}     // closed in the end; err is set then
	err    error             // why it ended
}

// A message is what the reader heard. The first one is an opened.
type message struct {
	msg     wire.Message
	batch   *Batch // for a wire.Batch: what it carries
	payload []byte // for a wire.Reply
	opened  *opened
}

// opened tells that the broker has let us in.
type opened struct {
	broker    string
	heartbeat time.Duration
	answer    wire.Message // joined or listening; none for an operator
}

// begin starts an attempt.
func begin(addr string, pipe *transport.Pipe, opening func() wire.Message, wanted wire.Form, pool *sync.Pool) *attempt {
	a := &attempt{addr: addr, pipe: pipe, opening: opening, wanted: wanted, pool: pool, heard: make(chan message),
		say: make(chan wire.Message), over: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	go func() {
		defer close(a.over)
		a.err = a.run()
		a.cancel(a.err)
	}()
	return a
}

// run is the attempt. It returns why it ended, never nil.
func (a *attempt) run() error {
	// What is said waits with us, not in the transport's queue.
	conn, err := a.dial()
	if err != nil {
		return a.reason(unreached(err))
	}
	defer conn.Finish()
	defer context.AfterFunc(a.ctx, func() { conn.Close(context.Cause(a.ctx)) })()
	first, err := a.open(conn)
	if err != nil {
		return a.reason(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() { a.write(conn) })
	defer writing.Wait()
	defer a.cancel(transport.ErrClosed) // for the writer
	if err := a.post(message{opened: first}); err != nil {
		return err
	}
	for {
		if err := a.read(conn); err != nil {
			return a.reason(err)
		}
	}
}

func (a *attempt) dial() (*transport.Conn, error) {
	if a.pipe != nil {
		return transport.DialPipe(a.ctx, a.pipe, transport.Options{})
	}
	return transport.Dial(a.ctx, a.addr, transport.Options{})
}

// reason prefers why the owner ended the attempt to what that led to.
func (a *attempt) reason(err error) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	return err
}

// post hands a message to the owner.
func (a *attempt) post(m message) error {
	select {
	case a.heard <- m:
		return nil
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
}

// handshakeTime bounds each step of the handshake.
const handshakeTime = 10 * time.Second

// open says hello and joins.
func (a *attempt) open(conn *transport.Conn) (*opened, error) {
	conn.SetIdle(handshakeTime)
	ours := &wire.Hello{V: wire.Newest, Min: wire.Oldest, Software: "lcapd-go", MaxFrame: 4 << 20}
	answer, err := a.exchange(conn, ours)
	if err != nil {
		return nil, err
	}
	theirs, ok := answer.(*wire.Hello)
	if !ok {
		return nil, fmt.Errorf("%s: %w: %s in place of a hello", a.addr, ErrProtocol, answer.Kind())
	}
	if _, err := wire.Meet(ours, theirs); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", a.addr, ErrVersion, err)
	}
	o := &opened{broker: theirs.Broker, heartbeat: time.Duration(min(theirs.HeartbeatMS, 1<<31)) * time.Millisecond}
	if a.opening != nil {
		if o.answer, err = a.exchange(conn, a.opening()); err != nil {
			return nil, err
		}
	}
	conn.SetIdle(silence(o.heartbeat))
	return o, nil
}

// silence is how long a server with that interval of heartbeats may say nothing.
func silence(heartbeat time.Duration) time.Duration {
	if heartbeat == 0 {
		return 0
	}
	return 4*heartbeat + time.Second
}

// exchange sends a message and returns the next answer but heartbeats.
func (a *attempt) exchange(conn *transport.Conn, m wire.Message) (wire.Message, error) {
	frames, err := wire.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRefused, m.Kind(), err) // no server can be told
	}
	if err := conn.SendWait(a.ctx, transport.Message{Frames: frames}); err != nil {
		return nil, unreached(err)
	}
	for {
		frames, err := conn.Receive()
		if err != nil {
			return nil, unreached(fmt.Errorf("%s: no answer to %s: %w", a.addr, m.Kind(), err))
		}
		answer, _, err := a.decode(frames)
		if err == errIgnore {
			continue
		}
		if e, ok := answer.(*wire.Error); ok && err == nil {
			return nil, answered(a.addr, e.Code, e.Text)
		}
		if _, ok := answer.(*wire.Heartbeat); ok && err == nil {
			continue
		}
		return answer, err
	}
}

// errIgnore: a newer server said something that we do not know.
var errIgnore = errors.New("unknown kind of message")

// decode reads a message. What ends the connection is an error.
func (a *attempt) decode(frames [][]byte) (wire.Message, []byte, error) {
	m, payload, err := wire.Decode(frames)
	if unknownKind(err) {
		return nil, nil, errIgnore
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: %w", a.addr, ErrProtocol, err)
	}
	switch m := m.(type) {
	case *wire.Bye:
		code := m.Code
		if code == wire.Refused {
			code = "" // we were sent away, not refused: whether we may come back, the next join is told
		}
		return nil, nil, answered(a.addr, code, m.Text)
	case *wire.Error:
		if m.Code.Closes() {
			return nil, nil, answered(a.addr, m.Code, m.Text)
		}
	}
	return m, payload, nil
}

func unknownKind(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == wire.UnknownMessage
}

// read hears one message and hands it on. It may wait as long as the owner likes.
func (a *attempt) read(conn *transport.Conn) error {
	frames, err := conn.Receive()
	if err != nil {
		return fmt.Errorf("%s: %w", a.addr, err)
	}
	m, payload, err := a.decode(frames)
	if err == errIgnore {
		return nil
	}
	if err != nil {
		return err
	}
	heard := message{msg: m}
	switch m := m.(type) {
	case *wire.Heartbeat:
		return nil
	case *wire.Batch:
		if heard.batch, err = newBatch(conn, a.addr, m, payload, a.wanted, a.pool); err != nil {
			return fmt.Errorf("%s: %w", a.addr, err)
		}
	case *wire.Reply:
		heard.payload = slices.Clone(payload)
	}
	return a.post(heard)
}

// write writes what it is given, one message after the other, until the connection ends.
func (a *attempt) write(conn *transport.Conn) {
	var buf []byte
	for {
		select {
		case m := <-a.say:
			var err error
			var frames [][]byte
			if request, ok := m.(*wire.Request); ok { // rare, and may have a body
				frames, err = wire.Encode(request)
			} else if buf, err = wire.AppendHeader(buf[:0], m); err == nil {
				frames = [][]byte{buf}
			}
			if err == nil {
				err = conn.SendWait(a.ctx, transport.Message{Frames: frames})
			}
			if err != nil {
				a.cancel(fmt.Errorf("%s: %w", a.addr, err))
				return
			}
		case <-a.ctx.Done():
			return
		}
	}
}

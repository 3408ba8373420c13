package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A Message is what is sent: some whole frames, then one more that is gathered from parts.
type Message struct {
	// Frames come first, in order. An empty one is a frame too.
	Frames [][]byte
	// Payload, if not nil, is one frame: its parts, one behind the other. They are not copied.
	Payload [][]byte
	// Sent, if not nil, is called exactly once when the connection has let go of the bytes, whether
	// they were written or not. It runs in the writer's goroutine and must not block.
	//
	// Until then nobody may change the bytes.
	Sent func()
}

// size returns the bytes of the message.
func (m *Message) size() int {
	n := 0
	for _, f := range m.Frames {
		n += len(f)
	}
	for _, p := range m.Payload {
		n += len(p)
	}
	return n
}

// A Conn is one connection, after its handshake. All its methods may be called from any goroutine, but
// for Receive, Keep, Trade and SetIdle: those belong to one goroutine, the connection's reader.
type Conn struct {
	raw     net.Conn
	src     *patient // raw, for the reader
	peer    hello
	cred    Credentials
	credErr error // why there are none
	allowed Role
	opts    Options
	idle    time.Duration // the reader's
	in      frameReader   // the reader's
	out     *outbox

	// stop ends when the server does; Receive returns then. A client's never ends.
	stop context.Context
	// life ends when the connection does; its cause is the reason.
	life context.Context
	end  context.CancelCauseFunc
	// written is closed when the writer has returned.
	written chan struct{}
}

// newConn makes a connection and starts its writer. Finish must be called in the end.
func newConn(stop context.Context, raw net.Conn, peer hello, allowed Role, o Options, b *budget) *Conn {
	src := &patient{raw: raw, stop: stop}
	c := &Conn{raw: raw, src: src, peer: peer, allowed: allowed, opts: o, in: newFrameReader(src, o, b),
		out: newOutbox(o), stop: stop, written: make(chan struct{})}
	c.cred, c.credErr = credentials(raw)
	c.life, c.end = context.WithCancelCause(context.Background())
	go func() {
		defer close(c.written)
		newWriter(c).run()
	}()
	return c
}

// SocketType returns the peer's socket type.
func (c *Conn) SocketType() SocketType { return c.peer.socket }

// Identity returns the ZMTP identity that the peer claims, 0 to 255 bytes. It proves nothing, and
// several peers may have the same.
func (c *Conn) Identity() string { return c.peer.identity }

// Remote returns the peer's address for humans: host:port, or what is known of the process.
func (c *Conn) Remote() string {
	if c.credErr == nil {
		return fmt.Sprintf("ipc pid=%d uid=%d", c.cred.PID, c.cred.UID)
	}
	return c.raw.RemoteAddr().String()
}

// Allowed returns the roles of the address at which the peer came in. A client's are none.
func (c *Conn) Allowed() Role { return c.allowed }

// Credentials returns who the peer is, on ipc only: otherwise the error is ErrNotIPC.
func (c *Conn) Credentials() (Credentials, error) { return c.cred, c.credErr }

// SetIdle sets after how long without a byte from the peer Receive gives up; 0 for never.
func (c *Conn) SetIdle(d time.Duration) { c.idle = d }

// Receive waits for the next message and returns its frames. They are valid until the next call of
// Receive, unless Keep is called before. An error ends the connection and is its reason: ErrPeerGone, a
// *Violation, a *PeerError, ErrClosed; or ErrStopping, with which the connection goes on so that a last
// word can be sent.
func (c *Conn) Receive() ([][]byte, error) {
	for {
		c.in.reset() // before the wait: an idle peer holds no large buffer
		late := Idle
		err := c.await(c.idle)
		if err == nil {
			_, err = c.in.src.Peek(1)
		}
		if err == nil {
			late, err = SlowMessage, c.await(c.opts.MessageTimeout)
		}
		var frames [][]byte
		if err == nil {
			frames, err = c.in.message(c.command)
		}
		if err != nil {
			return nil, c.broken(err, late)
		}
		if len(frames) > 0 {
			return frames, nil
		}
	}
}

// broken ends the connection after a failed read, unless the server's end interrupted it.
func (c *Conn) broken(err error, late Reason) error {
	if c.stop.Err() != nil {
		return ErrStopping
	}
	c.Close(ioError(err, late))
	return c.Err()
}

// await sets the deadline of the next read.
func (c *Conn) await(d time.Duration) error {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	return c.src.await(at)
}

// Keep leaves the frames of the last Receive to the caller for good. The next ones get new buffers.
func (c *Conn) Keep() { c.in.keep() }

// Trade is Keep for who has another buffer, which the next frames are read into. It returns the
// one that the frames of the last Receive are in, to be traded again when they are no longer needed.
func (c *Conn) Trade(buf []byte) []byte { return c.in.trade(buf) }

// command does what a ZMTP command wants. A PONG that finds the writer busy with earlier ones is
// dropped: a peer takes any traffic for a sign of life.
func (c *Conn) command(body []byte) error {
	name, data, err := splitCommand(body)
	switch {
	case err != nil:
		return err
	case name == "ERROR":
		return peerError(data)
	case name == "PING":
		p, err := parsePing(data)
		if err != nil {
			return err
		}
		select {
		case c.out.pongs <- p:
		default:
		}
	}
	return nil
}

// Send queues a message and never blocks. After nil, Sent is going to be called; after an error, ErrFull
// or the reason why the connection has ended, it is not.
func (c *Conn) Send(m Message) error {
	if c.life.Err() != nil {
		return c.Err()
	}
	err := c.out.put(m)
	if errors.Is(err, ErrClosed) {
		return c.Err()
	}
	return err
}

// SendWait hands a message to the writer, behind what is queued and without taking room there, and
// waits until it is written. It blocks as long as the peer does not take what was sent before, at most
// the write timeout. It returns nil when the bytes are with the kernel, the reason when the connection
// ended, and the context's error when that ended first. Sent is called if and only if the writer got the
// message; after the context's error that may be later. Whatever it returns, what is sent from then on
// goes out behind the message.
func (c *Conn) SendWait(ctx context.Context, m Message) error {
	done, placed := make(chan error, 1), make(chan struct{})
	select {
	case c.out.direct <- item{Message: m, done: done, placed: placed}:
	case <-c.life.Done():
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		<-placed // the writer is at it, and waits for nothing before
		return ctx.Err()
	}
}

// Queued returns the messages and bytes that Send has queued and that are not written yet.
func (c *Conn) Queued() (messages int, bytes int64) { return c.out.room.load() }

// Close ends the connection at once, for a reason that is not nil. What is queued is dropped. Only the
// first reason counts. Close does not block; Finish waits.
func (c *Conn) Close(reason error) {
	c.end(reason)
	c.raw.Close()
}

// Finish ends the connection after what is queued was written, at most the linger time, and waits until
// the writer has let go of everything. A server does it when the handler returns; a client must.
func (c *Conn) Finish() {
	c.flush()
	c.raw.Close()
}

// flush ends the connection but for its socket: what is queued is written, and let go of.
func (c *Conn) flush() {
	c.end(ErrClosed)
	c.raw.SetWriteDeadline(time.Now().Add(c.opts.Linger))
	<-c.written
}

// partWell has the last word arrive: were the socket closed while something from the peer is unread, the
// kernel would tell the peer to drop what it has not read either. So we say that nothing follows, and
// read what comes until the peer has closed too, at most the linger time. Only the reader may call it.
func (c *Conn) partWell() {
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return // the connection is broken already
	}
	c.raw.SetReadDeadline(time.Now().Add(c.opts.Linger))
	io.Copy(io.Discard, c.raw)
}

// Done is closed when the connection ends. Sent may still be called for what was queued.
func (c *Conn) Done() <-chan struct{} { return c.life.Done() }

// Err returns why the connection ended, nil as long as it has not.
func (c *Conn) Err() error { return context.Cause(c.life) }

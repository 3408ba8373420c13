package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// patience is after how long something that must happen counts as not happening. No test relies on it
// to pass.
const patience = 20 * time.Second

// running is a server under test, on tcp and ipc.
type running struct {
	*Server
	tcp, ipc string
	stop     func() // ends the server and waits
}

// serve runs a server until the test ends, and checks then that nothing of it is left.
func serve(t testing.TB, o Options, h HandlerFunc) *running {
	t.Helper()
	before := runtime.NumGoroutine()
	s, err := Listen(o, Endpoint{Addr: "tcp://127.0.0.1:0", Allow: RoleListen | RoleConsume},
		Endpoint{Addr: "ipc://" + filepath.Join(t.TempDir(), "s"), Allow: RoleAll})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, h)
	}()
	r := &running{Server: s, tcp: s.Addrs()[0], ipc: s.Addrs()[1]}
	r.stop = func() {
		cancel()
		within(t, "Run to return", ended)
	}
	t.Cleanup(func() {
		r.stop()
		eventually(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
		if st := s.Stats(); st.Open != 0 || st.Inbound != 0 {
			t.Errorf("at the end: %+v", st)
		}
	})
	return r
}

// echo sends every message back.
func echo(_ context.Context, c *Conn) {
	for {
		frames, err := c.Receive()
		if err != nil {
			return
		}
		c.Keep()
		if err := c.SendWait(context.Background(), Message{Frames: frames}); err != nil {
			return
		}
	}
}

// dial connects until the test ends.
func dial(t testing.TB, addr string) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Finish)
	return c
}

// roundTrip sends frames and wants them back.
func roundTrip(t testing.TB, c *Conn, frames ...[]byte) {
	t.Helper()
	if err := c.Send(Message{Frames: frames}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(frames) {
		t.Fatalf("%d frames came back of %d", len(got), len(frames))
	}
	for i := range got {
		if !bytes.Equal(got[i], frames[i]) {
			t.Fatalf("frame %d: %d bytes came back of %d", i, len(got[i]), len(frames[i]))
		}
	}
}

// bystander keeps an echo going beside what the test does. The function that it returns waits for
// messages that went round after it was called.
func bystander(t testing.TB, addr string) func() {
	t.Helper()
	c := dial(t, addr)
	beats, stop, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if c.Send(Message{Frames: [][]byte{[]byte("beat")}}) != nil {
				return
			}
			if _, err := c.Receive(); err != nil {
				return
			}
			select {
			case beats <- struct{}{}:
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return func() {
		t.Helper()
		for range 3 {
			within(t, "the bystander's message", beats)
		}
	}
}

// within waits for a signal or the channel's end.
func within(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%s did not happen\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}

// rawDial opens a plain tcp connection to a server.
func rawDial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	a, err := parseAddress(addr)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", a.where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	raw.SetDeadline(time.Now().Add(patience))
	return raw.(*net.TCPConn)
}

// ready returns a READY frame with the given properties, name and value in turn.
func ready(properties ...string) []byte {
	body := []byte("\x05READY")
	for i := 0; i < len(properties); i += 2 {
		body = append(append(body, byte(len(properties[i]))), properties[i]...)
		n := len(properties[i+1])
		body = append(append(body, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)), properties[i+1]...)
	}
	if len(body) > 255 {
		return append([]byte(claim(flagCommand, uint64(len(body)))), body...)
	}
	return append([]byte{flagCommand, byte(len(body))}, body...)
}

// shakeHands makes the handshake over a plain connection, as the given socket type.
func shakeHands(t testing.TB, raw net.Conn, socket, identity string) {
	t.Helper()
	if _, err := raw.Write(append(greeting[:], ready("Socket-Type", socket, "Identity", identity)...)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(raw, make([]byte, greetingSize)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readCommand(raw, maxReady); err != nil {
		t.Fatal(err)
	}
}

// wantClosed wants the other side to close a plain connection; what it says before is not looked at.
func wantClosed(t testing.TB, raw net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, raw); err != nil && !errors.Is(ioError(err, Idle), ErrPeerGone) {
		t.Errorf("not closed: %v", err)
	}
}

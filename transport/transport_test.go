package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRoundTrips(t *testing.T) {
	s := serve(t, Options{}, echo)
	for _, addr := range []string{s.tcp, s.ipc} {
		c := dial(t, addr)
		for _, size := range []int{0, 1, 255, 256, copyBelow, readAhead, smallBuf - 1, smallBuf, smallBuf + 1, 1 << 20, 4 << 20} {
			roundTrip(t, c, []byte("header"), bytes.Repeat([]byte{byte(size)}, size))
		}
		roundTrip(t, c, nil, []byte("a"), nil)
		roundTrip(t, c, bytes.Fields([]byte(strings.Repeat("x ", 16)))...)
	}
}

func TestWhoThePeerIs(t *testing.T) {
	type seen struct {
		socket  SocketType
		allowed Role
		cred    Credentials
		err     error
	}
	peers := make(chan seen, 1)
	s := serve(t, Options{}, func(ctx context.Context, c *Conn) {
		cred, err := c.Credentials()
		peers <- seen{c.SocketType(), c.Allowed(), cred, err}
		echo(ctx, c)
	})
	c := dial(t, s.tcp)
	if p := <-peers; p.socket != Dealer || p.allowed != RoleListen|RoleConsume || p.err == nil {
		t.Errorf("tcp: %+v", p)
	}
	if !strings.HasPrefix(c.Remote(), "127.0.0.1:") {
		t.Error(c.Remote())
	}
	c = dial(t, s.ipc)
	if p := <-peers; p.allowed != RoleAll || p.err != nil || p.cred != (Credentials{int32(os.Getpid()), uint32(os.Getuid()), uint32(os.Getgid())}) {
		t.Errorf("ipc: %+v", p)
	}
	if !strings.HasPrefix(c.Remote(), "ipc pid=") {
		t.Error(c.Remote())
	}
	if got := (RoleListen | RoleOperate).String(); got != "listen,operate" || RoleListen.Has(RoleConsume) || !RoleAll.Has(RoleOperate) {
		t.Error(got)
	}
}

// Why: batches are shared by all consumers, and counted until the last one has let go.
func TestPayloadIsGatheredAndLetGo(t *testing.T) {
	sent := make(chan struct{})
	parts := [][]byte{[]byte("small"), bytes.Repeat([]byte("large"), 30000), nil, []byte("end")}
	s := serve(t, Options{}, func(ctx context.Context, c *Conn) {
		c.Send(Message{Frames: [][]byte{[]byte("h")}, Payload: parts, Sent: func() { close(sent) }})
		c.Receive()
	})
	c := dial(t, s.tcp)
	frames, err := c.Receive()
	if err != nil || len(frames) != 2 || !bytes.Equal(frames[1], bytes.Join(parts, nil)) {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	within(t, "Sent", sent)
}

// Why: without it a consumer that works on one batch could not receive the next.
func TestKeep(t *testing.T) {
	s := serve(t, Options{}, echo)
	c := dial(t, s.tcp)
	var kept [][]byte
	for i := range 4 {
		want := bytes.Repeat([]byte{byte(i)}, 100_000)
		if err := c.Send(Message{Frames: [][]byte{want}}); err != nil {
			t.Fatal(err)
		}
		frames, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		c.Keep()
		kept = append(kept, frames[0])
	}
	for i, b := range kept {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, 100_000)) {
			t.Errorf("message %d was overwritten", i)
		}
	}
	roundTrip(t, c, make([]byte, 100_000))
	roundTrip(t, c, make([]byte, 100_000))
}

func TestReceiveUsesBuffersAgain(t *testing.T) {
	s := serve(t, Options{}, func(_ context.Context, c *Conn) {
		for c.SendWait(context.Background(), Message{Payload: [][]byte{make([]byte, 128<<10)}}) == nil {
		}
	})
	c := dial(t, s.tcp)
	var first *byte
	for i := range 20 {
		frames, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			first = &frames[0][0]
		}
		if i > 1 && first != &frames[0][0] {
			t.Fatal("another buffer")
		}
	}
}

func TestCleanEndIsSeen(t *testing.T) {
	ends := make(chan error, 1)
	s := serve(t, Options{}, func(_ context.Context, c *Conn) {
		_, err := c.Receive()
		<-c.Done()
		ends <- errors.Join(err, c.Err())
	})
	c, err := Dial(t.Context(), s.tcp, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.Finish()
	if err := <-ends; !errors.Is(err, ErrPeerGone) {
		t.Errorf("server: %v", err)
	}
	if !errors.Is(c.Err(), ErrClosed) || !errors.Is(c.Send(Message{}), ErrClosed) || !errors.Is(c.SendWait(t.Context(), Message{}), ErrClosed) {
		t.Errorf("client: %v", c.Err())
	}
	if _, err := c.Receive(); !errors.Is(err, ErrClosed) {
		t.Errorf("client: %v", err)
	}
}

func TestDeadPeerIsSeen(t *testing.T) {
	ends := make(chan error, 1)
	s := serve(t, Options{}, func(_ context.Context, c *Conn) {
		_, err := c.Receive()
		ends <- err
	})
	raw := rawDial(t, s.tcp)
	shakeHands(t, raw, "DEALER", "")
	raw.SetLinger(0) // RST
	raw.Close()
	if err := <-ends; !errors.Is(err, ErrPeerGone) {
		t.Errorf("err = %v", err)
	}
}

// Why: the error that explains the end is the last message.
func TestLastWordArrives(t *testing.T) {
	s := serve(t, Options{}, func(_ context.Context, c *Conn) {
		for range 20 {
			c.Send(Message{Payload: [][]byte{make([]byte, 100_000)}})
		}
		c.Send(Message{Frames: [][]byte{[]byte("bye")}})
	})
	c := dial(t, s.tcp)
	var last string
	for {
		frames, err := c.Receive()
		if err != nil {
			if !errors.Is(err, ErrPeerGone) {
				t.Error(err)
			}
			break
		}
		last = string(frames[0])
	}
	if last != "bye" {
		t.Errorf("the last word has %d bytes", len(last))
	}
}

// Why: who sends one bad message has often sent more; a reset would take the explanation from it.
func TestLastWordArrivesThoughMoreCame(t *testing.T) {
	s := serve(t, Options{}, func(_ context.Context, c *Conn) {
		c.Receive()
		c.Send(Message{Frames: [][]byte{[]byte("bad-message")}})
	})
	for _, addr := range []string{s.tcp, s.ipc} {
		c := dial(t, addr)
		for range 50 {
			if err := c.Send(Message{Frames: [][]byte{make([]byte, 100_000)}}); err != nil {
				t.Fatal(err)
			}
		}
		if frames, err := c.Receive(); err != nil || string(frames[0]) != "bad-message" {
			t.Errorf("%q, %v", frames, err)
		}
	}
}

func TestStop(t *testing.T) {
	s := serve(t, Options{}, func(ctx context.Context, c *Conn) {
		if _, err := c.Receive(); !errors.Is(err, ErrStopping) || ctx.Err() == nil {
			t.Errorf("err = %v", err)
		}
		c.Send(Message{Frames: [][]byte{[]byte("stopping")}})
	})
	clients := []*Conn{dial(t, s.tcp), dial(t, s.ipc)}
	s.stop()
	for _, c := range clients {
		if frames, err := c.Receive(); err != nil || string(frames[0]) != "stopping" {
			t.Errorf("%q, %v", frames, err)
		}
		if _, err := c.Receive(); !errors.Is(err, ErrPeerGone) {
			t.Error(err)
		}
	}
	if _, err := Dial(t.Context(), s.tcp, Options{}); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// Why: one handler that does not listen must not keep the server from ending.
func TestStopIgnored(t *testing.T) {
	s := serve(t, Options{Linger: 10 * time.Millisecond}, func(_ context.Context, c *Conn) { <-c.Done() })
	c := dial(t, s.tcp)
	s.stop()
	if _, err := c.Receive(); !errors.Is(err, ErrPeerGone) {
		t.Error(err)
	}
}

func TestSendWaitEndsWithItsContext(t *testing.T) {
	results := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, Options{}, func(_ context.Context, c *Conn) {
		big := Message{Payload: [][]byte{make([]byte, 32<<20)}}
		results <- c.SendWait(ctx, big)
	})
	raw := rawDial(t, s.tcp)
	shakeHands(t, raw, "DEALER", "") // and does not read
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCloseKeepsTheFirstReason(t *testing.T) {
	s := serve(t, Options{}, echo)
	c := dial(t, s.tcp)
	mine := errors.New("mine")
	go c.Close(mine)
	if _, err := c.Receive(); err != mine || c.Err() != mine || c.Send(Message{}) != mine {
		t.Error(err)
	}
	c.Close(errors.New("another"))
	if c.Err() != mine {
		t.Error(c.Err())
	}
}

func TestDialErrors(t *testing.T) {
	s := serve(t, Options{MaxConns: 1}, echo)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	old := answer(t, string(append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1}, make([]byte, 53)...)))
	ssh := answer(t, "SSH-2.0-OpenSSH_9.2p1\r\n")
	pub := answer(t, string(append(greeting[:], ready("Socket-Type", "PUB")...)))
	bogus := answer(t, string(append(greeting[:], ready("Socket-Type", "BOGUS")...)))
	refusing := answer(t, string(append(greeting[:], appendError(nil, "not you")...)))
	silent := answer(t, "")
	dial(t, s.tcp)
	for _, c := range []struct {
		addr string
		want []error
	}{
		{"tcp://127.0.0.1", []error{ErrBadAddress}},
		{"ipc://relative", []error{ErrBadAddress}},
		{"http://127.0.0.1:1", []error{ErrBadAddress}},
		{"tcp://" + dead.Addr().String(), []error{ErrUnreachable}},
		{"ipc://" + t.TempDir() + "/none", []error{ErrUnreachable}},
		{old, []error{ErrHandshake, ErrVersion}},
		{ssh, []error{ErrHandshake, ErrVersion}},
		{pub, []error{ErrHandshake}},
		{bogus, []error{ErrHandshake}},
		{refusing, []error{ErrHandshake}},
		{silent, []error{ErrHandshake}},
		{s.tcp, []error{ErrHandshake, ErrPeerGone}}, // full
	} {
		_, err := Dial(t.Context(), c.addr, Options{HandshakeTimeout: 500 * time.Millisecond})
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: err = %v, not %v", c.addr, err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %v", err)
		}
		if p := new(PeerError); c.addr == refusing && (!errors.As(err, &p) || p.Text != "not you") {
			t.Errorf("err = %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := Dial(ctx, silent, Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// answer serves plain connections: it says one thing and nothing more.
func answer(t *testing.T, text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte(text))
			t.Cleanup(func() { c.Close() })
		}
	}()
	return "tcp://" + l.Addr().String()
}

func TestIPCFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	addr := Endpoint{Addr: "ipc://" + path}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if _, err := Listen(Options{}, addr); !errors.Is(err, ErrAddressInUse) || !strings.Contains(err.Error(), addr.Addr) {
		t.Errorf("in use: %v", err)
	}
	stale.Close()
	s, err := Listen(Options{}, addr)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Listen(Options{}, addr); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("twice: %v", err)
	}
	s.Close()
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Options{}, addr); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("a plain file: %v", err)
	}
	if _, err := Listen(Options{}, Endpoint{Addr: "ipc:///" + strings.Repeat("x", 200)}); !errors.Is(err, ErrBadAddress) {
		t.Errorf("a long path: %v", err)
	}
	other := serve(t, Options{}, echo)
	if _, err := Listen(Options{}, Endpoint{Addr: other.tcp}); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("tcp: %v", err)
	}
}

// Why: an answer that is queued must not be overtaken by what is sent right behind it, whichever way.
func TestSendWaitKeepsOrder(t *testing.T) {
	s := serve(t, Options{}, func(ctx context.Context, c *Conn) {
		for {
			if _, err := c.Receive(); err != nil {
				return
			}
			for i := range byte(4) {
				_ = c.Send(Message{Frames: [][]byte{{i}}})
			}
			_ = c.SendWait(ctx, Message{Frames: [][]byte{{4}}})
		}
	})
	c := dial(t, s.tcp)
	for range 200 {
		if err := c.Send(Message{Frames: [][]byte{nil}}); err != nil {
			t.Fatal(err)
		}
		for i := range byte(5) {
			frames, err := c.Receive()
			if err != nil || frames[0][0] != i {
				t.Fatalf("message %d: %v, %v", i, frames, err)
			}
		}
	}
}

// Why: what was traded away belongs to who got it, as long as it is not traded again.
func TestTrade(t *testing.T) {
	s := serve(t, Options{}, echo)
	c := dial(t, s.tcp)
	var kept [][]byte
	var free []byte
	for i := range 4 {
		if err := c.Send(Message{Frames: [][]byte{bytes.Repeat([]byte{byte(i)}, 100_000)}}); err != nil {
			t.Fatal(err)
		}
		frames, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		buf := c.Trade(free)
		if &buf[0] != &frames[0][0] {
			t.Error("the frames lie elsewhere")
		}
		kept, free = append(kept, frames[0]), make([]byte, 200_000)
	}
	for i, b := range kept {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, 100_000)) {
			t.Errorf("message %d was overwritten", i)
		}
	}
	roundTrip(t, c, make([]byte, 100_000))
}

// Why: who gives up waiting sends a last word next, and the writer may have the message by then without
// having looked at the queue: nothing may pass it, or a batch would come after good-bye.
func TestCancelledSendWaitKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{out: newOutbox(Options{}.withDefaults())}
		c.life, c.end = context.WithCancelCause(t.Context())
		w := newWriter(c) // the test is its goroutine
		ctx, cancel := context.WithCancel(t.Context())
		var sent sync.WaitGroup
		sent.Go(func() {
			first, gaveUp, last := c.Send(word("first")), c.SendWait(ctx, word("direct")), c.Send(word("last"))
			if first != nil || !errors.Is(gaveUp, context.Canceled) || last != nil {
				t.Error(first, gaveUp, last)
			}
		})
		direct := <-c.out.direct
		cancel()
		synctest.Wait() // the sender has got as far as it can
		w.catchUp(direct)
		sent.Wait()
		w.gather()
		var order []string
		for _, it := range w.held {
			order = append(order, string(it.Frames[0]))
		}
		if want := []string{"first", "direct", "last"}; !slices.Equal(order, want) {
			t.Errorf("%q went out, want %q", order, want)
		}
	})
}

// word is a message of one frame.
func word(s string) Message { return Message{Frames: [][]byte{[]byte(s)}} }

package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// claim is the head of a frame that claims a size.
func claim(flags byte, size uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{flags | flagLong}, size))
}

// Why: each of these kills or stops zmq4's own sockets, or would without a limit.
func TestHostilePeers(t *testing.T) {
	hi := string(greeting[:])
	with := func(at int, value string) string { return hi[:at] + value + hi[at+len(value):] }
	long := claim(flagCommand, 1<<20)
	cases := []struct {
		name   string
		shake  bool // make a handshake first
		bytes  string
		reason Reason
	}{
		{"silent", false, "", HandshakeTimeout},
		{"half a greeting", false, hi[:30], HandshakeTimeout},
		{"greeting only", false, hi, HandshakeTimeout},
		{"HTTP", false, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", BadGreeting},
		{"one byte of HTTP", false, "G", BadGreeting},
		{"TLS", false, "\x16\x03\x01\x02\x00\x01\x00", BadGreeting},
		{"ZMTP 2", false, with(10, "\x01"), BadGreeting},
		{"as-server 7", false, with(32, "\x07"), BadGreeting},
		{"PLAIN", false, with(12, "PLAIN"), BadMechanism},
		{"CURVE", false, with(12, "CURVE"), BadMechanism},
		{"READY as a message", false, hi + "\x00\x06\x05READY", BadReady},
		{"another command", false, hi + "\x04\x06\x05HELLO", BadReady},
		{"nameless command", false, hi + "\x04\x00", BadFrame},
		{"large READY", false, hi + long, BadReady},
		{"READY of 2^62", false, hi + claim(flagCommand, 1<<62), BadReady},
		{"READY without type", false, hi + string(ready("Identity", "x")), BadReady},
		{"READY cut", false, hi + "\x04\x07\x05READY\x0b", BadReady},
		{"READY with a long value", false, hi + "\x04\x0c\x05READY\x01X\xff\xff\xff\xff", BadReady},
		{"READY with an empty name", false, hi + "\x04\x0b\x05READY\x00\x00\x00\x00\x00", BadReady},
		{"two types", false, hi + string(ready("Socket-Type", "DEALER", "socket-type", "REQ")), BadReady},
		{"long identity", false, hi + string(ready("Socket-Type", "DEALER", "Identity", strings.Repeat("x", 256))), BadReady},
		{"bogus type", false, hi + string(ready("Socket-Type", "BOGUS")), BadSocketType},
		{"empty type", false, hi + string(ready("Socket-Type", "")), BadSocketType},
		{"PUSH", false, hi + string(ready("Socket-Type", "PUSH")), BadSocketType},
		{"strange case", false, hi + string(ready("sOCKET-tYPE", "DEALER")), BadReady},
		{"frame of 2^62", true, claim(0, 1<<62), FrameTooLarge},
		{"frame of 2^64-1", true, claim(0, 1<<64-1), FrameTooLarge},
		{"frame of 2^40", true, claim(0, 1<<40), FrameTooLarge},
		{"frame of 8 GiB", true, claim(0, 8<<30), FrameTooLarge},
		{"frame one too large", true, claim(0, 4<<20+1), FrameTooLarge},
		{"claims one frame", true, claim(0, 4<<20), SlowMessage},
		{"two large frames", true, claim(flagMore, 200_000) + strings.Repeat("x", 200_000) + claim(0, 4<<20), FrameTooLarge},
		{"endless MORE", true, strings.Repeat("\x01\x00", 17), TooManyFrames},
		{"large command", true, claim(flagCommand, 1<<62), FrameTooLarge},
		{"reserved flags", true, "\x08\x00", BadFrame},
		{"command with MORE", true, "\x05\x05\x04PING", BadFrame},
		{"nameless command later", true, "\x04\x01\x00", BadFrame},
		{"long PING", true, "\x04\x18\x04PING" + strings.Repeat("x", 19), BadFrame},
		{"short PING", true, "\x04\x05\x04PING", BadFrame},
		{"half a frame", true, "\x00\x05ab", SlowMessage},
		{"nothing", true, "", Idle},
	}
	s := serve(t, Options{HandshakeTimeout: 200 * time.Millisecond, MessageTimeout: 200 * time.Millisecond,
		IdleTimeout: 300 * time.Millisecond}, echo)
	goesOn := bystander(t, s.tcp)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := s.Stats().Ended[c.reason.String()]
			raw := rawDial(t, s.tcp)
			if c.shake {
				shakeHands(t, raw, "DEALER", "")
			}
			raw.Write([]byte(c.bytes))
			wantClosed(t, raw)
			eventually(t, "the count of "+c.reason.String(), func() bool {
				return s.Stats().Ended[c.reason.String()] > before
			})
			goesOn()
		})
	}
}

// Why: a peer of a newer or stricter kind should learn what is wrong.
func TestRefusalSaysWhy(t *testing.T) {
	s := serve(t, Options{}, echo)
	raw := rawDial(t, s.tcp)
	raw.Write(append(greeting[:], ready("Socket-Type", "PULL")...))
	if _, err := io.ReadFull(raw, make([]byte, greetingSize)); err != nil {
		t.Fatal(err)
	}
	body, _, err := readCommand(raw, maxReady)
	if err != nil || !bytes.HasPrefix(body, []byte("\x05ERROR")) || !bytes.Contains(body, []byte("PULL")) {
		t.Errorf("%q, %v", body, err)
	}
}

// Why: zmq4 stops all accepts for one silent connection.
func TestManySilentPeersDelayNobody(t *testing.T) {
	s := serve(t, Options{}, echo)
	for range 100 {
		rawDial(t, s.tcp)
	}
	roundTrip(t, dial(t, s.tcp), []byte("served"))
}

func TestCaps(t *testing.T) {
	s := serve(t, Options{MaxPerAddress: 3, MaxConns: 5}, echo)
	var conns []*Conn
	for _, addr := range []string{s.tcp, s.tcp, s.tcp, s.ipc, s.ipc} {
		conns = append(conns, dial(t, addr))
	}
	wantClosed(t, rawDial(t, s.tcp))
	eventually(t, "the count", func() bool { return s.Stats().Ended["too-many-connections"] == 1 })
	conns[4].Finish()
	eventually(t, "room", func() bool { return s.Stats().Open == 4 })
	wantClosed(t, rawDial(t, s.tcp))
	eventually(t, "the count", func() bool { return s.Stats().Ended["too-many-of-address"] == 1 })
	roundTrip(t, conns[0], []byte("served"))
	conns[0].Finish()
	eventually(t, "room", func() bool { return s.Stats().Open == 3 })
	roundTrip(t, dial(t, s.tcp), []byte("served"))
	if n := s.Stats().Accepted; n != 6 {
		t.Errorf("%d accepted", n)
	}
}

// Why: one stalled peer stops zmq4's sockets for all, or grows their queue without end.
func TestStalledPeer(t *testing.T) {
	type result struct {
		accepted, sent int
		full, end      error
	}
	results := make(chan result, 1)
	payload := make([]byte, 128<<10)
	s := serve(t, Options{WriteTimeout: 300 * time.Millisecond, QueueBytes: 4 << 20}, func(ctx context.Context, c *Conn) {
		if c.SocketType() != Sub {
			echo(ctx, c)
			return
		}
		var r result
		sent := make(chan struct{}, 10_000)
		for c.Err() == nil { // the kernel may have taken all that was in the queue when it was full
			switch err := c.Send(message(payload, sent)); {
			case err == nil:
				r.accepted++
			case errors.Is(err, ErrFull):
				r.full = err
				if messages, bytes := c.Queued(); messages > 256 || bytes > 4<<20 {
					t.Errorf("%d messages of %d bytes are queued", messages, bytes)
				}
				select {
				case <-sent:
					r.sent++
				case <-c.Done():
				}
			}
		}
		r.end = c.Err()
		for r.sent < r.accepted {
			<-sent
			r.sent++
		}
		results <- r
	})
	goesOn := bystander(t, s.tcp)
	raw := rawDial(t, s.tcp)
	shakeHands(t, raw, "SUB", "") // and reads no more
	goesOn()
	r := <-results
	if v := new(Violation); !errors.Is(r.full, ErrFull) || !errors.As(r.end, &v) || v.Reason != Stalled || r.accepted < 32 {
		t.Errorf("%+v", r)
	}
	eventually(t, "the count", func() bool { return s.Stats().Ended["stalled"] == 1 })
	goesOn()
}

func message(payload []byte, sent chan<- struct{}) Message {
	return Message{Payload: [][]byte{payload}, Sent: func() { sent <- struct{}{} }}
}

// Why: senders and the writer's end meet in any order; whoever was told nil must hear Sent.
func TestSentExactlyOnce(t *testing.T) {
	s := serve(t, Options{Linger: time.Millisecond}, echo)
	for round := range 20 {
		c, err := Dial(t.Context(), s.tcp, Options{QueueMessages: 8, Linger: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		sent, accepted := make(chan struct{}, 1<<16), make(chan int)
		const senders = 4
		for range senders {
			go func() {
				n := 0
				for {
					err := c.Send(message(make([]byte, 10), sent))
					if err == nil {
						n++
					} else if !errors.Is(err, ErrFull) {
						break
					}
					runtime.Gosched()
				}
				accepted <- n
			}()
		}
		for range round * 10 {
			<-sent
		}
		if round%2 == 0 {
			c.Close(errors.New("enough"))
		}
		c.Finish()
		total := -round * 10
		for range senders {
			total += <-accepted
		}
		if len(sent) != total {
			t.Fatalf("round %d: Sent was called %d times too often or too seldom", round, len(sent)-total)
		}
		if m, b := c.Queued(); m != 0 || b != 0 {
			t.Fatalf("%d messages of %d bytes are left", m, b)
		}
	}
}

// Why: libzmq peers with heartbeats leave after a second without PONG.
func TestPing(t *testing.T) {
	s := serve(t, Options{MessageTimeout: 200 * time.Millisecond}, echo)
	raw := rawDial(t, s.tcp)
	shakeHands(t, raw, "DEALER", "")
	for _, context := range []string{"", "x", "0123456789abcdef"} {
		body := "\x04PING\x00\x64" + context
		raw.Write(append([]byte{flagCommand, byte(len(body))}, body...))
		got, _, err := readCommand(raw, maxReady)
		if err != nil || string(got) != "\x04PONG"+context {
			t.Errorf("%q, %v", got, err)
		}
	}
	// A PING within a message, and one long after another, are no part of any message.
	raw.Write([]byte("\x01\x01a\x04\x07\x04PING\x00\x00"))
	if got, _, err := readCommand(raw, maxReady); err != nil || string(got) != "\x04PONG" {
		t.Errorf("%q, %v", got, err)
	}
	raw.Write([]byte("\x00\x01b"))
	got := make([]byte, 6)
	if _, err := io.ReadFull(raw, got); err != nil || string(got) != "\x01\x01a\x00\x01b" {
		t.Errorf("%q, %v", got, err)
	}
}

// Why: a peer that is quiet but for its heartbeats is no slow message.
func TestPingsAreNoMessage(t *testing.T) {
	s := serve(t, Options{MessageTimeout: 50 * time.Millisecond}, echo)
	raw := rawDial(t, s.tcp)
	shakeHands(t, raw, "SUB", "")
	for range 5 {
		raw.Write([]byte("\x04\x07\x04PING\x00\x00"))
		if _, _, err := readCommand(raw, maxReady); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond)
	}
	raw.Write([]byte("\x00\x01s"))
	got := make([]byte, 3)
	if _, err := io.ReadFull(raw, got); err != nil || string(got) != "\x00\x01s" {
		t.Errorf("%q, %v", got, err)
	}
}

// Why: with zmq4 both peers get the message.
func TestDuplicateIdentity(t *testing.T) {
	s := serve(t, Options{}, echo)
	a, b := rawDial(t, s.tcp), rawDial(t, s.tcp)
	shakeHands(t, a, "DEALER", "same")
	shakeHands(t, b, "DEALER", "same")
	for _, c := range []struct {
		raw  net.Conn
		text string
	}{{a, "to a"}, {b, "to b"}, {a, "a2"}} {
		frame := append([]byte{0, byte(len(c.text))}, c.text...)
		c.raw.Write(frame)
		got := make([]byte, len(frame))
		if _, err := io.ReadFull(c.raw, got); err != nil || !bytes.Equal(got, frame) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// Why: peers that are each within their limits must not fill the memory together.
func TestInboundBudget(t *testing.T) {
	s := serve(t, Options{Inbound: 3 << 20, MessageTimeout: time.Minute}, echo)
	goesOn := bystander(t, s.tcp)
	var first []net.Conn
	for range 4 {
		raw := rawDial(t, s.tcp)
		shakeHands(t, raw, "DEALER", "")
		raw.Write([]byte(claim(0, 2<<20) + strings.Repeat("x", 1<<20))) // and no more
		first = append(first, raw)
		eventually(t, "the message to be read", func() bool {
			st := s.Stats()
			return st.Inbound >= int64(len(first))<<20 || st.Ended["over-budget"] > 0
		})
		if s.Stats().Ended["over-budget"] > 0 {
			break
		}
	}
	if st := s.Stats(); st.Ended["over-budget"] == 0 || st.Inbound > 3<<20 {
		t.Errorf("%+v", st)
	}
	wantClosed(t, first[len(first)-1])
	goesOn()
	for _, raw := range first {
		raw.Close()
	}
	eventually(t, "the memory to be given back", func() bool { return s.Stats().Inbound == 0 })
}

// Why: a peer chooses when it takes what it asked for, also in pieces of one byte.
func TestOneByteAtATime(t *testing.T) {
	s := serve(t, Options{}, echo)
	raw := rawDial(t, s.tcp)
	all := append(append(greeting[:], ready("Socket-Type", "DEALER")...), "\x01\x01a\x02\x00\x00\x00\x00\x00\x00\x00\x03xyz"...)
	for i := range all {
		raw.Write(all[i : i+1])
	}
	io.ReadFull(raw, make([]byte, greetingSize))
	if _, _, err := readCommand(raw, maxReady); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if _, err := io.ReadFull(raw, got); err != nil || string(got) != "\x01\x01a\x00\x03xyz" {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzFrames reads any bytes as frames: no panic, and no more memory than a small multiple of them.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x01\x01a\x00\x01b"))
	f.Add([]byte(claim(0, 1<<62)))
	f.Add([]byte(claim(0, 4<<20) + "the rest never comes"))
	f.Add([]byte("\x04\x07\x04PING\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(bytes.NewReader(b), Options{}.withDefaults(), &budget{max: 1 << 30})
		for {
			r.reset()
			frames, err := r.message(func(body []byte) error { _, _, err := splitCommand(body); return err })
			if err != nil {
				break
			}
			total := 0
			for _, f := range frames {
				total += len(f)
			}
			if total > len(b) || len(frames) > 16 {
				t.Fatalf("%d frames of %d bytes out of %d", len(frames), total, len(b))
			}
		}
		if cap(r.buf) > smallBuf+2*len(b) {
			t.Fatalf("%d bytes for %d", cap(r.buf), len(b))
		}
	})
}

// FuzzHandshake shakes hands with any bytes.
func FuzzHandshake(f *testing.F) {
	f.Add(append(greeting[:], ready("Socket-Type", "DEALER", "Identity", "")...))
	f.Add(append(greeting[:], ready("Socket-Type", "SUB", "X-y", "z")...))
	f.Add(append(greeting[:], appendError(nil, "no")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		peer, err := serveHandshake(&script{r: bufio.NewReader(bytes.NewReader(b))})
		if err == nil && meets[peer.socket] == "" {
			t.Fatalf("%+v", peer)
		}
		if v := new(Violation); errors.As(err, &v) && strings.Contains(v.Text, "panic") {
			t.Logf("zmq4: %v", v) // recovered; the guard could have known
		}
	})
}

// script is a connection whose other side has said everything already.
type script struct {
	net.Conn
	r io.Reader
}

func (s *script) Read(p []byte) (int, error)  { return s.r.Read(p) }
func (s *script) Write(p []byte) (int, error) { return len(p), nil }

// Why: who sends a byte now and then is never silent for long, and would stay for ever. Each part of a
// conversation has a time in which it must be over, however lively its peer.
func TestDrip(t *testing.T) {
	s := serve(t, Options{HandshakeTimeout: 400 * time.Millisecond, MessageTimeout: 400 * time.Millisecond, IdleTimeout: time.Hour}, echo)
	goesOn := bystander(t, s.tcp)
	pings := strings.Repeat("\x04\x07\x04PING\x00\x00", 100)
	for _, c := range []struct {
		name, first, drip string
		shake             bool
		reason            Reason
	}{
		{"greeting", "", string(greeting[:]), false, HandshakeTimeout},
		{"READY", string(greeting[:]), claim(flagCommand, 2000) + strings.Repeat("x", 2000), false, HandshakeTimeout},
		{"frame", claim(0, 4<<20), strings.Repeat("x", 4<<20), true, SlowMessage},
		{"signs of life within a message", "\x01\x01a", pings, true, SlowMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.Stats().Ended[c.reason.String()]
			raw := rawDial(t, s.tcp)
			if c.shake {
				shakeHands(t, raw, "DEALER", "")
			}
			_, err := io.WriteString(raw, c.first)
			for i := 0; err == nil && i < len(c.drip); i++ {
				<-time.After(20 * time.Millisecond)
				if s.Stats().Ended[c.reason.String()] > before {
					return
				}
				_, err = io.WriteString(raw, c.drip[i:i+1])
			}
			goesOn()
			eventually(t, "the count of "+c.reason.String(), func() bool { return s.Stats().Ended[c.reason.String()] > before })
		})
	}
}

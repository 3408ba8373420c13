package integration

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// hostile is an lcapd with a bystander: a member whose ledger must go on growing.
type hostile struct {
	*running
	tcp    string
	ledger string
}

// TestHostilePeers throws at the tcp port of an lcapd what peers can throw, one after the
// other: each is refused with a counter that says why, and a member beside them gets its
// records all the time. Afterwards lcapd has no more memory, files or goroutines than
// before.
func TestHostilePeers(t *testing.T) {
	h := newHostile(t)
	h.metrics()
	before := h.metrics()
	files := h.files()
	// What ends only after long waits lasts as long as everything else.
	var waiting []net.Conn
	for _, say := range []string{"", zmtpGreeting[:30], zmtpGreeting} {
		waiting = append(waiting, h.raw(t, say))
	}
	for _, say := range []string{"", "\x00\x05ab", claimed(0, 4<<20), claimed(0, 4<<20) + strings.Repeat("x", 3<<20), "\x01\x01a"} {
		waiting = append(waiting, h.raw(t, zmtpGreeting+zmtpReady("Socket-Type", "DEALER")+say))
	}
	stalled := h.stalledMember(t)
	t.Run("frames", h.frames)
	t.Run("messages", h.messages)
	t.Run("connections", h.connections)
	t.Run("floods", h.floods)
	t.Run("no descriptors", h.noDescriptors)
	eventually(t, "the silent to be cut", func() bool { return h.metrics()[cut("handshake-timeout")] >= 3 })
	for _, c := range waiting {
		c.Close()
	}
	stalled.Finish()
	h.goesOn(t)
	eventually(t, "files and goroutines to be given back", func() bool {
		return h.files() <= files && h.metrics()["go_goroutines"] <= before["go_goroutines"]+2 // those of this very request come and go
	})
	after := h.metrics()
	if after["process_start_time_seconds"] != before["process_start_time_seconds"] || after["lcapd_up"] != 1 {
		t.Errorf("it is not the same lcapd as before")
	}
	if n := h.memory(); n > 64<<20+64<<20 {
		t.Errorf("%d MiB of anonymous memory", n>>20)
	}
	if code, text := h.get("/healthz"); code != 200 {
		t.Errorf("healthz: %d %s", code, text)
	}
	for name, n := range after {
		if strings.HasPrefix(name, "lcapd_refusals_total") || strings.HasPrefix(name, "lcapd_connections_cut_total") {
			t.Log(name, n)
		}
	}
	h.terminate()
}

func newHostile(t *testing.T) *hostile {
	home := newHome(t, buildDaemon(t))
	home.set("limits", "{per_address: 64, connections: 80}")
	home.set("create_groups", "true")
	home.set("shutdown", "2s")
	home.init()
	r := home.start()
	h := &hostile{running: r, tcp: r.addresses[1], ledger: filepath.Join(home.dir, "ledger")}
	bystander := exec.Command(filepath.Join(home.bin, "member"), "-servers", r.addresses[0], "-group", "g", "-name", "bystander", "-ledger", h.ledger)
	bystander.Stderr = os.Stderr
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	})
	h.goesOn(t)
	return h
}

// goesOn waits until the bystander has done more.
func (h *hostile) goesOn(t *testing.T) {
	t.Helper()
	size := func() int64 {
		info, err := os.Stat(h.ledger)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	eventually(t, "the bystander's next records", func() bool { return size() > before })
}

// cut and refused are the names of counters.
func cut(reason string) string       { return `lcapd_connections_cut_total{reason="` + reason + `"}` }
func refused(code wire.Code) string  { return `lcapd_refusals_total{code="` + string(code) + `"}` }
func short(flags byte, n int) string { return string([]byte{flags, byte(n)}) }

// zmtpGreeting is a peer's greeting.
var zmtpGreeting = "\xff" + strings.Repeat("\x00", 8) + "\x7f\x03\x00NULL" + strings.Repeat("\x00", 48)

// zmtpReady is the command READY with properties, name and value in turn.
func zmtpReady(properties ...string) string {
	body := []byte("\x05READY")
	for i := 0; i < len(properties); i += 2 {
		body = append(append(body, byte(len(properties[i]))), properties[i]...)
		body = binary.BigEndian.AppendUint32(body, uint32(len(properties[i+1])))
		body = append(body, properties[i+1]...)
	}
	if len(body) > 255 {
		return claimed(4, uint64(len(body))) + string(body)
	}
	return short(4, len(body)) + string(body)
}

// claimed is the head of a frame that claims a size.
func claimed(flags byte, size uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{flags | 2}, size))
}

// raw connects and writes.
func (h *hostile) raw(t *testing.T, say string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.tcp, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, say) // it may be cut off in the middle
	return c
}

// frames are broken below the messages.
func (h *hostile) frames(t *testing.T) {
	hi, dealer := zmtpGreeting, zmtpGreeting+zmtpReady("Socket-Type", "DEALER")
	with := func(at int, value string) string { return hi[:at] + value + hi[at+len(value):] }
	for _, c := range []struct{ name, say, reason string }{
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "bad-greeting"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00", "bad-greeting"},
		{"noise", strings.Repeat("\x9e\x00\xff", 1000), "bad-greeting"},
		{"ZMTP 2", with(10, "\x01"), "bad-greeting"},
		{"PLAIN", with(12, "PLAIN"), "bad-mechanism"},
		{"CURVE", with(12, "CURVE"), "bad-mechanism"},
		{"READY as a message", hi + "\x00\x06\x05READY", "bad-ready"},
		{"large READY", hi + claimed(4, 1<<20), "bad-ready"},
		{"READY of 2^62", hi + claimed(4, 1<<62), "bad-ready"},
		{"READY cut", hi + "\x04\x07\x05READY\x0b", "bad-ready"},
		{"READY with a long value", hi + "\x04\x0c\x05READY\x01X\xff\xff\xff\xff", "bad-ready"},
		{"two types", hi + zmtpReady("Socket-Type", "DEALER", "socket-type", "REQ"), "bad-ready"},
		{"long identity", hi + zmtpReady("Socket-Type", "DEALER", "Identity", strings.Repeat("x", 256)), "bad-ready"},
		{"bogus type", hi + zmtpReady("Socket-Type", "BOGUS"), "bad-socket-type"},
		{"PUSH", hi + zmtpReady("Socket-Type", "PUSH"), "bad-socket-type"},
		{"REQ, not yet served", hi + zmtpReady("Socket-Type", "REQ"), "bad-socket-type"},
		{"SUB, not yet served", hi + zmtpReady("Socket-Type", "SUB"), "bad-socket-type"},
		{"frame of 2^62", dealer + claimed(0, 1<<62), "frame-too-large"},
		{"frame of 2^64-1", dealer + claimed(0, 1<<64-1), "frame-too-large"},
		{"frame of 2^40", dealer + claimed(0, 1<<40), "frame-too-large"},
		{"frame of 8 GiB", dealer + claimed(0, 8<<30), "frame-too-large"},
		{"endless MORE", dealer + strings.Repeat("\x01\x00", 1000), "too-many-frames"},
		{"large command", dealer + claimed(4, 1<<62), "frame-too-large"},
		{"reserved flags", dealer + "\x08\x00", "bad-frame"},
		{"long PING", dealer + "\x04\x18\x04PING" + strings.Repeat("x", 19), "bad-frame"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.metrics()[cut(c.reason)]
			raw := h.raw(t, c.say)
			if _, err := io.Copy(io.Discard, raw); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it was not cut")
			}
			eventually(t, "the count", func() bool { return h.metrics()[cut(c.reason)] > before })
			h.goesOn(t)
		})
	}
}

// say makes the frames of a message.
func say(t *testing.T, m wire.Message) [][]byte {
	t.Helper()
	frames, err := wire.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// dial connects and says hello, or not.
func (h *hostile) dial(t *testing.T, hello bool) *transport.Conn {
	t.Helper()
	c, err := transport.Dial(t.Context(), h.tcp, transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Finish)
	c.SetIdle(patience)
	if hello {
		send(t, c, say(t, &wire.Hello{V: 1, Min: 1}))
		hear(t, c)
	}
	return c
}

func send(t *testing.T, c *transport.Conn, frames [][]byte) {
	t.Helper()
	if err := c.Send(transport.Message{Frames: frames}); err != nil {
		t.Fatal(err)
	}
}

// hear returns the next message but heartbeats.
func hear(t *testing.T, c *transport.Conn) wire.Message {
	t.Helper()
	for {
		frames, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		m, _, err := wire.Decode(frames)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.(*wire.Heartbeat); !ok {
			return m
		}
	}
}

// messages are broken, or ask for what cannot be.
func (h *hostile) messages(t *testing.T) {
	bomb, deep := []byte("\xdd\xff\xff\xff\xff"), bytes.Repeat([]byte{0x91}, 4000)
	join := say(t, &wire.Join{Group: "g", Name: "x", Session: "x"})
	for _, c := range []struct {
		name  string
		hello bool
		say   [][]byte
		code  wire.Code
	}{
		{"no common version", false, say(t, &wire.Hello{V: 9, Min: 9}), wire.Version},
		{"no hello", false, join, wire.BadMessage},
		{"a bomb", true, [][]byte{bomb}, wire.BadMessage},
		{"a bomb at once", false, [][]byte{bomb}, wire.BadMessage},
		{"depth", true, [][]byte{deep}, wire.BadMessage},
		{"a bomb in a body", true, [][]byte{join[0], append([]byte("\x81\xa4mdts"), bomb...)}, wire.BadMessage},
		{"depth in a body", true, [][]byte{join[0], append([]byte("\x81\xa4mdts"), bytes.Repeat([]byte{0x91}, 1<<20-6)...)}, wire.BadMessage},
		{"depth in a body above the limit", true, [][]byte{join[0], bytes.Repeat([]byte{0x91}, 3<<20)}, wire.BadMessage},
		{"a payload where none belongs", true, append(say(t, &wire.Ack{Lease: 1, UpTo: 1}), bomb), wire.BadMessage},
		{"unknown kind", true, [][]byte{[]byte("\x81\xa1t\xa4boom")}, wire.UnknownMessage},
		{"a server's message", true, say(t, &wire.Batch{MDT: "home-MDT0000"}), wire.UnknownMessage},
		{"not a member", true, say(t, &wire.Ack{Lease: 1, UpTo: 1}), wire.NotMember},
		{"name in use", true, say(t, &wire.Join{Group: "g", Name: "bystander", Session: "a thief"}), wire.NameInUse},
		{"unknown group", true, say(t, &wire.Join{Group: "typo", Name: "x"}), wire.UnknownGroup},
		{"unknown MDT", true, say(t, &wire.Join{Group: "g", Name: "x", MDTs: []string{"x-MDT0000"}}), wire.UnknownMDT},
		{"another distribution", true, say(t, &wire.Join{Group: "g", Name: "x", Distribution: "mdt"}), wire.GroupExists},
		{"a name for terminals", true, say(t, &wire.Join{Group: "g", Name: "\x1b]0;x\a"}), wire.Refused},
		{"unknown operation", true, say(t, &wire.Request{Op: "explode"}), wire.Role},
		{"delete a group", true, say(t, &wire.Request{Op: wire.OpDelete, Group: "g", Force: true}), wire.Role},
		{"seek", true, say(t, &wire.Request{Op: wire.OpSeek, Group: "g", Start: "latest"}), wire.Role},
		{"show no group", true, say(t, &wire.Request{Op: wire.OpGroup, Group: "typo"}), wire.UnknownGroup},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.metrics()[refused(c.code)]
			conn := h.dial(t, c.hello)
			send(t, conn, c.say)
			if e, ok := hear(t, conn).(*wire.Error); !ok || e.Code != c.code || e.Text == "" {
				t.Errorf("%+v", e)
			}
			if c.code.Closes() {
				if _, err := conn.Receive(); !errors.Is(err, transport.ErrPeerGone) {
					t.Errorf("%v", err)
				}
			} else {
				send(t, conn, say(t, &wire.Request{Op: wire.OpMDTs}))
				if r, ok := hear(t, conn).(*wire.Reply); !ok {
					t.Errorf("%+v", r)
				}
			}
			if n := h.metrics()[refused(c.code)]; n <= before {
				t.Errorf("%v, and %v before", n, before)
			}
			h.goesOn(t)
		})
	}
	t.Run("leases of others", h.leasesOfOthers)
}

// leasesOfOthers acknowledges all leases that there may be.
func (h *hostile) leasesOfOthers(t *testing.T) {
	conn := h.dial(t, true)
	send(t, conn, say(t, &wire.Join{Group: "g", Name: "thief", Session: "x"}))
	if _, ok := hear(t, conn).(*wire.Joined); !ok {
		t.Fatal("not joined")
	}
	for lease := uint64(1); lease <= 2000; lease++ {
		m := wire.Message(&wire.Ack{Lease: lease, UpTo: 1 << 62})
		if lease%2 == 0 {
			m = &wire.Nack{Lease: lease}
		}
		if err := conn.SendWait(t.Context(), transport.Message{Frames: say(t, m)}); err != nil {
			t.Fatal(err)
		}
		if e, ok := hear(t, conn).(*wire.Error); !ok || e.Code != wire.LeaseLost || e.Lease != lease {
			t.Fatalf("%+v", e)
		}
	}
	h.goesOn(t)
}

// connections come in numbers.
func (h *hostile) connections(t *testing.T) {
	var conns []net.Conn
	for range 200 {
		conns = append(conns, h.raw(t, ""))
	}
	eventually(t, "the count", func() bool { return h.metrics()[cut("too-many-of-address")] > 0 })
	h.goesOn(t)
	for _, c := range conns {
		c.Close()
	}
	for range 500 { // come and go
		h.raw(t, zmtpGreeting+zmtpReady("Socket-Type", "DEALER")+"\x00\x05ab").Close()
	}
	h.goesOn(t)
}

// floods are requests without end, whose answers are read by some and not by others.
func (h *hostile) floods(t *testing.T) {
	for i := range 20 {
		conn := h.dial(t, true)
		request := say(t, &wire.Request{Op: wire.OpStatus})
		if i%2 == 0 {
			request = [][]byte{[]byte("\x81\xa1t\xa4boom")}
		}
		for range 2000 {
			if conn.Send(transport.Message{Frames: request}) != nil {
				break // enough waits here, or we were cut
			}
		}
		if i%4 == 3 { // who says nonsense and does not read may be cut by now
			hear(t, conn)
		}
	}
	h.goesOn(t)
	if n := h.memory(); n > 64<<20+64<<20 {
		t.Errorf("%d MiB of anonymous memory", n>>20)
	}
}

// noDescriptors lets lcapd open no more files than it has, and a few.
func (h *hostile) noDescriptors(t *testing.T) {
	var before unix.Rlimit
	pid := h.cmd.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = uint64(h.files() + 10)
	count := h.metrics()[cut("accept-failed")]
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range 50 { // more than those before us still hold
		conns = append(conns, h.raw(t, ""))
	}
	h.goesOn(t)
	for _, c := range conns {
		c.Close()
	}
	h.goesOn(t)
	eventually(t, "the count", func() bool { return h.metrics()[cut("accept-failed")] > count })
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	hear(t, h.dialAndAsk(t))
}

// dialAndAsk connects and asks for something.
func (h *hostile) dialAndAsk(t *testing.T) *transport.Conn {
	t.Helper()
	conn := h.dial(t, true)
	send(t, conn, say(t, &wire.Request{Op: wire.OpMDTs}))
	return conn
}

// stalledMember is a member with all the credit it can have that does not read.
func (h *hostile) stalledMember(t *testing.T) *transport.Conn {
	t.Helper()
	conn := h.dial(t, true)
	send(t, conn, say(t, &wire.Join{Group: "stalled", Name: "x", Session: "x", Start: "earliest", Create: true}))
	if _, ok := hear(t, conn).(*wire.Joined); !ok {
		t.Fatal("not joined")
	}
	send(t, conn, say(t, &wire.Credit{Batches: 1<<31 - 1, Bytes: 1 << 62}))
	return conn
}

package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

const (
	maxReady     = 2048 // bytes of a READY or ERROR command
	maxIdentity  = 255
	greetingSize = 64
)

// greeting is what zmq4 sends first: signature, version 3.0, mechanism NULL, not as a server.
var greeting = [greetingSize]byte{0: 0xff, 9: 0x7f, 10: 3, 12: 'N', 13: 'U', 14: 'L', 15: 'L'}

// hello is what a peer said of itself in its READY.
type hello struct {
	socket   SocketType
	identity string
}

// A guard stands between a socket and zmq4.Open: it receives the peer's greeting and READY itself, checks
// them, and only then hands them on. It reads nothing behind the READY. The caller sets the deadline.
type guard struct {
	net.Conn
	peer    hello
	checked []byte // received, checked, not yet handed on
	stage   int    // how many of greeting and READY have been received
	greeted bool   // our greeting is sent: zmq4's own is swallowed
}

// Read hands on what was received and checked; it receives the next part when zmq4 asks for it.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.checked) == 0 {
		if err := g.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, g.checked)
	g.checked = g.checked[n:]
	return n, nil
}

// Write sends what zmq4 writes, but for a greeting that was sent before.
func (g *guard) Write(p []byte) (int, error) {
	if g.greeted {
		g.greeted = false
		if !bytes.Equal(p, greeting[:]) {
			return 0, errors.New("zmq4 greets in another way than the guard did")
		}
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// greet sends our greeting before zmq4 does.
func (g *guard) greet() error {
	g.greeted = true
	_, err := g.Conn.Write(greeting[:])
	return err
}

// receive receives and checks the next part of the handshake.
func (g *guard) receive() error {
	g.stage++
	switch g.stage {
	case 1:
		return g.receiveGreeting()
	case 2:
		return g.receiveReady()
	}
	return errors.New("zmq4 reads behind the handshake")
}

// receiveGreeting receives the greeting in steps, so that who speaks another protocol is recognized by
// its first bytes.
func (g *guard) receiveGreeting() error {
	var b [greetingSize]byte
	for _, step := range [][2]int{{0, 1}, {1, 10}, {10, 11}, {11, greetingSize}} {
		if _, err := io.ReadFull(g.Conn, b[step[0]:step[1]]); err != nil {
			return err
		}
		switch {
		case b[0] != 0xff, step[1] >= 10 && b[9] != 0x7f:
			return violation(BadGreeting, "not ZMTP: % x", b[:step[1]])
		case step[1] >= 11 && b[10] < 3:
			return violation(BadGreeting, "ZMTP version %d", b[10])
		}
	}
	mechanism := string(bytes.TrimRight(b[12:32], "\x00"))
	if mechanism != string(zmq4.NullSecurity) {
		return violation(BadMechanism, "mechanism %q; only NULL is served", mechanism)
	}
	if b[32] > 1 {
		return violation(BadGreeting, "as-server is %d", b[32])
	}
	g.checked = append(g.checked, b[:]...)
	return nil
}

// receiveReady receives and checks the first command.
func (g *guard) receiveReady() error {
	body, frame, err := readCommand(g.Conn, maxReady)
	if err != nil {
		return err
	}
	name, data, err := splitCommand(body)
	switch {
	case err != nil:
		return err
	case name == "ERROR":
		return peerError(data)
	case name != zmq4.CmdReady:
		return violation(BadReady, "command %q instead of READY", name)
	}
	if g.peer, err = parseReady(data); err != nil {
		return err
	}
	g.checked = append(g.checked, frame...)
	return nil
}

// readCommand reads a whole command frame of at most limit bytes. It returns its body, and all of it.
func readCommand(r io.Reader, limit uint64) (body, frame []byte, err error) {
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return nil, nil, err
	}
	size := uint64(head[1])
	switch head[0] {
	case flagCommand:
		head = head[:2]
	case flagCommand | flagLong:
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, nil, err
		}
		size = binary.BigEndian.Uint64(head[1:])
	default:
		return nil, nil, violation(BadReady, "frame flags %#02x instead of a command", head[0])
	}
	if size > limit {
		return nil, nil, violation(BadReady, "a command of %d bytes, at most %d are allowed", size, limit)
	}
	frame = append(head, make([]byte, size)...)
	body = frame[len(head):]
	_, err = io.ReadFull(r, body)
	return body, frame, err
}

// splitCommand takes a command's body apart.
func splitCommand(body []byte) (name string, data []byte, err error) {
	if len(body) == 0 || body[0] == 0 || int(body[0]) > len(body)-1 {
		return "", nil, violation(BadFrame, "a command without a name")
	}
	n := 1 + int(body[0])
	return string(body[1:n]), body[n:], nil
}

// parseReady checks the properties of a READY and returns what counts.
func parseReady(data []byte) (hello, error) {
	var peer hello
	seen := map[string]bool{}
	for len(data) > 0 {
		name, value, rest, ok := cutProperty(data)
		key := strings.ToLower(name)
		if !ok || seen[key] {
			return hello{}, violation(BadReady, "malformed or repeated property %.40q", name)
		}
		seen[key], data = true, rest
		switch key {
		case "socket-type":
			peer.socket = SocketType(value)
		case "identity":
			peer.identity = value
		}
	}
	if len(peer.identity) > maxIdentity {
		return hello{}, violation(BadReady, "an identity of %d bytes", len(peer.identity))
	}
	if !seen["socket-type"] {
		return hello{}, violation(BadReady, "no Socket-Type")
	}
	return peer, nil
}

// cutProperty cuts the first property off: a byte of length, the name, four bytes of length, the value.
func cutProperty(data []byte) (name, value string, rest []byte, ok bool) {
	n := int(data[0])
	data = data[1:]
	if n == 0 || len(data) < n+4 {
		return "", "", nil, false
	}
	name = string(data[:n])
	size := binary.BigEndian.Uint32(data[n:])
	data = data[n+4:]
	if uint64(size) > uint64(len(data)) {
		return name, "", nil, false
	}
	return name, string(data[:size]), data[size:], true
}

// peerError returns the reason within an ERROR command.
func peerError(data []byte) error {
	if len(data) == 0 || int(data[0]) > len(data)-1 {
		return &PeerError{}
	}
	return &PeerError{strings.ToValidUTF8(string(data[1:1+int(data[0])]), "?")}
}

// appendError appends an ERROR command as a frame.
func appendError(b []byte, reason string) []byte {
	reason = reason[:min(len(reason), 200)]
	b = append(b, flagCommand, byte(7+len(reason)), 5)
	b = append(b, "ERROR"...)
	return append(append(b, byte(len(reason))), reason...)
}

// open runs zmq4's handshake. A panic of it is an error of this connection.
func (g *guard) open(own SocketType, server bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = violation(BadReady, "zmq4 panics: %v", p)
		}
	}()
	_, err = zmq4.Open(g, null.Security(), zmq4.SocketType(own), nil, server, nil)
	return err
}

// meets says which socket of ours meets a peer's.
var meets = map[SocketType]SocketType{Dealer: router, Req: router, Sub: xpub}

// serveHandshake makes the server's side of a handshake. The socket's deadline bounds it.
func serveHandshake(raw net.Conn) (hello, error) {
	g := &guard{Conn: raw}
	if err := g.greet(); err != nil {
		return hello{}, ioError(err, HandshakeTimeout)
	}
	if err := g.receive(); err != nil {
		return hello{}, ioError(err, HandshakeTimeout)
	}
	if err := g.receive(); err != nil {
		return hello{}, refuseHandshake(raw, ioError(err, HandshakeTimeout))
	}
	own, ok := meets[g.peer.socket]
	if !ok {
		return hello{}, refuseHandshake(raw, violation(BadSocketType, "socket type %.40q; DEALER, REQ and SUB are served", g.peer.socket))
	}
	if err := g.open(own, true); err != nil {
		return hello{}, ioError(err, HandshakeTimeout)
	}
	return g.peer, nil
}

// refuseHandshake tells the peer what is wrong with it, as far as it listens, and returns the same.
func refuseHandshake(raw net.Conn, err error) error {
	if v := new(Violation); errors.As(err, &v) && v.Reason != HandshakeTimeout {
		raw.Write(appendError(nil, v.Text)) // it is refused anyway
	}
	return err
}

// dialHandshake makes the client's side of a handshake, as a DEALER.
func dialHandshake(raw net.Conn) (hello, error) {
	g := &guard{Conn: raw}
	if err := g.open(Dealer, false); err != nil {
		return hello{}, err
	}
	if g.peer.socket != router {
		return hello{}, fmt.Errorf("the other side is a %.40q, not a ROUTER", g.peer.socket)
	}
	return g.peer, nil
}

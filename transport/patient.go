package transport

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

const (
	// overslept is how long after a deadline we come to see it when we stood still meanwhile,
	// by SIGSTOP, say. Then it was not the peer who was late.
	overslept = time.Second
	// secondChance is what a peer is given then: what it has sent meanwhile is in the socket.
	secondChance = time.Second
)

// isOverslept tells whether a read or write failed by a deadline that passed while we stood still.
func isOverslept(err error, deadline time.Time) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !deadline.IsZero() && time.Since(deadline) > overslept
}

// patient reads from a socket, with deadlines that pass only while somebody looks. The
// connection's reader owns it.
type patient struct {
	raw      net.Conn
	stop     context.Context // ends when the server does
	deadline time.Time       // zero for none
}

// await sets the deadline. Who interrupts the reader first ends stop and then sets a deadline that has
// passed: either we see the one, or ours is overwritten by the other.
func (p *patient) await(at time.Time) error {
	p.deadline = at
	if err := p.raw.SetReadDeadline(at); err != nil {
		return err
	}
	return p.stop.Err()
}

// Read reads from the socket.
func (p *patient) Read(b []byte) (int, error) {
	n, err := p.raw.Read(b)
	if n > 0 || !isOverslept(err, p.deadline) {
		return n, err
	}
	if err := p.await(time.Now().Add(secondChance)); err != nil {
		return 0, err
	}
	return p.raw.Read(b)
}

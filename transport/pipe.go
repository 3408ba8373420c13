package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Pipe is an address inside the process, which nobody outside can reach: what dials it is
// accepted by the server that listens at it. It is for tests of programs that use lcapd. What
// joins both ends is a socketpair: net.Pipe has no buffer, and ZMTP begins with both sides
// writing.
type Pipe struct {
	dialled chan net.Conn // no places: a dial waits until it is accepted
	closed  chan struct{}
	close   sync.Once
}

// NewPipe returns a pipe that nobody listens at yet.
func NewPipe() *Pipe { return &Pipe{dialled: make(chan net.Conn), closed: make(chan struct{})} }

// Dial connects to who listens, and waits for that. Errors: [net.ErrClosed], the cause of the end
// of ctx.
func (p *Pipe) Dial(ctx context.Context) (net.Conn, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	select {
	case p.dialled <- theirs:
		return ours, nil
	case <-p.closed:
		err = net.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, ours.Close(), theirs.Close())
}

// pair returns both ends of a connection.
func pair() (a, b net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	var ends [2]net.Conn
	var errs [2]error
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pipe")
		ends[i], errs[i] = net.FileConn(f) // a copy
		_ = f.Close()                      // it was only read
	}
	return ends[0], ends[1], errors.Join(errs[:]...)
}

// Accept implements [net.Listener].
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.dialled:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (p *Pipe) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

// Addr implements [net.Listener].
func (p *Pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

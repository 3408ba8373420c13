package client_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

// proxied is a way to a server that can be cut. Its owner is a goroutine; the test sends it
// what to do.
type proxied struct {
	addr string
	do   chan func(*switchboard)
}

// switchboard is what the owner owns.
type switchboard struct {
	conns   []net.Conn
	blocked bool
}

// proxy runs one until the test ends.
func proxy(t *testing.T, to string) *proxied {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxied{addr: "tcp://" + listener.Addr().String(), do: make(chan func(*switchboard))}
	ctx, cancel := context.WithCancel(context.Background())
	accepted, ended := make(chan net.Conn), make(chan struct{})
	go func() {
		defer close(accepted)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	go func() {
		defer close(ended)
		p.run(ctx, accepted, strings.TrimPrefix(to, "tcp://"))
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
		cancel()
	})
	return p
}

func (p *proxied) run(ctx context.Context, accepted <-chan net.Conn, to string) {
	var s switchboard
	defer s.cut()
	for {
		select {
		case c, ok := <-accepted:
			if !ok {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil || s.blocked {
				c.Close()
				if out != nil {
					out.Close()
				}
				continue
			}
			s.conns = append(s.conns, c, out)
			go func() { io.Copy(c, out); c.Close() }()
			go func() { io.Copy(out, c); out.Close() }()
		case f := <-p.do:
			f(&s)
		case <-ctx.Done():
			return
		}
	}
}

func (s *switchboard) cut() {
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// cut ends all connections. New ones are let through.
func (p *proxied) cut() { p.do <- (*switchboard).cut }

// block ends all connections and lets no new ones through.
func (p *proxied) block() { p.do <- func(s *switchboard) { s.blocked = true; s.cut() } }

// open lets connections through again.
func (p *proxied) open() { p.do <- func(s *switchboard) { s.blocked = false } }

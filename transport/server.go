package transport

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// An Endpoint is an address to be served, and what peers may do that come in there.
type Endpoint struct {
	Addr  string // tcp://host:port, port 0 for any, or ipc:///path
	Allow Role
	Pipe  *Pipe // instead of Addr, inside the process
}

// A Handler serves connections.
type Handler interface {
	// Serve serves one connection, in a goroutine of its own, which is the connection's reader. When it
	// returns, what is queued is written within the linger time and the connection is closed. The
	// context ends when the server does: Receive returns ErrStopping then, and Serve should return
	// soon. After twice the linger time the connection is closed.
	Serve(ctx context.Context, c *Conn)
}

// HandlerFunc is a function as a [Handler].
type HandlerFunc func(ctx context.Context, c *Conn)

// Serve calls f.
func (f HandlerFunc) Serve(ctx context.Context, c *Conn) { f(ctx, c) }

// A Server serves ZMTP peers on some addresses. The goroutine in Run owns which connections there are.
type Server struct {
	opts      Options
	listeners []*listener
	budget    *budget
	counters  counters
	// accepted has sockets on their way from the accept loops to Run, ended those that are closed on
	// their way back. Both have no places: Run takes them as long as it runs, and it runs longer than
	// anybody who sends.
	accepted chan socket
	ended    chan socket
}

// A listener is one address that is served.
type listener struct {
	net.Listener
	addr  string
	allow Role
}

// A socket is an accepted connection before its handshake.
type socket struct {
	net.Conn
	allow Role
	from  string // the IP address that is counted; empty on ipc
}

// Listen opens all endpoints, or none. Run serves them; without Run, Close releases them. Errors are
// ErrBadAddress, ErrAddressInUse and those of the system; they name the address.
func Listen(o Options, endpoints ...Endpoint) (*Server, error) {
	o = o.withDefaults()
	s := &Server{opts: o, budget: &budget{max: o.Inbound}, accepted: make(chan socket), ended: make(chan socket)}
	for _, e := range endpoints {
		if err := s.listen(e); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// listen opens one endpoint.
func (s *Server) listen(e Endpoint) error {
	if e.Pipe != nil {
		s.listeners = append(s.listeners, &listener{e.Pipe, "pipe", e.Allow})
		return nil
	}
	a, err := parseAddress(e.Addr)
	if err != nil {
		return err
	}
	l, err := a.listen()
	if err != nil {
		return err
	}
	if a.network == "tcp" {
		a.where = l.Addr().String()
	}
	s.listeners = append(s.listeners, &listener{l, a.String(), e.Allow})
	return nil
}

// Close closes the listeners. It is for a server that is not run; Run does it in the end.
func (s *Server) Close() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// Addrs returns the addresses that are served, with their real ports, in the order of the endpoints.
func (s *Server) Addrs() []string {
	var addrs []string
	for _, l := range s.listeners {
		addrs = append(addrs, l.addr)
	}
	return addrs
}

// Stats returns a snapshot of the counters.
func (s *Server) Stats() Stats { return s.counters.snapshot(s.budget) }

// Run serves until the context ends. Then it closes the listeners, waits for all handlers and
// connections, and returns.
func (s *Server) Run(ctx context.Context, h Handler) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	for _, l := range s.listeners {
		running.Go(func() { s.accept(ctx, l) })
	}
	census := census{all: s.opts.MaxConns, each: s.opts.MaxPerAddress, from: map[string]int{}}
	done := ctx.Done()
	for done != nil || census.open > 0 {
		select {
		case c := <-s.accepted:
			if reason, ok := census.admit(c.from); !ok {
				s.counters.end(reason)
				c.Close()
				continue
			}
			s.counters.come()
			running.Go(func() { s.serve(ctx, h, c) })
		case c := <-s.ended:
			census.leave(c.from)
			s.counters.leave()
		case <-done:
			done = nil
			s.Close()
		}
	}
}

// accept hands new sockets to Run until the context ends. The listener is closed then, by Run.
func (s *Server) accept(ctx context.Context, l *listener) {
	for ctx.Err() == nil {
		raw, err := l.Accept()
		if err != nil {
			s.pause(ctx, err)
			continue
		}
		c := socket{raw, l.allow, ""}
		if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
			c.from = tcp.IP.String()
		}
		select {
		case s.accepted <- c:
		case <-ctx.Done():
			raw.Close()
		}
	}
}

// pause waits a moment after a failed accept: when descriptors are short, only the end of other
// connections helps.
func (s *Server) pause(ctx context.Context, err error) {
	if !errors.Is(err, net.ErrClosed) {
		s.counters.end(AcceptFailed)
	}
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// serve serves one connection from its handshake to its end.
func (s *Server) serve(ctx context.Context, h Handler, raw socket) {
	defer func() { s.ended <- raw }()
	err := s.converse(ctx, h, raw)
	if v := new(Violation); errors.As(err, &v) {
		s.counters.end(v.Reason)
	}
}

// converse makes the handshake and has the connection served. It returns why it ended.
func (s *Server) converse(ctx context.Context, h Handler, raw socket) error {
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(s.opts.HandshakeTimeout))
	interrupted := interrupt(ctx, raw.Conn)
	peer, err := serveHandshake(raw.Conn)
	interrupted()
	if err != nil {
		return err
	}
	raw.SetDeadline(time.Time{})
	c := newConn(ctx, raw.Conn, peer, raw.allow, s.opts, s.budget)
	if peer.socket == Dealer {
		c.idle = s.opts.IdleTimeout
	}
	defer c.in.release()
	defer watch(ctx, c)()
	h.Serve(ctx, c)
	c.flush()
	c.partWell()
	return c.Err()
}

// passed is a deadline that has passed, whatever the clock says.
var passed = time.Unix(1, 0)

// interrupt has everything on the socket fail when the context ends. The function that it returns undoes
// that and waits.
func interrupt(ctx context.Context, raw net.Conn) func() {
	return onEnd(ctx, func() { raw.SetDeadline(passed) })
}

// watch interrupts the connection's reader when the context ends, and closes the connection when the
// handler does not return soon then. The function that it returns undoes that and waits.
func watch(ctx context.Context, c *Conn) func() {
	return onEnd(ctx, func() {
		c.raw.SetReadDeadline(passed)
		timer := time.NewTimer(2 * c.opts.Linger)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.Close(ErrStopping)
		case <-c.Done():
		}
	})
}

// onEnd runs f in a goroutine when the context ends. The function that it returns prevents that, or waits
// until f has returned.
func onEnd(ctx context.Context, f func()) func() {
	returned := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(returned)
		f()
	})
	return func() {
		if !stop() {
			<-returned
		}
	}
}

// A census counts connections. It belongs to Run.
type census struct {
	all, each int            // the limits
	open      int            // connections
	from      map[string]int // by IP address
}

// admit counts a connection, or says why it may not be.
func (c *census) admit(from string) (Reason, bool) {
	if c.open >= c.all {
		return TooManyConns, false
	}
	if from != "" && c.from[from] >= c.each {
		return TooManyOfAddress, false
	}
	c.open++
	c.from[from]++
	return 0, true
}

// leave takes a connection out of the count.
func (c *census) leave(from string) {
	c.open--
	if c.from[from]--; c.from[from] == 0 {
		delete(c.from, from)
	}
}

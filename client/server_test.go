package client

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// patience is after how long something that must happen counts as not happening. No test relies on it
// to pass.
const patience = 20 * time.Second

// A scripted server: the test itself says what it does, one accepted peer after the other.
type server struct {
	t     testing.TB
	addr  string
	peers chan *peer
	stop  func()
}

// startServer runs a server until the test ends, on a real socket. No goroutine may be left then.
func startServer(t testing.TB) *server { return startServerAt(t, "tcp://127.0.0.1:0") }

func startServerAt(t testing.TB, addr string) *server {
	t.Helper()
	noLeaks(t)
	return anotherServer(t, addr)
}

// noLeaks fails the test if a goroutine outlives it that was not there before.
func noLeaks(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Fatalf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)])
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// anotherServer runs one more in the same test.
func anotherServer(t testing.TB, addr string) *server {
	t.Helper()
	ts, err := transport.Listen(transport.Options{}, transport.Endpoint{Addr: addr, Allow: transport.RoleAll})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: ts.Addrs()[0], peers: make(chan *peer)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ts.Run(ctx, transport.HandlerFunc(s.serve))
	}()
	stopped := false
	s.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-ended
		}
	}
	t.Cleanup(s.stop)
	return s
}

// A peer is one connection of the client. What it says comes out of said.
type peer struct {
	t    testing.TB
	conn *transport.Conn
	said chan wire.Message // closed when the connection has ended
	form wire.Form         // what the member asked for
}

// serve is the reader of one connection: it hands all that is said to the test.
func (s *server) serve(ctx context.Context, c *transport.Conn) {
	p := &peer{s.t, c, make(chan wire.Message, 1000), 0}
	defer close(p.said)
	select {
	case s.peers <- p:
	case <-ctx.Done():
		return
	}
	for {
		frames, err := c.Receive()
		if err != nil {
			return
		}
		m, _, err := wire.Decode(frames)
		if err != nil {
			s.t.Errorf("the client said nonsense: %v", err)
			return
		}
		p.said <- m
	}
}

// accept waits for the next connection and greets it.
func (s *server) accept() *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		hear[*wire.Hello](p)
		p.say(&wire.Hello{V: 1, Min: 1, Software: "test", Broker: "b1", HeartbeatMS: 1000}, nil)
		return p
	case <-time.After(patience):
		s.t.Fatal("nobody connects")
		return nil
	}
}

// member accepts a member: it joins and gives its first credit.
func (s *server) member() (*peer, *wire.Join) {
	s.t.Helper()
	p := s.accept()
	join := hear[*wire.Join](p)
	p.form = join.Fields
	p.say(&wire.Joined{Req: join.Req, Group: join.Group, Name: join.Name, Distribution: "mdt",
		MDTs: []wire.Mark{{MDT: "MDT0", Epoch: 1, Mark: 0}}}, nil)
	hear[*wire.Credit](p)
	return p, join
}

// listener accepts a listener.
func (s *server) listener() (*peer, *wire.Listen) {
	s.t.Helper()
	p := s.accept()
	listen := hear[*wire.Listen](p)
	p.say(&wire.Listening{Req: listen.Req, MDTs: []wire.Position{{MDT: "MDT0", Epoch: 1, Index: 0}}}, nil)
	return p, listen
}

// hear waits for a message of one type. Heartbeats and, unless wanted, credit are passed over.
func hear[M wire.Message](p *peer) M {
	p.t.Helper()
	for {
		select {
		case m, ok := <-p.said:
			if !ok {
				p.t.Fatalf("the client hung up in place of saying %s", (*new(M)).Kind())
			}
			if wanted, ok := m.(M); ok {
				return wanted
			}
			switch m.(type) {
			case *wire.Heartbeat, *wire.Credit:
			default:
				p.t.Fatalf("the client says %+v", m)
			}
		case <-time.After(patience):
			p.t.Fatalf("the client does not say %s", (*new(M)).Kind())
		}
	}
}

// say sends a message.
func (p *peer) say(m wire.Message, payload []byte) {
	p.t.Helper()
	frames, err := wire.Encode(m)
	if err != nil {
		p.t.Fatal(err)
	}
	if payload != nil {
		frames = append(frames, payload)
	}
	if err := p.conn.SendWait(context.Background(), transport.Message{Frames: frames}); err != nil {
		p.t.Errorf("say %s: %v", m.Kind(), err)
	}
}

// hangUp ends the connection without a word, and waits until the reader has noticed.
func (p *peer) hangUp() {
	p.conn.Close(net.ErrClosed)
	for range p.said {
	}
}

// bye answers leave and ends the connection.
func (p *peer) bye() {
	p.t.Helper()
	for m := range p.said {
		if _, ok := m.(*wire.Leave); ok {
			p.say(&wire.Bye{}, nil)
			return
		}
	}
	p.t.Error("the client hung up in place of leaving")
}

// reply answers a request.
func (p *peer) reply(req uint64, v any) {
	p.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.say(&wire.Reply{Req: req}, data)
}

// batch sends records first..last of an MDT under a lease.
func (p *peer) batch(mdt string, lease, first, last uint64) {
	p.t.Helper()
	m := batchOf(mdt, lease, first, last)
	m.Form = p.form
	p.say(m, pack(p.t, first, last))
}

func batchOf(mdt string, lease, first, last uint64) *wire.Batch {
	return &wire.Batch{MDT: mdt, Epoch: 1, Lease: lease, From: first - 1, To: last, First: first, Last: last,
		N: last - first + 1, Delivery: 1}
}

// pack makes records first..last.
func pack(t testing.TB, first, last uint64) []byte {
	t.Helper()
	var packed []byte
	for i := first; i <= last; i++ {
		f := changelog.Fields{Type: changelog.TypeCreat, Format: changelog.Format{Flags: changelog.FlagVersion},
			Index: i, Time: changelog.TimeOf(time.Unix(1700000000, 0)), Target: changelog.FID{Seq: 1, Oid: uint32(i)}, Name: "file"}
		var err error
		if packed, err = f.Append(packed); err != nil {
			t.Fatal(err)
		}
	}
	return packed
}

// later runs a function beside the test and returns what gives its results.
func later[T any](f func() (T, error)) func(t testing.TB) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	return func(t testing.TB) (T, error) {
		t.Helper()
		select {
		case r := <-done:
			return r.v, r.err
		case <-time.After(patience):
			buf := make([]byte, 1<<20)
			t.Fatalf("a call does not return\n%s", buf[:runtime.Stack(buf, true)])
			panic("not reached")
		}
	}
}

// joinAt joins with a server's help.
func joinAt(t testing.TB, s *server, opts ...JoinOption) (*Member, *peer, *wire.Join) {
	t.Helper()
	opts = append([]JoinOption{Name("w1"), Retry(time.Millisecond, 10*time.Millisecond)}, opts...)
	member := later(func() (*Member, error) { return Join(context.Background(), []string{s.addr}, "g", opts...) })
	p, join := s.member()
	m, err := member(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, p, join
}

// next wants a batch.
func next(t testing.TB, m *Member) *Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := m.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ipcAddr is an address for a server in a folder of the test.
func ipcAddr(t testing.TB) string { return "ipc://" + filepath.Join(t.TempDir(), "s") }

// farewell closes the member while the server says good-bye.
func farewell(t testing.TB, m *Member, p *peer) {
	t.Helper()
	closed := later(func() (struct{}, error) { return struct{}{}, m.Close() })
	p.bye()
	closed(t)
}

package serve

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/wire"
)

// patience is after how long something that must happen counts as not happening. No test
// relies on it to pass.
const patience = 30 * time.Second

// The MDTs of a site.
var mdts = []string{"local-MDT0000", "local-MDT0001"}

// settings are what tests change.
type settings struct {
	broker    broker.Options
	transport transport.Options
	serve     Options
	dir       string // of sockets; "" for one of its own
}

// site is a broker over records in memory, served on an ipc socket for each set of roles,
// until the test ends. Nothing of it may be left then.
type site struct {
	t        *testing.T
	ctx      context.Context
	settings settings
	logs     []*upstream.Memory
	made     []*upstream.Workload
	server   *transport.Server
	addrs    map[transport.Role]string
	counted  chan map[string]int // one map, for whoever takes it
	stop     func()              // ends the serving
	end      func()              // ends the broker
}

// source fits a source to the broker.
type source struct{ upstream.Source }

func (s source) Open(ctx context.Context, start uint64) (broker.Reader, error) {
	return s.Source.Open(ctx, start)
}

func newSite(t *testing.T, change func(*settings)) *site {
	t.Helper()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s := &site{t: t, ctx: ctx, addrs: make(map[transport.Role]string), counted: make(chan map[string]int, 1)}
	s.counted <- make(map[string]int)
	limits := core.DefaultConfig
	limits.Memory, limits.Pinned = 64<<20, 16<<20
	limits.PersistEvery, limits.ClearEvery = 5*time.Millisecond, 5*time.Millisecond
	s.settings.broker = broker.Options{Limits: limits, Groups: groups.Config{InFlight: 16 << 20, Lease: time.Hour}, CreateGroups: true, Log: zerolog.Nop()}
	s.settings.serve = Options{ID: "the-id", Version: "test", Heartbeat: 50 * time.Millisecond, MaxFrame: 4 << 20, Log: zerolog.Nop(), Count: s.count}
	s.settings.transport.QueueMessages, s.settings.transport.QueueBytes = 2*broker.MaxCredit, 2*broker.MaxCreditBytes
	if change != nil {
		change(&s.settings)
	}
	ended := s.run()
	t.Cleanup(func() {
		s.stop()
		s.end()
		must(t, <-ended)
		cancel()
		for _, log := range s.logs {
			must(t, log.Close())
		}
		eventually(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
	})
	return s
}

// run starts everything.
func (s *site) run() <-chan error {
	s.t.Helper()
	id := state.Identity{FileSystem: "local"}
	o := s.settings.broker
	for i, name := range mdts {
		log := upstream.NewMemory()
		s.logs = append(s.logs, log)
		s.made = append(s.made, upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1, MDT: uint16(i)}))
		o.MDTs = append(o.MDTs, broker.MDT{Name: name, User: "cl1", Source: source{log}})
		id.Upstream = append(id.Upstream, state.Upstream{MDT: name, User: "cl1"})
	}
	dir := filepath.Join(s.t.TempDir(), "state")
	must(s.t, state.Init(dir, id))
	store, err := state.Open(dir)
	must(s.t, err)
	o.Store = store
	s.settings.serve.Broker = broker.New(o)
	var endpoints []transport.Endpoint
	sockets := s.settings.dir
	if sockets == "" {
		sockets = s.t.TempDir()
	}
	for _, r := range []transport.Role{transport.RoleListen, transport.RoleConsume, transport.RoleOperate, transport.RoleAll} {
		endpoints = append(endpoints, transport.Endpoint{Addr: "ipc://" + filepath.Join(sockets, r.String()), Allow: r})
	}
	s.server, err = transport.Listen(s.settings.transport, endpoints...)
	must(s.t, err)
	for i, addr := range s.server.Addrs() {
		s.addrs[endpoints[i].Allow] = addr
	}
	serving, stop := context.WithCancel(context.Background())
	brokering, end := context.WithCancel(context.Background())
	served, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- errors.Join(s.settings.serve.Broker.Run(brokering), store.Close()) }()
	go func() { defer close(served); s.server.Run(serving, New(s.settings.serve)) }()
	s.stop = func() { stop(); <-served }
	s.end = end
	return ended
}

func (s *site) count(what string) {
	m := <-s.counted
	m[what]++
	s.counted <- m
}

// counts returns how often each thing was counted.
func (s *site) counts() map[string]int {
	m := <-s.counted
	defer func() { s.counted <- m }()
	return maps.Clone(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !isSo(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<18)
			t.Fatalf("waited too long for %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// append appends n records to an MDT.
func (s *site) append(mdt, n int) {
	s.t.Helper()
	var packed []byte
	for range n {
		packed = s.made[mdt].Append(packed, time.Now())
	}
	_, err := s.logs[mdt].AppendNew(s.ctx, packed)
	must(s.t, err)
}

// flow has records come for as long as the test lasts.
func (s *site) flow(rate int) {
	ctx, stop := context.WithCancel(s.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.made[0].Produce(ctx, s.logs[0], upstream.Pace{Rate: rate})
	}()
	s.t.Cleanup(func() { stop(); <-ended })
}

// peer is a client that says what the test wants.
type peer struct {
	t    testing.TB
	conn *transport.Conn
	// payload is that of the last message heard.
	payload []byte
}

// dial connects, and says nothing.
func (s *site) dial(r transport.Role) *peer {
	s.t.Helper()
	return dial(s.t, s.addrs[r])
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	c, err := transport.Dial(context.Background(), addr, transport.Options{})
	must(t, err)
	c.SetIdle(patience)
	t.Cleanup(c.Finish)
	return &peer{t: t, conn: c}
}

// greet connects and exchanges hellos.
func (s *site) greet(r transport.Role) *peer {
	s.t.Helper()
	p := s.dial(r)
	p.say(&wire.Hello{V: 1, Min: 1, Software: "test"})
	hear[*wire.Hello](p)
	return p
}

// join makes a member, with its name as its session, and gives it credit.
func (s *site) join(group, name string, batches uint64) *peer {
	s.t.Helper()
	p := s.greet(transport.RoleAll)
	p.say(&wire.Join{Req: 1, Group: group, Name: name, Session: name, Start: "earliest", Create: true})
	hear[*wire.Joined](p)
	if batches > 0 {
		p.say(&wire.Credit{Batches: batches, Bytes: batches << 20})
	}
	return p
}

func (p *peer) say(list ...wire.Message) {
	p.t.Helper()
	for _, m := range list {
		frames, err := wire.Encode(m)
		must(p.t, err)
		p.sayRaw(frames...)
	}
}

func (p *peer) sayRaw(frames ...[]byte) {
	p.t.Helper()
	must(p.t, p.conn.Send(transport.Message{Frames: frames}))
}

// next returns the next message but heartbeats, or why there is none.
func (p *peer) next() (wire.Message, error) {
	for {
		frames, err := p.conn.Receive()
		if err != nil {
			return nil, err
		}
		m, payload, err := wire.Decode(frames)
		if err != nil {
			return nil, err
		}
		if _, ok := m.(*wire.Heartbeat); !ok {
			p.payload = payload
			return m, nil
		}
	}
}

// hear wants a message of a kind.
func hear[M wire.Message](p *peer) M {
	p.t.Helper()
	m, err := p.next()
	must(p.t, err)
	x, ok := m.(M)
	if !ok {
		p.t.Fatalf("heard %T %+v, want %T", m, m, x)
	}
	return x
}

// refused wants an error with a code.
func (p *peer) refused(code wire.Code) *wire.Error {
	p.t.Helper()
	e := hear[*wire.Error](p)
	if e.Code != code || e.Text == "" {
		p.t.Fatalf("heard %+v, want %s and a text", e, code)
	}
	return e
}

// closed wants the end of the connection, and nothing before it.
func (p *peer) closed() {
	p.t.Helper()
	m, err := p.next()
	if !errors.Is(err, transport.ErrPeerGone) {
		p.t.Fatalf("heard %T %+v, %v; want the end", m, m, err)
	}
}

// goesOn wants the connection to answer.
func (p *peer) goesOn() {
	p.t.Helper()
	p.say(&wire.Request{Req: 999, Op: wire.OpGroups})
	if r := hear[*wire.Reply](p); r.Req != 999 {
		p.t.Fatalf("heard %+v", r)
	}
}

// ask makes a request and returns the answer, decoded.
func ask[T any](p *peer, m wire.Request) T {
	p.t.Helper()
	m.Req = 77
	p.say(&m)
	if r := hear[*wire.Reply](p); r.Req != 77 {
		p.t.Fatalf("heard %+v", r)
	}
	var x T
	must(p.t, json.Unmarshal(p.payload, &x))
	return x
}

// take hears batches of n records in all, and acknowledges them.
func (p *peer) take(n int) {
	p.t.Helper()
	for n > 0 {
		b := hear[*wire.Batch](p)
		n -= int(b.N)
		p.say(&wire.Ack{Lease: b.Lease, UpTo: b.Last}, &wire.Credit{Batches: 1, Bytes: uint64(len(p.payload))})
	}
}

// bystander is a member that goes on beside what the test does. The function that it
// returns waits for records that come after it was called.
func (s *site) bystander() func() {
	s.t.Helper()
	s.flow(1000)
	p := s.join("bystanders", "bystander", 4)
	batches, ended := make(chan struct{}), make(chan struct{})
	leaving := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := p.next()
			b, ok := m.(*wire.Batch)
			if err != nil || !ok {
				return
			}
			ack, _ := wire.Encode(&wire.Ack{Lease: b.Lease, UpTo: b.Last})
			credit, _ := wire.Encode(&wire.Credit{Batches: 1, Bytes: uint64(len(p.payload))})
			if errors.Join(p.conn.Send(transport.Message{Frames: ack}), p.conn.Send(transport.Message{Frames: credit})) != nil {
				return
			}
			select {
			case batches <- struct{}{}:
			case <-leaving:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	s.t.Cleanup(func() {
		close(leaving)
		p.conn.Close(errors.New("the test ends"))
		<-ended
	})
	return func() {
		s.t.Helper()
		for range 3 {
			select {
			case <-batches:
			case <-ended:
				s.t.Fatal("the bystander was sent away")
			case <-time.After(patience):
				s.t.Fatal("the bystander gets nothing")
			}
		}
	}
}

// indexes checks the records of a payload against its batch.
func indexes(t testing.TB, b *wire.Batch, payload []byte) {
	t.Helper()
	n, last := uint64(0), uint64(0)
	for scan := changelog.NewScanner(payload); scan.Scan(); n++ {
		i := scan.Record().Index()
		if n == 0 && i != b.First || i <= last || i <= b.From && b.Flags&wire.Late == 0 || i > b.To {
			t.Fatalf("record %d in %+v", i, b)
		}
		last = i
	}
	if n != b.N || last != b.Last {
		t.Fatalf("%d records up to %d in %+v", n, last, b)
	}
}

func isRoot() bool { return os.Geteuid() == 0 }

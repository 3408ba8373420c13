package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/serve"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/upstream"
)

// What follows goes to the real broker, over real sockets, with changelogs in memory.

// patience is after how long something that must happen counts as not happening.
const patience = 30 * time.Second

// A site is a broker that is served.
type site struct {
	addr string
	mdts map[string]*upstream.Memory
	stop func()
}

// source is a changelog in memory as the broker wants it.
type source struct{ *upstream.Memory }

func (s source) Open(ctx context.Context, start uint64) (broker.Reader, error) {
	return s.Memory.Open(ctx, start)
}

// startSite runs a broker with some MDTs. The caller must stop it.
func startSite(dir string, mdts ...string) (*site, error) {
	s := &site{mdts: map[string]*upstream.Memory{}}
	id := state.Identity{FileSystem: "test"}
	o := broker.Options{Limits: core.DefaultConfig, CreateGroups: true, Log: zerolog.Nop(),
		Groups: groups.Config{InFlight: 16 << 20, Lease: 30 * time.Second}}
	for _, mdt := range mdts {
		s.mdts[mdt] = upstream.NewMemory()
		o.MDTs = append(o.MDTs, broker.MDT{Name: mdt, User: "cl1", Source: source{s.mdts[mdt]}})
		id.Upstream = append(id.Upstream, state.Upstream{MDT: mdt, User: "cl1"})
	}
	if err := state.Init(filepath.Join(dir, "state"), id); err != nil {
		return nil, err
	}
	var err error
	if o.Store, err = state.Open(filepath.Join(dir, "state")); err != nil {
		return nil, err
	}
	server, err := transport.Listen(transport.Options{}, transport.Endpoint{Addr: "tcp://127.0.0.1:0", Allow: transport.RoleAll})
	if err != nil {
		return nil, errors.Join(err, o.Store.Close())
	}
	s.addr = server.Addrs()[0]
	b := broker.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	running.Go(func() { server.Run(ctx, serve.New(serve.Options{Broker: b, ID: "test", Heartbeat: time.Second})) })
	s.stop = func() {
		cancel()
		running.Wait()
		for _, m := range s.mdts {
			m.Close()
		}
		o.Store.Close()
	}
	return s, nil
}

// append appends n records.
func (s *site) append(mdt string, n int) error {
	var packed []byte
	for i := range n {
		f := changelog.Fields{Type: changelog.TypeCreat, Format: changelog.Format{Flags: changelog.FlagVersion},
			Time: changelog.TimeOf(time.Now()), Target: changelog.FID{Seq: 0x200000400, Oid: uint32(i + 1)}, Name: fmt.Sprintf("f%d", i)}
		var err error
		if packed, err = f.Append(packed); err != nil {
			return err
		}
	}
	_, err := s.mdts[mdt].AppendNew(context.Background(), packed)
	return err
}

// serveSite runs a broker until the test ends. Nothing may be left of it then.
func serveSite(t *testing.T, mdts ...string) *site {
	t.Helper()
	s, err := startSite(t.TempDir(), mdts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// noLeaks fails the test if a goroutine outlives it that was not there before.
func noLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Fatalf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

// bounded is a context that ends when patience does.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRealGroupGetsEveryRecord(t *testing.T) {
	noLeaks(t)
	s1, s2 := serveSite(t, "a-MDT0000", "a-MDT0001"), serveSite(t, "a-MDT0002")
	ctx := bounded(t)
	m, err := client.Join(ctx, []string{s1.addr, s2.addr}, "audit", client.CreateGroup(), client.Start("earliest"), client.Distribution("mdt"))
	check(t, err)
	defer m.Close()
	const each = 3000
	for mdt := range s1.mdts {
		check(t, s1.append(mdt, each))
	}
	check(t, s2.append("a-MDT0002", each))
	last := map[string]uint64{}
	for n := 0; n < 3*each; {
		b, err := m.Next(ctx)
		check(t, err)
		for rec := range b.Records() {
			if rec.Index() != last[b.MDT]+1 {
				t.Fatalf("%s: %d after %d", b.MDT, rec.Index(), last[b.MDT])
			}
			last[b.MDT]++
			n++
		}
		check(t, m.Ack(b))
	}
	check(t, m.Close())
	for _, s := range []*site{s1, s2} {
		o, err := client.Operate(ctx, s.addr)
		check(t, err)
		defer o.Close()
		g, err := o.Group(ctx, "audit")
		check(t, err)
		if g.Lag != 0 || len(g.Tracks) != len(s.mdts) || len(g.Members) != 0 {
			t.Errorf("after all was acknowledged: %+v", g)
		}
	}
}

// A connection that dies: what was not acknowledged comes again, to the same member.
func TestRealRedelivery(t *testing.T) {
	noLeaks(t)
	s := serveSite(t, "a-MDT0000")
	via := proxy(t, s.addr)
	ctx := bounded(t)
	gone := 0
	m, err := client.Join(ctx, []string{via.addr}, "audit", client.CreateGroup(), client.Start("earliest"),
		client.Retry(time.Millisecond, 10*time.Millisecond), client.OnEvent(func(e client.Event) {
			if _, ok := e.(client.Disconnected); ok {
				gone++
			}
		}))
	check(t, err)
	defer m.Close()
	check(t, s.append("a-MDT0000", 100))
	first, err := m.Next(ctx)
	check(t, err)
	check(t, m.AckUpTo(first, first.First))
	o, err := client.Operate(ctx, s.addr)
	check(t, err)
	defer o.Close()
	for { // until the broker has the acknowledgement
		g, err := o.Group(ctx, "audit")
		check(t, err)
		if g.Tracks[0].Mark == 1 {
			break
		}
	}
	via.cut()
	acked, redelivered := map[uint64]bool{1: true}, false
	for len(acked) < 100 {
		b, err := m.Next(ctx)
		check(t, err)
		redelivered = redelivered || b.Delivery > 1
		indexes := []uint64{}
		for rec := range b.Records() {
			indexes = append(indexes, rec.Index())
		}
		if err := m.Ack(b); errors.Is(err, client.ErrLeaseLost) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for _, i := range indexes {
			acked[i] = true
		}
	}
	if !redelivered || gone == 0 {
		t.Errorf("redelivered: %v, disconnected %d times", redelivered, gone)
	}
	if err := m.Ack(first); !errors.Is(err, client.ErrLeaseLost) {
		t.Errorf("ack of the old batch: %v", err)
	}
}

// Two members of one group, one of which gives back.
func TestRealNack(t *testing.T) {
	noLeaks(t)
	s := serveSite(t, "a-MDT0000")
	ctx := bounded(t)
	m, err := client.Join(ctx, []string{s.addr}, "audit", client.CreateGroup(), client.Start("earliest"), client.Name("w1"))
	check(t, err)
	defer m.Close()
	if _, err := client.Join(ctx, []string{s.addr}, "audit", client.Name("w1")); !errors.Is(err, client.ErrNameInUse) {
		t.Errorf("a second w1: %v", err)
	}
	if _, err := client.Join(ctx, []string{s.addr}, "adit"); !errors.Is(err, client.ErrUnknownGroup) {
		t.Errorf("a group that nobody made: %v", err)
	}
	check(t, s.append("a-MDT0000", 1))
	b, err := m.Next(ctx)
	check(t, err)
	check(t, m.Nack(b, b.First, 0))
	b, err = m.Next(ctx)
	check(t, err)
	if b.Delivery != 2 || b.First != 1 {
		t.Errorf("after the nack: %+v", b)
	}
	check(t, m.Ack(b))
}

// Why: after a nack nothing is handed out until the server says that the lease is back. It says nothing of one that gives
// back nothing.
func TestNackBeyondTheBatch(t *testing.T) {
	noLeaks(t)
	s := serveSite(t, "a-MDT0000")
	ctx := bounded(t)
	m, err := client.Join(ctx, []string{s.addr}, "audit", client.CreateGroup(), client.Start("earliest"))
	check(t, err)
	defer m.Close()
	check(t, s.append("a-MDT0000", 1))
	b, err := m.Next(ctx)
	check(t, err)
	check(t, m.Nack(b, b.Last+1, 0))
	b, err = m.Next(ctx)
	check(t, err)
	if b.First != 1 || b.Delivery != 2 {
		t.Errorf("after the nack: %+v", b)
	}
	check(t, m.Ack(b))
}

// Why: a server keeps no more credit than so much. Who asks for a larger window, and gives back what he took by parts
// of that, would wait for a part that never comes together.
func TestWindowBeyondWhatTheServerKeeps(t *testing.T) {
	noLeaks(t)
	s := serveSite(t, "a-MDT0000")
	ctx := bounded(t)
	m, err := client.Join(ctx, []string{s.addr}, "audit", client.CreateGroup(), client.Start("earliest"), client.Window(1<<20, 1<<40))
	check(t, err)
	defer m.Close()
	for i := range uint64(600) { // each is a batch
		check(t, s.append("a-MDT0000", 1))
		b, err := m.Next(ctx)
		if err != nil {
			t.Fatalf("after %d batches: %v", i, err)
		}
		check(t, m.Ack(b))
	}
}

// A listener that was away learns what it has missed.
func TestRealListenerGap(t *testing.T) {
	noLeaks(t)
	s := serveSite(t, "a-MDT0000")
	via := proxy(t, s.addr)
	ctx := bounded(t)
	l, err := client.Listen(ctx, []string{via.addr}, client.Retry(time.Millisecond, 10*time.Millisecond))
	check(t, err)
	defer l.Close()
	m, err := client.Join(ctx, []string{s.addr}, "audit", client.CreateGroup(), client.Start("earliest"))
	check(t, err)
	defer m.Close()
	check(t, s.append("a-MDT0000", 10))
	var to uint64
	for to < 10 {
		b, gap, err := l.Next(ctx)
		check(t, err)
		if gap != nil {
			t.Fatalf("%v", gap)
		}
		to = b.Last
	}
	via.block()
	check(t, s.append("a-MDT0000", 10))
	for n := uint64(0); n < 20; { // the broker has read them all
		b, err := m.Next(ctx)
		check(t, err)
		n = b.Last
		check(t, m.Ack(b))
	}
	via.open()
	check(t, s.append("a-MDT0000", 10))
	for to < 30 {
		b, gap, err := l.Next(ctx)
		check(t, err)
		from, last := uint64(0), uint64(0)
		if gap != nil {
			from, last = gap.From, gap.To
		} else {
			from, last = b.First-1, b.Last
		}
		if from > to {
			t.Errorf("(%d, %d] is neither told nor delivered", to, from)
		}
		to = last
	}
}

// Why: behind a nack nothing of what had been received already may come before what was given back,
// or a consumer that keeps an order would go backwards.
func TestRealNackKeepsOrder(t *testing.T) {
	noLeaks(t)
	s := serveSite(t, "a-MDT0000")
	ctx := bounded(t)
	m, err := client.Join(ctx, []string{s.addr}, "audit", client.CreateGroup(), client.Start("earliest"), client.Distribution("mdt"))
	check(t, err)
	defer m.Close()
	for range 300 { // many batches: they are received ahead of what is taken
		check(t, s.append("a-MDT0000", 1))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for place, nacks := uint64(0), 0; place < 300; {
		b, err := m.Next(ctx)
		check(t, err)
		if b.First > place+1 {
			t.Fatalf("after %d comes %d", place, b.First)
		}
		if rng.IntN(4) == 0 && nacks < 50 {
			nacks++
			check(t, m.Nack(b, b.First, 0))
			continue
		}
		place = max(place, b.Last)
		if err := m.Ack(b); err != nil && !errors.Is(err, client.ErrLeaseLost) {
			t.Fatal(err)
		}
	}
}

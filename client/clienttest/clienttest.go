// Package clienttest runs an lcapd inside a test, for programs that use package client:
// the real broker, over pipes instead of sockets, with changelogs in memory. Nothing of it
// outlives the test.
package clienttest

import (
	"context"
	"errors"
	"path/filepath"
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

// Broker is an lcapd in the test. A join may make groups.
type Broker struct {
	tb   testing.TB
	pipe *transport.Pipe
	mdts map[string]*upstream.Memory
}

// New runs a broker with some MDTs, such as test-MDT0000, until the test ends.
func New(tb testing.TB, mdts ...string) *Broker {
	tb.Helper()
	b := &Broker{tb: tb, pipe: transport.NewPipe(), mdts: make(map[string]*upstream.Memory)}
	id := state.Identity{FileSystem: "test"}
	o := broker.Options{
		Limits: core.DefaultConfig, CreateGroups: true, Log: zerolog.Nop(),
		Groups: groups.Config{InFlight: 16 << 20, Lease: 30 * time.Second},
	}
	for _, mdt := range mdts {
		b.mdts[mdt] = upstream.NewMemory()
		o.MDTs = append(o.MDTs, broker.MDT{Name: mdt, User: "cl1", Source: source{b.mdts[mdt]}})
		id.Upstream = append(id.Upstream, state.Upstream{MDT: mdt, User: "cl1"})
	}
	dir := filepath.Join(tb.TempDir(), "state")
	if err := state.Init(dir, id); err != nil {
		tb.Fatal(err)
	}
	var err error
	if o.Store, err = state.Open(dir); err != nil {
		tb.Fatal(err)
	}
	server, err := transport.Listen(transport.Options{}, transport.Endpoint{Pipe: b.pipe, Allow: transport.RoleAll})
	if err != nil {
		tb.Fatal(err)
	}
	b.run(broker.New(o), server, o.Store)
	return b
}

// run runs the parts until the test ends.
func (b *Broker) run(inside *broker.Broker, server *transport.Server, store *state.Store) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	ended := make(chan error, 1)
	running.Go(func() { ended <- inside.Run(ctx) })
	running.Go(func() { server.Run(ctx, serve.New(serve.Options{Broker: inside, ID: "test", Heartbeat: time.Second})) })
	b.tb.Cleanup(func() {
		stop()
		running.Wait()
		errs := []error{<-ended, store.Close()}
		for _, m := range b.mdts {
			errs = append(errs, m.Close())
		}
		if err := errors.Join(errs...); err != nil {
			b.tb.Error(err)
		}
	})
}

// source fits a changelog in memory to the broker.
type source struct{ *upstream.Memory }

// Open implements [broker.Source].
func (s source) Open(ctx context.Context, start uint64) (broker.Reader, error) {
	return s.Memory.Open(ctx, start)
}

// Through is the option that leads [client.Join] and [client.Listen] here, whatever their
// address says.
func (b *Broker) Through() client.Option { return client.Through(b.pipe) }

// Addrs are addresses for [client.Join] and [client.Listen], with Through.
func (b *Broker) Addrs() []string { return []string{"ipc:///clienttest"} }

// Emit has an MDT record something. Index is given by the MDT; without a time it is now.
func (b *Broker) Emit(mdt string, records ...changelog.Fields) {
	b.tb.Helper()
	var packed []byte
	for _, f := range records {
		if f.Time == 0 {
			f.Time = changelog.TimeOf(time.Now())
		}
		var err error
		if packed, err = f.Append(packed); err != nil {
			b.tb.Fatal(err)
		}
	}
	if _, err := b.mdts[mdt].AppendNew(context.Background(), packed); err != nil {
		b.tb.Fatal(err)
	}
}

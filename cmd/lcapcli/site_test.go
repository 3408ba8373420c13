package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/serve"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/upstream"
)

// patience is after how long something that must happen counts as not happening.
const patience = 30 * time.Second

// A site is a broker that is served on real sockets, with changelogs in memory.
type site struct {
	addr, guests string // guests may not operate
	mdts         map[string]*upstream.Memory
	stop         func()
}

// source is a changelog in memory as the broker wants it.
type source struct{ *upstream.Memory }

func (s source) Open(ctx context.Context, start uint64) (broker.Reader, error) {
	return s.Memory.Open(ctx, start)
}

// startSite runs a broker with some MDTs, and its state in a folder.
func startSite(dir string, mdts []string) (*site, error) {
	s := &site{mdts: map[string]*upstream.Memory{}}
	id := state.Identity{FileSystem: "test"}
	o := broker.Options{Limits: core.DefaultConfig, CreateGroups: true, Log: zerolog.Nop(),
		Groups: groups.Config{InFlight: 16 << 20, Lease: 30 * time.Second}}
	for _, mdt := range mdts {
		s.mdts[mdt] = upstream.NewMemory()
		o.MDTs = append(o.MDTs, broker.MDT{Name: mdt, User: "cl1", Source: source{s.mdts[mdt]}})
		id.Upstream = append(id.Upstream, state.Upstream{MDT: mdt, User: "cl1"})
	}
	if err := state.Init(dir, id); err != nil {
		return nil, err
	}
	var err error
	if o.Store, err = state.Open(dir); err != nil {
		return nil, err
	}
	server, err := transport.Listen(transport.Options{},
		transport.Endpoint{Addr: "tcp://127.0.0.1:0", Allow: transport.RoleAll},
		transport.Endpoint{Addr: "tcp://127.0.0.1:0", Allow: transport.RoleListen})
	if err != nil {
		return nil, errors.Join(err, o.Store.Close())
	}
	s.addr, s.guests = server.Addrs()[0], server.Addrs()[1]
	b := broker.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	running.Go(func() { server.Run(ctx, serve.New(serve.Options{Broker: b, ID: "testsite", Version: "1.2.3"})) })
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

// produce appends n records.
func (s *site) produce(mdt string, n int) error {
	var packed []byte
	for i := range n {
		f := changelog.Fields{Type: changelog.TypeCreat, Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID},
			Time: changelog.TimeOf(time.Now()), Target: changelog.FID{Seq: 0x200000400, Oid: uint32(i + 1)}, Name: fmt.Sprintf("f%d", i), JobID: "job"}
		var err error
		if packed, err = f.Append(packed); err != nil {
			return err
		}
	}
	_, err := s.mdts[mdt].AppendNew(context.Background(), packed)
	return err
}

// siteKey is where a script's site is.
type siteKey struct{}

// siteCommand starts a site for the script: site MDT...
func siteCommand(ts *testscript.TestScript, _ bool, args []string) {
	s, err := startSite(filepath.Join(ts.MkAbs("."), "state"), args)
	ts.Check(err)
	ts.Defer(s.stop)
	ts.Setenv(serverVariable, s.addr)
	ts.Setenv("GUESTS", s.guests)
	*ts.Value(siteKey{}).(**site) = s
}

// produceCommand appends records: produce MDT N.
func produceCommand(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check((*ts.Value(siteKey{}).(**site)).produce(args[0], n))
}

// await runs a command until its output matches: await PATTERN COMMAND...
func await(ts *testscript.TestScript, _ bool, args []string) {
	wanted := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && wanted.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %q: %v: %s%s", args[0], err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	}
}

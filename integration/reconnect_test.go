package integration

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

var (
	reconnects    = flag.Int("reconnect.clients", 1000, "connections of TestReconnects, one after the other")
	reconnectWave = flag.Int("reconnect.wave", 100, "how many of them there are at a time; each takes a descriptor here and one in lcapd")
)

// TestReconnects, at full size with
//
//	go test ./integration -run TestReconnects -v -args -reconnect.clients 10000 -reconnect.wave 500
//
// has members and listeners come in waves and go in every way there is: with a good-bye, without
// one, with records on their way to them. Everybody gets in, and lcapd has no more
// goroutines, descriptors and memory in the end than after the first wave. Then it is killed
// while a wave of the library's members and listeners is connected, who all come back.
func TestReconnects(t *testing.T) {
	t.Parallel()
	h := newHome(t, buildDaemon(t))
	h.set("limits", "{connections: 4096, per_address: 4096}")
	h.set("heartbeat", "1s")
	h.init()
	x := newRiskOn(t, h)
	x.running = h.start()
	c := &comers{riskSite: x}
	for wave := range 2 { // what is kept for good is there then
		c.wave(wave * *reconnectWave)
	}
	before, files, memory := c.settled(nil, 0)
	for n := 2 * *reconnectWave; n < *reconnects; n += *reconnectWave {
		c.wave(n)
	}
	after, filesAfter, memoryAfter := c.settled(before, files)
	accepted := after["lcapd_connections_accepted_total"]
	if accepted < float64(*reconnects) {
		t.Errorf("%v connections were accepted", accepted)
	}
	if memoryAfter > memory+32<<20 { // of the runtime's collector
		t.Errorf("%d MiB of anonymous memory, %d before", memoryAfter>>20, memory>>20)
	}
	t.Logf("%v connections; goroutines %v, %v before; files %d, %d before; %d MiB, %d before", accepted,
		after["go_goroutines"], before["go_goroutines"], filesAfter, files, memoryAfter>>20, memory>>20)
	c.herd(filepath.Join(h.dir, "sock"))
}

// comers come and go.
type comers struct{ *riskSite }

// wave has some come, and go when all are in.
func (c *comers) wave(first int) {
	c.t.Helper()
	var came, gone sync.WaitGroup
	leave := make(chan struct{})
	for i := first; i < first+*reconnectWave; i++ {
		came.Add(1)
		gone.Go(func() {
			conn, err := c.come(i)
			came.Done()
			if err != nil {
				c.t.Errorf("%d does not get in: %v", i, err)
				return
			}
			<-leave
			switch i / 2 % 3 {
			case 0:
				_ = conn.Send(transport.Message{Frames: say(c.t, &wire.Leave{})}) // it may be cut
				conn.Finish()
			case 1:
				conn.Finish()
			default:
				conn.Close(transport.ErrClosed)
				conn.Finish()
			}
		})
	}
	came.Wait()
	close(leave)
	gone.Wait()
}

// come makes a member or a listener, some of whom do not read what they are sent.
func (c *comers) come(i int) (*transport.Conn, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	conn, err := transport.Dial(ctx, c.addresses[i%7%2], transport.Options{HandshakeTimeout: patience})
	if err != nil {
		return nil, err
	}
	conn.SetIdle(patience)
	var opening wire.Message = &wire.Listen{Name: fmt.Sprint("listener-", i)}
	if i%2 == 0 {
		opening = &wire.Join{Group: "g", Name: fmt.Sprint("member-", i%(*reconnectWave)), Session: fmt.Sprint(i % *reconnectWave)}
	}
	for _, m := range []wire.Message{&wire.Hello{V: 1, Min: 1}, opening, &wire.Credit{Batches: 2, Bytes: 1 << 20}} {
		if i%2 == 1 && m.Kind() == (&wire.Credit{}).Kind() {
			continue
		}
		if err := conn.SendWait(ctx, transport.Message{Frames: say(c.t, m)}); err != nil {
			conn.Finish()
			return nil, err
		}
	}
	for {
		frames, err := conn.Receive()
		if err != nil {
			conn.Finish()
			return nil, err
		}
		switch m, _, err := wire.Decode(frames); m := m.(type) {
		case *wire.Joined, *wire.Listening:
			return conn, nil
		case *wire.Error:
			conn.Finish()
			return nil, m
		default:
			if err != nil {
				conn.Finish()
				return nil, err
			}
		}
	}
}

// settled waits until lcapd has given back what those took who are gone, and tells what it has.
func (c *comers) settled(before map[string]float64, files int) (now map[string]float64, n int, memory int64) {
	c.t.Helper()
	eventually(c.t, "everybody to be gone", func() bool {
		now, n = c.metrics(), c.files()
		if now["lcapd_connections"] > 0 || now[`lcapd_group_members{group="g"}`] > 0 || now["lcapd_listeners"] > 0 {
			return false
		}
		return before == nil || n <= files && now["go_goroutines"] <= before["go_goroutines"]+2 // those of the request itself
	})
	return now, n, c.memory()
}

// herd kills lcapd under a wave of the library's members and listeners, and waits for all.
func (c *comers) herd(sock string) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	addr := []string{"ipc://" + sock}
	for i := range *reconnectWave {
		all.Go(func() {
			if i%2 == 0 {
				l, err := client.Listen(ctx, addr, client.Patient())
				if err != nil {
					c.t.Error(err)
					return
				}
				defer l.Close()
				for err == nil {
					var b *client.Batch
					if b, _, err = l.Next(ctx); b != nil {
						b.Release()
					}
				}
				return
			}
			m, err := client.Join(ctx, addr, "g", client.Name(fmt.Sprint("herd-", i)), client.Patient(), client.OnEvent(func(client.Event) {}))
			if err != nil {
				c.t.Error(err)
				return
			}
			defer m.Close()
			for {
				b, err := m.Next(ctx)
				if err != nil {
					return
				}
				_ = m.Ack(b) // it may be another lcapd by now
			}
		})
	}
	here := func() bool {
		now := c.metrics()
		return now[`lcapd_group_members{group="g"}`]+now["lcapd_listeners"] == float64(*reconnectWave)
	}
	eventually(c.t, "the herd", here)
	must(c.t, c.cmd.Process.Kill())
	c.wait()
	begun := time.Now()
	c.running = c.home.start()
	eventually(c.t, "the herd to be back", here)
	c.t.Logf("%d are back %s after the start", *reconnectWave, time.Since(begun).Round(time.Millisecond))
}

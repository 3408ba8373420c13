package integration

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lcapd/lcapd/client"
)

var (
	crowdListeners = flag.Int("crowd.listeners", 100, "listeners of TestCrowd; every other one does not read until the end")
	crowdGroups    = flag.Int("crowd.groups", 16, "groups of TestCrowd, of one member each")
	crowdRecords   = flag.Int("crowd.records", 100_000, "records that come meanwhile, 10,000 a second")
)

// crowdMemory is the limit that lcapd is given there, in bytes.
const crowdMemory = 64 << 20

// TestCrowd, at full size with
//
//	go test ./integration -run TestCrowd -v -args -crowd.listeners 1000 -crowd.groups 64
//
// has many groups and listeners at once, half of which do not read. Each group gets
// everything, once; what a listener was not shown it is told exactly; the memory stays within
// the limit and 64 KiB a connection.
func TestCrowd(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	var names []string
	for i := range *crowdGroups {
		names = append(names, fmt.Sprintf("{name: g%d}", i))
	}
	h.set("groups", "["+strings.Join(names, ", ")+"]")
	h.set("memory", fmt.Sprint(crowdMemory))
	h.set("limits", "{connections: 4096, per_address: 4096}")
	h.set("upstream", fmt.Sprintf("[{mdt: home-MDT0000, driver: workload, rate: 10000, records: %d}]", *crowdRecords))
	h.init()
	r := h.start()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := &crowd{t: t, addr: r.addresses[0], read: make(chan struct{}), shown: make(chan bool, *crowdListeners)}
	done := make(chan struct{})
	var peak int64
	var watching, members, listeners sync.WaitGroup
	watching.Go(func() { peak = c.watch(r, done) })
	for i := range *crowdListeners {
		listeners.Go(func() { c.listen(ctx, i%2 == 1) })
	}
	for i := range *crowdGroups {
		members.Go(func() { c.member(ctx, fmt.Sprintf("g%d", i)) })
	}
	members.Wait()
	close(c.read)
	listeners.Wait()
	close(done)
	watching.Wait()
	close(c.shown)
	gaps := 0
	for gap := range c.shown {
		if gap {
			gaps++
		}
	}
	if limit := int64(crowdMemory + (*crowdListeners+*crowdGroups)*64<<10); peak > limit {
		t.Errorf("lcapd had %d MiB of anonymous memory, the limit and 64 KiB a connection are %d MiB", peak>>20, limit>>20)
	}
	t.Logf("%d groups and %d listeners, %d of them with gaps; %d MiB of anonymous memory at most", *crowdGroups, *crowdListeners, gaps, peak>>20)
	r.terminate()
}

type crowd struct {
	t     *testing.T
	addr  string
	read  chan struct{} // closed when those who do not read begin to
	shown chan bool     // of each listener, at its end: whether it missed something
}

func (c *crowd) watch(r *running, done <-chan struct{}) (peak int64) {
	for {
		select {
		case <-done:
			return peak
		case <-time.After(50 * time.Millisecond):
			peak = max(peak, r.memory())
		}
	}
}

// member takes everything of a group.
func (c *crowd) member(ctx context.Context, group string) {
	m, err := client.Join(ctx, []string{c.addr}, group)
	if err != nil {
		c.t.Errorf("group %s: %v", group, err)
		return
	}
	defer m.Close()
	for next := uint64(1); next <= uint64(*crowdRecords); {
		b, err := m.Next(ctx)
		if err != nil {
			c.t.Errorf("group %s: after %d: %v", group, next-1, err)
			return
		}
		for r := range b.Records() {
			if r.Index() != next {
				c.t.Errorf("group %s: %d came instead of %d", group, r.Index(), next)
				return
			}
			next++
		}
		if err := m.Ack(b); err != nil {
			c.t.Errorf("group %s: %v", group, err)
			return
		}
	}
}

// listen listens to the end. What it is shown and what it is told that it missed is, together,
// what there was from its beginning on.
func (c *crowd) listen(ctx context.Context, late bool) {
	l, err := client.Listen(ctx, []string{c.addr})
	if err != nil {
		c.t.Errorf("listener: %v", err)
		return
	}
	defer l.Close()
	if late {
		<-c.read
	}
	missed, unknown := false, false
	var end, records, first uint64
	for begun := false; end < uint64(*crowdRecords); {
		b, gap, err := l.Next(ctx)
		if err != nil {
			c.t.Errorf("listener: after %d: %v", end, err)
			return
		}
		from, to := uint64(0), uint64(0)
		if gap != nil {
			from, to, missed = gap.From, gap.To, true
			unknown = unknown || gap.Unknown && begun // it was disconnected for long: the machine is slow
			records += gap.Count
		} else {
			from, to = b.From, b.To
			records += uint64(b.Count)
			b.Release()
		}
		if !begun {
			begun, first = true, from
		} else if from != end {
			c.t.Errorf("listener: after %d comes (%d,%d]", end, from, to)
			return
		}
		end = to
	}
	if want := end - first; records != want && !unknown { // a workload leaves no holes
		c.t.Errorf("listener: %d records shown or missed of the %d in (%d,%d]", records, want, first, end)
	}
	c.shown <- missed
}

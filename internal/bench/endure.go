package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lcapd/lcapd/client"
)

// endure measures whether lcapd grows: what it has in the last quarter of so many batches, while others
// come and go, against what it has in the second quarter, when it has all that the load needs.
func (x *run) endure(ctx context.Context) (err error) {
	st := new(stage)
	defer func() { err = errors.Join(err, st.end()) }()
	if err := x.startLCAPD(ctx, st, x.Rate, 0); err != nil {
		return err
	}
	if err := x.startReaders(ctx, st); err != nil {
		return err
	}
	e := endurance{run: x, st: st}
	for came := time.Now(); e.batches < uint64(x.Batches); {
		before := e.batches
		if err := e.look(ctx); err != nil {
			return err
		}
		if e.batches > before {
			came = time.Now()
		} else if time.Since(came) > comingPatience {
			return x.nothingCame()
		}
		x.progress("%s: %d of %d batches", x.Name, e.batches, x.Batches)
		if err := pause(ctx, betweenLooks); err != nil {
			return err
		}
	}
	if e.early.memory == 0 {
		return fmt.Errorf("%d batches passed between two looks: too few to tell whether lcapd grows; ask for more", x.Batches)
	}
	x.m[BatchesDelivered], x.m[ConnectionsMade] = float64(e.batches), float64(e.visited)
	x.m[MemoryGrowth] = float64(e.late.memory) / float64(e.early.memory)
	x.m[GoroutineGrowth] = e.late.goroutines - e.early.goroutines
	x.m[DescriptorGrowth] = e.late.descriptors - e.early.descriptors
	return nil
}

// endurance is how far such a run has come.
type endurance struct {
	*run
	st          *stage
	batches     uint64 // delivered
	visited     int    // connections that came and went
	early, late level
}

// look notes how far it is and what lcapd has, and makes the visits that are due.
func (e *endurance) look(ctx context.Context) (err error) {
	if e.batches, err = delivered(e.st); err != nil {
		return err
	}
	now, err := e.st.daemon.level(ctx)
	if err != nil {
		return err
	}
	want := uint64(e.Batches)
	switch {
	case e.batches >= want*3/4:
		e.late.add(now)
	case e.batches >= want/4 && e.batches < want/2:
		e.early.add(now)
	}
	due := int(min(e.batches, want) * uint64(e.Connections) / want)
	err = visit(ctx, e.st.daemon.addr, e.visited, due)
	e.visited = due
	return err
}

// betweenLooks is how long a run goes between two looks at lcapd.
const betweenLooks = 20 * time.Millisecond

// delivered is how many batches all members have got.
func delivered(st *stage) (n uint64, err error) {
	for _, c := range st.sinks {
		if err := c.mark(); err != nil {
			return 0, err
		}
		t, err := c.answer()
		if err != nil {
			return 0, err
		}
		n += t.Batches
	}
	return n, nil
}

// level is what a process has: memory goes up and down with each collection, so the most of it counts; of
// the others those that are always there.
type level struct {
	memory                  int64 // anonymous and resident, in bytes
	goroutines, descriptors float64
}

func (l *level) add(now level) {
	if l.memory == 0 {
		*l = now
		return
	}
	l.memory = max(l.memory, now.memory)
	l.goroutines, l.descriptors = min(l.goroutines, now.goroutines), min(l.descriptors, now.descriptors)
}

// level looks at what lcapd has.
func (d *daemon) level(ctx context.Context) (level, error) {
	status, err := numbersIn(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return level{}, fmt.Errorf("lcapd has ended: %w: %s", err, d.said.String())
	}
	m, err := d.metrics(ctx)
	return level{status["RssAnon"] << 10, m["go_goroutines"], m["process_open_fds"]}, err
}

// visitors is how many come and go at a time.
const visitors = 8

// visit has the visits from one number to another made, and waits for the end of the last.
func visit(ctx context.Context, addr string, from, to int) error {
	failed := make([]error, visitors)
	var all sync.WaitGroup
	for v := range visitors {
		all.Go(func() {
			for n := from + v; n < to && failed[v] == nil; n += visitors {
				failed[v] = visitOnce(ctx, addr, n)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// visitOnce is one of: a member that takes a batch; a listener, who need not be shown anything, as the records are
// older than he is; and somebody who hangs up in the middle of a word.
func visitOnce(ctx context.Context, addr string, n int) error {
	name := client.Name(fmt.Sprintf("visitor-%d", n))
	switch n % 3 {
	case 0:
		m, err := client.Join(ctx, []string{addr}, "g0", name)
		if err != nil {
			return err
		}
		b, err := m.Next(ctx)
		if err == nil {
			err = m.Ack(b)
		}
		return errors.Join(err, m.Close())
	case 1:
		l, err := client.Listen(ctx, []string{addr}, name)
		if err != nil {
			return err
		}
		return l.Close()
	}
	kind, where := network(addr)
	c, err := net.Dial(kind, where)
	if err != nil {
		return err
	}
	_, _ = c.Write([]byte{0xff, 0, 0, 0, 0}) // it may be cut
	return c.Close()
}

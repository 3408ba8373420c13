package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"time"
)

// PeerCommand is the argument with which the program is started again as another
// process of a benchmark.
const PeerCommand = "bench-peer"

// The roles of the other processes.
const (
	roleMember   = "member"   // one member of a group
	roleListener = "listener" // any number of listeners
	roleSender   = "sender"   // the limit: sends to all who connect
	roleReceiver = "receiver" // the limit: reads any number of connections
	roleEcho     = "echo"     // writes back what it reads
)

// peerSpec says what another process does: it is the first line on its standard input.
type peerSpec struct {
	Role    string `json:"role"`
	Addr    string `json:"addr"`              // tcp://host:port or ipc:///path: where to connect, or to listen
	Group   string `json:"group,omitempty"`   // of a member
	Name    string `json:"name,omitempty"`    // of a member or listener
	Conns   int    `json:"conns,omitempty"`   // of listeners, receivers
	Latency bool   `json:"latency,omitempty"` // measure it, by the time in each record
	Profile string `json:"profile,omitempty"` // a file for the CPU profile between the first mark and the second
	Records string `json:"records,omitempty"` // of a sender: the file of packed records
	Bytes   int64  `json:"bytes,omitempty"`   // of a sender: from how many different bytes it sends
	Spread  bool   `json:"spread,omitempty"`  // of a sender: each connection begins elsewhere
	Rate    int    `json:"rate,omitempty"`    // of a sender: records a second to each, 0 for as many as go
}

// tally is what a process has counted since it began.
type tally struct {
	Records uint64    `json:"records"`
	Bytes   uint64    `json:"bytes"`
	Batches uint64    `json:"batches"` // or reads
	Gaps    uint64    `json:"gaps"`
	Latency histogram `json:"latency,omitempty"`
	// At is when the tally was taken, but for a process to which nothing came any more
	// when the last came.
	At   time.Time `json:"at"`
	Addr string    `json:"addr,omitempty"` // of a sender or echo: where it listens; in the first answer
	Err  *failure  `json:"error,omitempty"`
}

// RunPeer is the other process: it reads what it is to be, does it, and answers each line with
// its tally, until its input ends.
func RunPeer(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("this command is for lcapcli bench itself")
	}
	var spec peerSpec
	if err := json.Unmarshal(lines.Bytes(), &spec); err != nil {
		return fmt.Errorf("what to be: %w", err)
	}
	answers := json.NewEncoder(out)
	p, err := newPeer(ctx, spec)
	if err != nil {
		return answers.Encode(tally{Err: failureOf(err)}) // who has started us says it
	}
	defer p.close()
	if err := answers.Encode(tally{Addr: p.addr, At: time.Now()}); err != nil {
		return err
	}
	crew := startCrew(p.workers)
	defer crew.end()
	for profiling := (*os.File)(nil); lines.Scan(); {
		now := crew.mark()
		switch {
		case spec.Profile != "" && profiling == nil:
			if profiling, err = os.Create(spec.Profile); err == nil {
				err = pprof.StartCPUProfile(profiling)
			}
		case profiling != nil:
			pprof.StopCPUProfile()
			err = profiling.Close()
			profiling, spec.Profile = nil, ""
		}
		if err != nil {
			now.Err = failureOf(err)
		}
		if err := answers.Encode(now); err != nil {
			return err
		}
	}
	return nil
}

// peer is a process that is ready.
type peer struct {
	addr    string
	workers []worker
	close   func()
}

// worker does its part until ctx ends, and counts. It is called again after each mark.
type worker func(ctx context.Context, t *tally) error

func newPeer(ctx context.Context, spec peerSpec) (*peer, error) {
	switch spec.Role {
	case roleMember:
		return newMember(ctx, spec)
	case roleListener:
		return newListeners(ctx, spec)
	case roleReceiver:
		return newReceivers(spec)
	case roleSender:
		return newSender(spec)
	case roleEcho:
		return newEcho(spec)
	}
	return nil, fmt.Errorf("role %q is unknown", spec.Role)
}

// crew is workers that all pause when a mark is set, so that each owns what it counts.
type crew struct {
	resume []chan context.Context // to each worker
	paused chan tally
	cancel context.CancelFunc
}

// startCrew starts each worker in its own goroutine.
func startCrew(workers []worker) *crew {
	c := &crew{paused: make(chan tally)}
	for _, work := range workers {
		resume := make(chan context.Context, 1)
		c.resume = append(c.resume, resume)
		go c.run(work, resume)
	}
	c.goOn()
	return c
}

// run is the goroutine of a worker.
func (c *crew) run(work worker, resume <-chan context.Context) {
	var t tally
	for ctx := range resume {
		before := t.Records
		err := work(ctx, &t)
		if t.Records == before || err == nil && t.At.IsZero() {
			t.At = time.Now()
		}
		if err != nil && ctx.Err() == nil {
			t.Err = failureOf(err)
			<-ctx.Done() // it has failed, and says so at the mark
		}
		copied := t
		copied.Latency = slices.Clone(t.Latency)
		c.paused <- copied
	}
}

func (c *crew) goOn() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for _, r := range c.resume {
		r <- ctx
	}
}

// mark returns what all workers have counted by now.
func (c *crew) mark() tally {
	all := c.pause()
	c.goOn()
	return all
}

func (c *crew) pause() (all tally) {
	c.cancel()
	for range c.resume {
		t := <-c.paused
		all.Records += t.Records
		all.Bytes += t.Bytes
		all.Batches += t.Batches
		all.Gaps += t.Gaps
		all.Latency.merge(t.Latency)
		if all.Err == nil {
			all.Err = t.Err
		}
		if t.At.After(all.At) {
			all.At = t.At
		}
	}
	if len(c.resume) == 0 {
		all.At = time.Now()
	}
	return all
}

// end ends all workers.
func (c *crew) end() {
	c.pause()
	for _, r := range c.resume {
		close(r)
	}
}

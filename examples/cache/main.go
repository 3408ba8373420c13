// Command cache is a cache of attributes and names in the manner of an NFS server's, to show how
// one lives on lcapd: it listens, drops what others change, and flushes when records are missing.
// Readers ask it for objects that records mention. cache.go has the rules.
//
//	cache [-server ADDR,...] [-job JOBID] [-for 10s]
//
// It prints statistics as JSON lines.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/client"
)

// options are what the program is told.
type options struct {
	server, job, files, dump  string
	readers, limit            int
	think, delay, every, ends time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "tcp://127.0.0.1:8189", "addresses of lcapd, by commas")
	flag.StringVar(&o.job, "job", "", "our own job id: its records drop nothing")
	flag.StringVar(&o.files, "files", "", "a folder that stands for the file system; none: made up")
	flag.StringVar(&o.dump, "dump", "", "where to write what is held at the end")
	flag.IntVar(&o.readers, "readers", 4, "how many ask")
	flag.IntVar(&o.limit, "limit", 100_000, "how many entries are held")
	flag.DurationVar(&o.think, "think", time.Millisecond, "how long a reader waits before it asks again")
	flag.DurationVar(&o.delay, "delay", 100*time.Microsecond, "how long the file system takes to answer")
	flag.DurationVar(&o.every, "every", time.Second, "how often statistics are printed")
	flag.DurationVar(&o.ends, "for", 0, "end after so long; 0 for never")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.ends > 0 {
		ctx, stop = context.WithTimeout(ctx, o.ends)
		defer stop()
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cache:", err)
		os.Exit(1)
	}
}

// loop owns the cache. Everybody else sends it messages.
type loop struct {
	cache    *cache
	places   map[string]uint64 // the last record of each MDT that was shown or missed
	recent   []key             // mentioned by records: what readers ask for
	notices  chan func(*loop)  // from the listener, in order
	requests chan request
	answers  chan answer
	wanted   chan key // for readers
	look     lookup
	running  sync.WaitGroup
}

// request is a question of a reader.
type request struct {
	key key
	to  chan<- value // has room for the answer
}

// answer is the file system's.
type answer struct {
	fill *fill
	v    value
	err  error
}

// mostRecent is how many keys readers have to choose from.
const mostRecent = 1000

// run runs the cache until ctx ends.
func run(ctx context.Context, o options, out io.Writer) error {
	servers := strings.Split(o.server, ",")
	l := &loop{cache: newCache(max(o.limit, 1), servers), places: map[string]uint64{}, notices: make(chan func(*loop)),
		requests: make(chan request), answers: make(chan answer), wanted: make(chan key), look: made()}
	if o.files != "" {
		l.look = stored(o.files)
	}
	l.look = slow(l.look, o.delay)
	ctx, cancel := context.WithCancelCause(ctx)
	for range o.readers {
		l.running.Go(func() { l.read(ctx, o.think) })
	}
	l.running.Go(func() { cancel(l.listen(ctx, servers, o.job)) })
	err := l.serve(ctx, o.every, out)
	cancel(nil)
	l.running.Wait()
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		err = cause
	}
	if err == nil && o.dump != "" {
		err = l.write(o.dump)
	}
	return err
}

// serve is the owner of everything.
func (l *loop) serve(ctx context.Context, every time.Duration, out io.Writer) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		wanted, next := l.suggest()
		select {
		case tell := <-l.notices:
			tell(l)
		case q := <-l.requests:
			if f := l.cache.ask(q.key, q.to); f != nil {
				l.running.Go(func() { l.fill(ctx, f) })
			}
		case a := <-l.answers:
			if a.err != nil {
				return fmt.Errorf("the file system: %w", a.err)
			}
			l.cache.filled(a.fill, a.v)
		case wanted <- next:
		case <-ticker.C:
			if err := l.print(out); err != nil {
				return err
			}
		case <-ctx.Done():
			return l.print(out)
		}
	}
}

// suggest returns what a reader may want, when there is anything.
func (l *loop) suggest() (chan<- key, key) {
	if len(l.recent) == 0 {
		return nil, key{}
	}
	return l.wanted, l.recent[rand.IntN(len(l.recent))]
}

// fill looks up for the cache.
func (l *loop) fill(ctx context.Context, f *fill) {
	v, err := l.look(f.key)
	select {
	case l.answers <- answer{f, v, err}:
	case <-ctx.Done():
	}
}

// read is a client who asks for this and that.
func (l *loop) read(ctx context.Context, think time.Duration) {
	got := make(chan value, 1)
	for {
		var k key
		select {
		case k = <-l.wanted:
		case <-ctx.Done():
			return
		}
		select {
		case l.requests <- request{k, got}:
		case <-ctx.Done():
			return
		}
		select {
		case <-got:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(think):
		case <-ctx.Done():
			return
		}
	}
}

// listen tells the owner what the client says, in the order in which it says so.
func (l *loop) listen(ctx context.Context, servers []string, job string) error {
	tell := func(do func(*loop)) {
		select {
		case l.notices <- do:
		case <-ctx.Done():
		}
	}
	listener, err := client.Listen(ctx, servers, client.Patient(), client.OnEvent(func(e client.Event) {
		tell(func(l *loop) { l.hear(e) })
	}))
	if err != nil {
		return err
	}
	defer listener.Close()
	for {
		b, gap, err := listener.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case gap != nil:
			tell(func(l *loop) { l.miss(gap) })
		default:
			done := make(chan struct{})
			tell(func(l *loop) { l.take(b, job); close(done) })
			select {
			case <-done:
			case <-ctx.Done():
				return nil // the owner may still read the batch
			}
			b.Release()
		}
	}
}

// hear takes an event.
func (l *loop) hear(e client.Event) {
	switch e := e.(type) {
	case client.Connected:
		l.cache.connected(e.Addr)
		for _, p := range e.Places {
			if _, known := l.places[p.MDT]; !known { // else a gap tells what is between
				l.places[p.MDT] = p.Index
			}
		}
	case client.Disconnected:
		l.cache.disconnected(e.Addr)
	}
}

// miss takes a gap.
func (l *loop) miss(g *client.Gap) {
	l.cache.stats.Gaps++
	l.cache.flush()
	l.places[g.MDT] = max(l.places[g.MDT], g.To)
}

// take takes records.
func (l *loop) take(b *client.Batch, job string) {
	for r := range b.Records() {
		l.cache.stats.Records++
		keys := keysOf(r)
		l.mention(keys)
		if isOwn(r, job) {
			l.cache.stats.Own++
			continue
		}
		for _, k := range keys {
			l.cache.drop(k)
		}
	}
	if !b.Late {
		l.places[b.MDT] = b.To
	}
}

// mention notes what readers may ask for.
func (l *loop) mention(keys []key) {
	for _, k := range keys {
		switch {
		case k.fid.IsZero():
		case len(l.recent) < mostRecent:
			l.recent = append(l.recent, k)
		default:
			l.recent[rand.IntN(mostRecent)] = k
		}
	}
}

// print prints statistics.
func (l *loop) print(out io.Writer) error {
	return json.NewEncoder(out).Encode(struct {
		Trusted bool              `json:"trusted"`
		Entries int               `json:"entries"`
		Places  map[string]uint64 `json:"places"`
		stats
	}{l.cache.isTrusted(), len(l.cache.entries), l.places, l.cache.stats})
}

// write writes what is held to a file: FID, name, whether it is missing, size, FID of the name.
func (l *loop) write(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for k, v := range l.cache.entries {
		fmt.Fprintf(w, "%s\t%q\t%t\t%d\t%s\n", k.fid, k.name, v.missing, v.size, v.fid)
	}
	return errors.Join(w.Flush(), f.Close())
}

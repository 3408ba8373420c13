package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

var (
	backlogRecords = flag.Int("backlog.records", 400_000, "records of all changelogs of TestBacklog together; with CI=true 2,000,000")
	backlogPairs   = flag.Int("backlog.pairs", 1, "how often TestBacklog runs with and without a group that stands still")
	backlogRatio   = flag.Float64("backlog.ratio", 0.5, "what rate the others must keep; of a few noisy runs this says little")
)

const (
	backlogMDTs   = 4
	backlogMemory = 256 << 20
)

// TestBacklog has a group stand still while others read everything that there is: the others
// keep their rate, lcapd its memory, and the group that stood still gets exactly what there
// was, once. With and without that group in turns.
func TestBacklog(t *testing.T) {
	records := *backlogRecords
	if os.Getenv("CI") == "true" && records == 400_000 {
		records = 2_000_000
	}
	b := &backlog{t: t, bin: buildPrograms(t), dir: t.TempDir(), each: uint64(records / backlogMDTs)}
	b.fill()
	var ratios []float64
	for pair := range *backlogPairs {
		var took [2]time.Duration
		for i := range took {
			still := (pair+i)%2 == 1
			took[b2i(still)] = b.run(still)
		}
		ratios = append(ratios, took[0].Seconds()/took[1].Seconds())
		t.Logf("%d records: %.2f s alone, %.2f s beside a group that stands still: ratio %.2f; %d MiB of anonymous memory at most",
			records, took[0].Seconds(), took[1].Seconds(), ratios[pair], b.peak>>20)
	}
	slices.Sort(ratios)
	if median := ratios[len(ratios)/2]; median < *backlogRatio {
		t.Errorf("the others kept %.2f of their rate, not %.2f", median, *backlogRatio)
	}
	if b.peak > backlogMemory+64<<20 {
		t.Errorf("lcapd had %d MiB of anonymous memory", b.peak>>20)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// backlog is what there is to read: changelogs, kept by a user who never clears.
type backlog struct {
	t        *testing.T
	bin, dir string
	each     uint64 // records in each changelog
	logs     []*llog.Log
	peak     int64
}

func (b *backlog) fill() {
	for i := range backlogMDTs {
		name := fmt.Sprintf("home-MDT%04x", i)
		log, err := llog.Create(filepath.Join(b.dir, name), name)
		must(b.t, err)
		_, err = log.Register(b.t.Context(), "keeper", 0)
		must(b.t, err)
		a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
		must(b.t, err)
		_, err = upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1, MDT: uint16(i)}).Produce(b.t.Context(), a, upstream.Pace{Records: b.each})
		must(b.t, err)
		must(b.t, a.Close())
		b.logs = append(b.logs, log)
	}
}

// run has two groups and a listener read everything, and then, if it stood still beside
// them, a third one. It returns how long the two took.
func (b *backlog) run(still bool) time.Duration {
	h := newHome(b.t, b.bin)
	var mdts []string
	for _, log := range b.logs {
		user, err := log.Register(b.t.Context(), "", 0)
		must(b.t, err)
		defer func() { must(b.t, log.Deregister(context.Background(), user.ID)) }()
		mdts = append(mdts, fmt.Sprintf("{mdt: %s, driver: llog, path: %s, user: %s}", log.MDT(), log.Dir(), user.ID))
	}
	h.set("memory", fmt.Sprint(backlogMemory))
	h.set("upstream", "["+strings.Join(mdts, ", ")+"]")
	// The changelogs were registered with after their records were made: earliest is the start.
	h.set("groups", map[bool]string{false: "[{name: a}, {name: b}]", true: "[{name: a}, {name: b}, {name: still}]"}[still])
	h.init()
	r := h.start()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Minute)
	defer cancel()
	listening, stopListening := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { b.listen(listening, r.addresses[0]) })
	done := make(chan struct{})
	others.Go(func() { b.watch(r, done) })
	begin := time.Now()
	var members sync.WaitGroup
	for _, group := range []string{"a", "b"} {
		members.Go(func() { b.readAll(ctx, r.addresses[0], group) })
	}
	members.Wait()
	took := time.Since(begin)
	stopListening()
	if still {
		b.readAll(ctx, r.addresses[0], "still")
	}
	close(done)
	others.Wait()
	r.terminate()
	return took
}

// watch notes the most memory that lcapd has until done.
func (b *backlog) watch(r *running, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
			b.peak = max(b.peak, r.memory())
		}
	}
}

// readAll is the only member of a group. It demands that each changelog comes whole, in
// order, and once.
func (b *backlog) readAll(ctx context.Context, addr, group string) {
	m, err := client.Join(ctx, []string{addr}, group)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer m.Close()
	next := make(map[string]uint64)
	for whole := 0; whole < backlogMDTs; {
		batch, err := m.Next(ctx)
		if err != nil {
			b.t.Errorf("group %s: after %v: %v", group, next, err)
			return
		}
		for r := range batch.Records() {
			next[batch.MDT]++
			if r.Index() != next[batch.MDT] {
				b.t.Errorf("group %s: %s came with %d instead of %d (delivery %d)", group, batch.MDT, r.Index(), next[batch.MDT], batch.Delivery)
				return
			}
		}
		if next[batch.MDT] == b.each {
			whole++
		}
		if err := m.Ack(batch); err != nil {
			b.t.Errorf("group %s: %v", group, err)
			return
		}
	}
}

func (b *backlog) listen(ctx context.Context, addr string) {
	l, err := client.Listen(ctx, []string{addr})
	if err != nil {
		b.t.Error(err)
		return
	}
	defer l.Close()
	for {
		batch, _, err := l.Next(ctx)
		if errors.Is(err, context.Canceled) {
			return
		}
		if err != nil {
			b.t.Error(err)
			return
		}
		if batch != nil {
			batch.Release()
		}
	}
}

package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

var (
	clusterRecords = flag.Int("cluster.records", 30_000, "records in each changelog of TestCluster")
	clusterKills   = flag.Int("cluster.kills", 30, "how many processes TestCluster kills")
	clusterSeed    = flag.Uint64("cluster.seed", uint64(time.Now().UnixNano()), "what TestCluster does when")
)

// clusterMDTs is how many changelogs TestCluster has.
const clusterMDTs = 4

// clusterMemory is the limit that lcapd is given there, in bytes.
const clusterMemory = 64 << 20

// TestCluster runs lcapd, members in Go and Python and a listener as processes over local
// changelogs, kills all of them at random, and compares ledgers: what each group did is
// what the changelogs held, and all of it is cleared in the end.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	c.startAll()
	for range *clusterKills {
		time.Sleep(time.Duration(c.rng.IntN(200)) * time.Millisecond)
		name := c.names[c.rng.IntN(len(c.names))]
		c.kill(name)
		c.start(name)
	}
	c.growing.Wait()
	c.waitUntilCleared()
	c.stop()
	c.compareLedgers()
	c.compareListener()
	if limit := int64(clusterMemory + 64<<20); c.peak > limit {
		t.Errorf("lcapd had %d MiB of anonymous memory, the limit and what is granted besides are %d MiB", c.peak>>20, limit>>20)
	}
	t.Logf("%d kills; %d records twice; lcapd had %d MiB of anonymous memory at most", *clusterKills, c.twice, c.peak>>20)
}

// cluster is an lcapd with everything around it, and its changelogs.
type cluster struct {
	*processes
	rng     *rand.Rand
	logs    []*llog.Log
	growing sync.WaitGroup // the changelogs, while lcapd reads them
	twice   int
}

func newCluster(t *testing.T) *cluster {
	t.Logf("again with -cluster.seed %d, as far as real processes allow", *clusterSeed)
	c := &cluster{
		processes: newProcesses(t, "lcapd", "fid-go1", "fid-go2", "fid-python", "turns-go1", "turns-go2", "turns-python", "listener"),
		rng:       rand.New(rand.NewPCG(*clusterSeed, 1)),
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "listen: [{addr: %q, allow: [listen, consume, operate]}]\nhttp: ''\nstate: %s/state\nmemory: %d\nheartbeat: 1s\nlease: 5s\nlog: {level: warn}\n", c.addr, c.dir, clusterMemory)
	fmt.Fprintf(&conf, "groups: [{name: fid, distribution: fid}, {name: turns}]\nupstream:\n")
	for i := range clusterMDTs {
		name := fmt.Sprintf("local-MDT%04x", i)
		c.logs = append(c.logs, c.fill(name, i))
		fmt.Fprintf(&conf, "  - {mdt: %s, driver: llog, path: %s/%s, user: cl1}\n", name, c.dir, name)
	}
	c.init(conf.String())
	return c
}

// fill makes a changelog with half of a workload's records; the others come while lcapd
// reads.
func (c *cluster) fill(name string, number int) *llog.Log {
	log, err := llog.Create(filepath.Join(c.dir, name), name)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := log.Register(context.Background(), "lcapd", 0); err != nil {
		c.t.Fatal(err)
	}
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		c.t.Fatal(err)
	}
	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1, MDT: uint16(number)})
	half := uint64(*clusterRecords) / 2
	if _, err := w.Produce(context.Background(), a, upstream.Pace{Records: half}); err != nil {
		c.t.Fatal(err)
	}
	c.growing.Go(func() {
		rest := uint64(*clusterRecords) - half
		_, err := w.Produce(c.t.Context(), a, upstream.Pace{Records: rest, Rate: int(rest)/4 + 1})
		if err := errors.Join(err, a.Close()); err != nil {
			c.t.Error(err)
		}
	})
	return log
}

// waitUntilCleared waits until every changelog is cleared to its end.
func (c *cluster) waitUntilCleared() {
	const patience = 3 * time.Minute // a failure bound, not a measure
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		c.look()
		left := slices.DeleteFunc(slices.Clone(c.logs), func(log *llog.Log) bool {
			info, err := log.Info()
			return err == nil && info.Users[0].Cleared == info.Current
		})
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			c.describe()
			c.t.Fatalf("%d changelogs are not cleared", len(left))
		}
	}
}

// describe shows what the processes wrote and where the changelogs are, for failures.
func (c *cluster) describe() {
	c.processes.describe()
	for _, log := range c.logs {
		info, err := log.Info()
		c.t.Logf("%s: last %d, users %+v, %v", info.MDT, info.Current, info.Users, err)
	}
}

// done returns what a group did, by MDT.
func (c *cluster) done(group string) map[string][]bool {
	seen := make(map[string][]bool)
	for i := range clusterMDTs {
		seen[fmt.Sprintf("local-MDT%04x", i)] = make([]bool, *clusterRecords+1)
	}
	for e := range c.entries(group) {
		if seen[e.MDT][e.Index] {
			c.twice++
		}
		seen[e.MDT][e.Index] = true
	}
	return seen
}

// compareLedgers demands that each group did everything.
func (c *cluster) compareLedgers() {
	for _, group := range []string{"fid", "turns"} {
		for mdt, seen := range c.done(group) {
			missing := 0
			for _, did := range seen[1:] {
				if !did {
					missing++
				}
			}
			if missing > 0 {
				c.describe()
				c.t.Errorf("group %s: %d of the %d records of %s are in no ledger, and they were cleared", group, missing, *clusterRecords, mdt)
			}
		}
	}
}

// compareListener demands that nothing is missing silently in any life of the listener.
func (c *cluster) compareListener() {
	ranges, gaps := c.checkListener("listener", nil)
	if ranges == 0 {
		c.t.Error("the listener was shown nothing")
	}
	c.t.Logf("the listener had %d ranges, %d of them gaps", ranges, gaps)
}

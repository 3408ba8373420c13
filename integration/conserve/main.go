// Command conserve runs the broker's real loop, without sockets, over local
// changelogs, with members that are killed and come back, and keeps account: what
// each group acknowledged must be what the changelogs held, and nothing may be
// cleared that some group had not acknowledged. It prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/llog"
)

// options are what the program is told.
type options struct {
	dir     string
	mdts    int
	records int // in each changelog
	members int // of each group
	kills   int // of members, in all
	memory  int64
	seed    uint64
}

// report is what the program prints.
type report struct {
	Records     int     `json:"records"` // of all changelogs
	Seconds     float64 `json:"seconds"` // from the start of the broker to the last clear
	PerSecond   float64 `json:"records_per_second"`
	Delivered   int     `json:"delivered"` // to all groups, with repeats
	Kills       int     `json:"kills"`
	PeakAnonMiB int64   `json:"peak_anon_mib"`
	LimitMiB    int64   `json:"limit_mib"`
	Missing     int     `json:"missing"`      // records that some group did not acknowledge
	EarlyClears int     `json:"early_clears"` // clears of what some group had not acknowledged
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "an empty folder to work in")
	flag.IntVar(&o.mdts, "mdts", 4, "how many changelogs")
	flag.IntVar(&o.records, "records", 1_000_000, "records in each")
	flag.IntVar(&o.members, "members", 3, "members of each group")
	flag.IntVar(&o.kills, "kills", 40, "how many members are killed")
	flag.Int64Var(&o.memory, "memory", 256<<20, "the broker's memory limit, in bytes")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of what is random")
	flag.Parse()
	r, err := run(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conserve:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil || r.Missing+r.EarlyClears > 0 {
		os.Exit(1)
	}
}

// groupSpecs are the groups: one whose distribution keeps an order, and one that does not.
var groupSpecs = []broker.GroupSpec{
	{Name: "by-fid", Distribution: groups.ByFID, Start: core.Earliest},
	{Name: "in-turn", Distribution: groups.RoundRobin, Start: core.Earliest},
}

func run(ctx context.Context, o options) (report, error) {
	debug.SetMemoryLimit(o.memory + 32<<20)
	account := newLedger(o)
	defer account.close()
	mdts, err := makeLogs(ctx, o, account)
	if err != nil {
		return report{}, err
	}
	store, err := openStore(o, mdts)
	if err != nil {
		return report{}, err
	}
	defer store.Close()
	limits := core.DefaultConfig
	limits.Memory, limits.ClearEvery, limits.HoleDelay = o.memory, 100*time.Millisecond, 100*time.Millisecond
	b := broker.New(broker.Options{Limits: limits, MDTs: mdts, Groups: groups.Config{InFlight: 16 << 20}, Store: store, Log: zerolog.New(os.Stderr)})
	brokerCtx, stop := context.WithCancel(ctx)
	var started sync.WaitGroup
	ended := make(chan error, 1)
	started.Go(func() { ended <- b.Run(brokerCtx) })
	began := time.Now()
	for _, g := range groupSpecs {
		if err := b.CreateGroup(ctx, g); err != nil {
			stop()
			return report{}, err
		}
	}
	memberCtx, stopMembers := context.WithCancel(ctx)
	for i, g := range groupSpecs {
		for n := range o.members {
			w := &worker{b: b, group: g.Name, number: i, name: fmt.Sprintf("m%d", n), account: account,
				rng: rand.New(rand.NewPCG(o.seed, uint64(i*100+n))), kills: o.kills / len(groupSpecs) / o.members, total: o.mdts * o.records}
			started.Go(func() { w.run(memberCtx) })
		}
	}
	r := account.wait(o, mdts)
	r.Seconds = time.Since(began).Seconds()
	r.PerSecond = float64(r.Records) / r.Seconds
	stopMembers()
	stop()
	started.Wait()
	return r, <-ended
}

// makeLogs makes the changelogs, each full of records.
func makeLogs(ctx context.Context, o options, account *ledger) ([]broker.MDT, error) {
	var mdts []broker.MDT
	for i := range o.mdts {
		name := fmt.Sprintf("local-MDT%04x", i)
		log, err := llog.Create(filepath.Join(o.dir, name), name)
		if err != nil {
			return nil, err
		}
		user, err := log.Register(ctx, "lcapd", 0)
		if err != nil {
			return nil, err
		}
		if err := fill(ctx, log, o.records, i); err != nil {
			return nil, err
		}
		mdts = append(mdts, broker.MDT{Name: name, User: "cl1", Source: &source{log: log, user: user.ID, mdt: i, account: account}})
	}
	return mdts, nil
}

// fill appends made-up records about some thousands of files.
func fill(ctx context.Context, log *llog.Log, n, mdt int) error {
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		return err
	}
	batch := make([]byte, 0, 1<<20)
	for i := range n {
		f := changelog.Fields{
			Type: changelog.TypeClose, Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID},
			Time: changelog.TimeOf(time.Unix(1_800_000_000, int64(i))), JobID: "conserve.0",
			Target: changelog.FID{Seq: 0x200000400 + uint64(mdt), Oid: uint32(i % 5000)}, Index: uint64(i + 1),
		}
		if i%50 == 0 { // a rename over another file: a barrier
			f.Type, f.Format.Flags = changelog.TypeRenme, changelog.FlagRename|changelog.FlagJobID
			f.Source, f.Name, f.SourceName = changelog.FID{Seq: 0x200000400, Oid: uint32(i * 7 % 5000)}, "to", "from"
		}
		if batch, err = f.Append(batch); err != nil {
			return err
		}
		if len(batch) > 1<<20-1024 || i == n-1 {
			if _, err := a.Append(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return a.Close()
}

func openStore(o options, mdts []broker.MDT) (*state.Store, error) {
	id := state.Identity{FileSystem: "local"}
	for _, m := range mdts {
		id.Upstream = append(id.Upstream, state.Upstream{MDT: m.Name, User: "cl1"})
	}
	dir := filepath.Join(o.dir, "state")
	if err := state.Init(dir, id); err != nil {
		return nil, err
	}
	return state.Open(dir)
}

// source is a local changelog as the broker's upstream. It has every clear checked.
type source struct {
	log     *llog.Log
	user    llog.UserID
	mdt     int
	account *ledger
}

func (s *source) Open(_ context.Context, start uint64) (broker.Reader, error) {
	return s.log.NewReader(start, nil)
}

func (s *source) ClearIf(ctx context.Context, index uint64, isSame func() error) error {
	if err := isSame(); err != nil {
		return err
	}
	s.account.checkClear(s.mdt, index)
	return s.log.Clear(ctx, s.user, index)
}

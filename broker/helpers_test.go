package broker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/llog"
)

// patience is how long a test waits for what must happen: it only ends what hangs.
const patience = 60 * time.Second

// site is a broker over local changelogs, as a test uses it.
type site struct {
	t    *testing.T
	ctx  context.Context
	dir  string
	opts Options
	logs map[string]*testLog

	b     *Broker
	store *state.Store
	stop  context.CancelFunc
	ended chan error
}

// testLog is a local changelog. As an upstream it is opened anew each time, so it may
// be another log by then.
type testLog struct {
	t    *testing.T
	dir  string
	name string
	user llog.UserID
}

var firstMDT, secondMDT = "local-MDT0000", "local-MDT0001"

// quick are limits for tests: nothing waits long.
func quick() core.Config {
	c := core.DefaultConfig
	c.Memory, c.Pinned = 64<<20, 16<<20
	c.PersistEvery, c.ClearEvery = 5*time.Millisecond, 5*time.Millisecond
	c.HoleDelay, c.RetryAfter = 50*time.Millisecond, 50*time.Millisecond
	return c
}

// newSite makes a broker with a changelog for each MDT named, and starts it.
func newSite(t *testing.T, mdts ...string) *site {
	return newSiteWith(t, nil, mdts...)
}

// newSiteWith is newSite with other options.
func newSiteWith(t *testing.T, change func(*Options), mdts ...string) *site {
	t.Helper()
	if len(mdts) == 0 {
		mdts = []string{firstMDT}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &site{t: t, ctx: ctx, dir: t.TempDir(), logs: make(map[string]*testLog)}
	s.opts = Options{Limits: quick(), Groups: groups.Config{InFlight: 16 << 20, Lease: time.Hour}, Log: zerolog.New(zerolog.NewTestWriter(t)), RecogniseEvery: time.Hour, CreateGroups: true}
	id := state.Identity{FileSystem: "local"}
	for _, name := range mdts {
		x := &testLog{t: t, dir: filepath.Join(s.dir, name), name: name}
		x.create()
		s.logs[name] = x
		s.opts.MDTs = append(s.opts.MDTs, MDT{Name: name, User: "cl1", Source: x})
		id.Upstream = append(id.Upstream, state.Upstream{MDT: name, User: "cl1"})
	}
	if change != nil {
		change(&s.opts)
	}
	must(t, state.Init(s.stateDir(), id))
	s.start()
	t.Cleanup(func() {
		if s.b != nil {
			s.end()
		}
	})
	return s
}

func (s *site) stateDir() string { return filepath.Join(s.dir, "state") }

// start starts a broker with the state that there is.
func (s *site) start() {
	s.t.Helper()
	store, err := state.Open(s.stateDir())
	must(s.t, err)
	s.store, s.opts.Store = store, store
	s.b = New(s.opts)
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.ended = stop, make(chan error, 1)
	go func(b *Broker, ended chan<- error) { ended <- b.Run(ctx) }(s.b, s.ended)
}

// end stops the broker in an orderly way.
func (s *site) end() {
	s.t.Helper()
	s.stop()
	must(s.t, <-s.ended)
	must(s.t, s.store.Close())
	s.b = nil
}

func (s *site) restart() {
	s.t.Helper()
	s.end()
	s.start()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// eventually waits until something is so.
func (s *site) eventually(what string, isSo func() bool) {
	s.t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !isSo() {
		select {
		case <-look.C:
		case <-s.ctx.Done():
			stacks := make([]byte, 1<<16)
			s.t.Fatalf("waited too long for: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// create makes the log, with a user who keeps its records.
func (x *testLog) create() {
	x.t.Helper()
	log, err := llog.Create(x.dir, x.name)
	must(x.t, err)
	u, err := log.Register(x.t.Context(), "lcapd", 0)
	must(x.t, err)
	x.user = u.ID
}

// rewrite replaces the log by one with these records, at once: nobody sees it without some of them.
func (x *testLog) rewrite(records ...changelog.Fields) {
	x.t.Helper()
	fresh, old := *x, x.dir+".old"
	fresh.dir = x.dir + ".new"
	fresh.create()
	fresh.append(records...)
	must(x.t, unix.Renameat2(unix.AT_FDCWD, fresh.dir, unix.AT_FDCWD, x.dir, unix.RENAME_EXCHANGE))
	x.user = fresh.user
	must(x.t, os.RemoveAll(old))
	must(x.t, os.Rename(fresh.dir, old))
}

func (x *testLog) log() *llog.Log {
	x.t.Helper()
	log, err := llog.Open(x.dir)
	must(x.t, err)
	return log
}

// made are records with the indexes from first to last, about some files, that come one
// a second from the year 2027 on.
func made(first, last uint64) (list []changelog.Fields) {
	for i := first; i <= last; i++ {
		f := changelog.Fields{
			Type: changelog.TypeClose, Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID},
			Time: changelog.TimeOf(time.Unix(1_800_000_000+int64(i), 0)), JobID: "test.0",
			Target: changelog.FID{Seq: 0x200000400, Oid: uint32(i % 50)}, Index: i,
		}
		if i%40 == 0 { // a rename over another file
			f.Type, f.Format.Flags = changelog.TypeRenme, changelog.FlagVersion|changelog.FlagRename|changelog.FlagJobID
			f.Source, f.Name, f.SourceName = changelog.FID{Seq: 0x200000400, Oid: uint32(i * 7 % 50)}, "to", "from"
		}
		list = append(list, f)
	}
	return list
}

func (x *testLog) append(records ...changelog.Fields) {
	x.t.Helper()
	a, err := x.log().NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	must(x.t, err)
	var packed []byte
	for i, f := range records {
		packed, err = f.Append(packed)
		must(x.t, err)
		if len(packed) > 1<<19 || i == len(records)-1 {
			_, err = a.Append(x.t.Context(), packed)
			must(x.t, err)
			packed = packed[:0]
		}
	}
	must(x.t, a.Close())
}

// grow appends records up to an index.
func (x *testLog) grow(last uint64) {
	x.t.Helper()
	info, err := x.log().Info()
	must(x.t, err)
	x.append(made(info.Current+1, last)...)
}

// cleared is up to where the broker cleared the log.
func (x *testLog) cleared() uint64 {
	info, err := x.log().Info()
	must(x.t, err)
	return info.Users[0].Cleared
}

// Open implements [Source].
func (x *testLog) Open(_ context.Context, start uint64) (Reader, error) {
	log, err := llog.Open(x.dir)
	if err != nil {
		return nil, err
	}
	return log.NewReader(start, nil)
}

// ClearIf implements [Source].
func (x *testLog) ClearIf(ctx context.Context, index uint64, isSame func() error) error {
	log, err := llog.Open(x.dir)
	if err != nil {
		return err
	}
	if err := isSame(); err != nil {
		return err
	}
	return log.Clear(ctx, x.user, index)
}

// someone is a member with an inbox.
type someone struct {
	*site
	m     *Member
	inbox *Inbox
}

// group makes a group that starts at the earliest record.
func (s *site) group(name string, d groups.Distribution, mdts ...string) {
	s.t.Helper()
	must(s.t, s.b.CreateGroup(s.ctx, GroupSpec{Name: name, Distribution: d, Start: core.Earliest, MDTs: mdts}))
}

// join makes a member, whose name is its session too, and gives it credit.
func (s *site) join(group, name string, credit int) *someone {
	s.t.Helper()
	x := &someone{site: s, inbox: s.b.NewInbox()}
	m, err := s.b.Join(s.ctx, JoinOptions{Group: group, Name: name, Session: name}, x.inbox)
	must(s.t, err)
	x.m = m
	x.credit(credit)
	return x
}

func (x *someone) credit(n int) {
	x.t.Helper()
	if n > 0 {
		must(x.t, x.m.Credit(x.ctx, n, 16<<20))
	}
}

// next returns the next delivery. That an ack came too late is no failure.
func (x *someone) next() *Delivery {
	x.t.Helper()
	d, err := x.inbox.Next(x.ctx)
	for errors.Is(err, groups.ErrLeaseLost) {
		d, err = x.inbox.Next(x.ctx)
	}
	must(x.t, err)
	return d
}

func (x *someone) ack(d *Delivery) {
	x.t.Helper()
	must(x.t, x.m.Ack(x.ctx, d.Lease, d.Last))
}

// take takes deliveries, and acknowledges them, until it had so many records. It
// returns their indexes.
func (x *someone) take(records int) (indexes []uint64) {
	x.t.Helper()
	for len(indexes) < records {
		d := x.next()
		indexes = append(indexes, indexesOf(d.Records)...)
		x.ack(d)
		must(x.t, x.m.Credit(x.ctx, 1, int64(len(d.Records))))
	}
	return indexes
}

func indexesOf(records []byte) (list []uint64) {
	for scan := changelog.NewScanner(records); scan.Scan(); {
		list = append(list, scan.Record().Index())
	}
	return list
}

// wantRange demands the indexes from first to last, in order.
func wantRange(t *testing.T, got []uint64, first, last uint64) {
	t.Helper()
	want := first
	for _, i := range got {
		if i != want {
			t.Fatalf("got %d, want %d, of %v", i, want, got)
		}
		want++
	}
	if want != last+1 {
		t.Fatalf("got up to %d, want up to %d", want-1, last)
	}
}

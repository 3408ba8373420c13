package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/modules/moduletest"
	"github.com/lcapd/lcapd/wire"
)

var (
	sharesAge    = flag.Duration("shares.age", 2*time.Second, "how long the windows of TestSharesOfATree are")
	sharesImport = flag.String("shares.import", "errors", "which package of Go's library it builds; net/http is much work")
)

// TestSharesOfATree has two groups follow a directory tree in which a source tree is unpacked, a program is
// built with an empty cache, and most of it removed: one gets every record, the other one what
// coalesce and cancel leave. Who reads what changed from the file system comes to the same with
// both; the modules account for each record; and they save something.
func TestSharesOfATree(t *testing.T) {
	w := newWatchSite(t)
	w.start("lcapd")
	bounds := fmt.Sprintf("{age: %s, records: 1000000, bytes: 200MiB}", *sharesAge)
	w.cli("groups", "create", "plain", "--start", "earliest", "--distribution", "mdt")
	w.cli("groups", "create", "lean", "--start", "earliest", "--distribution", "mdt", "--consumers", "state", "--modules", "[{coalesce: "+bounds+"}, {cancel: "+bounds+"}]")
	plain, lean := &follower{group: "plain"}, &follower{group: "lean"}
	ctx, stop := context.WithCancel(context.Background())
	var joined sync.WaitGroup
	for _, f := range []*follower{plain, lean} {
		joined.Go(func() { f.run(ctx, w.addr) })
	}
	end := sync.OnceFunc(func() { stop(); joined.Wait() })
	t.Cleanup(end)

	began := time.Now()
	w.work("tar xf ../src.tar",
		`mkdir -p b/tmp && printf 'package main\n\nimport _ "`+*sharesImport+`"\n\nfunc main() { println("built") }\n' > b/main.go`,
		"GOCACHE=$PWD/b/cache GOTMPDIR=$PWD/b/tmp GOFLAGS= go build -o b/program b/main.go && b/program",
		"rm -r src/net src/go src/os src/runtime b/cache",
		"for i in 1 2 3 4 5; do echo x > short$i; rm short$i; done") // however slow the machine
	t.Logf("the work took %.1f s", time.Since(began).Seconds())
	last := w.waitUntilAcknowledged()
	var stats []wire.ModuleStatus
	if err := json.Unmarshal(w.cli("-o", "json", "modules", "lean"), &stats); err != nil || len(stats) != 2 {
		t.Fatalf("%+v, %v", stats, err)
	}
	end()
	checkShares(t, stats, plain, lean, last)
}

func (w *watchSite) cli(args ...string) []byte {
	w.Helper()
	out, err := exec.Command(w.dir+"/lcapcli", append([]string{"-s", w.addr}, args...)...).CombinedOutput()
	if err != nil {
		w.Fatalf("lcapcli %v: %v\n%s", args, err, out)
	}
	return out
}

// follower is the only member of a group, with what it was handed.
type follower struct {
	group   string
	records []changelog.Record
	err     error
}

func (f *follower) run(ctx context.Context, addr string) {
	m, err := client.Join(ctx, []string{addr}, f.group, client.Name(f.group), client.Patient())
	if err != nil {
		f.err = err
		return
	}
	defer m.Close()
	for {
		b, err := m.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				f.err = err
			}
			return
		}
		for r := range b.Records() {
			f.records = append(f.records, r.Clone())
		}
		if f.err = m.Ack(b); f.err != nil {
			return
		}
	}
}

// checkShares compares what modules say with what two groups got, and what that leads to.
func checkShares(t *testing.T, stats []wire.ModuleStatus, plain, lean *follower, last uint64) {
	t.Helper()
	in := uint64(len(plain.records))
	if plain.err != nil || lean.err != nil || in != last {
		t.Fatalf("plain got %d of %d records: %v; lean: %v", in, last, plain.err, lean.err)
	}
	given, text := in, ""
	for _, m := range stats {
		dropped := uint64(0)
		for _, d := range m.Dropped {
			dropped += d.Records
		}
		if m.In != given || m.Held != 0 || m.In != m.Kept+dropped {
			t.Errorf("of %d records %s was given %d, has kept %d, dropped %d and holds %d", given, m.Module, m.In, m.Kept, dropped, m.Held)
		}
		text += fmt.Sprintf("%s drops %.1f %%, ", m.Module, 100*float64(dropped)/float64(in))
		given = m.Kept
	}
	left := uint64(len(lean.records))
	if left != given || left >= in {
		t.Errorf("lean got %d of %d records, the modules have kept %d", left, in, given)
	}
	all, few := moduletest.NewConsumer(), moduletest.NewConsumer()
	for _, r := range plain.records {
		all.Apply(int(r.Index()), r)
	}
	for _, r := range lean.records {
		few.Apply(int(r.Index()), r)
	}
	if d := all.Difference(few, moduletest.States{Read: true, Parents: true}); d != "" {
		t.Errorf("plain and lean come to different ends: %s", d)
	}
	t.Logf("%d records, windows of %s: %s%.1f %% are left", in, *sharesAge, text, 100*float64(left)/float64(in))
}

package integration

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/watch"
)

// TestWatch runs lcapd on a directory tree while ordinary programs work in it, with a
// group of three members, a slow one of one member and a listener. A member and lcapd
// itself are killed on the way. In the end each group has acknowledged the whole
// changelog, which tells what is in the tree.
func TestWatch(t *testing.T) {
	w := newWatchSite(t)
	w.start("lcapd")
	w.createGroups()
	for _, name := range []string{"m1", "m2", "m3", "listener"} {
		w.start(name)
	}
	slow := &slowMember{records: map[uint64]changelog.Record{}}
	ctx, stop := context.WithCancel(context.Background())
	var joined sync.WaitGroup
	joined.Go(func() { slow.run(ctx, w.addr) })
	t.Cleanup(func() { stop(); joined.Wait() })

	w.work("tar xf ../src.tar", "cp -al src/net linked", "mv src/go moved")
	w.kill("m2")
	w.start("m2")
	w.work("find src/net -name '*.go' -exec sed -i s/package/PACKAGE/ {} +", "rm -r src/os")
	w.kill("lcapd")
	w.work("mv moved src/net", "find linked -name '*_test.go' -delete; mkdir away; mv src/encoding away") // nobody watches
	w.start("lcapd")
	w.work("rm -r src/runtime", "mv away ..", "mv ../away back", "ln -s src link")

	last := w.waitUntilAcknowledged()
	w.stop()
	stop()
	joined.Wait()
	w.compareLedgers(last)
	w.compareTree(slow, last)
}

// watchSite is an lcapd that watches, and what is around it.
type watchSite struct {
	*testing.T
	dir, addr string
	running   map[string]*exec.Cmd
}

func newWatchSite(t *testing.T) *watchSite {
	w := &watchSite{T: t, dir: t.TempDir(), running: map[string]*exec.Cmd{}}
	w.addr = "ipc://" + w.dir + "/sock"
	if err := os.Mkdir(w.dir+"/tree", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := watch.Check(w.dir + "/tree"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if out, err := exec.Command("go", "build", "-o", w.dir+"/", "../cmd/...", "./member").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	pack := exec.Command("tar", "cf", w.dir+"/src.tar", "src/net", "src/go", "src/encoding", "src/os", "src/runtime")
	pack.Dir = strings.TrimSpace(string(root))
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		for name := range w.running {
			w.kill(name)
		}
		if t.Failed() {
			text, _ := os.ReadFile(w.dir + "/lcapd.log")
			t.Logf("lcapd:\n%s", text)
		}
	})
	return w
}

func (w *watchSite) start(name string) {
	var p *exec.Cmd
	switch name {
	case "lcapd":
		p = exec.Command(w.dir+"/lcapd", "--watch", w.dir+"/tree", "--state", w.dir+"/state", "--listen", w.addr)
	case "listener":
		p = exec.Command(w.dir+"/member", "-servers", w.addr, "-name", name, "-ledger", w.dir+"/listener.ledger")
	default:
		p = exec.Command(w.dir+"/member", "-servers", w.addr, "-group", "three", "-name", name, "-ledger", w.dir+"/"+name+".ledger")
	}
	log, err := os.OpenFile(w.dir+"/"+name+".log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		w.Fatal(err)
	}
	defer log.Close()
	p.Stderr = log
	if err := p.Start(); err != nil {
		w.Fatal(err)
	}
	w.running[name] = p
	if name == "lcapd" {
		w.waitForLog("the tree was read")
	}
}

// waitForLog waits until the lcapd that runs says something.
func (w *watchSite) waitForLog(says string) {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(w.dir + "/lcapd.log")
		_, text, _ = bytes.Cut(text, []byte("lcapd watches"))
		if i := bytes.LastIndex(text, []byte("lcapd watches")); i >= 0 {
			text = text[i:]
		}
		if bytes.Contains(text, []byte(says)) {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("lcapd does not say %q", says)
		}
	}
}

func (w *watchSite) kill(name string) {
	_ = w.running[name].Process.Kill() // it may have ended, which its log says
	_ = w.running[name].Wait()
	delete(w.running, name)
}

func (w *watchSite) stop() {
	for _, name := range []string{"m1", "m2", "m3", "listener", "lcapd"} {
		if err := w.running[name].Process.Signal(syscall.SIGTERM); err != nil {
			w.Errorf("%s: %v", name, err)
		}
		if err := w.running[name].Wait(); err != nil && name == "lcapd" {
			w.Errorf("lcapd: %v", err)
		}
		delete(w.running, name)
	}
}

func (w *watchSite) createGroups() {
	for _, group := range []string{"three", "slow"} {
		out, err := exec.Command(w.dir+"/lcapcli", "-s", w.addr, "groups", "create", group, "--start", "earliest").CombinedOutput()
		if err != nil {
			w.Fatalf("create %s: %v\n%s", group, err, out)
		}
	}
}

// work runs commands in the tree.
func (w *watchSite) work(commands ...string) {
	for _, command := range commands {
		cmd := exec.Command("sh", "-ec", command)
		cmd.Dir = w.dir + "/tree"
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}

// slowMember is a member that takes its time, and keeps what it got.
type slowMember struct {
	records map[uint64]changelog.Record
}

func (m *slowMember) run(ctx context.Context, addr string) {
	member, err := client.Join(ctx, []string{addr}, "slow", client.Name("slow"), client.Patient())
	if err != nil {
		return // what is missing then is told
	}
	defer member.Close()
	for ctx.Err() == nil {
		b, err := member.Next(ctx)
		if err != nil {
			continue // a lease was lost with lcapd; the records come again
		}
		for r := range b.Records() {
			m.records[r.Index()] = r.Clone()
		}
		time.Sleep(5 * time.Millisecond)
		_ = member.Ack(b) // likewise
	}
}

// waitUntilAcknowledged waits until the tree has been quiet and all groups have all, and
// returns the last index.
func (w *watchSite) waitUntilAcknowledged() uint64 {
	log, err := llog.Open(w.dir + "/state/state/watch-tree-MDT0000/log")
	if err != nil {
		w.Fatal(err)
	}
	marker := w.dir + "/tree/marker"
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		w.Fatal(err)
	}
	for end, last, since := time.Now().Add(3*patience), uint64(0), time.Now(); ; time.Sleep(50 * time.Millisecond) {
		info, err := log.Info()
		if err != nil {
			w.Fatal(err)
		}
		if info.Current != last {
			last, since = info.Current, time.Now()
		}
		if info.Users[0].Cleared == last && time.Since(since) > 4*time.Second { // longer than anything waits
			return last
		}
		if time.Now().After(end) {
			w.Fatalf("not acknowledged: %+v", info)
		}
	}
}

// compareLedgers demands that the members of the group of three did everything, and
// nothing that is not in the changelog.
func (w *watchSite) compareLedgers(last uint64) {
	did := make([]bool, last+1)
	for _, name := range []string{"m1", "m2", "m3"} {
		text, err := os.ReadFile(w.dir + "/" + name + ".ledger")
		if err != nil {
			w.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var mdt string
			var epoch, index uint64
			if !strings.HasSuffix(line, "\n") {
				continue // torn by the kill, so not acknowledged
			}
			if _, err := fmt.Sscanf(line, "%s %d %d", &mdt, &epoch, &index); err != nil || epoch > 0 || index > last {
				w.Fatalf("ledger: %q, the last record is %d: %v", line, last, err)
			}
			did[index] = true
		}
	}
	for index := uint64(1); index <= last; index++ {
		if !did[index] {
			w.Fatalf("record %d of %d was acknowledged and is in no ledger", index, last)
		}
	}
	if text, _ := os.ReadFile(w.dir + "/listener.ledger"); len(text) == 0 {
		w.Error("the listener heard nothing")
	}
}

// compareTree replays what the slow group got, and compares it with what is there.
func (w *watchSite) compareTree(slow *slowMember, last uint64) {
	replica := upstream.NewReplica()
	for index := uint64(1); index <= last; index++ {
		r, ok := slow.records[index]
		if !ok {
			w.Fatalf("the slow group did not get record %d of %d", index, last)
		}
		if err := replica.Apply(r); err != nil {
			w.Fatal(err)
		}
	}
	told := toldPaths(replica.Tree())
	fids := map[uint64]changelog.FID{} // of each inode
	err := filepath.WalkDir(w.dir+"/tree", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(path, w.dir+"/tree"), "/")
		info, err := e.Info()
		if err != nil {
			return err
		}
		n, ok := told[rel]
		ino := info.Sys().(*syscall.Stat_t).Ino
		if fid, known := fids[ino]; !ok || known && fid != n.FID || (n.Made == changelog.TypeMkdir) != e.IsDir() || (n.Made == changelog.TypeSlink) != (e.Type() == fs.ModeSymlink) {
			w.Errorf("%q is there, and told as %+v", rel, n)
		}
		fids[ino] = n.FID
		delete(told, rel)
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	for path, n := range told {
		w.Errorf("%q is told as %+v, and not there", path, n)
	}
	w.Logf("%d records, %d files", last, len(fids))
}

// toldPaths returns a tree by paths from the directory that is watched.
func toldPaths(tree upstream.Tree) map[string]upstream.Node {
	in := map[changelog.FID]map[string]upstream.Node{}
	for p, n := range tree {
		if in[p.Parent] == nil {
			in[p.Parent] = map[string]upstream.Node{}
		}
		in[p.Parent][p.Name] = n
	}
	paths := map[string]upstream.Node{}
	var walk func(path string, n upstream.Node)
	walk = func(path string, n upstream.Node) {
		paths[path] = n
		for name, child := range in[n.FID] {
			walk(strings.TrimPrefix(path+"/"+name, "/"), child)
		}
	}
	for _, top := range in[upstream.RootFID] {
		walk("", top)
	}
	return paths
}

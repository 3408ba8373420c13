package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

const (
	// apartVar is set in the environment of the run that has mounts of its own.
	apartVar = "WATCH_TEST_APART"
	// childVar holds, in the environment of a process that a test started, what that
	// process is to watch instead of running tests: a childSpec as JSON.
	childVar = "WATCH_TEST_CHILD"

	testMDT = "test-MDT0000"

	// queueLimit is the file that says how many changes the kernel's queues hold.
	queueLimit = "/proc/sys/fs/fanotify/max_queued_events"
)

// patience is for what must happen at all, however slow the machine.
var patience = time.Minute

// TestMain runs the tests where what they mount is seen by nobody else, if it may, and
// makes the test binary usable as the process that tests kill.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childVar); spec != "" {
		fmt.Fprintln(os.Stderr, "child:", runChild([]byte(spec)))
		os.Exit(1)
	}
	if d, err := time.ParseDuration(os.Getenv("WATCH_TEST_PATIENCE")); err == nil {
		patience = d
	}
	if os.Getenv(apartVar) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), apartVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	was, _ := os.ReadFile(queueLimit)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT) // it is the other one that ends first
	err := cmd.Start()
	if err == nil {
		go func() {
			for s := range ended {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		}()
		err = cmd.Wait()
		_ = os.WriteFile(queueLimit, was, 0o644) // who was killed has not given it back
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	case err != nil: // not allowed here: what needs mounts says so
		os.Exit(m.Run())
	}
	os.Exit(0)
}

// childSpec says what a child process watches, until it is killed.
type childSpec struct{ Options Options }

func runChild(encoded []byte) error {
	var spec childSpec
	if err := json.Unmarshal(encoded, &spec); err != nil {
		return err
	}
	spec.Options.Log = zerolog.New(os.Stderr).With().Timestamp().Logger()
	w, err := Open(context.Background(), spec.Options, nil)
	if err != nil {
		return err
	}
	return w.Run(context.Background())
}

// unable skips a test that needs what is not here, and fails it where nothing may be
// skipped.
func unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// mounted returns a directory in a new file system of the given type.
func mounted(t testing.TB, kind string) string {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(apartVar) == "" {
		unable(t, "only root can mount")
	}
	dir := t.TempDir()
	args := []string{"-t", kind, "none", dir}
	if kind != "tmpfs" {
		image := filepath.Join(t.TempDir(), "image")
		check(t, os.WriteFile(image, nil, 0o600))
		check(t, os.Truncate(image, 2<<30))
		if out, err := exec.Command("mkfs."+kind, "-q", image).CombinedOutput(); err != nil {
			unable(t, "mkfs.%s: %v %s", kind, err, out)
		}
		args = []string{"-t", kind, "-o", "loop", image, dir}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		unable(t, "mount %s: %v %s", kind, err, out)
	}
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// watchable skips a test where directories cannot be watched.
func watchable(t testing.TB, dir string) {
	t.Helper()
	if err := Check(dir); err != nil {
		unable(t, "%v", err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a tree that is watched, and what its records tell.
type bench struct {
	testing.TB
	options Options
	replica *upstream.Replica
	next    uint64 // index of the next record
	reader  *llog.Reader
	records []changelog.Fields // all read so far, if keep is set
	keep    bool
	reading []byte
}

// newBench makes a tree named tree, and its state elsewhere, in a directory.
func newBench(t testing.TB, dir string) *bench {
	t.Helper()
	o := Options{Path: filepath.Join(dir, "tree"), MDT: testMDT, State: filepath.Join(t.TempDir(), "state"), Log: testLog(t), Existing: true}
	check(t, os.MkdirAll(o.Path, 0o755))
	watchable(t, o.Path)
	return &bench{TB: t, options: o, replica: upstream.NewReplica(), next: 1, reading: make([]byte, 1<<20)}
}

// testLog shows what was logged when a test has failed.
func testLog(t testing.TB) zerolog.Logger {
	var text strings.Builder
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logged:\n%s", text.String())
		}
	})
	return zerolog.New(zerolog.SyncWriter(&text))
}

func (b *bench) path(names ...string) string {
	return filepath.Join(append([]string{b.options.Path}, names...)...)
}

// start watches the tree until the returned function is called, which the end of the
// test does else.
func (b *bench) start() (w *Watch, stop func()) {
	b.Helper()
	w, err := Open(b.Context(), b.options, nil)
	check(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	running := true
	stop = func() {
		if cancel(); running {
			running = false
			if err := <-ended; err != nil {
				b.Errorf("Run: %v", err)
			}
		}
	}
	b.Cleanup(stop)
	return w, stop
}

// settled waits until a watch has nothing left to do.
func (b *bench) settled(w *Watch) Stats {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		s, err := w.Stats(ctx)
		if err != nil {
			b.Fatalf("it did not settle: %+v", s)
		}
		if s.Settled && s.Modified == 0 {
			return s
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// read applies the records that have come since to the replica, which believes none that
// cannot follow on those before.
func (b *bench) read() {
	b.Helper()
	if b.reader == nil {
		log, err := llog.Open(filepath.Join(b.options.State, "watch-"+testMDT, "log"))
		if errors.Is(err, llog.ErrNotALog) {
			return // it is not there yet
		}
		check(b, err)
		b.reader, err = log.NewReader(b.next, nil)
		check(b, err)
		b.Cleanup(func() { b.reader.Close() })
	}
	for {
		n, err := b.reader.Read(b.reading)
		if errors.Is(err, io.EOF) {
			return
		}
		check(b, err)
		scan := changelog.NewScanner(b.reading[:n])
		for scan.Scan() {
			r := scan.Record()
			if r.Index() != b.next {
				b.Fatalf("record %d comes where %d is due", r.Index(), b.next)
			}
			b.next++
			if b.keep {
				b.records = append(b.records, r.Fields())
			}
			if err := b.replica.Apply(r); err != nil {
				b.Fatalf("%v\n%s", err, r.AppendLFS(nil))
			}
		}
		check(b, scan.Err())
	}
}

// agree waits until the records tell what is there.
func (b *bench) agree() {
	b.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b.read()
		if b.replica.Names() == 0 {
			if time.Now().After(end) {
				b.Fatal("there are no records")
			}
			continue
		}
		told, is := b.replica.Tree(), realTree(b, b.options)
		if maps.Equal(told, is) {
			return
		}
		if time.Now().After(end) {
			b.differ(told, is)
		}
	}
}

// differ ends the test with what the records have wrong.
func (b *bench) differ(told, is upstream.Tree) {
	b.Helper()
	var text strings.Builder
	for p, n := range told {
		if is[p] != n {
			fmt.Fprintf(&text, "told:  %q in %s: %v %s, %d names\n", p.Name, p.Parent, n.FID, n.Made, n.Links)
		}
	}
	for p, n := range is {
		if told[p] != n {
			fmt.Fprintf(&text, "there: %q in %s: %v %s, %d names\n", p.Name, p.Parent, n.FID, n.Made, n.Links)
		}
	}
	out := text.String()
	b.Fatalf("after %d records these differ:\n%s", b.next-1, out[:min(len(out), 4000)])
}

// realTree returns what is in a tree, as the records should tell it.
func realTree(t testing.TB, o Options) upstream.Tree {
	t.Helper()
	fd, err := unix.Open(o.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	system, err := systemOf(fd)
	check(t, err)
	h, err := handleAt(fd, "")
	check(t, err)
	x, err := parseExcludes(o.Exclude)
	check(t, err)
	walk := walker{tree: upstream.Tree{}, ids: newIdentifiers(system), exclude: x, hidden: o.State}
	root := walk.ids.fid(h)
	walk.tree[upstream.Place{Parent: upstream.RootFID, Name: o.MDT}] = upstream.Node{FID: root, Made: changelog.TypeMkdir, Links: 1}
	check(t, walk.in(fd, &dir{fid: root}))
	links := map[changelog.FID]int{}
	for _, n := range walk.tree {
		links[n.FID]++
	}
	for p, n := range walk.tree {
		n.Links = links[n.FID]
		walk.tree[p] = n
	}
	return walk.tree
}

type walker struct {
	tree    upstream.Tree
	ids     *identifiers
	exclude excludes
	hidden  string
}

// in walks through an open directory, which it closes. What vanishes meanwhile is left
// out: the tree is looked at again.
func (w *walker) in(fd int, d *dir) error {
	f := os.NewFile(uintptr(fd), d.path())
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		var st unix.Stat_t
		h, err := handleAt(fd, name)
		if err != nil || unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || w.exclude.has(d, name) || w.isHidden(st) {
			continue
		}
		n := upstream.Node{FID: w.ids.fid(h), Made: madeBy(st.Mode)}
		w.tree[upstream.Place{Parent: d.fid, Name: name}] = n
		if n.Made != changelog.TypeMkdir {
			continue
		}
		below, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if err := w.in(below, &dir{fid: n.FID, parent: d, name: name}); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) isHidden(st unix.Stat_t) bool {
	var own unix.Stat_t
	return unix.Stat(w.hidden, &own) == nil && own.Ino == st.Ino && own.Dev == st.Dev
}

// child is a process that watches.
type child struct {
	*exec.Cmd
	errors string // file
}

// startChild starts one. The end of the test kills it.
func (b *bench) startChild() *child {
	b.Helper()
	o := b.options
	o.Log = zerolog.Logger{}
	spec, err := json.Marshal(childSpec{Options: o})
	check(b, err)
	c := &child{Cmd: exec.Command(os.Args[0]), errors: filepath.Join(b.TempDir(), "stderr")}
	c.Env = append(os.Environ(), childVar+"="+string(spec))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	errorFile, err := os.Create(c.errors)
	check(b, err)
	defer errorFile.Close()
	c.Stderr = errorFile
	check(b, c.Start())
	b.Cleanup(func() {
		c.kill()
		if b.Failed() {
			text, _ := os.ReadFile(c.errors)
			b.Logf("a child said:\n%s", text)
		}
	})
	return c
}

func (c *child) kill() {
	_ = c.Process.Kill() // it may be gone
	_ = c.Wait()
}

package watch

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

var bigDirectory = flag.Int("watch.names", 100_000, "names in the directory of TestLargeDirectory")

// sh runs a command of a shell in a directory.
func sh(t testing.TB, dir, command string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", command)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// Ordinary programs unpack, move, edit, link and delete a large tree.
func TestPrograms(t *testing.T) {
	for _, system := range []string{"tmpfs", "ext4", "xfs"} {
		t.Run(system, func(t *testing.T) {
			dir := mounted(t, system)
			b := newBench(t, dir)
			w, _ := b.start()
			goSource(t, dir)
			for _, command := range []string{
				"tar xf ../src.tar", "cp -al src/net linked", "mv src/go moved", "mv src/encoding ..", "mkdir -p deep/er",
				"mv moved deep/er", "find linked -name '*_test.go' -delete", "find src/net -name '*.go' -exec sed -i s/package/PACKAGE/ {} +",
				"rm -r src/os src/runtime", "cp -a ../encoding back", "mv ../encoding src", "rm -r linked/http", "ln -s deep link; mkfifo pipe",
			} {
				sh(t, b.path(), command)
			}
			b.agree()
			t.Logf("%d records, %+v", b.next-1, b.settled(w))
		})
	}
}

// goSource packs a part of Go's own sources as src.tar in a directory.
func goSource(t testing.TB, dir string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	check(t, err)
	sh(t, strings.TrimSpace(string(root)), "tar cf "+dir+"/src.tar src/net src/go src/encoding src/os src/runtime src/sort")
}

// A move to another file system and back is made of copies.
func TestMovesAcrossMounts(t *testing.T) {
	dir, other := mounted(t, "tmpfs"), mounted(t, "tmpfs")
	b := newBench(t, dir)
	b.start()
	sh(t, b.path(), "mkdir -p a/b; echo 1 >a/b/f; ln a/b/f a/g; mv a "+other+"; mkdir c; mv "+other+"/a c")
	b.agree()
	sh(t, b.path(), "mv c "+other)
	b.agree()
}

// What is mounted below a tree is not in it; what lies under the mount point is.
func TestMountPoint(t *testing.T) {
	dir := mounted(t, "tmpfs")
	b := newBench(t, dir)
	sh(t, b.path(), "mkdir -p point/under; mount -t tmpfs none point; touch point/over")
	t.Cleanup(func() { _ = unix.Unmount(b.path("point"), unix.MNT_DETACH) })
	w, stop := b.start()
	sh(t, b.path(), "touch point/more beside")
	b.settled(w)
	sh(t, b.path(), "umount point")
	b.agree()
	stop()
}

// Paths longer than the kernel takes at once, and names that are no text.
func TestLongPaths(t *testing.T) {
	b := newBench(t, mounted(t, "tmpfs"))
	b.start()
	fd, err := unix.Open(b.path(), unix.O_PATH|unix.O_DIRECTORY, 0)
	check(t, err)
	for i := range 40 {
		name := strings.Repeat(string([]byte{'a' + byte(i%26), 0xff}), 127) + "x"
		check(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		check(t, err)
		check(t, unix.Close(fd))
		fd = next
	}
	file, err := unix.Openat(fd, "end\n\xfe", unix.O_CREAT|unix.O_WRONLY, 0o600)
	check(t, err)
	check(t, unix.Close(file))
	b.agree()
	check(t, unix.Unlinkat(fd, "end\n\xfe", 0))
	check(t, unix.Close(fd))
	b.agree()
	check(t, os.Rename(b.path(), b.path()+"-moved")) // the tree is what is watched, not its path
	check(t, os.Rename(b.path()+"-moved", b.path()))
	check(t, os.WriteFile(b.path("beside"), nil, 0o600))
	b.agree()
}

// A directory with very many names is read while events come, and again at a restart.
func TestLargeDirectory(t *testing.T) {
	b := newBench(t, mounted(t, "tmpfs"))
	check(t, os.Mkdir(b.path("large"), 0o755))
	half := *bigDirectory / 2
	for i := range half {
		check(t, os.WriteFile(b.path("large", strconv.Itoa(i)), nil, 0o600))
	}
	_, stop := b.start()
	for i := half; i < *bigDirectory; i++ {
		check(t, os.WriteFile(b.path("large", strconv.Itoa(i)), nil, 0o600))
	}
	b.agree()
	stop()
	for i := 0; i < *bigDirectory; i += 3 {
		check(t, os.Remove(b.path("large", strconv.Itoa(i))))
	}
	_, stop = b.start()
	b.agree()
	stop()
}

// What happens while nobody watches becomes records at the next start, each move of
// something that lived on as one; and where nothing has happened there is none.
func TestRestart(t *testing.T) {
	b := newBench(t, mounted(t, "ext4"))
	b.keep = true
	w, stop := b.start()
	b.settled(w)
	sh(t, b.path(), "mkdir -p a/b c; echo 1 >a/b/f; echo 2 >c/g; echo 3 >c/stays; touch c/h")
	b.agree()
	rested(b, w)
	stop()

	b.read()
	before := len(b.records)
	w, stop = b.start()
	b.settled(w)
	stop()
	b.read()
	if got := b.records[before:]; len(got) > 0 {
		t.Errorf("nothing has happened, and there are %d records, the first %+v", len(got), got[0])
	}

	sh(t, b.path(), "mv a/b c/d; rm c/g; echo 33 >>c/stays; chmod 600 c/h; mkdir a/new")
	before = len(b.records)
	w, stop = b.start()
	b.agree()
	b.settled(w)
	stop()
	var types []string
	for _, f := range b.records[before:] {
		types = append(types, fmt.Sprint(f.Type))
	}
	slices.Sort(types)
	if want := []string{"MKDIR", "MTIME", "RENME", "SATTR", "UNLNK"}; !slices.Equal(types, want) {
		t.Errorf("records of %v, want %v", types, want)
	}
}

// rested waits until it is known that nothing has happened for a while, longer than the
// times of files are coarse.
func rested(b *bench, w *Watch) {
	b.Helper()
	time.Sleep(3 * time.Duration(clockSlack))
	before := b.settled(w).Events
	check(b, os.WriteFile(b.options.Path+"-beside", nil, 0o600)) // wakes the watch
	for b.settled(w).Events == before {
		time.Sleep(time.Millisecond)
	}
}

// What was there before the first start has no records unless they are asked for, and
// what changes later has.
func TestExisting(t *testing.T) {
	for _, existing := range []bool{false, true} {
		b := newBench(t, mounted(t, "tmpfs"))
		b.options.Existing = existing
		sh(t, b.path(), "mkdir d; touch d/f")
		w, stop := b.start()
		b.settled(w)
		log := w.Source().Log()
		info, err := log.Info()
		check(t, err)
		if want := map[bool]uint64{false: 1, true: 3}[existing]; info.Current != want {
			t.Errorf("existing %t: %d records, want %d", existing, info.Current, want)
		}
		sh(t, b.path(), "rm d/f")
		for end := time.Now().Add(patience); info.Current < 2+map[bool]uint64{true: 2}[existing]; time.Sleep(time.Millisecond) {
			if info, err = log.Info(); err != nil || time.Now().After(end) {
				t.Fatalf("the unlink is not recorded: %+v %v", info, err)
			}
		}
		stop()
	}
}

// Which records are written for which operation.
func TestRecords(t *testing.T) {
	b := newBench(t, mounted(t, "ext4"))
	b.keep = true
	w, _ := b.start()
	b.settled(w)
	for _, c := range []struct {
		does string
		want string
	}{
		{"echo 1 >a", "CREAT CLOSE"},
		{"mkdir d", "MKDIR"},
		{"ln a hard", "HLINK"},
		{"ln -s a soft", "SLINK"},
		{"mkfifo pipe", "MKNOD"},
		{"mv a d/b", "RENME"},
		{"chmod 600 d/b", "SATTR"},
		{"setfattr -n user.x -v y d/b || chmod 601 d/b", "SATTR"},
		{"echo 2 >>d/b", "CLOSE"},
		{"perl -e 'truncate(\"d/b\", 1)' || true", "MTIME"},
		{"rm hard", "UNLNK"},
		{"echo 3 >over", "CREAT CLOSE"},
		{"mv d/b over", "RENME"},
		{"rmdir d", "RMDIR"},
		{"chmod 711 .", "SATTR"},
		{"mkdir -p ../out/sub; echo 1 >../out/sub/f; mv ../out in", "MKDIR MKDIR CREAT"},
		{"mv in ../gone", "UNLNK RMDIR RMDIR"},
	} {
		b.read()
		before := len(b.records)
		sh(t, b.path(), c.does)
		var got string
		for end := time.Now().Add(patience / 4); got != c.want && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			b.settled(w)
			b.read()
			var types []string
			for _, f := range b.records[before:] {
				types = append(types, fmt.Sprint(f.Type))
			}
			got = strings.Join(types, " ")
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.does, got, c.want)
		}
	}
	over := b.records[slices.IndexFunc(b.records, func(f changelog.Fields) bool { return f.Type == changelog.TypeRenme && f.Name == "over" })]
	if over.Target.IsZero() || over.Payload&changelog.FlagLastLink == 0 || over.SourceName != "b" {
		t.Errorf("the record of an overwriting rename is %+v", over)
	}
}

// Who did it is told as far as it can be had.
func TestActor(t *testing.T) {
	self, err := os.ReadFile("/proc/self/status")
	check(t, err)
	who := parseStatus(self)
	comm, err := os.ReadFile("/proc/self/comm")
	check(t, err)
	want := fmt.Sprintf("%s.%d", strings.TrimSpace(string(comm)), os.Geteuid())
	if who.job != want || !who.isKnown || who.uid != uint64(os.Geteuid()) || who.gid != uint64(os.Getegid()) {
		t.Errorf("%+v, want the job %s", who, want)
	}
	if got := parseStatus([]byte("Name:\tx\nUid:\tno\n")); got != (actor{}) {
		t.Errorf("of bad text %+v", got)
	}
}

// What cannot be watched is refused with the reason.
func TestRefusals(t *testing.T) {
	dir := mounted(t, "tmpfs")
	b := newBench(t, dir)
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		change func(o *Options)
		says   string
	}{
		{func(o *Options) { o.Path = "/proc" }, "file handles"},
		{func(o *Options) { o.Path = file }, "no directory"},
		{func(o *Options) { o.Path = dir + "/none" }, "no such file"},
		{func(o *Options) { o.State, o.Path = dir+"/tree", dir+"/tree" }, "state directory"},
		{func(o *Options) { o.Exclude = []string{"["} }, "exclude"},
	} {
		o := b.options
		o.State = filepath.Join(t.TempDir(), "state")
		c.change(&o)
		w, err := Open(t.Context(), o, nil)
		if err == nil {
			check(t, w.Close())
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", o, err, c.says)
		}
	}
	w, stop := b.start()
	b.settled(w)
	stop()
	check(t, os.Rename(b.path(), b.path()+"-old"))
	check(t, os.Mkdir(b.path(), 0o755))
	if _, err := Open(t.Context(), b.options, nil); err == nil || !strings.Contains(err.Error(), "is its file system mounted?") {
		t.Errorf("another directory under the same path: %v", err)
	}
}

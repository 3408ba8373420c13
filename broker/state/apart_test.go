package state

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// apartVar is set, in the environment, for a test that runs in a process of its own.
const apartVar = "STATE_TEST_APART"

// skip skips the test, but not in CI, where nothing may be left out.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test must run in CI: %s", why)
	}
	t.Skip(why)
}

// apart runs the test in a process of its own, for tests that change the process:
// its mounts, its system calls. There it returns true; here it returns false, when
// that process is done.
func apart(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(apartVar) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=5m")
	cmd.Env = append(childEnv(), apartVar+"=1")
	cmd.SysProcAttr = attr
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if bytes.Contains(output, []byte("--- SKIP")) {
		skip(t, string(output))
	}
	return false
}

// ownMounts runs the test in a process with mounts of its own, or skips it.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "mounts of its own need root")
	}
	return apart(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
}

// mountMemory mounts a file system in memory, of the given size, and returns the
// directory. Only in a process with mounts of its own.
func mountMemory(t *testing.T, size string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	check(t, os.Mkdir(dir, 0o755))
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0755"))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// occupy fills the file system of dir but for about the given number of bytes, and
// returns the file to be removed to make room.
func occupy(t *testing.T, dir string, leave int64) string {
	t.Helper()
	var stat unix.Statfs_t
	check(t, unix.Statfs(dir, &stat))
	f, err := os.Create(filepath.Join(dir, "ballast"))
	check(t, err)
	if size := int64(stat.Bavail)*stat.Bsize - leave; size > 0 {
		check(t, unix.Fallocate(int(f.Fd()), 0, 0, size))
	}
	check(t, f.Close())
	return f.Name()
}

// On a full disk a Write fails and changes nothing; when there is room again, the
// next one succeeds. Each round leaves a little more room, to fail at another point.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	failed := 0
	for room := int64(0); ; room += pageSize {
		dir := mountMemory(t, "1m")
		s := mustOpen(t, initDir(t, dir, 20))
		check(t, s.Write(fullUpdate(2, 20, 1)))
		m := newModel(mustLoad(t, s))
		ballast := occupy(t, dir, room)
		u := fullUpdate(20, 20, 2)
		err := s.Write(u)
		if err == nil {
			break
		}
		failed++
		checkIs(t, err, ErrNotStored, unix.ENOSPC)
		checkSays(t, err, s.dir, "make room")
		for range 2 { // nor did it leave anything behind
			checkEqual(t, "content after a failed write", mustLoad(t, s), m.snapshot())
			checkBolt(t, s)
			checkIs(t, s.Write(u), ErrNotStored, unix.ENOSPC)
			s = reopen(t, s)
		}
		check(t, os.Remove(ballast))
		check(t, s.Write(u))
		m.apply(u)
		checkBolt(t, s)
		checkEqual(t, "content after a write", mustLoad(t, s), m.snapshot())
		checkEqual(t, "content after opening again", mustLoad(t, reopen(t, s)), m.snapshot())
	}
	if failed < 10 {
		t.Errorf("only %d writes failed", failed)
	}
}

// What needs a new file fails on a full disk without harm to the old one.
func TestNewFileOnAFullDisk(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	dir := mountMemory(t, "1m")
	s := mustOpen(t, initDir(t, dir, 3))
	check(t, s.Write(fullUpdate(10, 3, 5)))
	want, copied := mustLoad(t, s), backup(t, s)
	check(t, s.Close())
	later := schema{version: next, upgrades: map[uint32]upgrade{schemaVersion: renaming}}
	for room := int64(0); room < 40<<10; room += pageSize {
		ballast := occupy(t, dir, room)
		other := filepath.Join(dir, "other")
		initErr := Init(other, testIdentity(1))
		if initErr != nil {
			checkIs(t, initErr, unix.ENOSPC)
			checkSays(t, initErr, dir)
		}
		check(t, os.RemoveAll(other))
		if err := restoreFrom(s.dir, bytes.NewReader(copied)); err != nil {
			checkIs(t, err, unix.ENOSPC)
			checkSays(t, err, s.dir)
		}
		_, err := open(s.dir, later)
		if err == nil {
			t.Fatalf("there was room with %d bytes", room)
		}
		checkIs(t, err, unix.ENOSPC)
		checkSays(t, err, s.dir, "upgrade", "make room")
		s = mustOpen(t, s.dir) // on the full disk
		checkEqual(t, "content", mustLoad(t, s), want)
		check(t, s.Close())
		check(t, os.Remove(ballast))
	}
	check(t, Init(filepath.Join(dir, "other"), testIdentity(1)))
}

// In a read-only directory nothing can be opened or made, which is said.
func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	dir := mountMemory(t, "1m")
	s := mustOpen(t, initDir(t, dir, 3))
	check(t, s.Write(fullUpdate(10, 3, 5)))
	want, copied := mustLoad(t, s), backup(t, s)
	check(t, s.Close())
	readOnly := func(flag uintptr) { check(t, unix.Mount("", dir, "", unix.MS_REMOUNT|flag, "")) }
	readOnly(unix.MS_RDONLY)
	_, openErr := Open(s.dir)
	for _, err := range []error{openErr, Init(filepath.Join(dir, "new"), testIdentity(1)), restoreFrom(s.dir, bytes.NewReader(copied))} {
		checkIs(t, err, unix.EROFS)
		checkSays(t, err, dir)
	}
	readOnly(0)
	s = mustOpen(t, s.dir)
	checkEqual(t, "content", mustLoad(t, s), want)
	check(t, s.Write(fullUpdate(10, 3, 6)))

	// A file that is open for writing can be written even so; what needs a new one
	// cannot be.
	check(t, os.Truncate(filepath.Join(s.dir, fileName), 0))
	check(t, unix.Mount(s.dir, s.dir, "", unix.MS_BIND, ""))
	check(t, unix.Mount("", s.dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	checkIs(t, s.Write(fullUpdate(10, 3, 7)), ErrNotStored)
	err := s.Write(fullUpdate(10, 3, 8))
	checkIs(t, err, ErrNotStored, unix.EROFS)
	checkSays(t, err, s.dir, "make it writable")
	check(t, unix.Unmount(s.dir, 0))
	check(t, s.Write(fullUpdate(10, 3, 9)))
	checkEqual(t, "mark", mustLoad(t, reopen(t, s)).Tracks[0].Mark, uint64(9))
}

// Without permission it is said whose directory it must be.
func TestNoPermission(t *testing.T) {
	if os.Getuid() == 0 { // who may do everything
		t.Setenv("TMPDIR", "/tmp")
		apart(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		return
	}
	parent := t.TempDir()
	dir := initDir(t, parent, 1)
	check(t, os.Chmod(dir, 0))
	_, openErr := Open(dir)
	check(t, os.Chmod(dir, 0o755))
	check(t, os.Chmod(parent, 0o500))
	initErr := Init(filepath.Join(parent, "new"), testIdentity(1))
	check(t, os.Chmod(parent, 0o755))
	for _, err := range []error{openErr, initErr} {
		checkIs(t, err, fs.ErrPermission)
		checkSays(t, err, parent)
	}
}

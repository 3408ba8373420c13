package llog_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// apartVar is set, in the environment, for a test that runs in a process of its own.
const apartVar = "LLOG_TEST_APART"

// apart runs the test in a process of its own, for tests that change the process:
// its mounts, its system calls. There it returns true; here it returns false, when
// that process is done.
func apart(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(apartVar) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=5m")
	cmd.Env = append(childEnv(), apartVar+"=1")
	cmd.SysProcAttr = attr
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return false
}

// childEnv is the environment for the processes that tests start: the race
// detector makes each wait a second before it ends, unless told otherwise.
func childEnv() []string {
	return append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
}

// skip skips the test, but not in CI, where nothing may be left out.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test must run in CI: %s", why)
	}
	t.Skip(why)
}

// ownMounts runs the test in a process with mounts of its own, or skips it.
func ownMounts(t *testing.T) bool {
	t.Helper()
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if os.Getenv(apartVar) == "" {
		probe := exec.Command("/proc/self/exe", "-test.run=^$")
		probe.Env, probe.SysProcAttr = childEnv(), attr
		if output, err := probe.CombinedOutput(); err != nil {
			skip(t, "mounts of its own need root or user namespaces: "+err.Error()+"\n"+string(output))
		}
	}
	return apart(t, attr)
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

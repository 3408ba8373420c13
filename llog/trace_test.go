package llog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracedCalls are the system calls that a tracer sees: those that write segments
// and make things durable.
var tracedCalls = map[uint32]string{
	unix.SYS_PWRITE64:  "pwrite",
	unix.SYS_FTRUNCATE: "truncate",
	unix.SYS_FDATASYNC: "fdatasync",
	unix.SYS_FSYNC:     "fsync",
	unix.SYS_SYNCFS:    "syncfs",
	unix.SYS_RENAMEAT:  "rename",
}

// call is one system call that is about to be made.
type call struct {
	name string
	path string // of the file; with rename the new name
	off  int64
	size int64
}

func (c call) String() string {
	return fmt.Sprintf("%s %s %d+%d", c.name, filepath.Base(c.path), c.off, c.size)
}

// A tracer sees the system calls of this process before they are made, and may
// make them fail. It uses seccomp's user notification: a goroutine of the process,
// run, answers for all the other threads. The process is stuck with it, so a test
// that wants one runs apart.
type tracer struct {
	listener int
	memory   *os.File
	calls    chan call                    // what was seen; a call is in it before it is made
	rules    chan func(c call) unix.Errno // the rule to be used from now on
}

// startTracer traces the process, or skips the test where that cannot be done.
func startTracer(t *testing.T) *tracer {
	t.Helper()
	memory, err := os.Open("/proc/self/mem")
	check(t, err)
	tr := &tracer{memory: memory, calls: make(chan call, 1<<16), rules: make(chan func(call) unix.Errno, 16)}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := tr.install()
		started <- err
		if err == nil {
			tr.run()
		}
	}()
	if err := <-started; err != nil {
		skip(t, "seccomp user notification does not work here: "+err.Error())
	}
	return tr
}

// install puts the filter on all threads.
func (tr *tracer) install() error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the number of the call
	for nr := range tracedCalls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	tr.listener = int(fd)
	return nil
}

// notification and answer are struct seccomp_notif and struct seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// run answers for each call: go on, or fail with what the rule says.
func (tr *tracer) run() {
	rule := func(call) unix.Errno { return 0 }
	for {
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(tr.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // the call was interrupted, and will come again
		}
		for len(tr.rules) > 0 {
			rule = <-tr.rules
		}
		c := tr.describe(&n)
		tr.calls <- c
		a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if errno := rule(c); errno != 0 {
			a.flags, a.err = 0, -int32(errno)
		}
		unix.Syscall(unix.SYS_IOCTL, uintptr(tr.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
	}
}

func (tr *tracer) describe(n *notification) call {
	c := call{name: tracedCalls[uint32(n.nr)]}
	if c.name == "rename" {
		b := make([]byte, 4096)
		size, _ := tr.memory.ReadAt(b, int64(n.args[3]))
		c.path = string(b[:max(bytes.IndexByte(b[:size], 0), 0)])
		return c
	}
	c.path, _ = os.Readlink(fmt.Sprint("/proc/self/fd/", n.args[0]))
	switch c.name {
	case "pwrite":
		c.size, c.off = int64(n.args[2]), int64(n.args[3])
	case "truncate":
		c.off = int64(n.args[1])
	}
	return c
}

// seen returns the calls since the last time.
func (tr *tracer) seen() []call {
	var calls []call
	for {
		select {
		case c := <-tr.calls:
			calls = append(calls, c)
		default:
			return calls
		}
	}
}

// failing makes the calls of the given names fail with EIO; without names none.
func (tr *tracer) failing(names ...string) {
	tr.rules <- func(c call) unix.Errno {
		for _, name := range names {
			if c.name == name {
				return unix.EIO
			}
		}
		return 0
	}
}

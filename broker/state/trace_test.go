package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracedCalls are the system calls that a tracer sees: those that write files and
// make things durable.
var tracedCalls = map[uint32]string{
	unix.SYS_PWRITE64:  "pwrite",
	unix.SYS_FTRUNCATE: "truncate",
	unix.SYS_FDATASYNC: "fdatasync",
	unix.SYS_FSYNC:     "fsync",
	unix.SYS_RENAMEAT:  "rename",
}

// call is one system call that is about to be made.
type call struct {
	name string
	file string // its name; with rename unknown
	off  int64  // of pwrite; with truncate the size
	data []byte // of pwrite
}

// A tracer sees the system calls of this process before they are made, and may
// make them fail. It uses seccomp's user notification: a goroutine of the process,
// run, answers for all the other threads. The process is stuck with it, so a test
// that wants one runs apart.
type tracer struct {
	listener int
	memory   *os.File
	calls    chan call // what was seen; a call is in it before it is made
	rules    chan rule // to be used from now on
}

// rule makes the nth call of a name from now on fail, counting from 1; 0 none.
type rule struct {
	name string
	nth  int
}

// startTracer traces the process, or skips the test where that cannot be done.
func startTracer(t *testing.T) *tracer {
	t.Helper()
	memory, err := os.Open("/proc/self/mem")
	check(t, err)
	tr := &tracer{memory: memory, calls: make(chan call, 1<<16), rules: make(chan rule, 16)}
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

// run answers for each call: go on, or fail with EIO.
func (tr *tracer) run() {
	var to rule
	for {
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(tr.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // the call was interrupted, and will come again
		}
		for len(tr.rules) > 0 {
			to = <-tr.rules
		}
		c := tr.describe(&n)
		a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if c.name == to.name {
			to.nth--
			if to.nth == 0 {
				a.flags, a.err = 0, -int32(unix.EIO)
				c.name += " failed"
			}
		}
		tr.calls <- c
		unix.Syscall(unix.SYS_IOCTL, uintptr(tr.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
	}
}

func (tr *tracer) describe(n *notification) call {
	c := call{name: tracedCalls[uint32(n.nr)]}
	if c.name == "rename" {
		return c
	}
	path, _ := os.Readlink(fmt.Sprint("/proc/self/fd/", n.args[0]))
	c.file = filepath.Base(path)
	switch c.name {
	case "pwrite":
		c.off, c.data = int64(n.args[3]), make([]byte, n.args[2])
		_, _ = tr.memory.ReadAt(c.data, int64(n.args[1]))
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

// failing makes the nth call of a name fail with EIO; 0 none.
func (tr *tracer) failing(name string, nth int) { tr.rules <- rule{name, nth} }

// Whichever system call of a Write fails, the Write does, what was stored before is
// there, on disk and in memory, and the next one succeeds: in a new file if what
// failed was the last sync, after which bolt would be wrong about what is on disk.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	if !apart(t, nil) {
		return
	}
	tr := startTracer(t)
	failed := map[string]int{}
	for _, name := range []string{"pwrite", "truncate", "fsync", "fdatasync"} {
		for nth := 1; ; nth++ {
			s := mustOpen(t, initDir(t, t.TempDir(), 5))
			check(t, s.Write(fullUpdate(3, 5, 1)))
			m := newModel(mustLoad(t, s))
			u := fullUpdate(25, 5, 2) // the file grows
			tr.failing(name, nth)
			err := s.Write(u)
			tr.failing("", 0)
			if err == nil {
				break
			}
			failed[name]++
			checkIs(t, err, ErrNotStored)
			checkSays(t, err, "input/output error")
			checkEqual(t, "content after a failed write", mustLoad(t, s), m.snapshot())
			doubtful := name == "fdatasync" && nth == 2
			checkEqual(t, "doubtful", s.doubtful, doubtful)
			before := s.bolt
			check(t, s.Write(u))
			m.apply(u)
			checkEqual(t, "made a new file", s.bolt != before, doubtful)
			checkBolt(t, s)
			checkEqual(t, "content", mustLoad(t, s), m.snapshot())
			checkEqual(t, "content after opening again", mustLoad(t, reopen(t, s)), m.snapshot())
		}
	}
	t.Logf("failed: %v", failed)
	if failed["pwrite"] < 5 || failed["fdatasync"] != 2 || failed["truncate"] != 1 || failed["fsync"] != 1 {
		t.Error("too few")
	}
}

// Whichever call fails while a new file is made, the old one is still good, and the
// next try succeeds.
func TestNewFileFails(t *testing.T) {
	t.Parallel()
	if !apart(t, nil) {
		return
	}
	s := mustOpen(t, initDir(t, t.TempDir(), 5))
	check(t, s.Write(fullUpdate(3, 5, 1)))
	tr := startTracer(t)
	m, mark := newModel(mustLoad(t, s)), uint64(1)
	failed := map[string]int{}
	for _, name := range []string{"pwrite", "truncate", "fdatasync", "fsync", "rename"} {
		for nth := 1; nth < 50; nth++ {
			s.doubtful = true
			mark++
			u := fullUpdate(10, 5, mark)
			tr.failing(name, nth)
			err := s.Write(u)
			tr.failing("", 0)
			if err == nil {
				m.apply(u)
				break
			}
			failed[name]++
			checkIs(t, err, ErrNotStored)
			checkEqual(t, "content after a failed write", mustLoad(t, s), m.snapshot())
			u = fullUpdate(10, 5, mark)
			check(t, s.Write(u))
			m.apply(u)
			checkBolt(t, s)
			s = reopen(t, s)
			checkEqual(t, "content after opening again", mustLoad(t, s), m.snapshot())
			checkEqual(t, "files", names(s.dir), "state.db state.lock ")
		}
	}
	t.Logf("failed: %v", failed)
	for _, name := range []string{"pwrite", "truncate", "fdatasync", "fsync", "rename"} {
		if failed[name] == 0 {
			t.Errorf("no %s failed", name)
		}
	}
}

// platter is a disk with one file: what was synced is there for certain, of the rest
// any part may be.
type platter struct {
	synced  []byte
	pending []call
}

func (p *platter) see(c call) {
	switch c.name {
	case "fdatasync", "fsync":
		for _, x := range p.pending {
			p.synced = carryOut(p.synced, x)
		}
		p.pending = nil
	default:
		p.pending = append(p.pending, c)
	}
}

func carryOut(file []byte, c call) []byte {
	if c.name == "truncate" {
		return append(file, make([]byte, max(0, int(c.off)-len(file)))...)[:c.off]
	}
	file = append(file, make([]byte, max(0, int(c.off)+len(c.data)-len(file)))...)
	copy(file[c.off:], c.data)
	return file
}

// afterPowerCut returns what may be found: some of what is pending, in any order, and
// of one write only a part, in sectors.
func (p *platter) afterPowerCut(rng *rand.Rand) []byte {
	file := bytes.Clone(p.synced)
	for _, i := range rng.Perm(len(p.pending)) {
		c := p.pending[i]
		if rng.IntN(2) == 0 {
			continue
		}
		if rng.IntN(4) == 0 && len(c.data) > 512 {
			c.data = c.data[:512*rng.IntN(len(c.data)/512)]
		}
		file = carryOut(file, c)
	}
	return file
}

// A power cut at any moment leaves the state after the last Write that returned, or
// after the one in hand; whatever the disk did, in whatever order, with what was not
// synced.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	if !apart(t, nil) {
		return
	}
	rng := rand.New(rand.NewPCG(1, 2))
	s := mustOpen(t, initDir(t, t.TempDir(), 5))
	start, err := os.ReadFile(filepath.Join(s.dir, fileName))
	check(t, err)
	disk := &platter{synced: start}
	m := newModel(mustLoad(t, s))
	tr := startTracer(t)
	cuts, old := 0, 0
	for round := range 40 {
		u := m.random(rng)
		before := m.snapshot()
		check(t, s.Write(u))
		m.apply(u)
		after := m.snapshot()
		calls := tr.seen()
		for i, c := range calls {
			checkEqual(t, "file", c.file, fileName)
			for range 3 {
				cuts++
				got, err := read(disk.afterPowerCut(rng))
				check(t, err)
				if i == 0 { // nothing was done
					checkEqual(t, "content", got, before)
				}
				if reflect.DeepEqual(got, before) {
					old++
				} else {
					checkEqual(t, "content", got, after)
				}
			}
			disk.see(c)
		}
		if len(calls) > 0 {
			checkEqual(t, "the last call", calls[len(calls)-1].name, "fdatasync")
			checkEqual(t, "pending", len(disk.pending), 0)
			got, err := read(disk.synced)
			check(t, err)
			checkEqual(t, "content after round "+fmt.Sprint(round), got, after)
		}
	}
	t.Logf("%d power cuts, the older state after %d", cuts, old)
	if old == 0 || old == cuts {
		t.Error("there was only one outcome")
	}
}

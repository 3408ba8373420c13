package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/wire"
)

// TestDisk lets the disk of the state fail in all ways: delivery goes on, nothing is cleared, which
// the log says, and when the disk is well again lcapd goes on by itself. Killed meanwhile,
// it starts again where it stood on disk.
func TestDisk(t *testing.T) {
	s := &faultSite{deviceSite: &deviceSite{
		processes: newProcesses(t, "lcapd", "g-1"), rng: rand.New(rand.NewPCG(1, 1)), faults: make(map[string]int),
	}}
	s.disk = mountMemory(t, "4m")
	l := s.newLocal(0)
	s.init(s.disk+"/state", "{name: g}", fmt.Sprintf("  - {mdt: %s, driver: llog, path: %s, user: cl1}\n", l.name, l.log.Dir()))
	s.startAll()
	for _, f := range []struct {
		name  string
		kill  bool // lcapd, meanwhile
		begin func() (end func())
	}{
		{"full", false, func() func() { s.spoil(); return s.fillDisk() }},
		{"read-only", false, func() func() { s.spoil(); return s.makeReadOnly() }},
		{"directory gone", false, s.moveState},
		{"syncs fail", false, func() func() { return s.inject("error=EIO") }},
		{"syncs fail, and lcapd killed", true, func() func() { return s.inject("error=EIO") }},
	} {
		t.Run(f.name, func(t *testing.T) {
			l.grow(1000)
			before := s.allCleared(t, l)
			end := f.begin()
			eventually(t, "the state to fail", func() bool {
				l.grow(1)
				out, err := exec.Command(s.dir+"/lcapcli", "-s", s.addr, "-o", "json", "status").Output()
				must(t, err)
				return bytes.Contains(out, []byte(wire.DiskFull)) || bytes.Contains(out, []byte(wire.StateUnwritable))
			})
			l.grow(20_000)
			s.allDone(t, l)
			if info, err := l.log.Info(); err != nil || info.Users[0].Cleared > before+1000 || info.Users[0].Cleared == info.Current {
				t.Errorf("cleared from %d to %+v while the state could not be written; %v", before, info, err)
			}
			if f.kill {
				s.kill("lcapd")
				s.start("lcapd")
			}
			end()
			s.allCleared(t, l)
			s.allDone(t, l)
		})
	}
	t.Run("full, but the file has room", func(t *testing.T) {
		end := s.fillDisk()
		l.grow(1000)
		s.allCleared(t, l)
		s.kill("lcapd")
		s.start("lcapd")
		l.grow(1000)
		s.allCleared(t, l)
		end()
	})
	s.stop()
	if text, err := os.ReadFile(s.logFile("lcapd")); err != nil || !bytes.Contains(text, []byte("the state could not be written, so nothing is cleared")) {
		t.Errorf("the log does not say it: %v\n%s", err, text)
	}
}

// spoil empties the file of the state: what has room there, or was open for writing, is of
// no use then. lcapd writes a new one.
func (s *faultSite) spoil() { must(s.t, os.Truncate(s.disk+"/state/state.db", 0)) }

func (s *faultSite) makeReadOnly() func() {
	dir := s.disk + "/state"
	must(s.t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	must(s.t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	return func() { must(s.t, unix.Unmount(dir, unix.MNT_DETACH)) }
}

// allCleared waits until a changelog is cleared to its end, and returns that.
func (s *faultSite) allCleared(t *testing.T, l *localMDT) (last uint64) {
	t.Helper()
	eventually(t, "everything to be cleared", func() bool {
		info, err := l.log.Info()
		must(t, err)
		last = info.Current
		return info.Users[0].Cleared == info.Current
	})
	return last
}

// allDone waits until the ledger has everything.
func (s *faultSite) allDone(t *testing.T, l *localMDT) {
	t.Helper()
	info, err := l.log.Info()
	must(t, err)
	eventually(t, "everything to be delivered", func() bool {
		text, err := os.ReadFile(s.ledgerFile("g-1", 0))
		must(t, err)
		end := bytes.LastIndexByte(text, '\n')
		return end > 0 && s.parse(string(text[bytes.LastIndexByte(text[:end], '\n')+1:end])).Index == info.Current
	})
}

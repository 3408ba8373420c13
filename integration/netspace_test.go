package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// netSpace is a network namespace: interfaces, addresses and neighbours of its own. It is gone
// when the test and the processes in it are.
type netSpace struct {
	t    *testing.T
	file *os.File
	addr string // of its end of the cable
	dev  string
}

// cable makes two network namespaces with a cable between them.
func cable(t *testing.T) (a, b *netSpace) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		skipOutsideCI(t, "there is no ip: apt-get install iproute2")
	}
	a, b = newNetSpace(t, "10.89.0.1", "veth-a"), newNetSpace(t, "10.89.0.2", "veth-b")
	a.ip("link", "add", a.dev, "type", "veth", "peer", "name", b.dev, "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), b.file.Fd()))
	for _, s := range []*netSpace{a, b} {
		s.ip("link", "set", "lo", "up")
		s.ip("addr", "add", s.addr+"/24", "dev", s.dev)
		s.ip("link", "set", s.dev, "up")
	}
	return a, b
}

func skipOutsideCI(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func newNetSpace(t *testing.T, addr, dev string) *netSpace {
	t.Helper()
	s := &netSpace{t: t, addr: addr, dev: dev}
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			s.file, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	if errors.Is(err, unix.EPERM) {
		skipOutsideCI(t, "a network namespace takes root")
	}
	must(t, err)
	t.Cleanup(func() { s.file.Close() })
	return s
}

// onThread runs f on a thread of its own, which ends with it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: nobody gets a thread that is elsewhere
		done <- f()
	}()
	return <-done
}

// do runs f in the namespace. What it starts or opens stays there.
func (s *netSpace) do(f func() error) error {
	if s == nil {
		return f()
	}
	return onThread(func() error {
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// dial connects from the namespace.
func (s *netSpace) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = s.do(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, address) // a literal address: no other goroutine looks it up
		return err
	})
	return c, err
}

func (s *netSpace) ip(args ...string) {
	s.t.Helper()
	err := s.do(func() error {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	})
	must(s.t, err)
}

// lose has everything that the namespace sends to another one vanish on the way: it goes to a
// network card that is not there. Nobody is told.
func (s *netSpace) lose(to *netSpace) {
	s.t.Helper()
	s.ip("neigh", "replace", to.addr, "lladdr", "02:00:00:00:00:99", "dev", s.dev, "nud", "permanent")
}

// find ends what lose began.
func (s *netSpace) find(to *netSpace) {
	s.t.Helper()
	s.ip("neigh", "del", to.addr, "dev", s.dev)
}

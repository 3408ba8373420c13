package emulated_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

func TestMain(m *testing.M) { emulatedtest.Main(m) }

const (
	setFlags  = 0x800866e9
	setFilter = 0x403066b3
	follow    = 0x01
	nidBE     = 0x10

	// patience is how long something may take that takes no time.
	patience = 60 * time.Second
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErrno demands that a system call failed with the errno, 0 for not at all.
func wantErrno(t testing.TB, what string, err error, want syscall.Errno) {
	t.Helper()
	if want == 0 && err != nil || want != 0 && !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

// wantIndexes demands that packed records have the indexes.
func wantIndexes(t testing.TB, packed []byte, want ...uint64) {
	t.Helper()
	if got := indexes(t, packed); !slices.Equal(got, want) {
		t.Fatalf("read %v, want %v", got, want)
	}
}

func indexes(t testing.TB, packed []byte) (got []uint64) {
	t.Helper()
	s := changelog.NewScanner(packed)
	for s.Scan() {
		got = append(got, s.Record().Index())
	}
	check(t, s.Err())
	return got
}

// upTo returns first, first+1, ... last.
func upTo(first, last uint64) (all []uint64) {
	for ; first <= last; first++ {
		all = append(all, first)
	}
	return all
}

// emit stores n records.
func emit(mdt *emulatedtest.MDT, n int) {
	var records []changelog.Fields
	for i := range n {
		records = append(records, changelog.Fields{
			Type: changelog.TypeCreat, Name: fmt.Sprintf("file%d", i), Time: changelog.Time(i + 1),
			Target: changelog.FID{Seq: 0x200000401, Oid: uint32(i + 1)}, Parent: changelog.FID{Seq: 0x200000007, Oid: 1},
		})
	}
	mdt.Emit(records...)
}

// fd is the device opened with system calls alone.
type fd struct {
	testing.TB
	n int
}

func open(t testing.TB, path string, flags int) fd {
	t.Helper()
	n, err := tryOpen(path, flags)
	check(t, err)
	f := fd{t, n}
	t.Cleanup(func() { _ = unix.Close(n) }) // a test may have closed it
	return f
}

func tryOpen(path string, flags int) (n int, err error) {
	for {
		if n, err = unix.Open(path, flags|unix.O_CLOEXEC, 0); err != unix.EINTR {
			return n, err
		}
	}
}

// tryRead is read(2).
func (f fd) tryRead(size int) ([]byte, error) {
	b := make([]byte, size)
	for {
		n, err := unix.Read(f.n, b)
		if err == nil {
			return b[:n], nil
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

func (f fd) read(size int) []byte {
	f.Helper()
	b, err := f.tryRead(size)
	check(f, err)
	return b
}

// readAll reads up to EOF.
func (f fd) readAll(size int) (all []byte) {
	f.Helper()
	for {
		b := f.read(size)
		if len(b) == 0 {
			return all
		}
		all = append(all, b...)
	}
}

func (f fd) seek(index int64) {
	f.Helper()
	_, err := unix.Seek(f.n, index, io.SeekStart)
	check(f, err)
}

func (f fd) setFlags(flags int) error { return unix.IoctlSetInt(f.n, setFlags, flags) }

func (f fd) follow() {
	f.Helper()
	check(f, f.setFlags(follow|nidBE))
}

// poll waits for at most d and returns the events.
func (f fd) poll(d time.Duration) int16 {
	f.Helper()
	fds := []unix.PollFd{{Fd: int32(f.n), Events: unix.POLLIN}}
	for end := time.Now().Add(d); ; {
		_, err := unix.Poll(fds, int(max(time.Until(end), 0)/time.Millisecond))
		if err != unix.EINTR {
			check(f, err)
			return fds[0].Revents
		}
	}
}

// file hands the descriptor to Go's poller.
func (f fd) file() *os.File {
	file := os.NewFile(uintptr(f.n), "device")
	f.Cleanup(func() { _ = file.Close() }) // a test may have closed it
	return file
}

func clearAs(path, command string) error {
	n, err := tryOpen(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(n)
	for {
		written, err := unix.Write(n, []byte(command))
		if err == nil && written != len(command) {
			return fmt.Errorf("%d bytes of %q written", written, command)
		}
		if err != unix.EINTR {
			return err
		}
	}
}

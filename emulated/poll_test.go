package emulated_test

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

// ABI 8.6.
func TestPollEvents(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 1)
	once := open(t, mdt.Path(), nonblocking)
	if events := once.poll(patience); events != unix.POLLIN|unix.POLLHUP {
		t.Errorf("all of the log queued: %#x", events)
	}
	once.read(4096)
	if events := once.poll(patience); events != unix.POLLHUP {
		t.Errorf("at the end: %#x", events)
	}

	following := open(t, mdt.Path(), nonblocking)
	following.follow()
	if events := following.poll(patience); events != unix.POLLIN {
		t.Errorf("records queued: %#x", events)
	}
	following.read(4096)
	if events := following.poll(20 * time.Millisecond); events != 0 {
		t.Errorf("nothing new: %#x", events)
	}
	emit(mdt, 1)
	if events := following.poll(patience); events != unix.POLLIN {
		t.Errorf("a new record: %#x", events)
	}
	mdt.Evict(unix.EIO)
	if events := following.poll(patience); events != unix.POLLIN|unix.POLLERR {
		t.Errorf("an error behind a record: %#x", events)
	}
	wantIndexes(t, following.read(4096), 2)
	if events := following.poll(patience); events != unix.POLLERR {
		t.Errorf("an error: %#x", events)
	}
}

// Go's poller waits for records, with deadlines, and hears of the end.
func TestGoPoller(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 2)
	f := open(t, mdt.Path(), nonblocking)
	f.seek(2)
	f.follow()
	file := f.file()
	buf := make([]byte, 65536)
	n, err := file.Read(buf)
	check(t, err)
	wantIndexes(t, buf[:n], 2)

	check(t, file.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	if _, err := file.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("a read with nothing to read:", err)
	}
	check(t, file.SetReadDeadline(time.Time{}))
	for next := uint64(3); next < 50; next++ {
		emit(mdt, 1)
		n, err := file.Read(buf)
		check(t, err)
		wantIndexes(t, buf[:n], next)
	}

	cancelled := make(chan error)
	go func() {
		_, err := file.Read(buf)
		cancelled <- err
	}()
	check(t, file.SetReadDeadline(time.Unix(1, 0)))
	if err := <-cancelled; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("a read that was cancelled:", err)
	}
	check(t, file.SetReadDeadline(time.Time{}))
	go func() {
		_, err := file.Read(buf)
		cancelled <- err
	}()
	check(t, file.Close())
	if err := <-cancelled; !errors.Is(err, os.ErrClosed) {
		t.Fatal("a read of a file that was closed:", err)
	}
	awaitOpenFiles(t, mdt, 0)
}

func awaitOpenFiles(t *testing.T, mdt *emulatedtest.MDT, want int) {
	t.Helper()
	for end := time.Now().Add(patience); mdt.Status().OpenFiles != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d files are open, want %d", mdt.Status().OpenFiles, want)
		}
	}
}

func TestGoPollerHearsTheEnd(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 1)
	file := open(t, mdt.Path(), nonblocking).file()
	all, err := io.ReadAll(file)
	check(t, err)
	wantIndexes(t, all, 1)
}

// A waiting reader is woken by an error. An error without records makes Go's poller
// give up; read(2) tells which it was.
func TestGoPollerHearsErrors(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 1)
	f := open(t, mdt.Path(), nonblocking)
	f.seek(2)
	f.follow()
	file := f.file()
	ended := make(chan error)
	go func() {
		for {
			if _, err := file.Read(make([]byte, 4096)); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		t.Fatal("before the error:", err)
	case <-time.After(20 * time.Millisecond):
	}
	mdt.Evict(unix.ESHUTDOWN)
	if err := <-ended; err == nil || errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	raw, err := file.SyscallConn()
	check(t, err)
	check(t, raw.Control(func(n uintptr) { _, err = fd{t, int(n)}.tryRead(4096) }))
	wantErrno(t, "the read afterwards", err, unix.ESHUTDOWN)
}

// A poll that began before there was anything is woken.
func TestPollWaits(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 0)
	f := open(t, mdt.Path(), nonblocking)
	f.follow()
	events := make(chan int16)
	for i := range 20 {
		go func() { events <- f.poll(patience) }()
		if i%2 == 0 {
			time.Sleep(time.Duration(i) * time.Millisecond) // as a rule it waits by now
		}
		emit(mdt, 1)
		if got := <-events; got != unix.POLLIN {
			t.Fatalf("events %#x", got)
		}
		wantIndexes(t, f.read(4096), uint64(i+1))
	}
}

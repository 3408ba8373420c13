package emulated_test

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

const (
	blocking    = unix.O_RDONLY
	nonblocking = unix.O_RDONLY | unix.O_NONBLOCK
)

// start starts an MDT with one user and n records.
func start(t testing.TB, o emulatedtest.Options, n int) *emulatedtest.MDT {
	t.Helper()
	mdt := emulatedtest.Start(t, o)
	mdt.Register("", 0)
	if n > 0 {
		emit(mdt, n)
	}
	return mdt
}

// The stream of the vectors comes out of the device as it is, in reads of the sizes that
// the real one gives.
func TestGoldenStream(t *testing.T) {
	const vectors = "../changelog/testdata/vectors/"
	stream, err := os.ReadFile(vectors + "stream.bin")
	check(t, err)
	var summary struct {
		Reads struct {
			Count, Last int
			FirstTen    []int `json:"first_ten"`
		} `json:"whole_record_reads_4096"`
	}
	text, err := os.ReadFile(vectors + "stream.json")
	check(t, err)
	check(t, json.Unmarshal(text, &summary))
	mdt := emulatedtest.Start(t, emulatedtest.Options{})
	mdt.Register("", 0)
	mdt.Append(stream)

	for _, size := range []int{952, 4096, 65536, 1 << 20} {
		f := open(t, mdt.Path(), blocking)
		check(t, f.setFlags(nidBE))
		var all []byte
		var sizes []int
		for {
			b := f.read(size)
			if len(b) == 0 {
				break
			}
			all, sizes = append(all, b...), append(sizes, len(b))
		}
		if !bytes.Equal(all, stream) {
			t.Errorf("with buffers of %d bytes, %d bytes differ from the %d of the stream", size, len(all), len(stream))
		}
		if want := summary.Reads; size == 4096 && (len(sizes) != want.Count || !slices.Equal(sizes[:10], want.FirstTen) || sizes[len(sizes)-1] != want.Last) {
			t.Errorf("%d reads of %v ... %d bytes, want %+v", len(sizes), sizes[:10], sizes[len(sizes)-1], want)
		}
	}
}

// ABI 8.3, 8.4: without FOLLOW the end is the end.
func TestEndIsForEver(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3)
	f := open(t, mdt.Path(), blocking)
	wantIndexes(t, f.readAll(4096), 1, 2, 3)
	emit(mdt, 1)
	if b := f.read(4096); len(b) != 0 {
		t.Fatalf("%v behind the end", indexes(t, b))
	}
	wantIndexes(t, open(t, mdt.Path(), blocking).readAll(4096), 1, 2, 3, 4)
}

func TestEmptyLogIsAtItsEnd(t *testing.T) {
	mdt := emulatedtest.Start(t, emulatedtest.Options{})
	if b := open(t, mdt.Path(), blocking).read(4096); len(b) != 0 {
		t.Fatal(b)
	}
}

func TestFollow(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 2)
	f := open(t, mdt.Path(), blocking)
	f.follow()
	wantIndexes(t, f.read(4096), 1, 2)
	for next := uint64(3); next < 20; next += 2 {
		emit(mdt, 2)
		got := indexes(t, f.read(4096))
		if len(got) == 1 { // the prefetcher came between the two
			got = append(got, indexes(t, f.read(4096))...)
		}
		if !slices.Equal(got, []uint64{next, next + 1}) {
			t.Fatalf("%v, want %d and the next", got, next)
		}
	}
}

// ABI 8.4: a buffer that is too small reads 0 bytes, as at the end, and takes nothing.
func TestTooSmallBuffer(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 2)
	for _, flags := range []int{blocking, nonblocking} {
		f := open(t, mdt.Path(), flags)
		f.follow()
		if events := f.poll(patience); events != unix.POLLIN {
			t.Fatalf("events %#x", events)
		}
		for _, size := range []int{1, 63, 68} {
			if b := f.read(size); len(b) != 0 {
				t.Fatalf("%d bytes in a buffer of %d", len(b), size)
			}
		}
		wantIndexes(t, f.read(69), 1) // 64 and "file0"
		wantIndexes(t, f.read(4096), 2)
	}
}

// ABI 8.4, order of checks: a non-blocking read that nobody polled before never starts
// anything; up to 2.14 opening did.
func TestNonblockingRead(t *testing.T) {
	mdt := start(t, emulatedtest.Options{Version: emulated.Version215}, 2)
	f := open(t, mdt.Path(), nonblocking)
	for range 20 {
		_, err := f.tryRead(4096)
		wantErrno(t, "read before a poll", err, unix.EAGAIN)
	}
	if events := f.poll(patience); events != unix.POLLIN|unix.POLLHUP {
		t.Fatalf("events %#x", events)
	}
	wantIndexes(t, f.read(4096), 1, 2)
	if b := f.read(4096); len(b) != 0 {
		t.Fatalf("%d bytes at the end", len(b))
	}

	f = open(t, mdt.Path(), nonblocking)
	f.follow()
	f.poll(0)
	wantIndexes(t, f.read(4096), 1, 2)
	_, err := f.tryRead(4096)
	wantErrno(t, "read at the end of a followed log", err, unix.EAGAIN)
}

func TestPrefetchFromOpen(t *testing.T) {
	mdt := start(t, emulatedtest.Options{Version: emulated.Version214, OpenLatency: -1}, 2)
	f := open(t, mdt.Path(), nonblocking)
	check(t, f.setFlags(follow)) // too late
	wantIndexes(t, f.read(4096), 1, 2)
	if b := f.read(4096); len(b) != 0 {
		t.Fatalf("%d bytes at the end", len(b))
	}
	open(t, mdt.Path(), unix.O_WRONLY) // starts nothing, and nothing goes wrong

	slow := start(t, emulatedtest.Options{Version: emulated.Version214, OpenLatency: 50 * time.Millisecond}, 2)
	f = open(t, slow.Path(), blocking)
	check(t, f.setFlags(follow)) // in time
	wantIndexes(t, f.read(4096), 1, 2)
	emit(slow, 1)
	wantIndexes(t, f.read(4096), 3)
}

// ABI 8.5.
func TestSeek(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3000)
	f := open(t, mdt.Path(), blocking)
	f.seek(2)
	wantIndexes(t, f.read(2*69), 2, 3)
	f.seek(1000) // among those that are queued
	wantIndexes(t, f.read(71), 1000)
	f.seek(2500) // behind them
	wantIndexes(t, f.read(72), 2500)
	f.seek(2501)
	wantIndexes(t, f.read(72), 2501)
	f.seek(2501)
	_, err := f.tryRead(4096)
	wantErrno(t, "a seek backwards", err, unix.EINVAL)
	f.seek(0)
	_, err = f.tryRead(4096)
	wantErrno(t, "a seek to the start", err, unix.EINVAL)
	f.seek(3000)
	wantIndexes(t, f.read(4096), 3000)

	check(t, clearAs(mdt.Path(), "clear:cl1:2000"))
	f = open(t, mdt.Path(), blocking)
	f.seek(500) // purged
	wantIndexes(t, f.read(72), 2001)
	f = open(t, mdt.Path(), blocking)
	f.seek(5000) // beyond the end
	if b := f.read(4096); len(b) != 0 {
		t.Fatalf("%v beyond the end", indexes(t, b))
	}
	f = open(t, mdt.Path(), blocking)
	f.follow()
	f.seek(3003) // will come
	emit(mdt, 3)
	wantIndexes(t, f.read(4096), 3003)
	_, err = unix.Seek(f.n, 0, unix.SEEK_DATA)
	wantErrno(t, "SEEK_DATA", err, unix.EINVAL)
}

// ABI 8.3: at most 1024 records are queued, and those are read whatever is cleared.
func TestQueue(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 3000)
	f := open(t, mdt.Path(), blocking)
	f.poll(patience)
	check(t, clearAs(mdt.Path(), "clear:cl1:2990"))
	first := indexes(t, f.read(1<<20))
	if !slices.Equal(first, upTo(1, 1024)) {
		t.Fatalf("%d records from %d to %d were queued", len(first), first[0], first[len(first)-1])
	}
	// A chunk of the log was read ahead; behind it there is only what survives.
	rest := indexes(t, f.readAll(1<<20))
	if len(rest) < 10 || !slices.Equal(rest[len(rest)-10:], upTo(2991, 3000)) || len(rest) > 1500 {
		t.Fatalf("%d records behind the queue", len(rest))
	}
}

// Each open file has a cursor of its own.
func TestFilesAreIndependent(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 10)
	a, b := open(t, mdt.Path(), blocking), open(t, mdt.Path(), blocking)
	wantIndexes(t, a.read(2*69), 1, 2)
	b.seek(9)
	wantIndexes(t, b.readAll(4096), 9, 10)
	wantIndexes(t, a.readAll(4096), upTo(3, 10)...)
}

func TestAccessModes(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 1)
	_, err := open(t, mdt.Path(), unix.O_WRONLY).tryRead(4096)
	wantErrno(t, "read of a file that is open for writing", err, unix.EBADF)
	_, err = unix.Write(open(t, mdt.Path(), blocking).n, []byte("clear:cl1:1"))
	wantErrno(t, "write to a file that is open for reading", err, unix.EBADF)
	both := open(t, mdt.Path(), unix.O_RDWR)
	wantIndexes(t, both.read(4096), 1)
	_, err = unix.Write(both.n, []byte("clear:cl1:1\x00"))
	check(t, err)
	if events := open(t, mdt.Path(), unix.O_WRONLY).poll(0); events != 0 {
		t.Errorf("a file open for writing reports %#x", events)
	}
	if _, err := tryOpen(mdt.Path()+"x", blocking); err != unix.ENOENT {
		t.Error("another name:", err)
	}
}

// A signal ends a read that waits, and only that.
func TestSignalInterruptsRead(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 1)
	f := open(t, mdt.Path(), blocking)
	f.follow()
	wantIndexes(t, f.read(4096), 1)
	thread, ended := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		_, err := unix.Read(f.n, make([]byte, 4096))
		ended <- err
	}()
	for tid, tick := <-thread, time.NewTicker(10*time.Millisecond); ; {
		select {
		case err := <-ended:
			wantErrno(t, "an interrupted read", err, unix.EINTR)
			emit(mdt, 1)
			wantIndexes(t, f.read(4096), 2) // and it has taken nothing
			return
		case <-tick.C:
			check(t, unix.Tgkill(os.Getpid(), tid, syscall.SIGURG)) // which Go's own handler ignores
		}
	}
}

// One request of 1 MiB gets all that is queued.
func TestLargeRead(t *testing.T) {
	mdt := start(t, emulatedtest.Options{}, 1024)
	f := open(t, mdt.Path(), blocking)
	f.read(0) // a read of nothing is none
	wantIndexes(t, f.read(1<<20), upTo(1, 1024)...)
	if reads := mdt.Status().Reads; reads != 1 {
		t.Errorf("%d requests", reads)
	}
}

package watch

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// batch is what was read from the kernel at once.
type batch struct {
	events []byte
	at     time.Time // when it was read
	probe  uint64    // the last question that had been asked before it was read
	empty  bool      // nothing was left in the kernel's queue
	stalls int       // how often the reader had to tell that nobody takes its batches
	err    error     // the queue cannot be read any more; the last batch
}

// reader takes events out of the kernel's queue as they come, whatever their receiver is
// doing: it holds up to holdMost bytes for him. Only then it leaves them in the queue,
// which overflows in the end; that it waits it says in the log.
//
// Its goroutine owns everything but the three channels.
type reader struct {
	file *os.File
	fd   int
	log  zerolog.Logger

	batches chan batch
	asked   chan uint64   // questions: is there more?
	stopped chan struct{} // closed by stop

	probe  uint64
	at     time.Time // when held was read last, or a moment before
	held   []byte
	stalls int
}

const (
	// readSize is how much is read at once: the size of a pipe, several hundred events.
	readSize = 64 << 10
	// holdMost is how much is held for a receiver who is busy, in bytes: more than half
	// a million events.
	holdMost = 64 << 20
	// pause is how long the reader leaves the queue alone after it was empty: meanwhile
	// the kernel merges what somebody does to one file again and again.
	pause = 2 * time.Millisecond
	// busyPause is the same while the receiver is busy.
	busyPause = 10 * time.Millisecond
	// stallAfter is after how long it says so.
	stallAfter = 10 * time.Second
)

// newReader starts to read. stop ends it.
func newReader(fd int, log zerolog.Logger) *reader {
	r := &reader{
		fd: fd, file: os.NewFile(uintptr(fd), "fanotify"), log: log,
		batches: make(chan batch), asked: make(chan uint64, 1), stopped: make(chan struct{}),
	}
	go r.run()
	return r
}

// ask makes the reader send a batch, even an empty one, that was read after now.
func (r *reader) ask(probe uint64) {
	r.asked <- probe
	_ = r.file.SetReadDeadline(time.Unix(1, 0)) // a queue that is closed is told with the next batch
}

// stop ends the reader and closes the queue. Nobody may receive any more.
func (r *reader) stop() error {
	close(r.stopped)
	err := r.file.SetReadDeadline(time.Unix(1, 0))
	for range r.batches { // until it is closed
	}
	return errors.Join(err, r.file.Close())
}

func (r *reader) run() {
	defer close(r.batches)
	for !r.isStopped() {
		empty, err := r.drain()
		if !r.send(batch{empty: empty, err: err}) || err != nil {
			return
		}
		if empty && !r.wait() {
			return
		}
	}
}

func (r *reader) isStopped() bool {
	select {
	case <-r.stopped:
		return true
	default:
		return false
	}
}

// drain reads what is in the queue, up to what may be held.
func (r *reader) drain() (empty bool, err error) {
	select {
	case r.probe = <-r.asked:
	default:
	}
	r.at = time.Now()
	for len(r.held) < holdMost {
		r.held = growTo(r.held, readSize)
		n, err := unix.Read(r.fd, r.held[len(r.held):cap(r.held)])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return true, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("read the queue of fanotify: %w", err)
		default:
			r.held = r.held[:len(r.held)+n]
		}
	}
	return false, nil
}

// growTo makes room for size bytes behind b.
func growTo(b []byte, size int) []byte {
	if cap(b)-len(b) >= size {
		return b
	}
	return append(make([]byte, 0, 2*cap(b)+size), b...)
}

// send hands a batch over. While nobody takes it, it goes on reading.
func (r *reader) send(b batch) bool {
	began, said := time.Now(), false
	for {
		b.events, b.at, b.probe, b.stalls = r.held, r.at, r.probe, r.stalls
		busy := time.NewTimer(busyPause)
		select {
		case r.batches <- b:
			busy.Stop()
			r.held = nil
			return true
		case <-r.stopped:
			busy.Stop()
			return false
		case <-busy.C:
		}
		if !said && time.Since(began) > stallAfter {
			said = true
			r.stalls++
			r.log.Warn().Int("bytes", len(r.held)).Bool("full", len(r.held) >= holdMost).
				Msg("nothing was recorded for 10 s: the changelog's disk is slow, or a large directory is read; changes wait in memory, then in the kernel until its queue overflows")
		}
		if b.err == nil {
			b.empty, b.err = r.drain()
		}
	}
}

// wait waits until there is something in the queue, or a question.
func (r *reader) wait() bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.stopped:
		return false
	}
	conn, err := r.file.SyscallConn()
	if err != nil {
		return true // drain will tell
	}
	var buf []byte
	err = conn.Read(func(fd uintptr) bool {
		buf = growTo(r.held, readSize)
		n, err := unix.Read(int(fd), buf[len(buf):cap(buf)])
		if err == nil {
			r.held = buf[:len(buf)+n]
		}
		return !errors.Is(err, syscall.EAGAIN)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = r.file.SetReadDeadline(time.Time{}) // a queue that is closed is told by drain
	}
	return true
}

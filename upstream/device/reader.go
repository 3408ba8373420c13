package device

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

// setFlags is the ioctl that says how a descriptor is to be read, and its flags. They
// are passed by value, whatever the number says (ABI 8.7).
const (
	setFlags   = 0x800866e9
	flagFollow = 0x01
	flagNIDBE  = 0x10
)

// Reader reads a changelog device from an index on. It has one owner.
type Reader struct {
	source *Source
	next   uint64 // records below it are not wanted, or were read
	// file is the descriptor at hand; nil when it has shown its end, or failed.
	file    *os.File
	follows bool  // file, or the last one, follows, or would if the device could
	failed  error // the device's error, which stays
	closed  bool
}

// open opens the device at next, to follow it or to see its end.
func (r *Reader) open(follow bool) error {
	s := r.source
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(s.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return s.failOpen("open", err)
	}
	if err := prepare(fd, r.next, s.flags(follow)); err != nil {
		_ = unix.Close(fd)
		return s.fail("open", err, nil)
	}
	// Not before: the poller starts the reading (ABI 8.3).
	r.file, r.follows = os.NewFile(uintptr(fd), s.path), follow
	return nil
}

func (s *Source) flags(follow bool) int {
	switch {
	case follow:
		return flagFollow | flagNIDBE
	case s.longNIDs():
		return flagNIDBE
	}
	return 0
}

// prepare has a descriptor begin at an index, and sets its flags.
func prepare(fd int, start uint64, flags int) error {
	if start > 1 {
		if _, err := unix.Seek(fd, int64(start), io.SeekStart); err != nil { // an index, not bytes (ABI 8.5)
			return os.NewSyscallError("lseek", err)
		}
	}
	if flags == 0 {
		return nil
	}
	err := unix.IoctlSetInt(fd, setFlags, flags)
	if errors.Is(err, unix.ENOTTY) {
		return nil // up to 2.12: it cannot follow, and ends instead
	}
	return os.NewSyscallError("ioctl", err)
}

// Read implements [upstream.Reader].
func (r *Reader) Read(dst []byte) (int, error) {
	switch {
	case r.closed:
		return 0, upstream.ErrClosed
	case r.failed != nil:
		return 0, r.failed
	case len(dst) < changelog.MaxRecordSize:
		return 0, io.ErrShortBuffer // the device would answer as at its end (ABI 8.4)
	}
	for r.file != nil {
		n, err := r.read(dst)
		switch {
		case err == unix.EAGAIN && r.follows:
			return 0, io.EOF
		case err == unix.EAGAIN:
			return 0, nil // it is on its way, or there is none
		case err != nil:
			r.failed = r.source.fail("read", err, readRemedies)
			return 0, errors.Join(r.failed, r.release())
		case n == 0:
			if err := r.release(); err != nil {
				return 0, err
			}
		default:
			if n = r.account(dst[:n]); n > 0 {
				return n, nil
			}
		}
	}
	return 0, io.EOF
}

// read is read(2), which does not block.
func (r *Reader) read(dst []byte) (n int, err error) {
	if e := r.control(func(fd int) {
		n, err = ignoringEINTR(func() (int, error) { return unix.Read(fd, dst) })
	}); e != nil {
		return 0, e
	}
	return n, err
}

// control runs f with the descriptor.
func (r *Reader) control(f func(fd int)) error {
	raw, err := r.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// account moves the reader behind what was read, drops the records below its start, which
// up to 2.14 may have been on their way before the seek, and returns the size of the rest.
// What is no record is passed on: who cuts the records says so.
func (r *Reader) account(records []byte) int {
	scan := changelog.NewScanner(records)
	unwanted := int64(0)
	for at := r.next; scan.Scan(); {
		if scan.Last < at {
			unwanted = scan.Offset()
			continue
		}
		r.next = scan.Last + 1
	}
	return copy(records, records[unwanted:])
}

// release closes the descriptor.
func (r *Reader) release() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// Wait implements [upstream.Reader].
func (r *Reader) Wait(ctx context.Context) error {
	if r.closed {
		return upstream.ErrClosed
	}
	for r.failed == nil { // else Read says what
		if r.file == nil {
			if err := r.openAgain(ctx); err != nil {
				return err
			}
		}
		if has, err := r.ready(ctx); has || err != nil {
			return err
		}
		if err := r.release(); err != nil {
			return err
		}
	}
	return nil
}

// openAgain opens the device to follow it: at once after a descriptor that was to show
// the end, later after one that could not follow.
func (r *Reader) openAgain(ctx context.Context) error {
	if r.follows {
		timer := time.NewTimer(r.source.opts.Again)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.open(true)
}

// ready waits until the descriptor has something to tell: records or an error, or, which
// is false, its end.
func (r *Reader) ready(ctx context.Context) (has bool, err error) {
	defer r.interrupt(ctx)()
	raw, err := r.file.SyscallConn()
	if err != nil {
		return false, err
	}
	var events int16
	waitErr := raw.Read(func(fd uintptr) bool {
		events = poll(int(fd))
		return events != 0
	})
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case waitErr != nil && events == 0:
		// The poller gives up at an error: it can be read.
		if err := r.control(func(fd int) { events = poll(fd) }); err != nil {
			return false, err
		}
		if events == 0 {
			return false, r.source.fail("wait for", waitErr, nil)
		}
	}
	return events&^unix.POLLHUP != 0 || !r.follows, nil
}

// poll tells what poll(2) says of a descriptor at present.
func poll(fd int) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := ignoringEINTR(func() (int, error) { return unix.Poll(fds, 0) }); err != nil {
		return unix.POLLERR
	}
	return fds[0].Revents
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// interrupt ends a wait when ctx ends. The function that it returns undoes that.
func (r *Reader) interrupt(ctx context.Context) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = r.file.SetReadDeadline(past)
	})
	return func() {
		if !stop() {
			<-done
			_ = r.file.SetReadDeadline(time.Time{})
		}
	}
}

// Close implements [upstream.Reader].
func (r *Reader) Close() error {
	r.closed = true
	return r.release()
}

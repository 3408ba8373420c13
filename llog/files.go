package llog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// tmpSuffix is behind the name of a file that is not whole yet.
const tmpSuffix = ".tmp"

// replaceFile puts data under path in one step: whoever opens path sees the old
// file or the whole new one. It returns the new file, open for reading and
// writing. With durable it is on disk when the call returns.
func replaceFile(path string, data []byte, durable bool) (f *os.File, err error) {
	tmp := path + tmpSuffix
	f, err = os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
			_ = os.Remove(tmp) // a leftover is overwritten by the next try
		}
	}()
	if _, err = f.Write(data); err != nil {
		return f, err
	}
	if durable {
		if err = f.Sync(); err != nil {
			return f, err
		}
	}
	if err = os.Rename(tmp, path); err != nil {
		return f, err
	}
	if durable {
		err = syncDir(filepath.Dir(path))
	}
	return f, err
}

// writeAt writes all of b at off. When that fails it returns how much was written
// all the same, which [os.File.WriteAt] forgets.
func writeAt(f *os.File, b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m, err := unix.Pwrite(int(f.Fd()), b[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, err
		case m == 0:
			return n, io.ErrShortWrite
		default:
			n += m
		}
	}
	return n, nil
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockFile takes the file lock at path, waiting for its holder until ctx ends.
// The lock goes with the returned file, or with the process.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	const firstWait, longestWait = time.Millisecond, 50 * time.Millisecond
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := tryLock(f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		// flock(2) that waits cannot be cancelled, so a short wait it is.
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for the holder of %s: %w", path, context.Cause(ctx)), f.Close())
		case <-time.After(wait):
		}
	}
}

// unlock gives the lock of f back and closes f. Closing alone would leave the lock
// for a moment to a process that another goroutine is just starting: until its
// exec, a child shares all files.
func unlock(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// fileID tells one file from another, as long as one of them is kept open.
type fileID struct{ dev, ino uint64 }

// idOf returns the id of an open file, idAt that of the file at path. Neither
// fails: without a file the id is zero, which is nobody's.
func idOf(f *os.File) fileID {
	var info unix.Stat_t
	if unix.Fstat(int(f.Fd()), &info) != nil {
		return fileID{}
	}
	return fileID{info.Dev, info.Ino}
}

func idAt(path string) fileID {
	var info unix.Stat_t
	if unix.Stat(path, &info) != nil {
		return fileID{}
	}
	return fileID{info.Dev, info.Ino}
}

// tryLock takes the lock of f or fails with EWOULDBLOCK.
func tryLock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			return err
		}
	}
}

package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// lock keeps everybody else out of a state directory, and with it off the changelog
// users: two lcapd that are one user clear each other's records away. The kernel
// drops it with the process.
type lock struct{ file *os.File }

// takeLock locks a directory, or says who holds it.
func takeLock(dir string) (*lock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock the state: %w; %s must be writable for lcapd", err, dir)
	}
	if err := tryLock(f); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = locked(dir, holder(f))
		} else {
			err = fmt.Errorf("lock %s: %w; the file system of a state must support flock", path, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	l := &lock{f}
	// The name is a courtesy: with a full disk the lock holds without it.
	_ = l.sign(holderName())
	return l, nil
}

func locked(dir, holder string) error {
	return fmt.Errorf("%s: %w by %s; stop it first, for one state directory serves one lcapd", dir, ErrLocked, holder)
}

// asLocked says what bolt's own lock means: somebody opened the file without
// looking at the directory's.
func asLocked(dir string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return locked(dir, "a process that has "+fileName+" open")
	}
	return err
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

func (l *lock) sign(name string) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt([]byte(name), 0)
	return err
}

// holderName has the host too: the directory may be on shared storage, or a
// container may have its own process ids.
func holderName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	return fmt.Sprintf("process %d on %s\n", os.Getpid(), host)
}

// holder returns what the holder of a lock wrote about itself.
func holder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 300))
	if name, whole := strings.CutSuffix(string(text), "\n"); err == nil && whole && strings.HasPrefix(name, "process ") {
		return name
	}
	return "another process"
}

// release gives the lock back. Closing the file alone would leave it for a moment to
// a process that another goroutine is just starting: until its exec, a child shares
// all files.
func (l *lock) release() error {
	_ = l.sign("") // see takeLock
	return errors.Join(unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
}

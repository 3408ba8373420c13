package llog

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors of clear and of users. Each also matches, by errors.Is, the errno that
// an MDT answers (ABI 9.2, 10.1).
var (
	// ErrUnknownUser: no user with that id is registered (ENOENT).
	ErrUnknownUser error = &errnoError{"unknown changelog user", syscall.ENOENT}
	// ErrBeyondEnd: the index is above the last one issued (EINVAL).
	ErrBeyondEnd error = &errnoError{"index is beyond the end of the changelog", syscall.EINVAL}
	// ErrBackwards: the index is below what the user already cleared (EINVAL).
	ErrBackwards error = &errnoError{"index is below what is already cleared", syscall.EINVAL}
	// ErrZeroIndex: index 0 means "everything" to an MDT, hence never by accident (EINVAL).
	ErrZeroIndex error = &errnoError{"index 0 would clear everything", syscall.EINVAL}
	// ErrUserExists: the name is taken (EEXIST).
	ErrUserExists error = &errnoError{"user name is taken", syscall.EEXIST}
	// ErrUserName: the name is not one that an MDT accepts (EINVAL).
	ErrUserName error = &errnoError{"invalid user name", syscall.EINVAL}
)

// Errors of the log as a whole.
var (
	// ErrNotALog: the directory is missing or holds no changelog.
	ErrNotALog = errors.New("no changelog here")
	// ErrExists: the directory already holds a changelog, or something else.
	ErrExists = errors.New("directory is not empty")
	// ErrVersion: a file was written by a version of this program that is newer,
	// or is not ours.
	ErrVersion = errors.New("unknown format version")
	// ErrCorrupt: bytes that were written whole no longer are. See [CorruptError].
	ErrCorrupt = errors.New("changelog is damaged")
	// ErrNoUsers: nobody is registered, so a record would be kept for nobody.
	ErrNoUsers = errors.New("no changelog user is registered")
	// ErrBusy: another appender is at work on this log.
	ErrBusy = errors.New("another appender is at work")
	// ErrReplaced: the directory now holds another log than the one opened.
	ErrReplaced = errors.New("changelog was replaced by another one")
	// ErrClosed: the appender or reader was closed.
	ErrClosed = errors.New("closed")
	// ErrFailed: a write or sync failed in a way that leaves the end of the log
	// unknown; the appender must be opened again, which looks at what is there.
	ErrFailed = errors.New("appender has failed")
)

// errnoError is a sentinel that an errno also matches.
type errnoError struct {
	text  string
	errno syscall.Errno
}

func (e *errnoError) Error() string { return e.text }

// Is makes errors.Is(err, syscall.EINVAL) and its like work.
func (e *errnoError) Is(target error) bool { return target == e.errno }

// CorruptError says where a log is damaged. It matches [ErrCorrupt].
type CorruptError struct {
	File   string // path of the damaged file
	Offset int64  // of the first bad frame, in bytes
	After  uint64 // index of the last good record before it, 0 if unknown
	What   string // what is wrong there
	Bytes  []byte // the first bytes that are wrong, at most 64
	// Repairable says whether [Log.Repair] can get the log going again.
	Repairable bool
}

// Error implements error.
func (e *CorruptError) Error() string {
	remedy := "restore the file from a backup"
	if e.Repairable {
		remedy += ", or run 'lcapcli llog repair DIR' to give up what cannot be read"
	}
	return fmt.Sprintf("%s: damaged at offset %d, after index %d: %s; %s", e.File, e.Offset, e.After, e.What, remedy)
}

// Unwrap returns [ErrCorrupt].
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

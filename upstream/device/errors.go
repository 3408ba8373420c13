package device

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// ErrAbsent: there is no such device, because the file system is not mounted on this node.
// It is no errno, as ENOENT from a clear says that the MDT does not know the user; for who
// only knows files it is [fs.ErrNotExist].
var ErrAbsent error = absent{}

type absent struct{}

func (absent) Error() string        { return "no such device" }
func (absent) Is(target error) bool { return target == fs.ErrNotExist }

// ErrUsersUnknown: the file changelog_users of the options could not be read or understood.
var ErrUsersUnknown = errors.New("the changelog users cannot be told")

// Error is a failure of a changelog device. errors.Is finds its errno.
type Error struct {
	Path string // of the device
	Op   string // open, read, wait, clear 4711 ...
	Err  error
	// Remedy is what an administrator can do, empty if it is to wait.
	Remedy string
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err)
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Unwrap returns what failed.
func (e *Error) Unwrap() error { return e.Err }

// remedy is what to do about an errno of an operation, if one matters.
type remedy struct {
	errno syscall.Errno
	text  string
}

const (
	nodemap = "the MDS refuses this node: lcapd must be root there too (nodemap: admin and trusted; since 2.16 also the role chlg_ops)"
	gone    = "the file system was unmounted here; mount it again"
)

var (
	openRemedies = []remedy{
		{syscall.EACCES, "run lcapd as root, or let udev give the device to its user"},
		{syscall.EPERM, "run lcapd as root, or let udev give the device to its user"},
		{syscall.EMFILE, "raise the limit of open files (LimitNOFILE)"},
	}
	readRemedies = []remedy{
		{syscall.EACCES, nodemap},
		{syscall.EPERM, nodemap},
		{syscall.ENODEV, gone},
		{syscall.ENOENT, "the MDT has no changelog: register a user there: lctl changelog_register"},
		{syscall.EINVAL, "the MDT cannot read its own changelog: see its kernel log"},
	}
	clearRemedies = []remedy{
		{syscall.EACCES, nodemap},
		{syscall.EPERM, nodemap},
		{syscall.ENODEV, gone},
		{syscall.ENOENT, "the MDT does not know the user, or has cleared more for it already: compare changelog_users on the MDS"},
		{syscall.EINVAL, "the MDT has not issued this index, or has cleared more for the user already: compare changelog_users on the MDS"},
		{syscall.ENXIO, "the MDT has no list of users at present"},
		{syscall.EINPROGRESS, "a snapshot of the MDT is being made"},
	}
)

// failOpen describes why the device cannot be opened.
func (s *Source) failOpen(op string, errno error) error {
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ENXIO, syscall.ENODEV:
		remedy := "mount the file system on this node, or name another MDT"
		if s.opts.DirKey != "" {
			remedy = "mount the file system on this node, or change " + s.opts.DirKey
		}
		return &Error{Path: s.path, Op: op, Err: ErrAbsent, Remedy: remedy}
	}
	return s.fail(op, errno, openRemedies)
}

// fail describes an error of the device.
func (s *Source) fail(op string, err error, remedies []remedy) error {
	e := &Error{Path: s.path, Op: op, Err: err}
	for _, r := range remedies {
		if errors.Is(err, r.errno) {
			e.Remedy = r.text
			break
		}
	}
	return e
}

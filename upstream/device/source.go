package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

// DefaultAgain is how soon a reader looks again where a device cannot be followed, as
// often as the client does itself where it can (ABI 8.3).
const DefaultAgain = time.Second

// Prefix is what the names of changelog devices begin with; the name of the MDT follows
// (ABI 8.1).
const Prefix = "changelog-"

// Options say which device, and as whom.
type Options struct {
	// Dir is where the devices are: /dev.
	Dir string
	// MDT is the name of the MDT, such as lustre-MDT0000.
	MDT string
	// User is the changelog user, such as cl1 or cl2-audit. Empty if nothing will be cleared.
	User string
	// Version is that of the client. Zero asks the kernel each time that the device is opened.
	Version Version
	// Again is how soon a reader looks again where a device cannot be followed; zero for
	// [DefaultAgain].
	Again time.Duration
	// DirKey is how Dir is set, for who is told that there is no device: device_dir. Empty
	// where the user named the device.
	DirKey string
	// Users is a file changelog_users of the MDT, if there is one to be seen: each clear
	// makes sure then that the user is still the one meant. Ids are used again (ABI 10.1).
	Users string
}

// Source is a changelog device as one of the MDT's users sees it. It holds nothing that
// changes, and opens the device anew for each reader and each clear.
type Source struct {
	opts Options
	path string
	user llog.UserID // 0 for none
	name string      // of the user, empty if it was not told
}

var _ upstream.Source = (*Source)(nil)

// New returns the source of a device. The device need not be there: a file system may be
// mounted later. An error is one of the options.
func New(o Options) (*Source, error) {
	if o.Again <= 0 {
		o.Again = DefaultAgain
	}
	s := &Source{opts: o, path: filepath.Join(o.Dir, Prefix+o.MDT)}
	if o.User == "" {
		return s, nil
	}
	var err error
	s.user, err = llog.ParseUserID(o.User)
	_, s.name, _ = strings.Cut(o.User, "-")
	return s, err
}

// Path returns the path of the device.
func (s *Source) Path() string { return s.path }

// longNIDs tells whether the client takes the request for long NIDs for nothing else. From
// 2.13 to 2.15 any flag makes it follow (ABI 8.7): then the end would never show.
func (s *Source) longNIDs() bool {
	v := s.opts.Version
	if v == (Version{}) {
		v, _ = RunningVersion() // unknown is taken for an older one
	}
	return v.atLeast(16)
}

// Open implements [upstream.Source]. It does not wait for the MDS: that it cannot be
// reached shows when the reader reads.
func (s *Source) Open(ctx context.Context, start uint64) (upstream.Reader, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := &Reader{source: s, next: max(start, 1)}
	if err := r.open(false); err != nil {
		return nil, err
	}
	return r, nil
}

// Clear implements [upstream.Source]: the MDT has done it when it returns. It may take as
// long as the MDT is away. A clear that is under way cannot be called back: if ctx ends,
// it is not known whether it was done, or will be.
func (s *Source) Clear(ctx context.Context, index uint64) error {
	return s.ClearIf(ctx, index, func() error { return nil })
}

// ClearIf implements [upstream.Source] as Clear does. The device is opened before isSame looks:
// what is open is of no use any more once the file system is unmounted (ENODEV, ABI 9.2).
func (s *Source) ClearIf(ctx context.Context, index uint64, isSame func() error) error {
	op := fmt.Sprintf("clear %d of", index)
	if index == 0 {
		return s.fail(op, llog.ErrZeroIndex, nil)
	}
	if done, err := s.knownUser(index); done || err != nil {
		return err
	}
	return s.command(ctx, op, index, isSame)
}

// ClearAll acknowledges everything that the MDT has recorded up to now, read or not.
func (s *Source) ClearAll(ctx context.Context) error {
	if _, err := s.knownUser(math.MaxUint64); err != nil {
		return err
	}
	return s.command(ctx, "clear all of", 0, func() error { return nil }) // what 0 means to an MDT (ABI 9.2)
}

// command has the MDT clear if it isSame, and waits for its answer.
func (s *Source) command(ctx context.Context, op string, index uint64, isSame func() error) error {
	if s.user == 0 {
		return s.fail(op, errors.New("no changelog user is named"), nil)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(s.path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return s.failOpen(op, err)
	}
	if err := isSame(); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	answer := make(chan error, 1)
	go func() { answer <- s.clear(fd, op, index) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// knownUser looks at changelog_users, if there is one, before a clear. done says that the
// MDT does not need it: the user's cursor stood above the index already when it was
// registered, and what others still keep below it is none of its business.
func (s *Source) knownUser(index uint64) (done bool, err error) {
	if s.opts.Users == "" {
		return false, nil
	}
	user, err := s.CheckUser()
	return err == nil && index < user.Cleared, err
}

// CheckUser looks the user up in the file changelog_users of the options. It returns
// [llog.ErrUnknownUser] if the user is not there, or another one has its id, and
// [ErrUsersUnknown] if that cannot be told.
func (s *Source) CheckUser() (User, error) {
	users, err := ReadUsers(s.opts.Users)
	if err != nil {
		return User{}, fmt.Errorf("%w: %v", ErrUsersUnknown, err) // an errno of a file is not one of a clear
	}
	user, err := users.find(s.user, s.name)
	if err != nil {
		return User{}, fmt.Errorf("%s: %w; register one: lctl --device %s changelog_register", s.opts.Users, err, s.opts.MDT)
	}
	return user, nil
}

// Registered tells whether the MDT still knows the user, by the file changelog_users of the options.
// Without one that cannot be told, and it is taken to be so.
func (s *Source) Registered(context.Context) (bool, error) {
	if s.opts.Users == "" {
		return true, nil
	}
	_, err := s.CheckUser()
	if errors.Is(err, llog.ErrUnknownUser) {
		return false, nil
	}
	return true, err
}

// clear gives the MDT the command, and returns its answer (ABI 9.1). It closes fd.
func (s *Source) clear(fd int, op string, index uint64) (err error) {
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	command := fmt.Appendf(nil, "clear:%s:%d", s.user, index)
	n, err := ignoringEINTR(func() (int, error) { return unix.Write(fd, command) })
	switch {
	case err != nil:
		return s.fail(op, err, clearRemedies)
	case n != len(command):
		return s.fail(op, fmt.Errorf("only %d of %d bytes of the command were taken", n, len(command)), nil)
	}
	return nil
}

// ignoringEINTR repeats a system call that a signal interrupted. The runtime sends
// signals of its own. A clear may be repeated: it says up to where.
func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

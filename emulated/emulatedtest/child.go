package emulatedtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/fuse"
	"github.com/lcapd/lcapd/llog"
)

// childVar holds, in the environment of a process that a test started, what that process
// serves instead of running tests: a spec as JSON.
const childVar = "LCAPD_EMULATED_MDT"

// spec is what a child serves.
type spec struct {
	Log, MountPoint, Clears string
	Version                 emulated.Version
	FollowInterval          time.Duration
	OpenLatency             time.Duration
	ShortReads, Dirty       bool
	Seed                    uint64
	Idle                    *llog.IdleLimits
}

// started is the first line that a child says.
type started struct {
	Error string `json:"error,omitempty"`
	// Unavailable: it could not be helped, on this machine.
	Unavailable bool `json:"unavailable,omitempty"`
}

// Main runs the tests of a package and ends the process: a TestMain consists of its call.
// The test binary is also the server of the devices that [Start] starts.
func Main(m *testing.M) {
	encoded := os.Getenv(childVar)
	if encoded == "" {
		os.Exit(m.Run())
	}
	if err := serve([]byte(encoded)); err != nil {
		fmt.Fprintln(os.Stderr, "emulated MDT:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve is the child. It ends with its standard input, which is the parent's to close,
// or ends with the parent.
func serve(encoded []byte) error {
	var s spec
	if err := json.Unmarshal(encoded, &s); err != nil {
		return err
	}
	server, err := s.mount()
	out := json.NewEncoder(os.Stdout)
	if err != nil {
		unavailable := errors.Is(err, fuse.ErrNoDevice) || errors.Is(err, fuse.ErrNotAllowed)
		return out.Encode(started{err.Error(), unavailable})
	}
	if err := out.Encode(started{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := server.Control(ctx, json.NewDecoder(os.Stdin), out)
		cancel()
		ended <- err
	}()
	err = server.Run(ctx)
	cancel()
	if err != nil {
		return err // standard input may never end now
	}
	if err := <-ended; err != io.EOF {
		return err
	}
	return nil
}

func (s spec) mount() (*emulated.Server, error) {
	log, err := llog.Open(s.Log)
	if err != nil {
		return nil, err
	}
	return emulated.Mount(emulated.Options{
		Log: log, MountPoint: s.MountPoint, Clears: s.Clears, Version: s.Version,
		FollowInterval: s.FollowInterval, OpenLatency: s.OpenLatency,
		ShortReads: s.ShortReads, Seed: s.Seed, Dirty: s.Dirty, Idle: s.Idle,
		Logger: zerolog.New(os.Stderr).Level(zerolog.WarnLevel),
	})
}

// child is a server process, in a mount namespace of its own.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	say   *json.Encoder
	hear  *json.Decoder
	ended chan struct{} // closed when err is final
	err   error
}

// errUnavailable: this machine, or this user, has no file systems in user space.
var errUnavailable = errors.New("no emulated MDT here")

// startChild starts a server and waits until its device is there.
func startChild(s spec) (*child, error) {
	encoded, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command("/proc/self/exe"), ended: make(chan struct{})}
	// Under the race detector, a process otherwise ends a second late.
	c.cmd.Env = append(os.Environ(), childVar+"="+string(encoded), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = isolation()
	if err := c.connect(); err != nil {
		return nil, err
	}
	running := make(chan error, 1)
	go c.run(running)
	if err := <-running; errors.Is(err, syscall.EPERM) {
		return nil, fmt.Errorf("%w: a mount namespace: %w; run as root", errUnavailable, err)
	} else if err != nil {
		return nil, err
	}
	var first started
	if err := c.hear.Decode(&first); err != nil {
		return nil, errors.Join(fmt.Errorf("the server has not started: %w", err), c.kill())
	}
	if first.Error == "" {
		return c, nil
	}
	<-c.ended
	err = errors.New(first.Error)
	if first.Unavailable {
		err = fmt.Errorf("%w: %w", errUnavailable, err)
	}
	return nil, err
}

// isolation is a mount namespace, so that nothing is mounted for anybody else, and the
// end with the thread that starts the child. Who is not root needs a user namespace too.
func isolation() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return attr
}

// connect makes the child's standard input and output.
func (c *child) connect() error {
	inside, in, err := os.Pipe()
	if err != nil {
		return err
	}
	out, outside, err := os.Pipe()
	if err != nil {
		return errors.Join(err, inside.Close(), in.Close())
	}
	c.cmd.Stdin, c.in, c.say = inside, in, json.NewEncoder(in)
	c.cmd.Stdout, c.out, c.hear = outside, out, json.NewDecoder(out)
	return nil
}

// run starts the child and waits for its end. The thread that starts it must last as
// long as the child, so it is kept.
func (c *child) run(running chan<- error) {
	runtime.LockOSThread()
	defer close(c.ended)
	err := c.cmd.Start()
	err = errors.Join(err, c.cmd.Stdin.(io.Closer).Close(), c.cmd.Stdout.(io.Closer).Close())
	running <- err
	if err == nil {
		c.err = c.cmd.Wait()
	}
}

// order has the server carry out a command.
func (c *child) order(command emulated.Command) (emulated.Status, error) {
	if err := c.say.Encode(command); err != nil {
		return emulated.Status{}, fmt.Errorf("the server of the emulated MDT is gone: %w", err)
	}
	var a emulated.Answer
	if err := c.hear.Decode(&a); err != nil {
		return emulated.Status{}, fmt.Errorf("the server of the emulated MDT is gone: %w", err)
	}
	if a.Error != "" {
		return emulated.Status{}, errors.New(a.Error)
	}
	return *a.Status, nil
}

// kill ends the child as nothing else does.
func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	<-c.ended
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, c.in.Close(), c.out.Close())
}

// patience is how long a server may take to end.
const patience = 30 * time.Second

// stop ends the child in an orderly way.
func (c *child) stop() error {
	err := c.in.Close()
	select {
	case <-c.ended:
		return errors.Join(err, c.err, c.out.Close())
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("the server of the emulated MDT has not ended within %s", patience), c.cmd.Process.Kill(), c.out.Close())
	}
}

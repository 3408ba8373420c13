package fuse

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// devicePath is the kernel's side of all file systems in user space.
const devicePath = "/dev/fuse"

// superMagic is what statfs(2) says of a mounted file system in user space.
const superMagic = 0x65735546

// Why a directory cannot be mounted on. Match them with errors.Is; the text has the remedy.
var (
	// ErrNoDevice: /dev/fuse is missing or may not be opened.
	ErrNoDevice = errors.New("no file systems in user space")
	// ErrNotAllowed: only root may mount.
	ErrNotAllowed = errors.New("not allowed to mount")
	// ErrMountPoint: the directory is missing, not empty, or serves something else.
	ErrMountPoint = errors.New("cannot be a mount point")
)

// Conn is a mounted file system, seen from the side that serves it. Next belongs to one
// goroutine and Reply and Wake to one goroutine, which may be another one.
type Conn struct {
	dir      string
	file     *os.File
	raw      syscall.RawConn
	in       []byte
	out      []byte // where replies are put together
	attached bool   // dir shows the file system
}

// Mount mounts a file system on dir, an empty directory, that only the user of this
// process may enter. name is what mount(8) shows as its source. Whoever opens something
// there waits until the first call of Next.
func Mount(dir, name string) (*Conn, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	if err := checkMountPoint(dir); err != nil {
		return nil, err
	}
	fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		remedy := "run as root"
		if err != unix.EACCES && err != unix.EPERM {
			remedy = "run: modprobe fuse"
		}
		return nil, fmt.Errorf("%w: open %s: %w; %s", ErrNoDevice, devicePath, err, remedy)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,default_permissions", fd, ModeDir, os.Geteuid(), os.Getegid())
	err = unix.Mount(name, dir, "fuse.lustre-changelog", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options)
	if err != nil {
		if err == unix.EPERM || err == unix.EACCES {
			err = fmt.Errorf("%w: %w; run as root", ErrNotAllowed, err)
		}
		return nil, errors.Join(fmt.Errorf("mount on %s: %w", dir, err), unix.Close(fd))
	}
	// Only now: before it is mounted, the device is not ready for anything.
	file := os.NewFile(uintptr(fd), devicePath)
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount on %s: %w", dir, err), file.Close(), unix.Unmount(dir, unix.MNT_DETACH))
	}
	const largest = requestHeader + 64 + maxWrite // a write: headers and data
	return &Conn{dir: dir, file: file, raw: raw, in: make([]byte, largest), attached: true}, nil
}

// checkMountPoint says what is wrong with dir better than mount(2) would.
func checkMountPoint(dir string) error {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	switch {
	case err == unix.ENOTCONN:
		return fmt.Errorf("%s %w: %w: whoever served it before was killed; run: umount -l %s", dir, ErrMountPoint, err, dir)
	case err == unix.ENOENT:
		return fmt.Errorf("%s %w: there is no such directory; make it: mkdir -p %s", dir, ErrMountPoint, dir)
	case err == nil && fs.Type == superMagic:
		return fmt.Errorf("%s %w: something is served there already; stop it, or choose another directory", dir, ErrMountPoint)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s %w: %w", dir, ErrMountPoint, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s %w: it is not empty; choose an empty directory", dir, ErrMountPoint)
	}
	return nil
}

// Next returns the next request. The error is [io.EOF] when the file system is unmounted
// and nobody has a file of it open any more, or after Close. A request that cannot be
// decoded is refused here, and the conversation goes on.
func (c *Conn) Next() (Request, error) {
	for {
		n, err := c.read()
		if err != nil {
			return Request{}, err
		}
		r, err := decode(c.in[:n])
		if err != nil {
			c.refuse(r.ID)
			continue
		}
		if in, ok := r.Body.(*start); ok {
			if err := c.begin(r.ID, in); err != nil {
				return Request{}, err
			}
			continue
		}
		return r, nil
	}
}

// read reads one request into c.in.
func (c *Conn) read() (int, error) {
	for {
		var n int
		var err error
		waitErr := c.raw.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), c.in)
			return err != unix.EAGAIN
		})
		if waitErr != nil && !errors.Is(waitErr, os.ErrClosed) {
			// A connection that ended cannot be waited for; reading tells why.
			waitErr = c.raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), c.in) })
		}
		switch {
		case waitErr != nil, err == unix.ENODEV, err == unix.ECONNABORTED:
			return 0, io.EOF
		case err == unix.EINTR, err == unix.ENOENT, err == unix.EAGAIN:
			// A signal, or a request that its caller gave up meanwhile.
		case err != nil:
			return 0, fmt.Errorf("read %s: %w", devicePath, err)
		default:
			return n, nil
		}
	}
}

// begin answers the request that opens the conversation.
func (c *Conn) begin(id uint64, in *start) error {
	if in.major != ourMajor || in.minor < ourMinor {
		return fmt.Errorf("the kernel speaks version %d.%d of the FUSE protocol, %d.%d is needed (Linux 5.4)", in.major, in.minor, ourMajor, ourMinor)
	}
	return c.send(appendStart(appendReplyHeader(nil, id, 0), in))
}

// refuse answers a request that makes no sense, if it can be told which one it is.
func (c *Conn) refuse(id uint64) {
	if id != 0 {
		_ = c.send(appendReplyHeader(nil, id, unix.EINVAL)) // whoever reads next sees why that failed
	}
}

// Reply answers a request: with what body appends to the reply, nothing if it is nil, or
// with errno if that is not 0. A reply to a caller who is gone is no error.
func (c *Conn) Reply(id uint64, errno syscall.Errno, body func([]byte) []byte) error {
	c.out = appendReplyHeader(c.out[:0], id, errno)
	if body != nil && errno == 0 {
		c.out = body(c.out)
	}
	return c.send(c.out)
}

// wakePoll is the kind of a notification that a polled file is ready.
const wakePoll = 1

// Wake has those who poll a file look again. wake is of its [Poll].
func (c *Conn) Wake(wake uint64) error {
	c.out = append32(c.out[:0], 0, wakePoll)
	c.out = append64(c.out, 0, wake)
	return c.send(c.out)
}

func appendReplyHeader(b []byte, id uint64, errno syscall.Errno) []byte {
	b = append32(b, 0, uint32(-int32(errno)))
	return append64(b, id)
}

// send fills in the length and writes the message.
func (c *Conn) send(b []byte) error {
	native.PutUint32(b, uint32(len(b)))
	_, err := c.file.Write(b)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrClosed) {
		return nil // the caller is gone, or all are: Next tells
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", devicePath, err)
	}
	return nil
}

// Detach takes the file system out of the directory. Files that are open stay open and
// are served until they are closed.
func (c *Conn) Detach() error {
	if !c.attached {
		return nil
	}
	c.attached = false
	if err := unix.Unmount(c.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", c.dir, err)
	}
	return nil // EINVAL: somebody else unmounted it
}

// Close ends the conversation: whatever is still open there fails with ENOTCONN, and Next
// returns [io.EOF]. The file system should be detached before.
func (c *Conn) Close() error { return c.file.Close() }

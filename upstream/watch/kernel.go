package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

// ErrCannotWatch: the kernel does not let us watch the directory, or the file system
// cannot be watched. The message says what is missing.
var ErrCannotWatch = errors.New("cannot be watched")

// wanted are the changes that we ask for. Reading and opening are not among them, and
// moves come as FAN_RENAME, which tells both ends.
const wanted = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_RENAME | unix.FAN_ATTRIB |
	unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE | unix.FAN_ONDIR

// openQueue asks for the changes of a whole file system, and returns the descriptor
// that they are read from.
func openQueue(path string, unlimited bool) (int, error) {
	flags := uint(unix.FAN_CLASS_NOTIF | unix.FAN_CLOEXEC | unix.FAN_NONBLOCK | unix.FAN_REPORT_DFID_NAME_TARGET)
	if unlimited {
		flags |= unix.FAN_UNLIMITED_QUEUE
	}
	fd, err := unix.FanotifyInit(flags, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE)
	if err != nil {
		return -1, fmt.Errorf("%s %w: fanotify_init: %w; %s", path, ErrCannotWatch, err, initRemedy(err))
	}
	err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, wanted, unix.AT_FDCWD, path)
	if err != nil {
		return -1, errors.Join(fmt.Errorf("%s %w: fanotify_mark: %w; %s", path, ErrCannotWatch, err, markRemedy(err)), unix.Close(fd))
	}
	return fd, nil
}

func initRemedy(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return "run lcapd as root: it needs CAP_SYS_ADMIN, outside of user namespaces"
	case errors.Is(err, unix.EINVAL):
		return "it needs Linux 5.17 or newer (FAN_REPORT_TARGET_FID)"
	case errors.Is(err, unix.ENOSYS):
		return "it needs a kernel with CONFIG_FANOTIFY"
	case errors.Is(err, unix.EMFILE):
		return "raise fs.fanotify.max_user_groups, or the limit of open files"
	}
	return "the kernel gives no other reason"
}

func markRemedy(err error) string {
	switch {
	case errors.Is(err, unix.EINVAL):
		return "it needs Linux 5.17 or newer (FAN_RENAME)"
	case errors.Is(err, unix.ENODEV):
		return "its file system has no file system id (fsid)"
	case errors.Is(err, unix.EOPNOTSUPP):
		return "its file system has no file handles; on overlayfs mount with nfs_export=on, or watch the directory underneath"
	case errors.Is(err, unix.EXDEV):
		return "it is in a subvolume with an id of its own; watch the top of the file system"
	case errors.Is(err, unix.EPERM):
		return "run lcapd as root: it needs CAP_SYS_ADMIN"
	case errors.Is(err, unix.ENOSPC):
		return "raise fs.fanotify.max_user_marks"
	}
	return "the kernel gives no other reason"
}

// volume is the watched tree as files are looked at there: by handles, which go on
// being right when somebody renames. It is a mount of its own without what is mounted
// below the tree, so that what lies under a mount point is seen.
type volume struct {
	mount  int // keeps that mount
	fd     int // the root of the tree in it
	root   handle
	system uint64 // the file system's id

	// The directory that names were looked up in last stays open for the next one.
	lookedIn handle
	lookFD   int // -1 for none
}

// openVolume opens a tree.
func openVolume(path string) (*volume, error) {
	mount, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%s %w: open_tree: %w; it needs CAP_SYS_ADMIN and Linux 5.2 or newer", path, ErrCannotWatch, err)
	}
	v := &volume{mount: mount, fd: -1, lookFD: -1}
	if err := v.identify(path); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

// identify learns the handle of the root, and whether handles can be opened.
func (v *volume) identify(path string) (err error) {
	v.fd, err = unix.Openat(v.mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%s %w: it is no directory", path, ErrCannotWatch)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	if v.system, err = systemOf(v.fd); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	if v.root, err = handleAt(v.fd, ""); err != nil {
		return fmt.Errorf("%s %w: name_to_handle_at: %w; its file system has no file handles", path, ErrCannotWatch, err)
	}
	fd, err := v.open(v.root, unix.O_PATH)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s %w: open_by_handle_at: %w; run lcapd as root: it needs CAP_DAC_READ_SEARCH", path, ErrCannotWatch, err)
	case err != nil:
		return fmt.Errorf("%s %w: open_by_handle_at: %w; its file system cannot open file handles", path, ErrCannotWatch, err)
	}
	return unix.Close(fd)
}

// systemOf returns the id of the file system of an open file.
func systemOf(fd int) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, fmt.Errorf("fstatfs: %w", err)
	}
	return uint64(uint32(fs.Fsid.Val[0])) | uint64(uint32(fs.Fsid.Val[1]))<<32, nil
}

func (v *volume) close() error {
	v.rest()
	if v.fd < 0 {
		return unix.Close(v.mount)
	}
	return errors.Join(unix.Close(v.fd), unix.Close(v.mount))
}

// rest closes the directory that was kept open, so that a file system is not kept busy
// by somebody who waits.
func (v *volume) rest() {
	if v.lookFD >= 0 {
		_ = unix.Close(v.lookFD) // nothing was written
		v.lookFD = -1
	}
}

// handleAt returns the handle of a name in an open directory, "" for the directory
// itself. It follows no symbolic link.
func handleAt(dir int, name string) (handle, error) {
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	h, _, err := unix.NameToHandleAt(dir, name, flags)
	if err != nil {
		return handle{}, err
	}
	return handle{h.Type(), string(h.Bytes())}, nil
}

// open opens what a handle names. ESTALE says that it is gone.
func (v *volume) open(h handle, flags int) (int, error) {
	return unix.OpenByHandleAt(v.fd, unix.NewFileHandle(h.kind, []byte(h.bytes)), flags|unix.O_CLOEXEC)
}

// lookup returns the handle of a name in a directory, whatever lies there now; false if
// nothing does, or the directory is gone.
func (v *volume) lookup(dir handle, name string) (handle, bool, error) {
	if v.lookFD < 0 || v.lookedIn != dir {
		v.rest()
		fd, err := v.open(dir, unix.O_PATH|unix.O_DIRECTORY)
		if isGone(err) {
			return handle{}, false, nil
		}
		if err != nil {
			return handle{}, false, fmt.Errorf("open a directory of the tree: %w", err)
		}
		v.lookFD, v.lookedIn = fd, dir
	}
	h, err := handleAt(v.lookFD, name)
	if isGone(err) {
		return handle{}, false, nil
	}
	if err != nil {
		return handle{}, false, fmt.Errorf("look at %q in a directory of the tree: %w", name, err)
	}
	return h, true, nil
}

func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOTDIR)
}

// facts are what records need to know of an inode.
type facts struct {
	made     changelog.Type // which type of record makes it: CREAT, MKDIR, SLINK or MKNOD
	uid, gid uint32
	links    uint64
}

// stat looks at what a handle names; false if it is gone.
func (v *volume) stat(h handle) (facts, bool, error) {
	fd, err := v.open(h, unix.O_PATH)
	if isGone(err) {
		return facts{}, false, nil
	}
	if err != nil {
		return facts{}, false, fmt.Errorf("open a file of the tree: %w", err)
	}
	var st unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Close(fd)); err != nil {
		return facts{}, false, fmt.Errorf("look at a file of the tree: %w", err)
	}
	return facts{madeBy(st.Mode), st.Uid, st.Gid, uint64(st.Nlink)}, st.Nlink > 0, nil
}

// madeBy returns the type of the record that makes a file of the given mode (ABI 2).
func madeBy(mode uint32) changelog.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return changelog.TypeCreat
	case unix.S_IFDIR:
		return changelog.TypeMkdir
	case unix.S_IFLNK:
		return changelog.TypeSlink
	}
	return changelog.TypeMknod
}

// ancestors returns the handles of the directories above the one that h names, the
// nearest first, up to the root of the tree or, outside of it, of the file system.
func (v *volume) ancestors(h handle) (up []handle, err error) {
	fd, err := v.open(h, unix.O_PATH|unix.O_DIRECTORY)
	for last := h; err == nil; {
		var above int
		above, err = unix.Openat(fd, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd) // nothing was written
		if err != nil {
			break
		}
		fd = above
		var next handle
		if next, err = handleAt(fd, ""); err != nil || next == last {
			_ = unix.Close(fd) // likewise
			break
		}
		up, last = append(up, next), next
		if next == v.root {
			_ = unix.Close(fd) // likewise
			break
		}
	}
	if isGone(err) {
		return nil, nil
	}
	return up, err
}

// Check says why a directory cannot be watched, nil if it can.
func Check(path string) error {
	path, err := resolve(path)
	if err != nil {
		return err
	}
	fd, err := openQueue(path, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	v, err := openVolume(path)
	if err != nil {
		return err
	}
	return v.close()
}

// resolve returns the path of a directory without symbolic links.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("watch %s: %w; make it, or name a directory that is there", path, unix.ENOENT)
	case err != nil:
		return "", fmt.Errorf("watch %s: %w; give the path of a directory that may be read", path, err)
	}
	return filepath.Abs(real)
}

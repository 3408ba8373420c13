package emulated

import (
	"bytes"
	"encoding/binary"
	"syscall"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated/fuse"
	"github.com/lcapd/lcapd/llog"
)

// The ioctls of the device (ABI 8.7).
const (
	ioctlSetFlags = 0x800866e9 // the argument is the value
	ioctlFilter   = 0x403066b3
	filterSize    = 48
)

func (m *mdt) ioctl(r request, b *fuse.Ioctl) error {
	f := m.handles[b.Handle]
	if f == nil || !m.Version.hasSetFlags() {
		return m.refuse(r, syscall.ENOTTY)
	}
	errno := syscall.EINVAL
	switch {
	case b.Command == ioctlSetFlags:
		f.flags, errno = b.Arg, 0
	case b.Command == ioctlFilter && m.Version.hasFilter():
		errno = m.setFilter(f, b.Data)
	}
	if errno != 0 {
		return m.refuse(r, errno)
	}
	return m.reply(r, func(out []byte) []byte { return fuse.AppendIoctl(out, 0) })
}

// setFilter sets the filter to the user's registered mask, or what of the wanted one is
// in it. It has the real one's quirks: only a user with a name or a mask is found, and a
// filter that lets nothing through lets everything through.
func (m *mdt) setFilter(f *file, arg []byte) syscall.Errno {
	if len(arg) != filterSize {
		return syscall.EINVAL
	}
	wanted := changelog.Mask(binary.NativeEndian.Uint64(arg))
	id := llog.UserID(binary.NativeEndian.Uint32(arg[8:]))
	name, _, ok := bytes.Cut(arg[16:46], []byte{0})
	if !ok {
		return syscall.EINVAL
	}
	info, err := m.Log.Info()
	if err != nil {
		return m.errnoOf(err, "look up a user")
	}
	for _, u := range info.Users {
		if u.Name == "" && u.Mask == 0 {
			continue
		}
		if id != 0 && u.ID == id || id == 0 && u.Name != "" && u.Name == string(name) {
			f.filter = u.Mask
			if wanted != 0 {
				f.filter &= wanted
			}
			return 0
		}
	}
	return syscall.ENOENT
}

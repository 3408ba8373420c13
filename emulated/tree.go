package emulated

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/emulated/fuse"
)

// The nodes of the mounted directory.
const (
	deviceNode = fuse.RootNode + 1 + iota
	usersNode
)

// handle answers a request, or puts it where it will be.
func (m *mdt) handle(r request) error {
	switch b := r.Body.(type) {
	case *fuse.Read:
		return m.read(r, b)
	case *fuse.Poll:
		return m.poll(r, b)
	case *fuse.Write:
		return m.write(r, b)
	case *fuse.Ioctl:
		return m.ioctl(r, b)
	case *fuse.Open:
		return m.open(r, b)
	case *fuse.Release:
		return m.release(r, b)
	case *fuse.Interrupt:
		return m.interrupt(b.Target)
	case *fuse.Forget:
		return nil
	case *fuse.Destroy:
		return m.reply(r, nil)
	}
	return m.handleTree(r)
}

// handleTree answers what is about names and attributes.
func (m *mdt) handleTree(r request) error {
	switch b := r.Body.(type) {
	case *fuse.Lookup:
		return m.lookup(r, b.Name)
	case *fuse.Getattr:
		a, ok := m.attr(r.Node)
		if !ok {
			return m.refuse(r, syscall.ENOENT)
		}
		return m.reply(r, a.AppendAttr)
	case *fuse.Opendir:
		return m.reply(r, fuse.AppendOpenedDir)
	case *fuse.Releasedir:
		return m.reply(r, nil)
	case *fuse.Readdir:
		return m.reply(r, func(out []byte) []byte { return fuse.AppendEntries(out, m.entries(), b.Offset, b.Size) })
	case *fuse.Statfs:
		return m.reply(r, fuse.AppendStatfs)
	case *fuse.Lseek:
		return m.refuse(r, syscall.EINVAL) // neither SEEK_DATA nor SEEK_HOLE (ABI 8.5)
	}
	return m.refuse(r, syscall.ENOSYS)
}

func (m *mdt) reply(r request, body func([]byte) []byte) error { return r.conn.Reply(r.ID, 0, body) }

func (m *mdt) refuse(r request, errno syscall.Errno) error { return r.conn.Reply(r.ID, errno, nil) }

// entries are those of the mounted directory.
func (m *mdt) entries() []fuse.DirEntry {
	name := m.Log.MDT()
	return []fuse.DirEntry{
		{Node: fuse.RootNode, Mode: fuse.ModeDir, Name: "."},
		{Node: fuse.RootNode, Mode: fuse.ModeDir, Name: ".."},
		{Node: deviceNode, Mode: fuse.ModeFile, Name: deviceName(name)},
		{Node: usersNode, Mode: fuse.ModeFile, Name: usersName(name)},
	}
}

func (m *mdt) attr(node uint64) (fuse.Attr, bool) {
	a := fuse.Attr{Node: node, Links: 1, Changed: m.since}
	switch node {
	case fuse.RootNode:
		a.Mode, a.Links = fuse.ModeDir|0o755, 2
	case deviceNode:
		a.Mode = fuse.ModeFile | 0o600 // ABI 8.1
	case usersNode:
		a.Mode = fuse.ModeFile | 0o444
	default:
		return a, false
	}
	return a, true
}

func (m *mdt) lookup(r request, name string) error {
	for _, e := range m.entries() {
		if a, ok := m.attr(e.Node); ok && e.Name == name && r.Node == fuse.RootNode {
			return m.reply(r, a.AppendEntry)
		}
	}
	return m.refuse(r, syscall.ENOENT)
}

// open opens the device or the users' text.
func (m *mdt) open(r request, b *fuse.Open) error {
	opened := func(out []byte) []byte { return fuse.AppendOpened(out, m.last) }
	if r.Node == usersNode {
		info, err := m.Log.Info()
		if err != nil {
			return m.refuse(r, m.errnoOf(err, "read the users"))
		}
		m.last++
		m.texts[m.last] = AppendUsers(nil, info, m.Version, time.Now())
		return m.reply(r, opened)
	}
	m.counts.Opens++
	if errno, failed := m.faults.opens.take(); failed {
		return m.refuse(r, errno)
	}
	m.lookAgain()
	m.last++
	f := &file{conn: r.conn, handle: m.last, reads: b.Flags&unix.O_ACCMODE != unix.O_WRONLY}
	m.handles[m.last] = f
	if m.Version.prefetchesFromOpen() {
		m.start(f)
		f.due = time.Now().Add(max(m.OpenLatency, 0))
	}
	return m.reply(r, opened)
}

func (m *mdt) release(r request, b *fuse.Release) error {
	if f := m.handles[b.Handle]; f != nil {
		if err := f.close(); err != nil {
			m.Logger.Warn().Err(err).Msg("close the changelog")
		}
	}
	delete(m.handles, b.Handle)
	delete(m.texts, b.Handle)
	return m.reply(r, nil)
}

// readText answers a read of the users' text.
func (m *mdt) readText(r request, text []byte, b *fuse.Read) error {
	return m.reply(r, func(out []byte) []byte {
		text = text[min(b.Offset, uint64(len(text))):]
		return append(out, text[:min(int(b.Size), len(text))]...)
	})
}

package emulated

import (
	"bytes"
	"errors"
	"strconv"
	"syscall"

	"github.com/lcapd/lcapd/emulated/fuse"
	"github.com/lcapd/lcapd/llog"
)

// longestCommand is the most that a clear command may have, in bytes (ABI 9.1).
const longestCommand = 64

// clearing is a clear command on its way.
type clearing struct {
	request
	size  int // of the command, which is what write(2) returns
	user  llog.UserID
	index uint64
	entry string // its entry in the log of clears
	lost  syscall.Errno
}

// parseClear reads clear:cl<ID>:<INDEX>. What follows the index is ignored.
func parseClear(command []byte) (user llog.UserID, index uint64, ok bool) {
	rest, ok := bytes.CutPrefix(command, []byte("clear:cl"))
	if !ok || len(command) > longestCommand {
		return 0, 0, false
	}
	id, rest, ok := leadingNumber(rest, 32)
	if !ok || len(rest) == 0 || rest[0] != ':' {
		return 0, 0, false
	}
	index, _, ok = leadingNumber(rest[1:], 64)
	return llog.UserID(id), index, ok
}

func leadingNumber(b []byte, bits int) (n uint64, rest []byte, ok bool) {
	end := 0
	for end < len(b) && b[end] >= '0' && b[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(b[:end]), 10, bits)
	return n, b[end:], err == nil
}

// write takes a clear command. One by a descriptor of a mount that is gone reaches no MDT: what is served
// now may be another one.
func (m *mdt) write(r request, b *fuse.Write) error {
	if r.conn.gone {
		return r.conn.Reply(r.ID, syscall.ENODEV, nil)
	}
	m.counts.Clears++
	user, index, legal := parseClear(b.Data)
	c := &clearing{request: r, size: len(b.Data), user: user, index: index}
	var err error
	if c.entry, err = m.clears.received(b.Data[:min(len(b.Data), longestCommand)], user, index, m.Log.Dir()); err != nil {
		return err
	}
	f := m.handles[b.Handle]
	switch {
	case f == nil:
		return m.settle(c, syscall.EBADF)
	case !legal:
		return m.settle(c, syscall.EINVAL)
	}
	m.waiting = append(m.waiting, c)
	return nil // advance begins it
}

// beginClears begins the clears that wait, unless the MDT is stalled.
func (m *mdt) beginClears() {
	if m.faults.stalled {
		return
	}
	for _, c := range m.waiting {
		if errno, failed := m.faults.clears.take(); failed {
			m.sent(m.settle(c, errno))
			continue
		}
		c.lost, _ = m.faults.lostClears.take()
		m.carryOut(c)
	}
	m.waiting = nil
}

// carryOut clears beside the owner, since it ends with the disk.
func (m *mdt) carryOut(c *clearing) {
	log, version := m.Log, m.Version
	m.server.workers.Go(func() {
		var err error
		if c.index == 0 {
			_, err = log.ClearAll(m.server.ctx, c.user)
		} else {
			err = log.Clear(m.server.ctx, c.user, c.index)
		}
		m.server.post(func() { m.sent(m.cleared(c, err, version)) })
	})
}

// cleared answers a clear that was carried out.
func (m *mdt) cleared(c *clearing, err error, v Version) error {
	m.idle.noticed = true
	switch {
	case err == nil:
		return m.settle(c, c.lost)
	case errors.Is(err, llog.ErrBackwards):
		return m.settle(c, v.backwards())
	case errors.Is(err, llog.ErrUnknownUser):
		return m.settle(c, syscall.ENOENT)
	case errors.Is(err, llog.ErrBeyondEnd):
		return m.settle(c, syscall.EINVAL)
	}
	return m.settle(c, m.errnoOf(err, "clear"))
}

// settle answers a clear and notes the answer.
func (m *mdt) settle(c *clearing, errno syscall.Errno) error {
	if err := m.clears.answered(c.entry, errno); err != nil {
		return err
	}
	return c.conn.Reply(c.ID, errno, func(out []byte) []byte { return fuse.AppendWritten(out, uint32(c.size)) })
}

// refuseWaiting refuses the clears of a connection that have not begun.
func (m *mdt) refuseWaiting(conn *connection, errno syscall.Errno) {
	kept := m.waiting[:0]
	for _, c := range m.waiting {
		if c.conn != conn {
			kept = append(kept, c)
			continue
		}
		m.sent(m.settle(c, errno))
	}
	m.waiting = kept
}

package emulated

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

const (
	// readAhead is what a prefetcher reads from the log at once, in bytes.
	readAhead = 64 << 10
	// looksAtOnce is how often it does so before others get their turn: records that a
	// filter keeps out fill no queue.
	looksAtOnce = 16
)

// start starts the prefetcher, if the file was opened for reading.
func (m *mdt) start(f *file) { f.started = f.started || f.reads }

// wantsLook tells whether the prefetcher would look at the log, at f.due.
func (m *mdt) wantsLook(f *file) bool {
	return f.started && !f.ended() && f.queued < queueLimit && !m.faults.stalled
}

// prefetch fills the queue as far as it can. It goes on in the middle of a pass where it
// stopped because the queue was full.
func (m *mdt) prefetch(f *file, now time.Time) {
	for looks := 0; m.wantsLook(f) && !now.Before(f.due); {
		if len(f.ahead) == 0 {
			if looks == looksAtOnce {
				return // its time has come, so it is next again
			}
			looks++
			if !m.look(f, now) {
				return
			}
		}
		m.queueAhead(f)
	}
}

// look reads some records from the log. It returns false at the end of a pass, and when
// the file is at its end.
func (m *mdt) look(f *file, now time.Time) bool {
	if errno, failed := m.faults.reads.take(); failed {
		f.fail(errno)
		return false
	}
	n, err := m.readLog(f)
	switch {
	case err == nil:
		f.ahead = f.buf[:n]
		m.idle.noticed = true
		return true
	case err == io.EOF:
		m.endPass(f, now)
	default:
		f.fail(m.errnoOf(err, "read"))
		m.stopReader(f)
	}
	return false
}

// readLog reads from the log, beginning a pass if there is none.
func (m *mdt) readLog(f *file) (n int, err error) {
	if f.buf == nil {
		f.buf = make([]byte, readAhead)
	}
	if f.reader == nil || f.resting {
		// What the server is told of the format it is told at the start (ABI 8.3).
		f.form, f.resting = m.Version.generation(f.flags), false
	}
	if f.reader == nil {
		if f.reader, err = m.Log.NewReader(f.cursor, nil); err != nil {
			return 0, err
		}
	}
	return f.reader.Read(f.buf)
}

// endPass is called at the end of the log: the file is at EOF for ever, or rests.
func (m *mdt) endPass(f *file, now time.Time) {
	if !m.Version.follows(f.flags) {
		f.eof = true
		m.stopReader(f)
		return
	}
	f.resting, f.due = true, now.Add(m.FollowInterval)
	if f.hidden {
		// Nothing behind them was seen: the next pass begins before them.
		m.stopReader(f)
	}
}

func (m *mdt) stopReader(f *file) {
	f.hidden = false
	if err := f.closeReader(); err != nil {
		m.Logger.Warn().Err(err).Msg("close the changelog")
	}
}

// queueAhead moves records that were read ahead to the queue, until it is full.
func (m *mdt) queueAhead(f *file) {
	if f.head > len(f.queue)/2 {
		f.queue, f.head = f.queue[:copy(f.queue, f.queue[f.head:])], 0
	}
	for len(f.ahead) > 0 && f.queued < queueLimit {
		rec, rest, err := changelog.Next(f.ahead)
		if err != nil {
			f.fail(m.errnoOf(fmt.Errorf("%s: %w", m.Log.Dir(), err), "read"))
			return
		}
		f.ahead = rest
		index := rec.Index()
		if index < f.cursor {
			continue
		}
		if _, hidden := m.faults.hidden[index]; hidden {
			f.hidden = true
			continue
		}
		f.cursor, f.hidden = index+1, false
		if f.filter != 0 && !f.filter.Has(rec.Type()) {
			continue
		}
		start := len(f.queue)
		f.queue = rec.AppendTrimmed(f.queue, f.form)
		f.queued++
		if m.Dirty {
			makeDirty(f.queue[start:])
		}
	}
}

// errnoOf is what a reader is told of an error of the log (ABI 8.4), which is logged.
func (m *mdt) errnoOf(err error, doing string) syscall.Errno {
	m.Logger.Warn().Err(err).Str("log", m.Log.Dir()).Msg("cannot " + doing)
	var frame *changelog.FrameError
	switch {
	case errors.Is(err, llog.ErrCorrupt), errors.As(err, &frame):
		return syscall.EINVAL
	case errors.Is(err, llog.ErrNotALog):
		return syscall.ENOENT
	}
	return syscall.EIO
}

// lookAgain makes sure that a directory which was replaced by another changelog of the
// same MDT is served from now on.
func (m *mdt) lookAgain() {
	if l, err := llog.Open(m.Log.Dir()); err == nil && l.MDT() == m.Log.MDT() {
		m.Log = l
	}
}

// serveLog serves another log from now on. Open files go on in it at their cursor.
func (m *mdt) serveLog(dir string) error {
	l, err := llog.Open(dir)
	if err != nil {
		return err
	}
	if l.MDT() != m.Log.MDT() {
		return fmt.Errorf("%s is the changelog of %s, not of %s", dir, l.MDT(), m.Log.MDT())
	}
	m.Log = l
	for _, f := range m.handles {
		m.stopReader(f)
	}
	return m.clears.restart()
}

package emulated

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated/fuse"
	"github.com/lcapd/lcapd/llog"
)

const (
	// queueLimit is how many records are queued on an open file (ABI 8.3).
	queueLimit = 1024
	// readable is what poll(2) reports where there is something to read.
	readable = unix.POLLIN | 0x40 // POLLRDNORM, which package unix lacks
)

// file is one open file of the device: cursor, queue and filter of its own, and an end,
// by EOF or by an error, that stays (ABI 8.2 to 8.4).
//
// Invariants: the queue holds whole records, queued of them, all at or above next and
// below cursor; next is at most cursor once something was prefetched.
type file struct {
	conn   *connection
	handle uint64
	reads  bool           // opened for reading
	flags  uint64         // set by ioctl
	filter changelog.Mask // set by ioctl; 0 is no filter

	// The prefetcher.
	started bool
	reader  *llog.Reader         // nil before a pass, and at its end
	form    changelog.Generation // what records are trimmed to in this pass
	ahead   []byte               // read from the log and not yet looked at; in buf
	buf     []byte
	cursor  uint64    // the index that it wants next
	hidden  bool      // it went over hidden records and has seen none behind them
	resting bool      // between two passes
	due     time.Time // not before then does it look at the log
	eof     bool
	err     syscall.Errno

	// The queue.
	queue  []byte
	head   int // where the first record begins in queue
	queued int

	// Its readers.
	next    uint64 // no record below is delivered any more: the real file's position
	offset  uint64 // the kernel's position in bytes, as far as we know
	pending []pendingRead
	polled  bool
	wakeID  uint64 // of the kernel, to wake those who poll
	reports uint32 // the events that those who poll know of
}

// pendingRead is a read that waits.
type pendingRead struct {
	id   uint64
	size uint32
}

// fail gives the file an error, if it does not have one. It shows when the queue is empty.
func (f *file) fail(errno syscall.Errno) {
	if f.err == 0 {
		f.err = errno
	}
}

// ended: nothing more will be queued.
func (f *file) ended() bool { return f.eof || f.err != 0 }

// closeReader ends the pass over the log.
func (f *file) closeReader() error {
	f.ahead = nil
	if f.reader == nil {
		return nil
	}
	r := f.reader
	f.reader = nil
	return r.Close()
}

func (f *file) close() error { return f.closeReader() }

// read answers a read, or lets it wait. The order of the checks is that of ABI 8.4.
func (m *mdt) read(r request, b *fuse.Read) error {
	if text, ok := m.texts[b.Handle]; ok {
		return m.readText(r, text, b)
	}
	f := m.handles[b.Handle]
	if f == nil || !f.reads {
		return m.refuse(r, syscall.EBADF)
	}
	m.counts.Reads++
	if b.Offset != f.offset {
		if b.Offset < f.next {
			return m.refuse(r, syscall.EINVAL) // backwards, as lseek would say
		}
		m.seek(f, b.Offset)
	}
	if b.Flags&unix.O_NONBLOCK != 0 && f.queued == 0 {
		switch {
		case f.err != 0:
			return m.refuse(r, f.err)
		case f.eof:
			return m.reply(r, nil)
		}
		return m.refuse(r, syscall.EAGAIN)
	}
	m.start(f)
	f.pending = append(f.pending, pendingRead{r.ID, b.Size})
	return nil // advance answers it, if it can be
}

// seek moves on to an index. What lies below is dropped from the queue; the prefetcher
// goes over it.
func (m *mdt) seek(f *file, index uint64) {
	f.next, f.offset = index, index
	for f.queued > 0 {
		rec, _, err := changelog.Next(f.queue[f.head:])
		if err != nil || rec.Index() >= index {
			break
		}
		f.head += rec.Size()
		f.queued--
	}
	if f.cursor >= index {
		return
	}
	f.cursor = index
	m.stopReader(f)
	m.prefetch(f, time.Now())
}

// answer answers the reads that need not wait any more.
func (m *mdt) answer(f *file) {
	for len(f.pending) > 0 && (f.queued > 0 || f.ended()) {
		p := f.pending[0]
		f.pending = f.pending[1:]
		records := m.take(f, int(p.size))
		errno := syscall.Errno(0)
		if f.queued == 0 && len(records) == 0 {
			errno = f.err
		}
		m.sent(f.conn.Reply(p.id, errno, func(out []byte) []byte { return append(out, records...) }))
		m.prefetch(f, time.Now())
	}
	if len(f.pending) == 0 {
		f.pending = nil
	}
}

// sent notes that a reply could not be written: the server ends.
func (m *mdt) sent(err error) {
	if err != nil && m.failure == nil {
		m.failure = err
	}
}

// take removes whole records of at most size bytes from the queue. They are valid until
// the next prefetch. Where the first one does not fit, it takes none and nothing changes.
func (m *mdt) take(f *file, size int) []byte {
	count, n, last := f.fitting(f.queued, size)
	if m.faults.shortReads && count > 1 {
		count, n, last = f.fitting(1+m.random.IntN(count), size)
	}
	if count == 0 {
		return nil
	}
	records := f.queue[f.head : f.head+n]
	f.head += n
	f.queued -= count
	f.offset += uint64(n)
	f.next = last + 1
	m.delivered(last)
	return records
}

// fitting counts the records at the front of the queue, most at the most, that fit in
// size bytes. It returns their bytes and the last one's index.
func (f *file) fitting(most, size int) (count, n int, last uint64) {
	for count < most {
		rec, _, err := changelog.Next(f.queue[f.head+n:])
		if err != nil || n+rec.Size() > size {
			break
		}
		n += rec.Size()
		last = rec.Index()
		count++
	}
	return count, n, last
}

// delivered notes that a record was read.
func (m *mdt) delivered(index uint64) {
	if index <= m.clears.delivered {
		return
	}
	if err := m.clears.deliver(index); err != nil {
		m.sent(err)
	}
}

// poll answers what a file is ready for, which starts the prefetcher (ABI 8.6).
func (m *mdt) poll(r request, b *fuse.Poll) error {
	f := m.handles[b.Handle]
	if f == nil {
		return m.reply(r, func(out []byte) []byte { return fuse.AppendPoll(out, readable) })
	}
	m.counts.Polls++
	m.start(f)
	m.prefetch(f, time.Now())
	f.polled, f.wakeID, f.reports = true, b.Wake, f.events()
	return m.reply(r, func(out []byte) []byte { return fuse.AppendPoll(out, f.reports) })
}

func (f *file) events() (events uint32) {
	if !f.reads {
		return 0
	}
	if f.queued > 0 {
		events |= readable
	}
	if f.err != 0 {
		events |= unix.POLLERR
	}
	if f.eof {
		events |= unix.POLLHUP
	}
	return events
}

// wake tells those who poll what they do not know yet.
func (m *mdt) wake(f *file) {
	if !f.polled {
		return
	}
	events := f.events()
	news := events &^ f.reports
	f.reports = events
	if news != 0 {
		m.sent(f.conn.Wake(f.wakeID))
	}
}

// interrupt ends what a signal has interrupted, if it still waits.
func (m *mdt) interrupt(id uint64) error {
	for _, f := range m.handles {
		for i, p := range f.pending {
			if p.id == id {
				f.pending = append(f.pending[:i], f.pending[i+1:]...)
				return f.conn.Reply(id, syscall.EINTR, nil)
			}
		}
	}
	for i, c := range m.waiting {
		if c.ID == id {
			m.waiting = append(m.waiting[:i], m.waiting[i+1:]...)
			return m.settle(c, syscall.EINTR)
		}
	}
	return nil // it was answered already, or is being done
}

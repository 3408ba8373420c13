package emulated

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/emulated/fuse"
	"github.com/lcapd/lcapd/llog"
)

// Defaults of [Options].
const (
	// DefaultFollowInterval is how long a real prefetcher sleeps at the end (ABI 8.3).
	DefaultFollowInterval = time.Second
	// DefaultOpenLatency is about what asking an MDS takes.
	DefaultOpenLatency = time.Millisecond
)

// Options say what is served, and how. Log and MountPoint must be there.
type Options struct {
	Log        *llog.Log
	MountPoint string
	// Version is the release of Lustre that is shown.
	Version Version
	// FollowInterval is how long a prefetcher in follow mode sleeps at the end of the log.
	FollowInterval time.Duration
	// OpenLatency is how long it takes, up to 2.14, from open(2) to the prefetcher's first
	// look at the log, in which seek and flags can be set. Below 0 stands for no time.
	OpenLatency time.Duration
	// ShortReads makes each read end at a random record, chosen from Seed.
	ShortReads bool
	Seed       uint64
	// Dirty leaves stale bytes where servers do (ABI 4.1, 10.7).
	Dirty bool
	// Idle, if set, has idle users removed as an MDT does (ABI 10.4): looked at when a
	// prefetcher or a clear notices that the log has grown.
	Idle *llog.IdleLimits
	// Clears is the file that the log of clears is appended to, see [ReadClears]; none if
	// empty.
	Clears string
	// Logger gets what goes wrong with the log, and users that were removed.
	Logger zerolog.Logger
}

// Server serves the device of one MDT.
type Server struct {
	mdt      *mdt
	requests chan request
	posted   chan func() // what others want done by the owner
	done     chan struct{}
	workers  sync.WaitGroup
	ctx      context.Context // of what runs beside the owner; ends with Run
	cancel   context.CancelFunc
}

// request is what came over a connection.
type request struct {
	conn *connection
	fuse.Request
}

// connection is one mount.
type connection struct {
	*fuse.Conn
	gone bool // unmounted: whoever still has a file open is told ENODEV
}

// Mount makes the device appear below the mount point. It answers once Run runs. Errors
// are those of [fuse.Mount].
func Mount(o Options) (*Server, error) {
	if o.FollowInterval == 0 {
		o.FollowInterval = DefaultFollowInterval
	}
	if o.OpenLatency == 0 {
		o.OpenLatency = DefaultOpenLatency
	}
	o.Version = o.Version.orNewest()
	s := &Server{requests: make(chan request), posted: make(chan func()), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	clears, err := openClears(o.Clears)
	if err != nil {
		return nil, err
	}
	s.mdt = &mdt{
		Options: o, server: s, clears: clears, timer: time.NewTimer(time.Hour),
		handles: make(map[uint64]*file), texts: make(map[uint64][]byte),
		faults: faults{hidden: make(map[uint64]struct{}), shortReads: o.ShortReads},
		random: rand.New(rand.NewPCG(o.Seed, 1)),
		since:  time.Now(),
	}
	if err := s.mdt.mount(); err != nil {
		return nil, errors.Join(err, clears.close())
	}
	return s, nil
}

// DevicePath returns where the device is while it is mounted.
func (s *Server) DevicePath() string {
	return filepath.Join(s.mdt.MountPoint, deviceName(s.mdt.Log.MDT()))
}

// UsersPath returns where the text of changelog_users is while it is mounted.
func (s *Server) UsersPath() string {
	return filepath.Join(s.mdt.MountPoint, usersName(s.mdt.Log.MDT()))
}

func deviceName(mdt string) string { return "changelog-" + mdt }

func usersName(mdt string) string { return "changelog_users-" + mdt }

// errUnmounted: the kernel has ended the conversation although we did not.
var errUnmounted = errors.New("somebody unmounted it")

// Run serves until ctx ends, then unmounts. It must be called once.
func (s *Server) Run(ctx context.Context) error {
	var err error
	for err == nil && ctx.Err() == nil {
		s.mdt.setTimer(time.Now())
		select {
		case <-ctx.Done():
		case r := <-s.requests:
			err = s.mdt.handle(r)
		case f := <-s.posted:
			f()
		case <-s.mdt.timer.C:
		}
		s.mdt.advance(time.Now())
		err = errors.Join(err, s.mdt.failure)
	}
	return errors.Join(err, s.end())
}

// end gives everything back. Whoever waits is told that the device is gone.
func (s *Server) end() error {
	s.mdt.leave(syscall.ENODEV)
	var errs []error
	for _, c := range s.mdt.conns {
		errs = append(errs, c.Detach(), c.Close())
	}
	s.cancel()
	close(s.done)
	s.workers.Wait()
	for _, f := range s.mdt.handles {
		errs = append(errs, f.close())
	}
	return errors.Join(append(errs, s.mdt.clears.close())...)
}

// post has f done by the owner. It is dropped when the server ends.
func (s *Server) post(f func()) {
	select {
	case s.posted <- f:
	case <-s.done:
	}
}

// receive hands the requests of a connection to the owner, until it ends.
func (s *Server) receive(c *connection) {
	for {
		r, err := c.Next()
		if err != nil {
			s.post(func() { s.mdt.ended(c, err) })
			return
		}
		select {
		case s.requests <- request{c, r}:
		case <-s.done:
			return
		}
	}
}

// mdt is the state of a server. The goroutine of Run owns it.
type mdt struct {
	Options
	server  *Server
	conns   []*connection
	handles map[uint64]*file  // open files of the device
	texts   map[uint64][]byte // open files of changelog_users, as of their opening
	last    uint64            // handle issued
	waiting []*clearing       // clears that a stalled MDT has not begun
	clears  *clearsLog
	faults  faults
	random  *rand.Rand
	timer   *time.Timer
	since   time.Time
	counts  Status
	idle    idleWatch
	failure error // what ends the server
}

// mount makes a connection.
func (m *mdt) mount() error {
	conn, err := fuse.Mount(m.MountPoint, m.Log.MDT())
	if err != nil {
		return err
	}
	c := &connection{Conn: conn}
	m.conns = append(m.conns, c)
	m.server.workers.Go(func() { m.server.receive(c) })
	return nil
}

// mounted returns the connection that can be reached by path, nil if there is none.
func (m *mdt) mounted() *connection {
	for _, c := range m.conns {
		if !c.gone {
			return c
		}
	}
	return nil
}

// unmount takes the device away as an unmount of the file system does: who has it open
// still gets what is queued, then ENODEV.
func (m *mdt) unmount() error {
	c := m.mounted()
	if c == nil {
		return errors.New("it is not mounted")
	}
	c.gone = true
	for _, f := range m.handles {
		if f.conn == c {
			f.fail(syscall.ENODEV)
		}
	}
	m.refuseWaiting(c, syscall.ENODEV)
	return c.Detach()
}

// ended notes that a connection is over: nobody has a file of it open any more.
func (m *mdt) ended(c *connection, err error) {
	for i, other := range m.conns {
		if other == c {
			m.conns = append(m.conns[:i], m.conns[i+1:]...)
			break
		}
	}
	if err == io.EOF && !c.gone {
		err = fmt.Errorf("%s: %w", m.MountPoint, errUnmounted)
	}
	if err = errors.Join(err, c.Close()); !errors.Is(err, io.EOF) {
		m.failure = errors.Join(m.failure, err)
	}
}

// leave tells everybody who waits that the device is gone.
func (m *mdt) leave(errno syscall.Errno) {
	for _, f := range m.handles {
		f.fail(errno)
		m.answer(f)
	}
	for _, c := range m.conns {
		m.refuseWaiting(c, errno)
	}
}

// setTimer has the owner look again when the next prefetcher wants to, or a stall ends.
func (m *mdt) setTimer(now time.Time) {
	next := now.Add(time.Hour)
	if m.faults.stalled && !m.faults.stallEnds.IsZero() {
		next = m.faults.stallEnds
	}
	for _, f := range m.handles {
		if m.wantsLook(f) && f.due.Before(next) {
			next = f.due
		}
	}
	m.timer.Reset(max(next.Sub(now), 0))
}

// advance does what can be done by now: prefetchers look at the log, reads are answered,
// those who poll are woken, clears begin.
func (m *mdt) advance(now time.Time) {
	if m.faults.stalled && !m.faults.stallEnds.IsZero() && !now.Before(m.faults.stallEnds) {
		m.faults.stalled = false
	}
	for _, f := range m.handles {
		m.prefetch(f, now)
		m.answer(f)
		m.wake(f)
	}
	m.beginClears()
	m.collectIdle(now)
}

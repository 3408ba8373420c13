package emulated

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// faults is what goes wrong on demand.
type faults struct {
	reads, opens, clears, lostClears quota

	hidden     map[uint64]struct{}
	shortReads bool

	// stalled: the MDT answers nobody, until stallEnds if that is set.
	stalled   bool
	stallEnds time.Time
}

// quota is an error for the next n.
type quota struct {
	n     int
	errno syscall.Errno
}

// take uses up one, if there is one.
func (q *quota) take() (errno syscall.Errno, failed bool) {
	if q.n == 0 {
		return 0, false
	}
	q.n--
	return q.errno, true
}

// Command is an order to a server, and a line of its control channel.
type Command struct {
	// Do says what, see the constants.
	Do      string   `json:"do"`
	N       int      `json:"n,omitempty"`
	Errno   string   `json:"errno,omitempty"`   // its name, such as EIO
	Indexes []uint64 `json:"indexes,omitempty"` // of records
	For     string   `json:"for,omitempty"`     // a time such as 1.5s
	Dir     string   `json:"dir,omitempty"`
	On      bool     `json:"on,omitempty"`
}

// What a server can be ordered to do, with the members of [Command] that count.
const (
	// DoFailReads has the next n prefetchers that look at the log end with errno, which
	// their open file shows once its queue is empty, for ever. A later open works.
	DoFailReads = "fail-reads"
	// DoFailOpens has the next n opens fail with errno.
	DoFailOpens = "fail-opens"
	// DoFailClears has the next n clears fail with errno; nothing is done.
	DoFailClears = "fail-clears"
	// DoLoseClears has the next n clears done, and answered with errno all the same.
	DoLoseClears = "lose-clears"
	// DoEvict gives every open file errno, once its queue is empty, for ever.
	DoEvict = "evict"
	// DoHide hides the records with the indexes: prefetchers go over them, and do not come
	// back once they have seen a later one (ABI 10.8).
	DoHide = "hide"
	// DoReveal ends all hiding, for prefetchers that have not gone over the records.
	DoReveal = "reveal"
	// DoStall has the MDT answer nobody: prefetchers stand still and clears hang. What is
	// queued is still read. It ends after the time for, or with DoResume without one.
	DoStall = "stall"
	// DoResume ends a stall.
	DoResume = "resume"
	// DoShortReads sets, by on, whether reads end at random records.
	DoShortReads = "short-reads"
	// DoSwap serves the changelog in dir from now on. Open files go on at their cursor.
	DoSwap = "swap"
	// DoUnmount takes the device away. Who has it open gets ENODEV after what is queued.
	DoUnmount = "unmount"
	// DoMount makes the device appear again.
	DoMount = "mount"
	// DoStatus does nothing but answer.
	DoStatus = "status"
)

// Status is what a server answers to a [Command].
type Status struct {
	// OpenFiles is how often the device is open now; Opens to Clears count from the start
	// of the server. A read that a signal interrupted counts too.
	OpenFiles int    `json:"open_files"`
	Opens     uint64 `json:"opens"`
	Reads     uint64 `json:"reads"`
	Polls     uint64 `json:"polls"`
	Clears    uint64 `json:"clears"`
	// Delivered is the highest index that was read; see [Clear].
	Delivered uint64 `json:"delivered"`
}

// errEnded: the server does not run any more.
var errEnded = errors.New("the server has ended")

// Do carries out a command. It may be called by any number of goroutines while Run runs.
func (s *Server) Do(ctx context.Context, c Command) (Status, error) {
	type answer struct {
		Status
		error
	}
	answered := make(chan answer, 1)
	order := func() {
		err := s.mdt.obey(c)
		answered <- answer{s.mdt.status(), err}
	}
	select {
	case s.posted <- order:
		a := <-answered
		return a.Status, a.error
	case <-s.done:
		return Status{}, errEnded
	case <-ctx.Done():
		return Status{}, context.Cause(ctx)
	}
}

func (m *mdt) status() Status {
	s := m.counts
	s.OpenFiles, s.Delivered = len(m.handles), m.clears.delivered
	return s
}

// obey carries out a command.
func (m *mdt) obey(c Command) error {
	switch c.Do {
	case DoFailReads:
		return c.limit(&m.faults.reads)
	case DoFailOpens:
		return c.limit(&m.faults.opens)
	case DoFailClears:
		return c.limit(&m.faults.clears)
	case DoLoseClears:
		return c.limit(&m.faults.lostClears)
	case DoEvict:
		return m.evict(c)
	case DoHide:
		for _, index := range c.Indexes {
			m.faults.hidden[index] = struct{}{}
		}
	case DoReveal:
		clear(m.faults.hidden)
	case DoStall:
		return m.stall(c)
	case DoResume:
		m.faults.stalled = false
	case DoShortReads:
		m.faults.shortReads = c.On
	case DoSwap:
		return m.serveLog(c.Dir)
	case DoUnmount:
		return m.unmount()
	case DoMount:
		if m.mounted() != nil {
			return errors.New("it is mounted already")
		}
		return m.mount()
	case DoStatus:
	default:
		return fmt.Errorf("there is no command %q", c.Do)
	}
	return nil
}

// limit sets a quota to what the command says.
func (c Command) limit(q *quota) error {
	errno, err := parseErrno(c.Errno)
	if err != nil {
		return err
	}
	if c.N < 0 {
		return fmt.Errorf("n is %d, and must not be negative", c.N)
	}
	*q = quota{c.N, errno}
	return nil
}

func (m *mdt) evict(c Command) error {
	errno, err := parseErrno(c.Errno)
	if err != nil {
		return err
	}
	for _, f := range m.handles {
		f.fail(errno)
		m.stopReader(f)
	}
	return nil
}

func (m *mdt) stall(c Command) error {
	m.faults.stallEnds = time.Time{}
	if c.For != "" {
		d, err := time.ParseDuration(c.For)
		if err != nil {
			return fmt.Errorf("for: %w", err)
		}
		m.faults.stallEnds = time.Now().Add(d)
	}
	m.faults.stalled = true
	return nil
}

// Control is a server's control channel: it carries out the commands on in, a JSON
// object each, and answers each with one line on out: {"status": ...} or {"error": ...}.
// It returns at the end of in, or when the server ends.
func (s *Server) Control(ctx context.Context, in *json.Decoder, out *json.Encoder) error {
	for {
		var c Command
		if err := in.Decode(&c); err != nil {
			return err
		}
		status, err := s.Do(ctx, c)
		if errors.Is(err, errEnded) || ctx.Err() != nil {
			return err
		}
		if err := out.Encode(newAnswer(status, err)); err != nil {
			return err
		}
	}
}

// Answer is a line that a control channel answers with.
type Answer struct {
	Status *Status `json:"status,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func newAnswer(s Status, err error) Answer {
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{Status: &s}
}

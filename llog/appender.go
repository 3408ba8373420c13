package llog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

const (
	appenderLock = "appender.lock"
	// groupLimit is how many bytes of frames one commit gathers.
	groupLimit = 1 << 20
	// DefaultSegmentSize is the size at which a segment is sealed, in bytes.
	DefaultSegmentSize = 64 << 20
)

// SyncPolicy says when appended records are forced to disk. Whatever it is, they
// survive the death of any process as soon as Append returns.
type SyncPolicy time.Duration

const (
	// SyncEach forces each commit before its appends return: they survive the
	// machine's death too. Appends that come together share one commit.
	SyncEach SyncPolicy = 0
	// SyncNever leaves it to the operating system. After the machine's death the
	// log may have lost its end, or need a repair.
	SyncNever SyncPolicy = -1
)

// SyncEvery forces to disk at most every d: the machine's death costs at most
// the appends of the last d.
func SyncEvery(d time.Duration) SyncPolicy { return SyncPolicy(max(d, 1)) }

// AppendOptions are the choices of an appender. The zero value is good.
type AppendOptions struct {
	Sync SyncPolicy
	// SegmentSize is when a segment is sealed, in bytes; 0 stands for
	// [DefaultSegmentSize]. Space is freed in segments.
	SegmentSize int64
	// Idle, if set, makes the appender remove idle users as an MDT does.
	Idle *IdleLimits
}

// Appended is what one append did.
type Appended struct {
	// Records is how many records were stored, First and Last their outer indexes.
	Records     int
	First, Last uint64
	// Masked is how many were left out because no user wants their type.
	Masked int
	// Collected are idle users that were removed on the way. CollectErr says why
	// they could not be; the append itself has no part in that.
	Collected  []User
	CollectErr error
}

// TornTail is what an appender found and cut at the end of the log: an append
// that a crash had interrupted.
type TornTail struct {
	File   string
	Offset int64  // where the file now ends, in bytes
	Bytes  int64  // how much was cut
	After  uint64 // index of the last whole record
}

// Appender adds records to a log. There is one at a time for each log: it holds
// the appender lock until it is closed or its process ends. It may be used by any
// number of goroutines; what they append together becomes one commit.
//
// One goroutine, run, owns the segment, the buffers and the index counter.
// Callers hand it requests and block until their commit is done, or until ctx
// ends while the request still waits to be taken.
type Appender struct {
	requests chan *request
	stop     chan struct{} // Close sends
	done     chan struct{} // closed by run, when err is final
	err      error         // of closing; valid once done is closed
	torn     *TornTail
}

// request is one Append or Sync on its way through run.
type request struct {
	records  []byte
	renumber bool
	sync     bool
	reply    chan struct{} // closed when the fields below are final
	result   Appended
	err      error
}

// NewAppender makes ready to append: it takes the appender lock ([ErrBusy]),
// reads the last segment, and cuts a torn tail. It fails with [ErrCorrupt] when
// something else than the tail is wrong there.
func (l *Log) NewAppender(opts AppendOptions) (*Appender, error) {
	if opts.SegmentSize == 0 {
		opts.SegmentSize = DefaultSegmentSize
	}
	lock, err := l.lockAppender()
	if err != nil {
		return nil, err
	}
	w := &writer{log: l, opts: opts, lock: lock, view: stateView{dir: l.dir, st: &state{ID: l.id}}}
	if err := w.open(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	a := &Appender{
		requests: make(chan *request),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		torn:     w.torn,
	}
	go a.run(w)
	return a, nil
}

// lockAppender takes the appender lock, or tells who has it.
func (l *Log) lockAppender() (*os.File, error) {
	path := filepath.Join(l.dir, appenderLock)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("append to %s: %w", l.dir, err)
	}
	err = tryLock(f)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		err = fmt.Errorf("%w: process %s; stop it first", ErrBusy, strings.TrimSpace(string(holder[:n])))
	} else if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%-20d\n", os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("append to %s: %w", l.dir, err), f.Close())
	}
	return f, nil
}

// TornTail returns what was cut when the appender was made, nil if the log was
// whole. It should be shown to somebody.
func (a *Appender) TornTail() *TornTail { return a.torn }

// Append stores packed records under the indexes that they carry, which must
// increase and be above the last one issued. Either all of them are refused
// (changelog's errors for bad records, [ErrNoUsers]) or, when the disk is full or
// fails, those that the result counts are stored and the error says why not
// the others. records is not kept.
func (a *Appender) Append(ctx context.Context, records []byte) (Appended, error) {
	return a.do(ctx, &request{records: records})
}

// AppendNew is Append for records without indexes: they get the next ones.
func (a *Appender) AppendNew(ctx context.Context, records []byte) (Appended, error) {
	return a.do(ctx, &request{records: records, renumber: true})
}

// Sync forces everything appended so far to disk, whatever the policy.
func (a *Appender) Sync(ctx context.Context) error {
	_, err := a.do(ctx, &request{sync: true})
	return err
}

// Close ends the appender: what is appended is forced to disk (but for
// [SyncNever]) and the lock is given back. It may be called more than once.
func (a *Appender) Close() error {
	select {
	case a.stop <- struct{}{}:
	case <-a.done:
	}
	<-a.done
	return a.err
}

func (a *Appender) do(ctx context.Context, r *request) (Appended, error) {
	r.reply = make(chan struct{})
	select {
	case a.requests <- r:
		<-r.reply // the records are in use until then
		return r.result, r.err
	case <-a.done:
		return Appended{}, fmt.Errorf("append: %w", ErrClosed)
	case <-ctx.Done():
		return Appended{}, fmt.Errorf("append: %w", context.Cause(ctx))
	}
}

// run is the only user of w. It ends at Close.
func (a *Appender) run(w *writer) {
	defer close(a.done)
	var due <-chan time.Time // when the interval's sync is due; nil while there is nothing to sync
	for {
		select {
		case <-a.stop:
			a.err = w.finish()
			return
		case <-due:
			due = nil
			w.syncDue()
		case r := <-a.requests:
			group := a.gather(r)
			w.commit(group)
			for _, r := range group {
				close(r.reply)
			}
			if due == nil && w.opts.Sync > 0 && w.unsynced {
				due = time.After(time.Duration(w.opts.Sync))
			}
		}
	}
}

// gather returns first and the requests that wait beside it, up to one commit's worth.
func (a *Appender) gather(first *request) []*request {
	group := []*request{first}
	for size := len(first.records); size < groupLimit; {
		select {
		case r := <-a.requests:
			group = append(group, r)
			size += len(r.records)
		default:
			return group
		}
	}
	return group
}

// checkRecords frames records. Unless they are to be renumbered their indexes
// must be above last and increase.
func checkRecords(records []byte, renumber bool, last uint64) error {
	s := changelog.NewScanner(records)
	s.Ordered, s.Last = !renumber, last
	n := uint64(0)
	for s.Scan() {
		n++
	}
	switch {
	case s.Err() != nil:
		return s.Err()
	case renumber && n >= math.MaxUint64-last, !renumber && s.Last == math.MaxUint64:
		return fmt.Errorf("%d records behind index %d leave no index for later ones; make a new changelog", n, last)
	}
	return nil
}

package llog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

// writer is the appender's hand on the disk. The appender's goroutine owns it.
//
// Invariants between commits: seg is nil or the last segment, whole up to
// at.end, which is the end of the file; last equals stored; buf is empty; what
// is checkpointed is at or below at.
type writer struct {
	log  *Log
	opts AppendOptions
	lock *os.File
	view stateView
	torn *TornTail

	seg      *segment
	base     uint64     // of the last segment that was made, 0 if there was none
	at       checkpoint // what of seg is written
	stored   uint64     // the last index issued and written
	last     uint64     // the last index issued, maybe still in buf
	unsynced bool       // something was written and not forced to disk
	failed   error      // set for good when the end of the log is not known any more

	buf     []byte    // frames of this commit that are not written yet
	pending []span    // whose they are
	refused error     // why the rest of this commit is refused: an earlier part failed
	looked  time.Time // when idle users were last looked for
}

// span is the part of the buffer that holds records of one request.
type span struct {
	r           *request
	records     int
	first, last uint64
	end         int // in buf
}

// open finds the end of the log and cuts what a crash left behind it.
func (w *writer) open() error {
	st, err := w.view.current()
	if err != nil {
		return err
	}
	bases, err := listSegments(w.log.dir)
	if err != nil {
		return err
	}
	w.stored = st.lowestIssued()
	if len(bases) > 0 {
		err = w.openLast(bases[len(bases)-1])
	}
	w.last = w.stored
	return err
}

func (w *writer) openLast(base uint64) (err error) {
	if w.seg, err = openSegment(w.log.dir, w.log.id, base, os.O_RDWR); err != nil {
		return err
	}
	w.base = base
	vouched, err := w.seg.readCheckpoint()
	if err != nil {
		return err
	}
	end, err := w.seg.findEnd(checkpoint{end: segmentHeader})
	if err != nil {
		return err
	}
	if end.end < vouched.end {
		return w.seg.corrupt(end.end, end.last, notWritten)
	}
	size, err := w.seg.size()
	if err != nil {
		return err
	}
	if size > end.end {
		if err := w.cut(end, size-end.end); err != nil {
			return err
		}
	}
	// The segment was made for base, so everything below it was issued; what a
	// repair gave up was issued too.
	w.at = end
	w.at.last, w.at.sealed = max(end.last, vouched.last), vouched.sealed
	w.stored = max(w.stored, w.at.last, base-1)
	return nil
}

// cut removes the torn tail and remembers it for [Appender.TornTail].
func (w *writer) cut(whole checkpoint, tail int64) error {
	if err := w.seg.f.Truncate(whole.end); err != nil {
		return fmt.Errorf("cut the torn end of %s: %w", w.seg.path, err)
	}
	w.torn = &TornTail{File: w.seg.path, Offset: whole.end, Bytes: tail, After: whole.last}
	w.unsynced = true
	return nil
}

// commit stores the records of all requests and fills in their results.
func (w *writer) commit(group []*request) {
	st, err := w.view.current()
	w.refused = cmp.Or(w.failed, err)
	forced := w.opts.Sync == SyncEach
	for _, r := range group {
		forced = forced || r.sync
		if r.err = w.refused; r.err == nil {
			r.err = w.add(r, st)
		}
	}
	w.flush()
	if w.unsynced && forced {
		w.syncFor(group)
	}
	w.collectIdle(group)
}

// add checks the records of r and puts their frames into the buffer, flushing it
// as it fills.
func (w *writer) add(r *request, st *state) error {
	if len(r.records) == 0 {
		return nil
	}
	if len(st.Users) == 0 {
		return fmt.Errorf("append to %s: %w, so no record would be kept; 'lcapcli llog register %s' adds one", w.log.mdt, ErrNoUsers, w.log.dir)
	}
	if err := checkRecords(r.records, r.renumber, w.last); err != nil {
		return fmt.Errorf("append to %s: %w", w.log.mdt, err)
	}
	mask, all := st.mask()
	for rest := r.records; len(rest) > 0; {
		var rec changelog.Record
		rec, rest, _ = changelog.Next(rest) // cannot fail: checked above
		if !all && !mask.Has(rec.Type()) {
			r.result.Masked++
			continue
		}
		if err := w.frame(r, rec); err != nil {
			return err
		}
	}
	return nil
}

// frame puts one record into the buffer, after making room for it.
func (w *writer) frame(r *request, rec changelog.Record) error {
	index := w.last + 1
	if !r.renumber {
		index = rec.Index()
	}
	full := w.seg == nil || w.at.sealed || (!w.emptySegment() && w.room() < int64(rec.Size()+frameOverhead))
	if full || len(w.buf) >= groupLimit {
		w.flush()
	}
	if w.refused == nil && full {
		w.refused = w.roll(index)
	}
	if w.refused != nil {
		return w.refused
	}
	w.buf = appendFrame(w.buf, w.at.end+int64(len(w.buf)), rec.Bytes(), index)
	w.last = index
	w.claim(r, index)
	return nil
}

// room is how many bytes the segment may still grow by.
func (w *writer) room() int64 { return w.opts.SegmentSize - w.at.end - int64(len(w.buf)) }

func (w *writer) emptySegment() bool { return w.at.records == 0 && len(w.buf) == 0 }

// claim notes that the last frame in the buffer belongs to r.
func (w *writer) claim(r *request, index uint64) {
	if n := len(w.pending); n == 0 || w.pending[n-1].r != r {
		w.pending = append(w.pending, span{r: r, first: index})
	}
	s := &w.pending[len(w.pending)-1]
	s.records++
	s.last = index
	s.end = len(w.buf)
}

// flush writes the buffer. When the disk takes only a part, the whole frames of
// that part stay, for readers may have seen them, and the rest is cut off.
func (w *writer) flush() {
	if len(w.buf) == 0 {
		return
	}
	n, err := writeAt(w.seg.f, w.buf, w.at.end)
	if err != nil {
		w.shorten(n, fmt.Errorf("append to %s: write %s: %w", w.log.mdt, w.seg.path, err))
	}
	for _, s := range w.pending {
		w.settle(s)
	}
	w.at.end += int64(len(w.buf))
	w.last, w.unsynced = w.stored, true
	w.buf, w.pending = w.buf[:0], w.pending[:0]
}

// settle counts the records of s as stored.
func (w *writer) settle(s span) {
	if s.records == 0 {
		return
	}
	if s.r.result.Records == 0 {
		s.r.result.First = s.first
	}
	s.r.result.Records += s.records
	s.r.result.Last = s.last
	w.at.records += uint64(s.records)
	w.at.last, w.stored = s.last, s.last
}

// shorten reduces buffer and spans to the whole frames within the first n bytes,
// gives the requests that lose records the cause, and cuts the file there. The
// rest of the commit is refused, lest later records overtake the lost ones.
func (w *writer) shorten(n int, cause error) {
	w.refused = cause
	whole := 0
	for i := range w.pending {
		s := &w.pending[i]
		wanted := s.records
		s.records = 0
		for whole < s.end {
			rec, index, state := parseFrame(w.buf[whole:n], w.at.end+int64(whole))
			if state != frameWhole {
				break
			}
			whole += len(rec) + frameOverhead
			s.records++
			s.last = index
		}
		if s.records < wanted {
			s.r.err = cause
		}
	}
	w.buf = w.buf[:whole]
	if err := w.seg.f.Truncate(w.at.end + int64(whole)); err != nil {
		w.fail(fmt.Errorf("cut a part of a record off %s: %w", w.seg.path, err))
	}
}

func (w *writer) fail(err error) {
	if w.failed == nil {
		w.failed = fmt.Errorf("%w, open it again: %w", ErrFailed, err)
	}
}

// roll seals the segment and starts the next one, for records from base on.
func (w *writer) roll(base uint64) error {
	if w.seg != nil {
		if err := w.seal(); err != nil {
			return err
		}
	}
	seg, err := createSegment(w.log.dir, w.log.id, base, w.base, w.opts.Sync != SyncNever)
	if err != nil {
		return fmt.Errorf("append to %s: %w", w.log.mdt, err)
	}
	w.seg, w.base, w.at = seg, base, checkpoint{end: segmentHeader}
	// The next process to open the segment takes all below base for issued, even
	// if it stays empty: see openLast.
	w.stored = max(w.stored, base-1)
	w.last = w.stored
	return nil
}

// seal declares the segment finished. All of it is on disk before the next one
// exists: a reader would not get past a segment that is not sealed.
func (w *writer) seal() error {
	w.at.sealed = true
	force := w.opts.Sync != SyncNever
	if err := w.sync(force); err != nil {
		return err
	}
	if force {
		if err := w.force(); err != nil { // the checkpoint, which sync wrote last
			return err
		}
	}
	err := w.seg.close()
	w.seg = nil
	return err
}

// sync forces the segment to disk, if so asked, and then vouches for it.
func (w *writer) sync(force bool) error {
	if force {
		if err := w.force(); err != nil {
			return err
		}
		w.unsynced = false
	}
	if w.seg == nil {
		return nil
	}
	if _, err := writeAt(w.seg.f, w.at.encode(), checkpointStart); err != nil {
		w.fail(fmt.Errorf("write the checkpoint of %s: %w", w.seg.path, err))
		return w.failed
	}
	return nil
}

// force forces to disk what was written. Under [SyncNever] that includes earlier
// segments, and names in the directory: only the whole file system covers all.
func (w *writer) force() error {
	flush, f, path := unix.Fdatasync, w.lock, w.log.dir
	if w.seg != nil {
		f, path = w.seg.f, w.seg.path
	}
	if w.opts.Sync == SyncNever {
		flush = unix.Syncfs
	}
	if err := flush(int(f.Fd())); err != nil {
		w.fail(fmt.Errorf("force %s to disk: %w", path, err))
		return w.failed
	}
	return nil
}

// syncFor forces the commit of the group to disk; if that fails, or failed
// already on the way, nobody in it may take its records for stored.
func (w *writer) syncFor(group []*request) {
	err := w.failed
	if err == nil {
		err = w.sync(true)
	}
	if err == nil {
		return
	}
	for _, r := range group {
		if r.result.Records > 0 || r.sync {
			r.err, r.result = err, Appended{}
		}
	}
}

// syncDue is the sync of [SyncEvery]. Its failure shows in the next append.
func (w *writer) syncDue() {
	if w.unsynced && w.failed == nil {
		_ = w.sync(true)
	}
}

// finish is the orderly end.
func (w *writer) finish() error {
	err := w.failed
	if w.unsynced && err == nil {
		err = w.sync(w.opts.Sync != SyncNever)
	}
	return errors.Join(err, w.close())
}

func (w *writer) close() error {
	return errors.Join(w.seg.close(), w.view.close(), unlock(w.lock))
}

// collectIdle removes idle users if that is asked for and due. The first request
// of the group tells about it.
func (w *writer) collectIdle(group []*request) {
	now := time.Now()
	if w.opts.Idle == nil || now.Sub(w.looked) < w.opts.Idle.Interval {
		return
	}
	// Whoever holds the state lock must not hold up appends: if it is taken, the
	// next commit tries again.
	noWait, cancel := context.WithCancel(context.Background())
	cancel()
	users, err := w.log.CollectIdle(noWait, *w.opts.Idle, now)
	if errors.Is(err, context.Canceled) {
		return
	}
	w.looked = now
	group[0].result.Collected, group[0].result.CollectErr = users, err
}

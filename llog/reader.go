package llog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/lcapd/lcapd/changelog"
)

// MinRead is the smallest buffer for [Reader.Read], in bytes. Larger ones are
// better: 64 KiB and up.
const MinRead = maxFrame

// Reader reads a log from an index on. It needs no registered user and holds
// nothing back: what all users have cleared is gone for it too. It has one owner.
type Reader struct {
	log      *Log
	view     stateView
	next     uint64 // no record below this one is delivered any more
	passed   uint64 // index of the last record gone over, delivered or not
	seg      *segment
	off      int64 // of the next frame in seg
	followed bool  // there was a later segment already when seg was opened
	bell     *Bell
	ownsBell bool
	wake     *subscription
	closed   bool
}

// NewReader returns a reader whose first record is the first one with an index
// at or above start that still exists. bell wakes [Reader.Wait]; with nil the
// reader makes its own when it first waits.
func (l *Log) NewReader(start uint64, bell *Bell) (*Reader, error) {
	r := &Reader{log: l, view: stateView{dir: l.dir, st: &state{ID: l.id}}, next: start, bell: bell}
	if _, err := r.view.current(); err != nil {
		return nil, err
	}
	return r, nil
}

// Next returns the index that the reader wants next: no record below it will come.
func (r *Reader) Next() uint64 { return r.next }

// Read fills dst with whole packed records and returns their size. It returns
// [io.EOF] when there is none at present; more may come, see [Reader.Wait]. It
// returns [io.ErrShortBuffer] when dst is smaller than [MinRead], and a
// [*CorruptError] where the log is damaged: then and every time again.
func (r *Reader) Read(dst []byte) (int, error) {
	if r.closed {
		return 0, fmt.Errorf("read %s: %w", r.log.dir, ErrClosed)
	}
	if len(dst) < MinRead {
		return 0, fmt.Errorf("read %s: %w: %d bytes, %d are the least", r.log.dir, io.ErrShortBuffer, len(dst), MinRead)
	}
	for {
		// Again after each move: segments may have been missing from a listing
		// because they were purged, and then the next one begins with purged records.
		if err := r.skipPurged(); err != nil {
			return 0, err
		}
		n, err := r.readSegment(dst)
		if n > 0 || err != nil {
			return n, err
		}
		if err := r.moveOn(); err != nil {
			return 0, err
		}
	}
}

// readSegment reads frames from the current segment until some records are at or
// above next. It returns 0 at the end of the segment's whole frames.
func (r *Reader) readSegment(dst []byte) (int, error) {
	if r.seg == nil {
		return 0, nil
	}
	for {
		n, err := r.seg.f.ReadAt(dst, r.off)
		if err != nil && err != io.EOF {
			return 0, fmt.Errorf("read %s: %w", r.seg.path, err)
		}
		kept, used := r.unframe(dst[:n])
		if kept > 0 || used == 0 {
			return kept, nil
		}
	}
}

// unframe moves the records of the whole frames in b to its front, those below
// next left out, and steps over the frames. Records are never larger than their
// frames, so the front never catches up with what is still to be read.
func (r *Reader) unframe(b []byte) (kept, used int) {
	for {
		rec, index, state := parseFrame(b[used:], r.off)
		if state != frameWhole {
			return kept, used
		}
		used += len(rec) + frameOverhead
		r.off += int64(len(rec) + frameOverhead)
		r.passed = index
		if index >= r.next {
			kept += copy(b[kept:], rec)
			r.next = index + 1
		}
	}
}

// moveOn is called where the current segment shows no whole frame at off, or
// before the first segment. It returns nil when reading may go on, after opening
// the next segment or because the appender wrote meanwhile; io.EOF at the end of
// the log; and a CorruptError where there should be a frame.
func (r *Reader) moveOn() error {
	if r.seg == nil {
		return r.openAt(r.next)
	}
	c, err := r.seg.readCheckpoint()
	if err != nil {
		return err
	}
	if c.sealed && r.off == c.end {
		return r.openAfter(r.seg.base)
	}
	if r.off >= c.end {
		if behind, err := r.seg.frameBehind(r.off); err != nil || !behind {
			return cmp.Or(err, r.unsealedEnd(c.unreadable))
		}
	}
	// There is something whole. If off still shows no frame, that is damage; if it
	// does, the appender was faster than our first look.
	frame := make([]byte, maxFrame)
	n, err := r.seg.f.ReadAt(frame, r.off)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", r.seg.path, err)
	}
	if _, _, state := parseFrame(frame[:n], r.off); state == frameWhole {
		return nil
	}
	if r.seg.replaced() {
		return r.leave()
	}
	return r.seg.corrupt(r.off, r.passed, notWritten)
}

// unsealedEnd is called behind the last frame of a segment that is not known to
// be sealed: as a rule that is the end of the log. unreadable says that the
// checkpoint is.
func (r *Reader) unsealedEnd(unreadable bool) error {
	switch {
	case r.seg.replaced():
		return r.leave() // repaired or purged: what is wanted next is elsewhere
	case !r.followed:
		return io.EOF
	case unreadable:
		// The appender seals a segment before it makes the next one, so only the
		// mark is lost.
		return r.openAfter(r.seg.base)
	}
	return r.seg.corrupt(r.off, r.passed, "the segment ends here unsealed, though another one follows")
}

// skipPurged makes next what follows the purged records, and gives up the current
// segment if that lies in a later one.
func (r *Reader) skipPurged() error {
	st, err := r.view.current()
	if err != nil || st.Purged < r.next {
		return err
	}
	r.next = st.Purged + 1
	if r.seg == nil {
		return nil
	}
	bases, err := listSegments(r.log.dir)
	if err != nil {
		return err
	}
	if base, ok := baseFor(bases, r.next); ok && base > r.seg.base {
		return r.leave()
	}
	return nil
}

func (r *Reader) leave() error {
	err := r.seg.close()
	r.seg = nil
	return err
}

// baseFor returns the last of bases at or below index, or the first of all.
func baseFor(bases []uint64, index uint64) (uint64, bool) {
	if len(bases) == 0 {
		return 0, false
	}
	i, found := slices.BinarySearch(bases, index)
	if !found && i > 0 {
		i--
	}
	return bases[min(i, len(bases)-1)], true
}

// openAt opens the segment that may hold index; io.EOF if there is no segment.
func (r *Reader) openAt(index uint64) error {
	bases, err := listSegments(r.log.dir)
	if err != nil {
		return err
	}
	base, ok := baseFor(bases, index)
	if !ok {
		return io.EOF
	}
	return r.open(base, 0, base < bases[len(bases)-1])
}

// openAfter opens the first segment behind the one with the given base; io.EOF if
// there is none yet.
func (r *Reader) openAfter(base uint64) error {
	bases, err := listSegments(r.log.dir)
	if err != nil {
		return err
	}
	i, _ := slices.BinarySearch(bases, base+1)
	if i == len(bases) {
		return io.EOF
	}
	if err := r.leave(); err != nil {
		return err
	}
	return r.open(bases[i], base, i < len(bases)-1)
}

// open opens the segment base. before is the segment that the reader has done
// with, 0 if none; followed says whether there is a later one. What was purged
// since it was listed is no error: the next look shows another segment.
func (r *Reader) open(base, before uint64, followed bool) error {
	seg, err := openSegment(r.log.dir, r.log.id, base, os.O_RDONLY)
	if err == nil && r.next < base {
		if err = seg.checkBefore(before, 0, r.passed); err != nil {
			err = errors.Join(err, seg.close())
		}
	}
	var gone *vanishedError
	if errors.As(err, &gone) {
		return r.log.excuse(gone)
	}
	if err != nil {
		return err
	}
	r.seg, r.off, r.followed = seg, segmentHeader, followed
	return nil
}

// Wait blocks until the log may have changed since the last Read, or ctx ends.
// It may return early; a Read tells. It does not poll: the appender's write,
// in whatever process, wakes it.
func (r *Reader) Wait(ctx context.Context) error {
	if r.closed {
		return fmt.Errorf("wait for %s: %w", r.log.dir, ErrClosed)
	}
	if r.wake == nil {
		return r.subscribe() // what came before the subscription is there to be read now
	}
	select {
	case <-r.wake.c:
		return nil
	case <-r.wake.bell.done:
		return fmt.Errorf("wait for %s: %w", r.log.dir, ErrClosed)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Reader) subscribe() (err error) {
	if r.bell == nil {
		if r.bell, err = NewBell(); err != nil {
			return err
		}
		r.ownsBell = true
	}
	wake, err := r.bell.subscribe(r.log.dir)
	if err != nil {
		return err // and the next Wait tries again
	}
	r.wake = wake
	return nil
}

// Close gives back what the reader holds. It may be called more than once.
func (r *Reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	err := errors.Join(r.leave(), r.view.close())
	if r.wake != nil {
		err = errors.Join(err, r.wake.close())
	}
	if r.ownsBell {
		err = errors.Join(err, r.bell.Close())
	}
	return err
}

// Tail returns the newest n records at most, oldest first. It walks the log
// backwards, so it costs nothing to have many records before them.
func (l *Log) Tail(n int) (records []changelog.Record, err error) {
	err = l.look(func(st *state, bases []uint64) (err error) {
		records = nil
		for i := len(bases) - 1; i >= 0 && len(records) < n && err == nil; i-- {
			before := uint64(0)
			if i > 0 {
				before = bases[i-1]
			}
			records, err = l.tailOf(bases[i], before, st.Purged, n, records)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(records)
	return records, nil
}

// tailOf appends the records of one segment, newest first, until there are n or
// the purged ones begin. before is the segment that was found before it.
func (l *Log) tailOf(base, before, purged uint64, n int, records []changelog.Record) (_ []changelog.Record, err error) {
	s, err := openSegment(l.dir, l.id, base, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	c, err := s.readCheckpoint()
	if err != nil {
		return nil, err
	}
	if c, err = s.findEnd(c); err != nil {
		return nil, err
	}
	for end := c.end; len(records) < n && end > segmentHeader; {
		packed, index, start, ok, err := s.frameBefore(end)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, s.firstDamage(end)
		}
		if index <= purged {
			break
		}
		rec, _, err := changelog.Next(slices.Clone(packed))
		if err != nil {
			return nil, s.corrupt(start, index, err.Error())
		}
		records, end = append(records, rec), start
	}
	if len(records) < n {
		return records, s.checkBefore(before, purged, 0)
	}
	return records, nil
}

// firstDamage describes the first bad frame of a segment in which no frame ends at end.
func (s *segment) firstDamage(end int64) error {
	c, err := s.scanFrom(checkpoint{end: segmentHeader})
	if err != nil {
		return err
	}
	return s.corrupt(min(c.end, end), c.last, notWritten)
}

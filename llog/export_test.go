package llog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// What the tests in package llog_test see of the inside.
const (
	SegmentHeader   = segmentHeader
	CheckpointStart = checkpointStart
	CheckpointSize  = checkpointSize
	FrameOverhead   = frameOverhead
	FrameHead       = frameHead
	GroupLimit      = groupLimit
)

// SegmentName returns the file name of the segment whose first record has index base.
func SegmentName(base uint64) string { return segmentName(base) }

// Segments returns the first indexes of the log's segments.
func (l *Log) Segments() ([]uint64, error) { return listSegments(l.dir) }

// AppendFrame appends the frame of rec that stands at offset off of its file.
func AppendFrame(dst []byte, off int64, rec []byte, index uint64) []byte {
	return appendFrame(dst, off, rec, index)
}

// CommitTogether appends the batches, renumbered, in one commit of a new appender,
// as happens when their callers come together.
func (l *Log) CommitTogether(opts AppendOptions, batches ...[]byte) (results []Appended, errs []error) {
	lock, err := l.lockAppender()
	if err != nil {
		return nil, []error{err}
	}
	w := &writer{log: l, opts: opts, lock: lock, view: stateView{dir: l.dir, st: &state{ID: l.id}}}
	if err := w.open(); err != nil {
		return nil, []error{errors.Join(err, w.close())}
	}
	var group []*request
	for _, records := range batches {
		group = append(group, &request{records: records, renumber: true})
	}
	w.commit(group)
	for _, r := range group {
		results, errs = append(results, r.result), append(errs, r.err)
	}
	if err := w.close(); err != nil {
		errs = append(errs, err)
	}
	return results, errs
}

// LockState takes the lock that everybody needs who changes the state in dir.
func LockState(dir string) (*os.File, error) {
	return lockFile(context.Background(), filepath.Join(dir, stateLock))
}

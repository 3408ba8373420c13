package llog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Repaired is what Repair gave up in one segment.
type Repaired struct {
	File    string
	Records uint64 // that were kept
	Bytes   int64  // that were given up: damaged frames, and what is not a frame
}

// Repair rewrites the segments that are damaged: records that can be read and
// whose indexes increase are kept, everything else is given up, whole segments
// that are missing too. Segments that are whole are not touched. There must be no appender ([ErrBusy]). A damaged state
// cannot be repaired: it says what was acknowledged, and nobody may guess that.
// Nor are segments of another log or of a newer version: those records are not ours.
func (l *Log) Repair(ctx context.Context) (repaired []Repaired, err error) {
	appender, err := l.lockAppender()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock(appender)) }()
	lock, err := lockFile(ctx, filepath.Join(l.dir, stateLock))
	if err != nil {
		return nil, fmt.Errorf("repair %s: %w", l.dir, err)
	}
	defer func() { err = errors.Join(err, unlock(lock)) }()
	st, err := l.state()
	if err != nil {
		return nil, err
	}
	bases, err := listSegments(l.dir)
	if err != nil {
		return nil, err
	}
	at := place{purged: st.Purged}
	for i, base := range bases {
		at.base, at.sealed = base, i < len(bases)-1
		r, damaged, err := l.repairSegment(at)
		if err != nil {
			return repaired, fmt.Errorf("repair %s: %w", filepath.Join(l.dir, segmentName(base)), err)
		}
		if damaged {
			repaired = append(repaired, r)
		}
		at.before = base
	}
	return repaired, nil
}

// place is where a segment stands in its log.
type place struct {
	base, before uint64 // before is the segment found before it, 0 if there is none
	purged       uint64
	sealed       bool // others follow
}

// repairSegment rewrites one segment if it has to.
func (l *Log) repairSegment(p place) (r Repaired, damaged bool, err error) {
	base, path := p.base, filepath.Join(l.dir, segmentName(p.base))
	if damaged, err = l.segmentDamaged(p); err != nil || !damaged {
		return r, false, err
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return r, false, err
	}
	data := make([]byte, segmentHeader, max(segmentHeader, len(old)))
	putSegmentHeader(data, l.id, base, p.before)
	at := checkpoint{sealed: p.sealed, last: base - 1}
	if len(old) >= segmentHeader {
		if c, ok := decodeCheckpoint(old[checkpointStart:]); ok {
			at.last = max(at.last, c.last) // these indexes were issued, whatever is left of them
		}
	}
	prev := base - 1
	for off := segmentHeader; off < len(old); {
		rec, index, state := parseFrame(old[off:], int64(off))
		if state != frameWhole || index <= prev {
			off++
			continue
		}
		data = appendFrame(data, int64(len(data)), rec, index)
		off += len(rec) + frameOverhead
		at.records++
		prev = index
	}
	at.end, at.last = int64(len(data)), max(at.last, prev)
	copy(data[checkpointStart:], at.encode())
	f, err := replaceFile(path, data, true)
	if err != nil {
		return r, false, err
	}
	return Repaired{File: path, Records: at.records, Bytes: int64(max(segmentHeader, len(old)) - len(data))}, true, f.Close()
}

// segmentDamaged tells whether a reader would stop in the segment, or before it.
func (l *Log) segmentDamaged(p place) (damaged bool, err error) {
	s, err := openSegment(l.dir, l.id, p.base, os.O_RDONLY)
	if err != nil {
		return repairable(err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.checkBefore(p.before, p.purged, 0); err != nil {
		return repairable(err)
	}
	c, err := s.readCheckpoint()
	if err != nil {
		return false, err
	}
	whole, err := s.findEnd(checkpoint{end: segmentHeader})
	if err != nil {
		return repairable(err)
	}
	return whole.end < c.end || p.sealed && !c.sealed && !c.unreadable, nil
}

// repairable returns true for the damage that a repair can get rid of, and any
// other error as it is.
func repairable(err error) (bool, error) {
	var damage *CorruptError
	if errors.As(err, &damage) && damage.Repairable {
		return true, nil
	}
	return false, err
}

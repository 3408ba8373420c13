package llog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	segmentMagic    = "LCAPLLOG"
	segmentVersion  = 1
	segmentHeader   = 128
	segmentSuffix   = ".seg"
	segmentDigits   = 20
	checkpointStart = 64
	checkpointSize  = 32
)

// segmentName is the file name of the segment whose first record has index base.
func segmentName(base uint64) string {
	return fmt.Sprintf("%0*d%s", segmentDigits, base, segmentSuffix)
}

// listSegments returns the first indexes of all segments in dir, ascending.
//
// Reading a large directory takes several system calls. A segment that appears
// between them may be missed and the one after it found, and a reader would go
// over the one that was missed. But all before the newest one found are there by
// then: a second look shows them.
//
// And a look may miss all there is, if the old ones are purged before it comes to
// them: tmpfs shows no name that is newer than the look. So emptiness is believed
// only after some looks.
func listSegments(dir string) ([]uint64, error) {
	const looks = 4
	for range looks {
		found, err := findSegments(dir)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			continue
		}
		newest := found[len(found)-1]
		if found, err = findSegments(dir); err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(base uint64) bool { return base > newest })
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

// findSegments is one look of [listSegments].
func findSegments(dir string) ([]uint64, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var bases []uint64
	for _, name := range names {
		digits, isSegment := strings.CutSuffix(name, segmentSuffix)
		base, err := strconv.ParseUint(digits, 10, 64)
		if isSegment && err == nil && base > 0 && len(digits) == segmentDigits {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	return bases, nil
}

// checkpoint is what the appender vouches for: up to end, which is a frame
// boundary, the segment holds records records. last is the index of the last of
// them, or a higher one that was issued and then lost in a repair.
type checkpoint struct {
	end     int64
	records uint64
	last    uint64
	sealed  bool

	unreadable bool // there is none, and this stands in for it
}

func (c checkpoint) encode() []byte {
	b := make([]byte, 0, checkpointSize)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.end))
	b = binary.LittleEndian.AppendUint64(b, c.records)
	b = binary.LittleEndian.AppendUint64(b, c.last)
	var sealed uint32
	if c.sealed {
		sealed = 1
	}
	b = binary.LittleEndian.AppendUint32(b, sealed)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeCheckpoint(b []byte) (checkpoint, bool) {
	body := b[:checkpointSize-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[checkpointSize-4:]) {
		return checkpoint{}, false
	}
	c := checkpoint{
		end:     int64(binary.LittleEndian.Uint64(b)),
		records: binary.LittleEndian.Uint64(b[8:]),
		last:    binary.LittleEndian.Uint64(b[16:]),
		sealed:  binary.LittleEndian.Uint32(b[24:]) != 0,
	}
	return c, c.end >= segmentHeader
}

// segment is an open segment file.
type segment struct {
	f      *os.File
	path   string
	base   uint64 // index of its first record
	before uint64 // base of the segment before it, 0 if there was none
}

func (s *segment) close() error {
	if s == nil {
		return nil
	}
	return s.f.Close()
}

// createSegment makes the segment for records from base on, behind the one whose
// base is before. It appears under its name only when its header is whole, so a
// segment without a header is damage.
func createSegment(dir string, id logID, base, before uint64, durable bool) (*segment, error) {
	header := make([]byte, segmentHeader)
	putSegmentHeader(header, id, base, before)
	copy(header[checkpointStart:], checkpoint{end: segmentHeader}.encode())

	path := filepath.Join(dir, segmentName(base))
	f, err := replaceFile(path, header, durable)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	return &segment{f, path, base, before}, nil
}

// putSegmentHeader fills in what never changes about a segment.
func putSegmentHeader(header []byte, id logID, base, before uint64) {
	copy(header, segmentMagic)
	binary.LittleEndian.PutUint32(header[8:], segmentVersion)
	binary.LittleEndian.PutUint32(header[12:], segmentHeader)
	copy(header[16:], id[:])
	binary.LittleEndian.PutUint64(header[32:], base)
	binary.LittleEndian.PutUint64(header[40:], before)
	binary.LittleEndian.PutUint64(header[48:], uint64(time.Now().UnixNano()))
	binary.LittleEndian.PutUint32(header[56:], crc32.Checksum(header[:56], castagnoli))
}

// openSegment opens the segment whose first record is base and checks its header.
func openSegment(dir string, id logID, base uint64, flag int) (*segment, error) {
	path := filepath.Join(dir, segmentName(base))
	f, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &vanishedError{base, fmt.Errorf("open segment: %w; it was not freed by a purge: restore it", err)}
	}
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	s := &segment{f: f, path: path, base: base}
	if err := s.checkHeader(id); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// vanishedError: the segment base is not there (any more). err is for when it was
// not purged, which [Log.excuse] finds out.
type vanishedError struct {
	base uint64
	err  error
}

func (e *vanishedError) Error() string { return e.err.Error() }

func (e *vanishedError) Unwrap() error { return e.err }

func (s *segment) checkHeader(id logID) error {
	h := make([]byte, segmentHeader)
	n, err := s.f.ReadAt(h, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read segment header: %w", err)
	}
	corrupt := func(what string) *CorruptError {
		return &CorruptError{File: s.path, What: what, Bytes: h[:min(n, 64)], Repairable: true}
	}
	misplaced := func(what string) error {
		e := corrupt(what)
		e.Repairable = false // these records are not ours
		return e
	}
	switch {
	case n < segmentHeader:
		return corrupt(fmt.Sprintf("the header has %d bytes instead of %d", n, segmentHeader))
	case string(h[:8]) != segmentMagic:
		return corrupt("this is not a segment of a changelog")
	case binary.LittleEndian.Uint32(h[8:]) != segmentVersion:
		return fmt.Errorf("%s: %w: %d, this program knows %d; use a newer lcapd", s.path, ErrVersion, binary.LittleEndian.Uint32(h[8:]), segmentVersion)
	case crc32.Checksum(h[:56], castagnoli) != binary.LittleEndian.Uint32(h[56:]):
		return corrupt("the header does not match its checksum")
	case string(h[16:32]) != string(id[:]):
		return misplaced("this segment belongs to another changelog")
	case binary.LittleEndian.Uint64(h[32:]) != s.base:
		return misplaced("the header says another first index than the file's name")
	}
	s.before = binary.LittleEndian.Uint64(h[40:])
	return nil
}

// checkBefore fails with a vanishedError unless the segment that was made before s
// is the one with the base found, or purged. after is for the error.
func (s *segment) checkBefore(found, purged, after uint64) error {
	if s.before == 0 || s.before == found || s.base-1 <= purged {
		return nil
	}
	return &vanishedError{s.before, &CorruptError{
		File:       filepath.Join(filepath.Dir(s.path), segmentName(s.before)),
		After:      after,
		What:       fmt.Sprintf("the file is missing; the next one begins with index %d", s.base),
		Repairable: true,
	}}
}

// readCheckpoint returns the checkpoint, or that of an empty segment if it is
// not readable: it only ever vouches, so less is always right.
func (s *segment) readCheckpoint() (checkpoint, error) {
	b := make([]byte, checkpointSize)
	if _, err := s.f.ReadAt(b, checkpointStart); err != nil {
		return checkpoint{}, fmt.Errorf("read checkpoint of %s: %w", s.path, err)
	}
	c, ok := decodeCheckpoint(b)
	if !ok {
		return checkpoint{end: segmentHeader, unreadable: true}, nil
	}
	return c, nil
}

// frameBefore returns the record of the frame that ends at end, and where it
// starts; ok is false when no valid frame ends there.
func (s *segment) frameBefore(end int64) (rec []byte, index uint64, start int64, ok bool, err error) {
	if end < segmentHeader+frameOverhead {
		return nil, 0, 0, false, nil
	}
	from := max(segmentHeader, end-maxFrame)
	b := make([]byte, end-from)
	if _, err := s.f.ReadAt(b, from); err != nil && err != io.EOF {
		return nil, 0, 0, false, fmt.Errorf("read %s: %w", s.path, err)
	}
	length := int64(binary.LittleEndian.Uint32(b[len(b)-4:]))
	start = end - length - frameOverhead
	if start < from {
		return nil, 0, 0, false, nil
	}
	rec, index, state := parseFrame(b[start-from:], start)
	return rec, index, start, state == frameWhole && len(rec) == int(length), nil
}

// frameBehind tells whether a valid frame ends at the end of the file, at or
// behind off. Where off itself shows no frame, that means damage, or an appender
// that was faster than the look at off.
func (s *segment) frameBehind(off int64) (bool, error) {
	size, err := s.size()
	if err != nil || size <= off {
		return false, err
	}
	_, _, start, ok, err := s.frameBefore(size)
	return ok && start >= off, err
}

func (s *segment) size() (int64, error) {
	info, err := s.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("stat segment: %w", err)
	}
	return info.Size(), nil
}

// replaced tells whether another file took the segment's place, or none did: it
// was repaired or purged.
func (s *segment) replaced() bool {
	return idAt(s.path) != idOf(s.f)
}

// walk calls visit for each whole frame from off on, until it returns false or
// there is none, and returns where the next frame would start.
func (s *segment) walk(off int64, visit func(rec []byte, index uint64) bool) (end int64, err error) {
	buf := make([]byte, 128<<10)
	for {
		n, err := s.f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return off, fmt.Errorf("read %s: %w", s.path, err)
		}
		used := 0
		for {
			rec, index, state := parseFrame(buf[used:n], off)
			if state != frameWhole {
				break
			}
			used += len(rec) + frameOverhead
			off += int64(len(rec) + frameOverhead)
			if !visit(rec, index) {
				return off, nil
			}
		}
		if used == 0 {
			return off, nil
		}
	}
}

// scanFrom walks from c on and returns the checkpoint behind the last whole frame.
func (s *segment) scanFrom(c checkpoint) (checkpoint, error) {
	end, err := s.walk(c.end, func(_ []byte, index uint64) bool {
		c.records++
		c.last = index
		return true
	})
	c.end = end
	return c, err
}

// findEnd is scanFrom for when nothing may be left out: with whole frames behind
// one that is not, it fails with a [CorruptError].
func (s *segment) findEnd(c checkpoint) (checkpoint, error) {
	c, err := s.scanFrom(c)
	for err == nil {
		var behind bool
		if behind, err = s.frameBehind(c.end); err != nil || !behind {
			break
		}
		// Either they were appended since, or there is damage before them.
		end := c.end
		if c, err = s.scanFrom(c); err == nil && c.end == end {
			err = s.corrupt(end, c.last, notWritten)
		}
	}
	return c, err
}

// notWritten is what is wrong with a bad frame.
const notWritten = "the record there is not what was written"

// corrupt describes the damage at off.
func (s *segment) corrupt(off int64, after uint64, what string) error {
	b := make([]byte, 64)
	n, _ := s.f.ReadAt(b, off)
	return &CorruptError{File: s.path, Offset: off, After: after, What: what, Bytes: b[:n], Repairable: true}
}

package changelog

import (
	"errors"
	"fmt"
	"io"
)

const (
	// readerBuffer is what a [Reader] reads at once, in bytes.
	readerBuffer = 256 << 10
	// maxEmptyReads is how often a stream may say nothing at all, not even an error.
	maxEmptyReads = 100
)

// Reader reads packed records from a stream such as a file or a pipe.
type Reader struct {
	// Scanner holds the options, and the offset of what was read. Its other
	// methods are the Reader's to call.
	Scanner
	src    io.Reader
	buf    []byte
	srcErr error // from src, to be reported once the bytes before it are used up
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, readerBuffer)}
}

// Next returns the next record. It is valid until the next call. The error is
// [io.EOF] at the end, a [*FrameError] where the stream stops being records, or
// what the stream itself returned, wrapped. Only the last may be followed by
// records, if the stream recovers: none is lost.
func (r *Reader) Next() (Record, error) {
	for {
		if r.Scan() {
			return r.Record(), nil
		}
		if r.err != nil && !errors.Is(r.err, ErrTruncated) {
			return Record{}, r.err
		}
		if err := r.srcErr; err != nil {
			return Record{}, r.end(err)
		}
		r.fill()
	}
}

// end returns the error for a stream that ended with err. The end of the file
// stays; anything else is reported once, so that the next call tries again.
func (r *Reader) end(err error) error {
	switch {
	case err != io.EOF:
		r.srcErr = nil
		return fmt.Errorf("read records at offset %d: %w", r.off, err)
	case r.err != nil:
		return r.err // the file ends inside a record
	}
	return io.EOF
}

// fill moves what is left of the buffer to its start and reads more behind it.
// A partial record is always smaller than the buffer, so there is room.
func (r *Reader) fill() {
	kept := copy(r.buf, r.rest)
	n := 0
	for range maxEmptyReads {
		if n, r.srcErr = r.src.Read(r.buf[kept:]); n > 0 || r.srcErr != nil {
			break
		}
	}
	if n == 0 && r.srcErr == nil {
		r.srcErr = io.ErrNoProgress
	}
	r.rest, r.err = r.buf[:kept+n], nil
}

package transport

import (
	"bufio"
	"encoding/binary"
	"io"
)

// The bits of a frame's flags.
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

const (
	readAhead  = 8 << 10  // bytes that are read at once when little is wanted
	smallBuf   = 64 << 10 // a receive buffer up to this size is free, and kept
	maxCommand = 2048
)

// frameReader reads messages from a socket into one buffer that it uses again. It has one owner: the
// connection's handler.
type frameReader struct {
	src      *bufio.Reader
	maxFrame int
	maxCount int
	budget   *budget // nil: no limit, and large buffers are kept
	charged  int     // taken from the budget for buf

	buf    []byte // the frames of the message, one behind the other
	ends   []int  // where each ends in buf
	frames [][]byte
}

func newFrameReader(src io.Reader, o Options, b *budget) frameReader {
	return frameReader{src: bufio.NewReaderSize(src, readAhead), maxFrame: o.MaxFrame, maxCount: o.MaxFrames, budget: b}
}

// message reads a message after reset, or a command before one: then there are no frames. The frames are valid until
// the next call, unless keep is called before it. Commands go to the function, also those within the
// message.
func (r *frameReader) message(command func(body []byte) error) ([][]byte, error) {
	for more := true; more; {
		flags, size, err := r.head()
		if err != nil {
			return nil, err
		}
		if flags&flagCommand != 0 {
			if err := r.command(size, command); err != nil {
				return nil, err
			}
			more = len(r.ends) > 0
			continue
		}
		if err := r.frame(size); err != nil {
			return nil, err
		}
		more = flags&flagMore != 0
	}
	start := 0
	for _, end := range r.ends {
		r.frames = append(r.frames, r.buf[start:end:end])
		start = end
	}
	return r.frames, nil
}

// reset makes the buffers ready for the next message. Many peers share the budget, so a large buffer is
// not kept on account of it.
func (r *frameReader) reset() {
	r.buf, r.ends, r.frames = r.buf[:0], r.ends[:0], r.frames[:0]
	if r.charged > 0 {
		r.release()
	}
}

// release drops the buffer and returns what it took from the budget.
func (r *frameReader) release() {
	r.buf = nil
	r.budget.give(r.charged)
	r.charged = 0
}

// keep leaves the last message to the caller: the next one gets new buffers.
func (r *frameReader) keep() {
	r.release()
	r.frames = nil
}

// trade leaves the last message to the caller, with its buffer, for another one.
func (r *frameReader) trade(buf []byte) []byte {
	last := r.buf
	r.keep()
	r.buf = buf[:0]
	return last
}

// head reads the head of a frame.
func (r *frameReader) head() (flags byte, size uint64, err error) {
	if flags, err = r.src.ReadByte(); err != nil {
		return 0, 0, err
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&(flagMore|flagCommand) == flagMore|flagCommand {
		return 0, 0, violation(BadFrame, "frame flags %#02x", flags)
	}
	if flags&flagLong == 0 {
		short, err := r.src.ReadByte()
		return flags, uint64(short), err
	}
	long, err := r.src.Peek(8)
	if err != nil {
		return 0, 0, err
	}
	size = binary.BigEndian.Uint64(long)
	_, err = r.src.Discard(8)
	return flags, size, err
}

// command reads a command and hands it on.
func (r *frameReader) command(size uint64, do func(body []byte) error) error {
	if size > maxCommand {
		return violation(FrameTooLarge, "a command of %d bytes, at most %d are allowed", size, maxCommand)
	}
	body, err := r.src.Peek(int(size))
	if err != nil {
		return err
	}
	if err := do(body); err != nil {
		return err
	}
	_, err = r.src.Discard(int(size))
	return err
}

// frame reads the body of a frame into the buffer.
func (r *frameReader) frame(size uint64) error {
	if len(r.ends) == r.maxCount {
		return violation(TooManyFrames, "more than %d frames", r.maxCount)
	}
	if limit := uint64(r.maxFrame); size > limit || uint64(len(r.buf))+size > limit+smallBuf {
		return violation(FrameTooLarge, "a frame of %d bytes behind %d, at most %d are allowed", size, len(r.buf), r.maxFrame)
	}
	for left := int(size); left > 0; {
		step, err := r.grow(left)
		if err != nil {
			return err
		}
		start := len(r.buf)
		r.buf = r.buf[:start+step]
		if _, err := io.ReadFull(r.src, r.buf[start:]); err != nil {
			return err
		}
		left -= step
	}
	r.ends = append(r.ends, len(r.buf))
	return nil
}

// grow makes room for more of the frame, of which so many bytes are left, and returns for how many. What
// is allocated is at most 64 KiB, or the double of what did arrive: a claim alone costs us nothing.
func (r *frameReader) grow(left int) (int, error) {
	if free := cap(r.buf) - len(r.buf); free > 0 {
		return min(left, free), nil
	}
	size := min(len(r.buf)+left, max(2*len(r.buf), smallBuf))
	if r.budget != nil && size > smallBuf {
		if !r.budget.take(size - r.charged) {
			return 0, violation(OverBudget, "no room for %d bytes", size)
		}
		r.charged = size
	}
	grown := make([]byte, len(r.buf), size)
	copy(grown, r.buf)
	r.buf = grown
	return size - len(r.buf), nil
}

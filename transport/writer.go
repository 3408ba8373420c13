package transport

import (
	"encoding/binary"
	"net"
	"time"
)

const (
	gatherBytes    = 256 << 10 // one write takes no more messages beyond this
	gatherMessages = 64
	copyBelow      = 1 << 10 // smaller parts are copied together: cheaper than a vector each
)

// A writer writes what is in the outbox of a connection, several messages with one writev. It is the
// only goroutine that writes to the socket after the handshake, and waits for nothing but the outbox
// and the socket.
type writer struct {
	c     *Conn
	held  []item // gathered, not yet let go of
	size  int    // bytes gathered
	small []byte // frame heads and small parts
	start int    // up to where small is in bufs
	bufs  net.Buffers
	// vector is what WriteTo consumes of bufs.
	vector net.Buffers
	linger time.Time // when the connection has ended: the last deadline
}

func newWriter(c *Conn) *writer { return &writer{c: c} }

// run writes until the connection ends, then what is left of the queue: after Close that fails at once.
func (w *writer) run() {
	for {
		select {
		case it := <-w.c.out.queue:
			w.add(it)
		case it := <-w.c.out.direct:
			w.catchUp(it)
		case p := <-w.c.out.pongs:
			w.addPong(p)
		case <-w.c.life.Done():
			w.drain()
			return
		}
		w.gather()
		w.flush()
	}
}

// catchUp adds what was queued before a message that came directly, then the message: a sender's
// messages go out in the order in which it sent them, whichever way.
func (w *writer) catchUp(direct item) {
	left := len(w.c.out.queue)
	close(direct.placed)
	for ; left > 0; left-- {
		w.add(<-w.c.out.queue)
		if w.size >= gatherBytes || len(w.held) >= gatherMessages {
			w.flush()
		}
	}
	w.add(direct)
}

// gather adds what is queued, up to the limits.
func (w *writer) gather() {
	for w.size < gatherBytes && len(w.held) < gatherMessages {
		select {
		case it := <-w.c.out.queue:
			w.add(it)
		default:
			return
		}
	}
}

// drain lets go of everything that was queued. Nothing is queued any more once the room is closed;
// who was admitted before is about to put it there.
func (w *writer) drain() {
	w.linger = time.Now().Add(w.c.opts.Linger)
	for left := w.c.out.room.close(); left > 0; left-- {
		w.add(<-w.c.out.queue)
		if w.size >= gatherBytes || len(w.held) >= gatherMessages {
			w.flush()
		}
	}
	w.flush()
}

// add gathers the frames of an item.
func (w *writer) add(it item) {
	w.held = append(w.held, it)
	last := len(it.Frames) - 1
	for i, frame := range it.Frames {
		w.head(len(frame), i < last || it.Payload != nil)
		w.part(frame)
	}
	if it.Payload == nil {
		return
	}
	size := 0
	for _, p := range it.Payload {
		size += len(p)
	}
	w.head(size, false)
	for _, p := range it.Payload {
		w.part(p)
	}
}

// addPong gathers a PONG.
func (w *writer) addPong(p pong) {
	w.small = append(w.small, flagCommand, byte(5+p.n), 4)
	w.small = append(w.small, "PONG"...)
	w.small = append(w.small, p.context[:p.n]...)
}

// head gathers the head of a frame.
func (w *writer) head(size int, more bool) {
	var flags byte
	if more {
		flags = flagMore
	}
	if size <= 255 {
		w.small = append(w.small, flags, byte(size))
		return
	}
	w.small = binary.BigEndian.AppendUint64(append(w.small, flags|flagLong), uint64(size))
}

// part gathers bytes of a frame, by reference if they are many.
func (w *writer) part(p []byte) {
	w.size += len(p)
	if len(p) < copyBelow {
		w.small = append(w.small, p...)
		return
	}
	w.seal()
	w.bufs = append(w.bufs, p)
}

// seal moves the small parts gathered so far into the vector. When small grows later, the vector keeps
// the old array.
func (w *writer) seal() {
	if len(w.small) > w.start {
		w.bufs = append(w.bufs, w.small[w.start:])
		w.start = len(w.small)
	}
}

// flush writes what was gathered and lets go of it. An error ends the connection; run sees that.
func (w *writer) flush() {
	w.seal()
	var err error
	if len(w.bufs) > 0 {
		if err = w.write(); err != nil {
			w.c.Close(ioError(err, Stalled))
			err = w.c.Err()
		}
	}
	for _, it := range w.held {
		w.c.out.release(it, err)
	}
	clear(w.held)
	clear(w.bufs)
	w.held, w.bufs, w.small, w.start, w.size = w.held[:0], w.bufs[:0], w.small[:0], 0, 0
}

// write writes the vector within the write timeout. When the connection ends meanwhile, Finish sets a
// nearer deadline after ending its life: either we see the one, or ours is overwritten by the other.
func (w *writer) write() error {
	w.vector = w.bufs
	for {
		deadline := time.Now().Add(w.c.opts.WriteTimeout)
		w.c.raw.SetWriteDeadline(deadline)
		if w.c.life.Err() != nil {
			if w.linger.IsZero() {
				w.linger = time.Now().Add(w.c.opts.Linger)
			}
			deadline = time.Time{}
			w.c.raw.SetWriteDeadline(w.linger)
		}
		if _, err := w.vector.WriteTo(w.c.raw); !isOverslept(err, deadline) {
			return err
		} // else the peer may have made room since: on with what is left
	}
}

package transport

// pong is what a PING wants back.
type pong struct {
	n       int
	context [16]byte
}

// parsePing checks the data of a PING: two bytes of time to live, which is the peer's business, and a
// context of up to 16 bytes.
func parsePing(data []byte) (pong, error) {
	if len(data) < 2 || len(data) > 2+len(pong{}.context) {
		return pong{}, violation(BadFrame, "a PING with %d bytes", len(data))
	}
	var p pong
	p.n = copy(p.context[:], data[2:])
	return p, nil
}

// An item is a message on its way, with what must be done when the writer lets go of it.
type item struct {
	Message
	size int        // room to give back, if queued
	done chan error // SendWait's, of size 1; nil for a queued message
	// placed is closed when the writer knows what goes out before the message: until then something
	// that is queued could pass it. Nil for a queued message.
	placed chan struct{}
}

// An outbox is where senders leave what the writer writes.
//
// queue has a place for every message that room admits, so who was admitted never blocks, and the writer
// that closed the room knows how many are still to come. direct has no places: its sender waits.
type outbox struct {
	room   room
	queue  chan item
	direct chan item
	pongs  chan pong
}

func newOutbox(o Options) *outbox {
	b := &outbox{queue: make(chan item, o.QueueMessages), direct: make(chan item), pongs: make(chan pong, 2)}
	b.room.maxMessages, b.room.maxBytes = uint64(o.QueueMessages), uint64(o.QueueBytes)
	return b
}

// put queues a message, or returns ErrFull or ErrClosed.
func (b *outbox) put(m Message) error {
	size := m.size()
	if err := b.room.take(size); err != nil {
		return err
	}
	b.queue <- item{Message: m, size: size}
	return nil
}

// release lets go of an item.
func (b *outbox) release(it item, err error) {
	if it.Sent != nil {
		it.Sent()
	}
	if it.done != nil {
		it.done <- err
		return
	}
	b.room.give(it.size)
}

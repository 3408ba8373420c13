package transport

import "time"

// Options bound what connections may do and take. A zero field stands for its default.
type Options struct {
	// MaxConns is how many connections a server has at most. Default 4096.
	MaxConns int
	// MaxPerAddress is how many of them come from one IP address; ipc is not counted. Default 256.
	MaxPerAddress int
	// MaxFrame is the largest frame received, in bytes. The frames of a message together may have 64 KiB
	// more. Default 4 MiB.
	MaxFrame int
	// MaxFrames is how many frames a message received has at most. Default 16.
	MaxFrames int
	// Inbound is how many bytes the receive buffers above 64 KiB of all connections of a server have
	// together; a client has no such limit. Default 64 MiB.
	Inbound int64
	// QueueMessages and QueueBytes are how much waits for a peer at most, what is being written
	// counted. A message above QueueBytes is let into an empty queue. Defaults 256, at most 8388607,
	// and 8 MiB.
	QueueMessages, QueueBytes int
	// HandshakeTimeout bounds the handshake. Default 5 s.
	HandshakeTimeout time.Duration
	// MessageTimeout bounds the time from a message's first byte to its last. Default 30 s.
	MessageTimeout time.Duration
	// WriteTimeout bounds one write: a message, or several of 256 KiB together. Default 30 s, after
	// which the kernel gives up a tcp connection by itself.
	WriteTimeout time.Duration
	// IdleTimeout is after how long without a byte from a DEALER it is cut. REQ and SUB peers may be
	// quiet for ever, and so may servers; TCP finds out when they are dead. See [Conn.SetIdle]. Default
	// 2 minutes.
	IdleTimeout time.Duration
	// Linger is how long a connection that ends goes on to write what is queued. Default 1 s.
	Linger time.Duration
}

// withDefaults returns o with its defaults filled in.
func (o Options) withDefaults() Options {
	setDefault(&o.MaxConns, 4096)
	setDefault(&o.MaxPerAddress, 256)
	setDefault(&o.MaxFrame, 4<<20)
	setDefault(&o.MaxFrames, 16)
	setDefault(&o.Inbound, 64<<20)
	setDefault(&o.QueueMessages, 256)
	setDefault(&o.QueueBytes, 8<<20)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.MessageTimeout, 30*time.Second)
	setDefault(&o.WriteTimeout, 30*time.Second)
	setDefault(&o.IdleTimeout, 2*time.Minute)
	setDefault(&o.Linger, time.Second)
	o.QueueMessages = min(o.QueueMessages, roomCount)
	return o
}

// setDefault gives a field that is zero its default.
func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

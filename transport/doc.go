// Package transport carries messages between lcapd and its peers over ZMTP 3, on tcp and ipc. It is the
// only package that knows zmq4, and it knows nothing of what the messages say.
//
// # What it promises
//
//   - Nobody waits for a peer: [Conn.Send] never blocks, one connection's silence, slowness or death is
//     nobody else's business, and handshakes run beside each other.
//   - No bytes from a peer can crash the process or make it allocate more than a small multiple of what
//     did arrive: every length is checked before anything is allocated for it, and what all peers
//     together are sending is bounded.
//   - A payload is never copied on its way out: it is shared with the caller until [Message.Sent].
//   - A connection that ends says why, once: [Conn.Done], [Conn.Err]. What was refused or cut is
//     counted by reason: [Server.Stats].
//   - A deadline that passes while the process stands still is not held against the peer: what it has
//     sent meanwhile is read first.
//   - Everything that is started is waited for: [Server.Run], [Conn.Finish].
//
// # How a connection is made
//
// zmq4 makes the handshake and nothing more. The server's side of the socket follows the peer's: a
// DEALER (native) or REQ (older C clients) meets a ROUTER, a SUB (plain listeners) an XPUB. So the guard
// receives and checks the peer's greeting and READY first, and only then lets zmq4.Open see them.
// Afterwards this package reads and writes frames itself: zmq4 would allocate whatever a frame header
// claims, copy nothing into buffers that are there, and hand PING to the application.
//
// # Who owns what
//
//	accept loop    one a listener: hands new sockets to Run, owns nothing
//	Run            which connections there are, in all and by address
//	handler        one a connection: the handshake, then Handler.Serve. It is the only one that calls
//	               Receive, and owns the read side: its buffers, the limits, the idle deadline
//	writer         one a connection: owns the write side and everything queued for it
//
// The handler may block as it likes: it delays only its own peer. Senders wait for nobody; the writer
// waits for the peer's socket, at most the write timeout. A queue that is full refuses ([ErrFull]) and
// the sender decides. When a connection ends, the writer lets go of all that is queued, and calls Sent
// for each.
package transport

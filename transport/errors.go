package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// What ends a connection or refuses a message.
var (
	// ErrFull: the peer's queue has no room. Nothing was queued; the connection goes on.
	ErrFull = errors.New("the peer's queue is full")
	// ErrClosed: this side has ended the connection.
	ErrClosed = errors.New("connection closed")
	// ErrPeerGone: the other side has ended the connection, or is dead.
	ErrPeerGone = errors.New("the peer is gone")
	// ErrStopping: the server ends.
	ErrStopping = errors.New("the server is stopping")
)

// What Listen and Dial return, wrapped, with the address.
var (
	// ErrAddressInUse: somebody serves that address already.
	ErrAddressInUse = errors.New("address in use")
	// ErrBadAddress: not an address of the form tcp://host:port or ipc:///path.
	ErrBadAddress = errors.New("bad address")
	// ErrUnreachable: nobody answers at the address.
	ErrUnreachable = errors.New("not reachable")
	// ErrHandshake: somebody answers, but no connection came about.
	ErrHandshake = errors.New("handshake failed")
	// ErrVersion: the other side speaks an older ZMTP than 3.0, or none. It is an ErrHandshake too.
	ErrVersion = errors.New("no ZMTP 3")
)

// Reason says why a connection was refused or cut, for counters.
type Reason uint8

// The reasons.
const (
	TooManyConns     Reason = iota // more connections than allowed in all
	TooManyOfAddress               // more connections than allowed from one address
	HandshakeTimeout               // no complete handshake in time
	BadGreeting                    // no ZMTP 3 greeting
	BadMechanism                   // a security mechanism other than NULL
	BadReady                       // a READY command that is malformed or too large
	BadSocketType                  // a socket type that is not served
	FrameTooLarge                  // a frame, message or command larger than allowed
	TooManyFrames                  // more frames in a message than allowed
	BadFrame                       // a frame header or command that ZMTP does not allow
	OverBudget                     // all peers together are sending more than allowed
	SlowMessage                    // a message was begun and not ended in time
	Idle                           // nothing came for longer than allowed
	Stalled                        // the peer did not take what was sent in time
	AcceptFailed                   // the system could not accept: no descriptors left, most likely
	reasons
)

var reasonNames = [reasons]string{"too-many-connections", "too-many-of-address", "handshake-timeout", "bad-greeting",
	"bad-mechanism", "bad-ready", "bad-socket-type", "frame-too-large", "too-many-frames", "bad-frame", "over-budget",
	"slow-message", "idle", "stalled", "accept-failed"}

// String returns the stable name that metrics use.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("Reason(%d)", r)
}

// Violation is a peer's breach of the protocol or of a limit. It ended the connection.
type Violation struct {
	Reason Reason
	Text   string // what was seen and what is allowed
}

// Error returns the reason and the text.
func (v *Violation) Error() string { return v.Reason.String() + ": " + v.Text }

// Unwrap says that a bad greeting is an [ErrVersion].
func (v *Violation) Unwrap() error {
	if v.Reason == BadGreeting {
		return ErrVersion
	}
	return nil
}

// PeerError is the peer's own reason to end the connection, from the ZMTP command ERROR.
type PeerError struct{ Text string }

// Error returns the peer's text.
func (e *PeerError) Error() string { return fmt.Sprintf("the peer refuses: %q", e.Text) }

// violation returns a *Violation with a formatted text.
func violation(r Reason, format string, args ...any) error {
	return &Violation{r, fmt.Sprintf(format, args...)}
}

// ioError makes the cause of an ended connection out of an error of its socket; late is the reason when
// it is a deadline that passed.
func ioError(err error, late Reason) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return violation(late, "a deadline has passed")
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Errorf("%w: %w", ErrPeerGone, err)
	}
	return err
}

package client

import (
	"errors"
	"fmt"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// Errors that end a member, listener or operator, or a request. A server's refusal
// has an [*Error] with its words in the chain.
var (
	// ErrStopped: it was closed.
	ErrStopped = errors.New("closed")
	// ErrUnreachable: nobody answers at the address, or not as lcapd does.
	ErrUnreachable = errors.New("server not reached")
	// ErrNameInUse: another member of the group has the name.
	ErrNameInUse = errors.New("name in use")
	// ErrUnknownGroup: the server has no such group, and a join may not create it.
	ErrUnknownGroup = errors.New("unknown group")
	// ErrUnknownMDT: the server has no such MDT.
	ErrUnknownMDT = errors.New("unknown MDT")
	// ErrGroupExists: the group to be created is there already.
	ErrGroupExists = errors.New("group exists")
	// ErrBadFilter: a filter or a chain of modules is wrong, or not allowed; the server's text says what
	// and where.
	ErrBadFilter = errors.New("bad filter")
	// ErrRefused: the server understood and does not grant it; its text says why.
	ErrRefused = errors.New("refused")
	// ErrVersion: server and client have no version of the protocol in common.
	ErrVersion = errors.New("no common version of the protocol")
	// ErrProtocol: the server said what the protocol does not allow.
	ErrProtocol = errors.New("protocol violation")
)

// ErrLeaseLost: the batch is no longer this member's. What of it is not acknowledged
// comes again, to this member or another.
var ErrLeaseLost = errors.New("lease lost")

// An Error is what a server answered.
type Error struct {
	Addr string    // the server
	Code wire.Code // stable
	Text string    // for humans
}

// Error returns address, code and text.
func (e *Error) Error() string {
	switch {
	case e.Code == "" && e.Text == "":
		return e.Addr + ": the server has ended the connection"
	case e.Text == "":
		return fmt.Sprintf("%s: %s", e.Addr, e.Code)
	case e.Code == "":
		return fmt.Sprintf("%s: %s", e.Addr, e.Text)
	}
	return fmt.Sprintf("%s: %s (%s)", e.Addr, e.Text, e.Code)
}

// Unwrap returns the error of this package that the code stands for, nil for those that pass.
func (e *Error) Unwrap() error {
	switch e.Code {
	case wire.LeaseLost:
		return ErrLeaseLost
	case wire.NameInUse:
		return ErrNameInUse
	case wire.UnknownGroup:
		return ErrUnknownGroup
	case wire.UnknownMDT:
		return ErrUnknownMDT
	case wire.GroupExists:
		return ErrGroupExists
	case wire.BadFilter:
		return ErrBadFilter
	case wire.Version:
		return ErrVersion
	case wire.BadMessage, wire.UnknownMessage:
		return ErrProtocol
	case wire.Stopping, wire.Full, wire.Internal, wire.NotMember, "":
		return nil
	}
	return ErrRefused // role, refused, and what a newer server may say
}

// A LeaseError says which batch is no longer this member's. It is an [ErrLeaseLost].
type LeaseError struct {
	Addr  string // the broker
	MDT   string
	Lease uint64
}

// Error names the batch.
func (e *LeaseError) Error() string {
	return fmt.Sprintf("%s: %s: %v (lease %d): its records come again", e.Addr, e.MDT, ErrLeaseLost, e.Lease)
}

// Unwrap returns ErrLeaseLost.
func (e *LeaseError) Unwrap() error { return ErrLeaseLost }

// A LostError says that records are gone upstream. The member goes on.
type LostError struct{ Lost }

// Error names the records.
func (e *LostError) Error() string {
	return fmt.Sprintf("%s: %s: records %d to %d (epoch %d) were gone before the group had acknowledged them",
		e.Addr, e.MDT, e.From+1, e.To, e.Epoch)
}

// answered makes an Error of what a server said.
func answered(addr string, code wire.Code, text string) error {
	return &Error{Addr: addr, Code: code, Text: text}
}

// unreached marks an error of dialling or of the handshake.
func unreached(err error) error {
	if errors.Is(err, transport.ErrBadAddress) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// isPermanent tells whether connecting again is pointless.
func isPermanent(err error) bool {
	for _, final := range []error{ErrNameInUse, ErrUnknownGroup, ErrUnknownMDT, ErrBadFilter, ErrRefused, ErrVersion,
		ErrProtocol, transport.ErrBadAddress} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

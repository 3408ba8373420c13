package wire

import "fmt"

// Code says what went wrong, for programs. It is stable; the text beside it is not.
type Code string

// The codes, and whether the connection goes on after them.
const (
	// LeaseLost: the lease was acknowledged, given back, or lost. Nothing changed. Goes on.
	LeaseLost Code = "lease-lost"
	// NameInUse: another session is a member under that name. Goes on.
	NameInUse Code = "name-in-use"
	// UnknownGroup: there is no such group and the join may not create one. Goes on.
	UnknownGroup Code = "unknown-group"
	// GroupExists: the group to be created is there already. Goes on.
	GroupExists Code = "group-exists"
	// NotMember: the connection has not joined a group. Goes on.
	NotMember Code = "not-member"
	// AlreadyMember: the connection has joined or listens already. Goes on.
	AlreadyMember Code = "already-member"
	// Role: the address does not allow this. Goes on.
	Role Code = "role"
	// Version: the two sides speak no common version. Closed.
	Version Code = "version"
	// UnknownMessage: the kind of message is not known. Goes on.
	UnknownMessage Code = "unknown-message"
	// BadMessage: the message breaks a rule of the protocol. Closed.
	BadMessage Code = "bad-message"
	// UnknownMDT: there is no such MDT. Goes on.
	UnknownMDT Code = "unknown-mdt"
	// BadFilter: a filter or a chain of modules is wrong or not allowed; the text says what and where. Goes on.
	BadFilter Code = "bad-filter"
	// Refused: the request is understood and not granted; the text says why. Goes on.
	Refused Code = "refused"
	// Full: the peer does not take what is sent to it, or the server has no room. Closed.
	Full Code = "full"
	// Stopping: the server ends. Closed.
	Stopping Code = "stopping"
	// Internal: a fault of the server. Closed.
	Internal Code = "internal"
)

// Codes are all codes, in the order of the manual.
var Codes = []Code{LeaseLost, NameInUse, UnknownGroup, GroupExists, NotMember, AlreadyMember, Role, Version,
	UnknownMessage, BadMessage, UnknownMDT, BadFilter, Refused, Full, Stopping, Internal}

// Closes says whether the server closes the connection after an error with this code.
func (c Code) Closes() bool {
	switch c {
	case Version, BadMessage, Full, Stopping, Internal:
		return true
	}
	return false
}

// Error is the message "error", server to client, and a Go error on both sides.
type Error struct {
	Code Code   // what went wrong
	Text string // for humans, at most MaxText bytes
	Req  uint64 // the request that failed, 0 for none
	// Lease is the lease that an ack or nack was about, 0 for none.
	Lease uint64
}

// Error returns the code and the text.
func (e *Error) Error() string {
	if e.Text == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Text
}

// Is says whether target is an *Error with the same code and no other field set, so that
// errors.Is(err, &wire.Error{Code: wire.LeaseLost}) asks for the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Code: e.Code}
}

// errorf returns an error with a code and a formatted text.
func errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

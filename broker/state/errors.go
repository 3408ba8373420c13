package state

import "errors"

// Errors of a state directory. What is returned says which directory, and what to do.
var (
	// ErrNotInitialised: the directory is missing or empty.
	ErrNotInitialised = errors.New("no lcapd state here")
	// ErrExists: the directory has a state already.
	ErrExists = errors.New("there is a state already")
	// ErrForeign: something is there, and it is not ours.
	ErrForeign = errors.New("not an lcapd state")
	// ErrDamaged: it is ours, and no longer what was written.
	ErrDamaged = errors.New("state is damaged")
	// ErrVersion: it was written by a version of lcapd that this one does not know.
	ErrVersion = errors.New("unknown version of the state")
	// ErrLocked: somebody else uses it.
	ErrLocked = errors.New("state is in use")
)

// Errors of [Store.Write]. With any error of it nothing was stored.
var (
	// ErrNotStored: the disk did not take it; trying again makes sense. As with any
	// durable write, should lcapd crash before a later Write succeeds, the next one
	// may find the update nevertheless.
	ErrNotStored = errors.New("nothing was stored")
	// ErrBackwards: something would fall that never falls. It is a bug of the caller.
	ErrBackwards = errors.New("state would go backwards")
	// ErrInvalid: the update cannot be. It is a bug of the caller.
	ErrInvalid = errors.New("invalid update of the state")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("state is closed")
)

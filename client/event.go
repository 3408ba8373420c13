package client

import "time"

// An Event is something that a member or listener may want to know: [Connected],
// [Disconnected], [Lost] or [LeaseLost]. See [OnEvent].
type Event interface{ isEvent() }

// Connected: the broker at an address has let us in, for the first time or again.
type Connected struct {
	Addr   string
	Broker string // the id of its state
	// Distribution is the group's; empty for a listener.
	Distribution string
	// Places are where the group stands by MDT: everything at or below the index is acknowledged. For
	// a listener it is the last record before those that will come.
	Places []Place
}

// A Place is an index of an MDT.
type Place struct {
	MDT   string
	Epoch uint32
	Index uint64
}

// Disconnected: the connection to a broker has ended, or could not be made.
type Disconnected struct {
	Addr  string
	Err   error
	Again time.Duration // when it is tried again
}

// Lost: the records (From, To] of an MDT were gone upstream before the group had
// acknowledged them.
type Lost struct {
	Addr     string
	MDT      string
	Epoch    uint32
	From, To uint64
}

// LeaseLost: the server did not accept an acknowledgement. The records come again.
type LeaseLost struct {
	Addr  string
	Lease uint64 // see [Batch.Lease]
	Text  string // the server's words
}

func (Connected) isEvent()    {}
func (Disconnected) isEvent() {}
func (Lost) isEvent()         {}
func (LeaseLost) isEvent()    {}

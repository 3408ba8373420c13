package modules

import (
	"errors"
	"fmt"
)

// Use is what a chain is for, as the configuration states it. The zero Use is a group whose
// consumers need every record, on a file system of several MDTs.
type Use struct {
	Scope Scope
	// Consumers is the most that any consumer of the stream needs.
	Consumers Consumers
	// OneMDT: the file system has one MDT and will not get another while the chain lives. Then
	// one stream has the whole history of every directory.
	OneMDT bool
	// Whole: batches are handed out and acknowledged as a whole, so that their records need not be
	// in the order of their indexes.
	Whole bool
	// Connection: the chain came over a connection, from whoever may listen. So it must cost little: it is short,
	// nothing in it holds records, patterns are small, and nothing is what its user wrote.
	Connection bool
	// Again is what comes again when a consumer did not acknowledge something.
	Again Again
}

// Again says what is handed out again when something was not acknowledged: at least that.
type Again int

// What comes again. It matters to who drops a record because of another one: what comes again was
// made by another chain, which may not drop it, and the other one may not come again.
const (
	AgainAll     Again = iota // everything behind it
	AgainObjects              // everything behind it about the same objects (distribution fid)
	AgainAlone                // nothing else (distribution round-robin)
)

// Scope says who gets what comes out of the chain.
type Scope int

// The scopes.
const (
	ForGroup     Scope = iota // one persistent group
	ForListeners              // listeners, to whom nothing is owed
	ForAll                    // everybody: as batches are sealed
)

// String returns who it is.
func (s Scope) String() string { return names(scopeNames, int(s)) }

var scopeNames = []string{"a group", "listeners", "everybody"}

// Consumers says what the consumers of a stream need.
type Consumers int

// What consumers may need, the most first.
const (
	// EveryRecord: each record counts by itself, as for an audit. Nothing may be merged.
	EveryRecord Consumers = iota
	// Changes: what changed, with the contents of the newest record about it (its time, its
	// job, its client).
	Changes
	// State: the names of objects, and that an object changed; what it is now the consumer reads from
	// the file system, as Robinhood does.
	State
)

// String returns the name that configurations use.
func (c Consumers) String() string { return names(consumerNames, int(c)) }

var consumerNames = []string{"every-record", "changes", "state"}

// ParseConsumers reads the name that String returns.
func ParseConsumers(s string) (Consumers, error) {
	for i, name := range consumerNames {
		if s == name {
			return Consumers(i), nil
		}
	}
	return 0, fmt.Errorf("consumers %q are unknown; consumers need %s (each record counts: audit), %s (the newest record about a change) or %s (they read the file system themselves)",
		s, EveryRecord, Changes, State)
}

func names(list []string, i int) string {
	if i < 0 || i >= len(list) {
		return fmt.Sprint(i)
	}
	return list[i]
}

// ErrUnsafe: the module would break what the use promises.
var ErrUnsafe = errors.New("not safe here")

func unsafeFor(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsafe, fmt.Sprintf(format, args...))
}

// mayMerge refuses a module that drops records of which others tell the same.
func (u Use) mayMerge() error {
	if u.Consumers == EveryRecord {
		return unsafeFor("the consumers need every record (an audit does), this module drops records of which newer ones tell the same; state consumers: changes, or consumers: state, if that is so for all of them")
	}
	return nil
}

// most returns how many modules a chain may have.
func (u Use) most() int {
	if u.Connection {
		return MaxConnection
	}
	return MaxModules
}

// mayRun refuses, for a chain from a connection, a module that costs more than its time; and for
// everybody one that does not decide about each record by itself.
func (u Use) mayRun(k Kind) error {
	if u.Scope == ForAll && (k.Holds || k.Permutes || k.UsesCeiling) {
		return unsafeFor("it holds records back: what is for everybody must not wait for a window, and must come out the same whenever a range is read; groups may have it in their own modules")
	}
	if u.Connection && k.Holds {
		return unsafeFor("it holds records back, in memory that whoever connects would take; a group's chain may have it, or hold them on your side")
	}
	return nil
}

// unknown says of a module that is not there why that may be.
func (u Use) unknown(name string, known []string) error {
	if u.Connection && name == "wasm" {
		return unsafeFor("wasm: programs of users run only where the operator's configuration names them, not for whoever connects; the modules here are %s", list(known))
	}
	return fmt.Errorf("there is no module %q; the modules are %s", name, list(known))
}

// mayLose refuses a module that drops records that nothing else tells.
func (u Use) mayLose() error {
	if u.Scope != ForListeners {
		return unsafeFor("this module loses records, which only listeners may; %s would miss changes for good", u.Scope)
	}
	return nil
}

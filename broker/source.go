package broker

import (
	"context"

	"github.com/lcapd/lcapd/broker/ingest"
)

// Source is one MDT's stream as the broker needs it. Drivers implement it: the
// broker does not know which there are.
type Source interface {
	// Open returns a reader whose first record is the first one with an index at
	// or above start that still exists. Any number of readers may be open.
	Open(ctx context.Context, start uint64) (Reader, error)
	// ClearIf acknowledges every record at or below index to the MDT, unless isSame, which
	// looks whether it is the MDT that is meant, returns an error: that one is returned then.
	// What isSame has seen is what is cleared, as far as a driver can see to it: one that is
	// replaced by another after isSame is not cleared. index is never 0.
	ClearIf(ctx context.Context, index uint64, isSame func() error) error
}

// Reader reads one MDT's stream from an index on. It has one owner.
type Reader = ingest.Reader

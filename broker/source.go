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
	// Clear acknowledges every record at or below index to the MDT. index is never 0.
	Clear(ctx context.Context, index uint64) error
}

// Reader reads one MDT's stream from an index on. It has one owner.
type Reader = ingest.Reader

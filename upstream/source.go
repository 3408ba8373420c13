package upstream

import "context"

// Source is one MDT's stream, as one of its users sees it. It may be used by any
// number of goroutines.
type Source interface {
	// Open returns a reader whose first record is the first one with an index at or
	// above start that still exists. Any number of readers may be open.
	Open(ctx context.Context, start uint64) (Reader, error)
	// Clear acknowledges every record at or below index. An error that is
	// [syscall.EINVAL] or [syscall.ENOENT] is a refusal, which stays one until something
	// else changes; any other may be gone at the next try.
	Clear(ctx context.Context, index uint64) error
	// ClearIf clears unless isSame returns an error, which it returns then. It takes hold of
	// what is to be cleared before it calls isSame: where another MDT, or another changelog,
	// has come in its place afterwards, that one is not cleared.
	ClearIf(ctx context.Context, index uint64, isSame func() error) error
}

// Reader reads one MDT's stream from an index on. It has one owner.
type Reader interface {
	// Read fills dst, of 64 KiB or more, with whole packed records and returns their
	// size; [io.EOF] when there is none at present. 0 without an error says that this
	// cannot be told yet: Wait, and Read again.
	Read(dst []byte) (int, error)
	// Wait blocks until Read may have more, or ctx ends. It may return early.
	Wait(ctx context.Context) error
	// Close gives back what the reader holds. It may be called more than once.
	Close() error
}

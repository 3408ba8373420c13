package broker

import (
	"bytes"
	"context"
)

// copyOrder asks the goroutine that uses the store for a copy of it.
type copyOrder struct{ answer chan stateCopy } // which has room for one

// stateCopy is a copy of the state, or why there is none.
type stateCopy struct {
	file []byte
	err  error
}

// Backup returns a copy of the state, as [state.ReadBackup] takes it: what is on disk at
// some moment before this returns. It waits for a write that is under way.
func (b *Broker) Backup(ctx context.Context) ([]byte, error) {
	o := copyOrder{make(chan stateCopy, 1)}
	select {
	case b.copies <- o:
	case <-b.done:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c := <-o.answer
	return c.file, c.err
}

func (s *store) copy() stateCopy {
	var file bytes.Buffer
	err := s.to.Backup(&file)
	return stateCopy{file.Bytes(), err}
}

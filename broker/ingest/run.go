package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lcapd/lcapd/broker/core"
)

// Run reads r, which was opened at Options.Start, seals batches and emits them, and
// closes r at the end. It starts nothing. It returns
//
//   - nil when everything up to Options.Until was emitted, and never otherwise;
//   - the cause of the end of ctx; what was read and not sealed is dropped;
//   - a [*Stop] where the stream stops being records, a [*ModulesError] when modules
//     fail, a [*ReadError] when the source does; everything before was emitted;
//   - what emit returned.
//
// It reads as long as there is something, and seals when a batch is full or when
// there is nothing more at present. So batches are large under load, and a record
// that comes alone leaves at once. A source that always has something more is one
// that we are behind with: its records wait no longer than it takes to read a batch.
func Run(ctx context.Context, r Reader, o Options, emit Emit) (err error) {
	s := NewSealer(o)
	defer func() {
		if e := r.Close(); e != nil {
			err = errors.Join(err, s.failed(fmt.Errorf("close: %w", e)))
		}
	}()
	for !s.Done() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		asked := time.Now()
		n, readErr := r.Read(s.Room())
		if n > 0 {
			s.Read(asked)
		}
		idle := readErr != nil || n == 0
		if err := s.emit(ctx, n, idle, emit); err != nil {
			return err
		}
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return s.failed(readErr)
		}
		if !idle || s.Done() {
			continue
		}
		if o.NoWait && readErr != nil {
			return s.failed(ErrEnd)
		}
		if err := r.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return s.failed(fmt.Errorf("wait: %w", err))
		}
	}
	return nil
}

// emit emits what is sealed once n bytes were added, and if the source is idle all
// the rest.
func (s *Sealer) emit(ctx context.Context, n int, idle bool, emit Emit) error {
	sealed, stop := s.Add(n)
	if idle && stop == nil {
		var b *core.Batch
		if b, stop = s.Seal(); b != nil {
			sealed = append(sealed, b)
		}
	}
	if n := len(sealed); idle && stop == nil && n > 0 {
		sealed[n-1].AtEnd = true
	}
	for _, b := range sealed {
		if err := emit(ctx, b); err != nil {
			return err
		}
	}
	return stop
}

func (s *Sealer) failed(err error) error {
	return &ReadError{MDT: s.o.MDT, Position: s.last, Err: err}
}

// ErrEnd: the MDT shows no more records at present.
var ErrEnd = errors.New("the changelog ends before")

// RunFrom opens a reader at Options.Start and runs it: see [Run]. That open fails is
// a [*ReadError] too.
func RunFrom(ctx context.Context, open Opener, o Options, emit Emit) error {
	r, err := open(ctx, o.withDefaults().Start)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return NewSealer(o).failed(fmt.Errorf("open: %w", err))
	}
	return Run(ctx, r, o, emit)
}

// lateBatches is how many batches one check of a hole returns at most.
const lateBatches = 8

// errEnough ends a check that has found as much as it may return.
var errEnough = errors.New("enough")

// CheckHole reads a hole a second time, with a reader of its own: records of an MDT
// may become visible after later ones, and a reader that passed their place does not
// see them any more. It returns nil if the hole is empty. Else the batches, with
// what was found and with the holes that remain, cover it from its start to its end;
// or, if that would be more than 8 batches, to where the last one ends, and the
// caller checks the rest. What modules have dropped is found, too.
//
// Only a record behind the hole proves that a reading came past it. There was one when
// the hole was found: [ErrEnd] says that the MDT shows none any more. An error says
// nothing about the hole.
func CheckHole(ctx context.Context, open Opener, o Options, hole core.Range) ([]*core.Batch, error) {
	o.Start, o.Until, o.NoWait = hole.From+1, hole.To, true
	var late []*core.Batch
	found := false
	err := RunFrom(ctx, open, o, func(_ context.Context, b *core.Batch) error {
		late = append(late, b)
		found = found || b.Shown() > 0
		if len(late) == lateBatches && b.To < hole.To {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if !found {
		return nil, nil
	}
	return late, nil
}

package client

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/lcapd/lcapd/wire"
)

// A Listener receives records as they come, from one broker or several. It acknowledges nothing and
// holds nothing up; who is too slow, or away, is told of a [Gap].
type Listener struct{ stream *stream }

// Listen begins to listen at the brokers with the given addresses. It returns when all have let us in, or
// the first error; see [Patient]. The context bounds the beginning only.
//
// The caller must call Close in the end.
func Listen(ctx context.Context, addrs []string, opts ...ListenOption) (*Listener, error) {
	s := defaults()
	for _, o := range opts {
		o.listening(&s)
	}
	st, err := newStream(ctx, addrs, s, func(s *settings) role { return &listening{settings: s} })
	if err != nil {
		return nil, err
	}
	return &Listener{st}, nil
}

// Next waits for a batch or a gap, and returns one of the three. A gap comes before the next record of its
// MDT. The batch is valid until Release. The error is the context's, or what has ended the listener.
func (l *Listener) Next(ctx context.Context) (*Batch, *Gap, error) {
	it, err := l.stream.next(ctx)
	return it.batch, it.gap, err
}

// Records goes through the records as they come, until an error of Next, which comes last, or until the
// caller breaks off. A gap comes as an error too, a [*Gap], and the records go on after it. Each record is
// valid until the next step.
func (l *Listener) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			b, gap, err := l.Next(ctx)
			goOn := false
			switch {
			case err != nil:
				yield(Record{}, err)
			case gap != nil:
				goOn = yield(Record{}, gap)
			default:
				goOn = b.each(yield)
			}
			if !goOn {
				return
			}
		}
	}
}

// Close ends the listener and waits until nothing of it is left. It may be called again.
func (l *Listener) Close() error {
	l.stream.close(ErrStopped)
	return nil
}

// IsGap returns the gap that an error of [Listener.Records] stands for, if it does.
func IsGap(err error) (*Gap, bool) {
	var gap *Gap
	ok := errors.As(err, &gap)
	return gap, ok
}

// listening is the role of a listener.
type listening struct {
	settings *settings
	// seen is the last place of each MDT that a batch or gap covered, taken or not: what was received
	// outlives its connection.
	seen []wire.Position
}

func (x *listening) opening() wire.Message {
	s := x.settings
	return &wire.Listen{Req: 1, Name: s.name, MDTs: s.mdts, Fields: s.fields, Filter: s.filter,
		Modules: s.modules, Seen: x.seen}
}

func (x *listening) opened(_ *link, answer wire.Message) (Connected, bool) {
	listening, ok := answer.(*wire.Listening)
	if !ok {
		return Connected{}, false
	}
	var c Connected
	for _, p := range listening.MDTs {
		c.Places = append(c.Places, Place{p.MDT, uint32(p.Epoch), p.Index})
		if !x.knows(p.MDT) { // else the gap since then, if any, is going to be told
			x.seen = append(x.seen, p)
		}
	}
	return c, true
}

func (x *listening) knows(mdt string) bool {
	for _, p := range x.seen {
		if p.MDT == mdt {
			return true
		}
	}
	return false
}

func (x *listening) received(_ *link, it item) bool {
	switch {
	case it.gap != nil:
		if it.gap.Unknown && it.gap.From == 0 { // the epoch begins: what had its number before was lost with its broker
			x.forget(it.gap.MDT)
		}
		x.see(it.gap.MDT, it.gap.Epoch, it.gap.To)
	case it.batch.lease != 0:
		return false
	case !it.batch.Late:
		x.see(it.batch.MDT, it.batch.Epoch, it.batch.To)
	}
	return true
}

// see notes a place. Within an epoch it only moves on.
func (x *listening) see(mdt string, epoch uint32, index uint64) {
	now := wire.Position{MDT: mdt, Epoch: wire.Epoch(epoch), Index: index}
	for i, p := range x.seen {
		if p.MDT != mdt {
			continue
		}
		if p.Epoch != now.Epoch || p.Index < now.Index {
			x.seen[i] = now
		}
		return
	}
	x.seen = append(x.seen, now)
}

// forget has the next place of an MDT count, wherever it is.
func (x *listening) forget(mdt string) {
	x.seen = slices.DeleteFunc(x.seen, func(p wire.Position) bool { return p.MDT == mdt })
}

func (x *listening) taken(*link, int) {}

func (x *listening) isFull(l *link) bool {
	return len(l.queue)-l.events >= x.settings.batches || l.bytes >= x.settings.bytes
}

func (x *listening) hasLeases() bool { return false }

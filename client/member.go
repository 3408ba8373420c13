package client

import (
	"context"
	"iter"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// A Member is a member of a consumer group, at one broker or several.
type Member struct{ stream *stream }

// Join becomes a member of a group at the brokers with the given addresses, such as
// tcp://host:8189 or ipc:///run/lcapd/lcapd.sock. It returns when all have let us in, or
// the first error; see [Patient]. The context bounds the joining only.
//
// The caller must call Close in the end.
func Join(ctx context.Context, addrs []string, group string, opts ...JoinOption) (*Member, error) {
	s := defaults()
	s.group = group
	for _, o := range opts {
		o.joining(&s)
	}
	st, err := newStream(ctx, addrs, s, func(s *settings) role { return &joining{settings: s} })
	if err != nil {
		return nil, err
	}
	return &Member{st}, nil
}

// Name returns the member's name.
func (m *Member) Name() string { return m.stream.settings.name }

// Next waits for a batch. The error is the context's, a [*LostError], after which the caller may go on, or
// what has ended the member: [ErrStopped], or what the package comment names.
func (m *Member) Next(ctx context.Context) (*Batch, error) {
	it, err := m.stream.next(ctx)
	return it.batch, err
}

// Records goes through the records as they come, until an error of Next, which comes last, or until the
// caller breaks off. Each record is valid until the next step. It acknowledges nothing: see [Record.Ack].
// What was not acknowledged stays leased to the member until it closes.
func (m *Member) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			b, err := m.Next(ctx)
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !b.each(yield) {
				return
			}
		}
	}
}

// each yields the records of a batch, and releases it.
func (b *Batch) each(yield func(Record, error) bool) bool {
	defer b.Release()
	for rec := range b.Records() {
		if !yield(Record{rec, b}, nil) {
			return false
		}
	}
	return true
}

// Ack acknowledges a whole batch and releases it. After [ErrLeaseLost], in a [*LeaseError], the records
// that were not acknowledged before come again.
func (m *Member) Ack(b *Batch) error {
	defer b.Release()
	return b.ackUpTo(b.Last)
}

// AckUpTo acknowledges the records of a batch up to and with an index. The batch stays valid. Errors are
// those of Ack.
func (m *Member) AckUpTo(b *Batch, index uint64) error { return b.ackUpTo(index) }

// Nack gives a batch back and releases it: the record with the index from is the first that failed. From
// there on all come again, to some member, not before the delay; so does what lies before it and
// is not acknowledged. An index outside the batch stands for the nearest in it. Errors are those of Ack.
func (m *Member) Nack(b *Batch, from uint64, delay time.Duration) error {
	defer b.Release()
	return b.nack(from, delay)
}

// Close sends what was acknowledged, leaves the group and waits until nothing of the member is left, a
// few seconds at most. What was taken and not acknowledged goes to others. It may be called again.
func (m *Member) Close() error {
	m.stream.close(ErrStopped)
	return nil
}

// joining is the role of a member.
type joining struct {
	settings *settings
	credit   int  // batches that the server may still send
	joined   bool // we were in before
}

func (j *joining) opening() wire.Message {
	s := j.settings
	return &wire.Join{Req: 1, Group: s.group, Name: s.name, Session: s.session, MDTs: s.mdts,
		Distribution: s.distribution, Start: s.start, Create: s.create && !j.joined, Fields: s.fields, Filter: s.filter}
}

func (j *joining) opened(l *link, answer wire.Message) (Connected, bool) {
	joined, ok := answer.(*wire.Joined)
	if !ok {
		return Connected{}, false
	}
	c := Connected{Distribution: joined.Distribution}
	for _, m := range joined.MDTs {
		c.Places = append(c.Places, Place{m.MDT, uint32(m.Epoch), m.Mark})
	}
	j.credit, j.joined = j.settings.batches, true
	l.out.grant(j.settings.batches, j.settings.bytes, j.settings)
	return c, true
}

func (j *joining) received(l *link, it item) bool {
	b := it.batch
	if b == nil || b.lease == 0 || j.credit == 0 {
		return false
	}
	j.credit--
	b.link, b.gen = l, l.gen
	l.leases[b.lease] = b.First - 1 // its index is never 0
	return true
}

func (j *joining) taken(l *link, bytes int) {
	j.credit++
	l.out.grant(1, bytes, j.settings)
}

func (j *joining) isFull(*link) bool { return false } // its credit bounds it
func (j *joining) hasLeases() bool   { return true }

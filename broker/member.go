package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/scatter"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

// Peer is where the broker puts what is for a member: a connection, or a queue in the
// same process. The loop calls it, so nothing here may wait.
type Peer interface {
	// Joined comes first.
	Joined(Joined)
	// Deliver takes a delivery; the peer calls [Broker.Done] when it no longer holds
	// the records. False says that there is no room: the member is sent away.
	Deliver(*Delivery) bool
	// Refused answers an ack or nack of a lease that cannot be granted, such as
	// [groups.ErrLeaseLost], or, with lease 0, a join or anything else.
	Refused(lease groups.LeaseID, err error)
	// Lost tells that records are gone that the group had not acknowledged.
	Lost(Lost)
	// Ended comes last: the broker has ended the membership, with [ErrStopped] because it
	// ends itself. It does not come after
	// [Member.Leave].
	Ended(reason error)
}

// Joined tells a member what it has joined.
type Joined struct {
	Group        string
	Name         string
	Distribution groups.Distribution
	Marks        []Mark // by MDT, as the broker serves them
}

// Mark is where a group stands in an MDT: nothing at or below it comes.
type Mark struct {
	MDT   string
	Epoch core.Epoch
	Index uint64
}

// Lost is a range of an MDT whose records are gone, by a purge of Lustre itself or a
// reset, or that the group gave up as it was abandoned, and had not acknowledged.
type Lost struct {
	Group    string
	MDT      string
	Epoch    core.Epoch
	From, To uint64 // (From, To]
}

// The most credit that a member can have at once. What is given beyond it is ignored.
const (
	MaxCredit      = wire.MaxCreditBatches
	MaxCreditBytes = wire.MaxCreditBytes
)

// JoinOptions say what a member wants.
type JoinOptions struct {
	Group, Name, Session string
	MDTs                 []string // none stands for all
	// Distribution and Start, if not nil, are what the group must have, or get.
	Distribution *groups.Distribution
	Start        *core.Start
	// Fields are the blocks that its records shall have, as far as they have them; nil
	// stands for records as they are.
	Fields *changelog.Format
	// Filter, if not empty, is the filter that the group must have, or gets.
	Filter string
	// Create makes the group if there is none.
	Create bool
	// Remote is where the member is, for operators.
	Remote string
}

// Member is a member of a group, as its peer holds it. It has one owner.
type Member struct {
	b  *Broker
	id core.Peer
}

// peer is a member as the loop knows it.
type peer struct {
	Peer
	group, name, remote string
	joined              time.Time
	fields              changelog.Format // of its sight
	records, bytes      int64            // that were delivered to it
}

func (p *peer) delivered(part scatter.Part) {
	p.records += int64(part.Count)
	p.bytes += part.Bytes()
}

// Join makes a member of a group. to is told that it joined, when the group is on disk,
// or why not. Errors: [core.ErrUnknownGroup], [core.ErrGroupExists] if the group has
// other properties than asked for, [core.ErrUnknownMDT].
func (b *Broker) Join(ctx context.Context, o JoinOptions, to Peer) (*Member, error) {
	if spec := o.spec(); o.Filter != "" { // compiled here: the loop has no time for it
		if err := spec.prepare(b.opts); err != nil {
			return nil, fmt.Errorf("join: %w", err)
		}
	}
	m := &Member{b: b}
	var refused error
	err := b.call(ctx, func(l *loop) { m.id, refused = l.join(o, to) })
	if err != nil || refused != nil {
		return nil, fmt.Errorf("join group %s: %w", o.Group, firstError(err, refused))
	}
	return m, nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (l *loop) join(o JoinOptions, to Peer) (core.Peer, error) {
	serves, err := l.numbersOf(o.MDTs)
	if err != nil {
		return 0, err
	}
	if err := l.ensureGroup(o); err != nil {
		return 0, err
	}
	l.lastPeer++
	id := l.lastPeer
	l.peers[id] = &peer{Peer: to, group: o.Group, name: o.Name, remote: o.Remote, joined: time.Now(), fields: fieldsOf(o.Fields)}
	l.core.Step(core.Join{Peer: id, Group: o.Group, Name: o.Name, Session: o.Session, Serves: serves, Repacked: o.Fields != nil})
	return id, nil
}

// ensureGroup sees to it that the group is there, and is what the member takes it for.
func (l *loop) ensureGroup(o JoinOptions) error {
	g, exists := l.core.Group(o.Group)
	switch {
	case !exists && !(o.Create && l.mayCreate):
		return fmt.Errorf("%w %q; an operator creates it: lcapcli groups create %s", core.ErrUnknownGroup, o.Group, o.Group)
	case !exists:
		return l.createGroup(o.spec())
	case o.Distribution != nil && *o.Distribution != g.Config.Distribution:
		return fmt.Errorf("%w: %s has the distribution %s, not %s", core.ErrGroupExists, o.Group, g.Config.Distribution, *o.Distribution)
	case o.Start != nil && *o.Start != g.Start:
		return fmt.Errorf("%w: %s started at %s, not %s", core.ErrGroupExists, o.Group, g.Start, *o.Start)
	case o.Filter != "" && o.Filter != g.Filter:
		return fmt.Errorf("%w: %s has %s, not %q", core.ErrGroupExists, o.Group, filterText(g.Filter), o.Filter)
	}
	return nil
}

// filterText says what filter a group has.
func filterText(filter string) string {
	if filter == "" {
		return "no filter"
	}
	return fmt.Sprintf("the filter %q", filter)
}

// spec is the group that the member makes if there is none.
func (o JoinOptions) spec() GroupSpec {
	spec := GroupSpec{Name: o.Group, Chain: Chain{Filter: o.Filter}}
	if o.Distribution != nil {
		spec.Distribution = *o.Distribution
	}
	if o.Start != nil {
		spec.Start = *o.Start
	}
	return spec
}

// numbersOf translates names of MDTs; none stands for all, and stays so.
func (l *loop) numbersOf(names []string) (list []groups.MDT, err error) {
	for _, name := range names {
		id, err := l.numberOf(name)
		if err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, nil
}

func (l *loop) numberOf(name string) (groups.MDT, error) {
	id, ok := l.numbers[name]
	if !ok {
		return 0, fmt.Errorf("%w %s", core.ErrUnknownMDT, name)
	}
	return id, nil
}

// Credit lets the member take more hand-outs, and bytes, up to [MaxCredit] and
// [MaxCreditBytes].
func (m *Member) Credit(ctx context.Context, batches int, bytes int64) error {
	return m.b.send(ctx, core.Credit{Peer: m.id, Batches: batches, Bytes: bytes})
}

// Ack acknowledges a lease up to and with an index.
func (m *Member) Ack(ctx context.Context, lease groups.LeaseID, upTo uint64) error {
	return m.b.send(ctx, core.Ack{Peer: m.id, Lease: lease, UpTo: upTo})
}

// Nack gives back a lease: the record at index from is the first that failed.
func (m *Member) Nack(ctx context.Context, lease groups.LeaseID, from uint64, delay time.Duration) error {
	return m.b.send(ctx, core.Nack{Peer: m.id, Lease: lease, From: from, Delay: delay})
}

// Heartbeat tells that the member is alive. Everything else that it does tells so too.
func (m *Member) Heartbeat(ctx context.Context) error {
	return m.b.send(ctx, core.Heartbeat{Peer: m.id})
}

// Leave ends the membership; what was not acknowledged goes back at once. Its peer is
// told nothing any more. Calling it again, or after the broker ended the membership, is
// of no consequence.
func (m *Member) Leave() error {
	err := m.b.call(context.Background(), func(l *loop) {
		delete(l.peers, m.id)
		l.core.Step(core.Down{Peer: m.id})
	})
	if err == ErrStopped {
		return nil
	}
	return err
}

// welcome tells a member that it has joined.
func (l *loop) welcome(o core.Welcome) {
	p := l.peers[o.Peer]
	if p == nil {
		return
	}
	g, _ := l.core.Group(p.group)
	j := Joined{Group: p.group, Name: p.name, Distribution: g.Config.Distribution}
	for _, m := range l.mdts {
		if mark, ok := o.Marks[m.id]; ok {
			j.Marks = append(j.Marks, Mark{MDT: m.Name, Epoch: l.core.Epoch(m.id), Index: mark})
		}
	}
	p.Joined(j)
}

// lost tells members of a group what it lost, and the log, once.
func (l *loop) lost(o core.Lost) {
	x := Lost{Group: o.Group, MDT: l.mdts[o.MDT].Name, Epoch: o.Epoch, From: o.Range.From, To: o.Range.To}
	if o.Peer == 0 {
		l.noteLoss(o, x)
	}
	for id, p := range l.peers {
		if p.group == o.Group && (o.Peer == 0 || o.Peer == id) {
			p.Lost(x)
		}
	}
}

// refused tells a member that something it asked for cannot be. A join that cannot be
// was its only business.
func (l *loop) refused(o core.Refuse) {
	if p := l.peers[o.Peer]; p != nil {
		p.Refused(o.Lease, o.Err)
	}
}

// disconnect ends a membership, and says why.
func (l *loop) disconnect(id core.Peer, reason error) {
	p := l.peers[id]
	if p == nil {
		return
	}
	delete(l.peers, id)
	p.Ended(reason)
	l.core.Step(core.Down{Peer: id})
}

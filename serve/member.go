package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// join makes the connection a member.
func (x *session) join(m *wire.Join) error {
	if err := x.allow(transport.RoleConsume, "join a group"); err != nil {
		return err
	}
	if err := x.isFree(); err != nil {
		return err
	}
	o, err := joinOptions(m)
	if err != nil {
		return err
	}
	o.Remote, o.Fields = x.conn.Remote(), wanted(m.Fields)
	to := &memberPeer{x: x, req: m.Req, form: formOf(o.Fields), outcome: make(chan error, 1)}
	member, err := x.o.Broker.Join(x.ctx, o, to)
	if err != nil {
		return err
	}
	select {
	case err = <-to.outcome:
	case <-x.conn.Done():
		err = x.conn.Err()
	case <-x.ctx.Done():
		err = context.Cause(x.ctx)
	}
	if err != nil {
		return errors.Join(err, member.Leave())
	}
	x.member = member
	return nil
}

// isFree refuses a second join or listen.
func (x *session) isFree() error {
	if x.member == nil && x.listener == nil {
		return nil
	}
	return &wire.Error{Code: wire.AlreadyMember, Text: "one connection is one member or one listener; open another one"}
}

func joinOptions(m *wire.Join) (broker.JoinOptions, error) {
	o := broker.JoinOptions{Group: m.Group, Name: m.Name, Session: m.Session, MDTs: m.MDTs, Filter: m.Filter, Create: m.Create}
	if m.Group == "" || m.Name == "" {
		return o, &wire.Error{Code: wire.Refused, Text: "a join takes a group and a name"}
	}
	err := errors.Join(checkGroup(m.Group), checkName(m.Name))
	if err != nil {
		return o, err
	}
	if m.Distribution != "" {
		o.Distribution = new(groups.Distribution)
		if *o.Distribution, err = distributionOf(m.Distribution); err != nil {
			return o, err
		}
	}
	if m.Start != "" {
		o.Start = new(core.Start)
		*o.Start, err = startOf(m.Start)
	}
	return o, err
}

// checkGroup refuses what cannot be the name of one group.
func checkGroup(name string) error {
	if name == wire.Everybody {
		return &wire.Error{Code: wire.Refused, Text: fmt.Sprintf("the name %q stands for all groups: choose another one", name)}
	}
	return checkName(name)
}

// checkName refuses a name that could play tricks on the terminal that shows it.
func checkName(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return &wire.Error{Code: wire.Refused, Text: fmt.Sprintf("the name %q has characters that cannot be shown", name)}
	}
	return nil
}

func distributionOf(name string) (groups.Distribution, error) {
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		if d.String() == name {
			return d, nil
		}
	}
	return 0, &wire.Error{Code: wire.Refused, Text: "distribution " + name + ": round-robin, mdt or fid"}
}

func startOf(name string) (core.Start, error) {
	for _, s := range []core.Start{core.Latest, core.Earliest} {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, &wire.Error{Code: wire.Refused, Text: "start " + name + ": latest or earliest"}
}

// memberPeer is a connection as the broker's loop calls it.
type memberPeer struct {
	x       *session
	req     uint64     // of the join
	form    wire.Form  // of the records
	outcome chan error // of the join; the loop sends once
	decided bool       // the outcome was sent; the loop owns it
}

// Joined implements [broker.Peer].
func (p *memberPeer) Joined(j broker.Joined) {
	m := &wire.Joined{Req: p.req, Group: j.Group, Name: j.Name, Distribution: j.Distribution.String()}
	for _, mark := range j.Marks {
		m.MDTs = append(m.MDTs, wire.Mark{MDT: mark.MDT, Epoch: wire.Epoch(mark.Epoch), Mark: mark.Index})
	}
	p.x.send(m)
	p.decide(nil)
}

func (p *memberPeer) decide(err error) {
	p.decided = true
	p.outcome <- err
}

// Deliver implements [broker.Peer].
func (p *memberPeer) Deliver(d *broker.Delivery) bool {
	m := wire.Batch{
		MDT: d.MDT, Epoch: wire.Epoch(d.Epoch), Lease: uint64(d.Lease), From: d.From, To: d.To,
		First: d.First, Last: d.Last, N: uint64(d.Count), Delivery: uint64(d.Attempt), Form: p.form,
	}
	if d.MaybeRedelivered {
		m.Flags |= wire.MaybeRedelivered
	}
	if d.Late {
		m.Flags |= wire.Late
	}
	header, err := wire.AppendHeader(nil, &m)
	if err != nil {
		return false
	}
	b := p.x.o.Broker
	return p.x.conn.Send(transport.Message{
		Frames: [][]byte{header}, Payload: [][]byte{d.Records},
		Sent: func() { _ = b.Done(context.Background(), d) }, // it fails only when the broker has stopped
	}) == nil
}

// Refused implements [broker.Peer].
func (p *memberPeer) Refused(lease groups.LeaseID, err error) {
	if lease == 0 && !p.decided {
		p.decide(err)
		return
	}
	p.x.tell(spoken(err, 0, uint64(lease)))
}

// Lost implements [broker.Peer].
func (p *memberPeer) Lost(l broker.Lost) {
	p.x.send(&wire.Lost{Group: l.Group, MDT: l.MDT, Epoch: wire.Epoch(l.Epoch), From: l.From, To: l.To})
}

// errSentAway ends the connection of a member whose membership the broker has ended.
var errSentAway = errors.New("the broker has ended the membership")

// lastWordTime is how long a peer that is sent away has to take the reason: what it pins
// meanwhile is missing elsewhere.
const lastWordTime = 250 * time.Millisecond

// Ended implements [broker.Peer]. The loop must not wait for the last word to be
// written.
func (p *memberPeer) Ended(reason error) {
	if !p.decided {
		p.decide(errSentAway)
	}
	p.x.count(sentAway)
	p.x.started.Go(func() { // Leave, before the session waits, has the loop forget this peer
		p.x.lastWord(&wire.Bye{Code: codeOf(reason), Text: reason.Error()}, errSentAway)
	})
}

// lastWord says something to the peer and ends the connection.
func (x *session) lastWord(m wire.Message, why error) {
	if frames, err := wire.Encode(m); err == nil {
		ctx, cancel := context.WithTimeout(x.ctx, lastWordTime)
		defer cancel()
		_ = x.conn.SendWait(ctx, transport.Message{Frames: frames}) // it is a courtesy
	}
	x.conn.Close(why)
}

package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// The transcript of docs/protocol.md, section 4.
func TestLifeOfAMember(t *testing.T) {
	s := newSite(t, nil)
	s.append(0, 300)
	s.append(1, 10)
	p := s.dial(transport.RoleConsume)
	p.say(&wire.Hello{V: 7, Min: 1, Software: "test", Caps: []string{"unheard-of"}},
		&wire.Join{Req: 41, Group: "g", Name: "n", Session: "s", MDTs: mdts[:1], Distribution: "mdt", Start: "earliest", Create: true})
	if h := hear[*wire.Hello](p); h.V != 1 || h.Min != 1 || h.Broker != "the-id" || h.HeartbeatMS != 50 || h.MaxFrame != 4<<20 || h.Software != "lcapd test" {
		t.Errorf("%+v", h)
	}
	if j := hear[*wire.Joined](p); j.Req != 41 || j.Group != "g" || j.Name != "n" || j.Distribution != "mdt" || len(j.MDTs) != 2 || j.MDTs[0].MDT != mdts[0] || j.MDTs[0].Mark != 0 {
		t.Errorf("%+v", j)
	}
	p.say(&wire.Credit{Batches: 8, Bytes: 1 << 20})
	for last := uint64(0); last < 300; {
		b := hear[*wire.Batch](p)
		indexes(t, b, p.payload)
		if b.MDT != mdts[0] || b.From != last || b.First != last+1 || b.Lease == 0 || b.Delivery != 1 {
			t.Fatalf("after %d: %+v", last, b)
		}
		last = b.Last
		if b.N > 1 { // in two parts
			p.say(&wire.Ack{Lease: b.Lease, UpTo: b.First})
		}
		p.say(&wire.Ack{Lease: b.Lease, UpTo: b.Last}, &wire.Credit{Batches: 1, Bytes: uint64(len(p.payload))})
	}
	p.say(&wire.Heartbeat{}, &wire.Leave{})
	if b := hear[*wire.Bye](p); b.Code != "" {
		t.Errorf("%+v", b)
	}
	p.closed()
	o := s.greet(transport.RoleAll)
	eventually(t, "the mark", func() bool {
		g := ask[wire.GroupStatus](o, wire.Request{Op: wire.OpGroup, Group: "g"})
		return len(g.Members) == 0 && g.Tracks[0].Durable == 300 && g.Tracks[1].Durable == 0
	})
}

// Why: whoever was told good-bye may come again at once, also as another session.
func TestByeComesWhenTheNameIsFree(t *testing.T) {
	s := newSite(t, nil)
	s.append(0, 100)
	for range 30 {
		p := s.greet(transport.RoleAll)
		p.say(&wire.Join{Group: "g", Name: "n", Session: time.Now().String(), Create: true})
		hear[*wire.Joined](p)
		p.say(&wire.Credit{Batches: 100, Bytes: 1 << 20}, &wire.Leave{})
		for {
			m, err := p.next()
			must(t, err)
			if _, ok := m.(*wire.Bye); ok {
				break
			}
		}
	}
}

func TestTakeOver(t *testing.T) {
	s := newSite(t, nil)
	s.append(0, 10)
	old := s.join("g", "n", 1)
	b := hear[*wire.Batch](old)
	renewed := s.join("g", "n", 1)
	if bye := hear[*wire.Bye](old); bye.Code != wire.Refused || !strings.Contains(bye.Text, "session") {
		t.Errorf("%+v", bye)
	}
	old.closed()
	again := hear[*wire.Batch](renewed)
	if again.Lease == b.Lease || again.First != b.First || again.Delivery != 2 {
		t.Errorf("first %+v, then %+v", b, again)
	}
	if n := s.counts()[sentAway]; n != 1 {
		t.Errorf("%d were sent away", n)
	}
}

func TestNameInUse(t *testing.T) {
	s := newSite(t, nil)
	s.append(0, 10)
	first := s.join("g", "n", 0)
	second := s.greet(transport.RoleAll)
	second.say(&wire.Join{Req: 5, Group: "g", Name: "n", Session: "another"})
	if e := second.refused(wire.NameInUse); e.Req != 5 {
		t.Errorf("%+v", e)
	}
	second.say(&wire.Join{Req: 6, Group: "g", Name: "m", Session: "another"}) // it goes on
	hear[*wire.Joined](second)
	first.say(&wire.Credit{Batches: 1, Bytes: 1 << 20})
	hear[*wire.Batch](first)
}

// Why: only the holder of a lease acknowledges, and only once.
func TestLeases(t *testing.T) {
	s := newSite(t, nil)
	s.append(0, 50)
	holder := s.join("g", "holder", 1)
	b := hear[*wire.Batch](holder)
	stranger := s.join("g", "stranger", 0)
	for _, m := range []wire.Message{
		&wire.Ack{Lease: b.Lease, UpTo: b.Last}, &wire.Nack{Lease: b.Lease, From: b.First}, &wire.Ack{Lease: 1 << 60, UpTo: b.Last},
	} {
		stranger.say(m)
		if e := stranger.refused(wire.LeaseLost); e.Lease != b.Lease && e.Lease != 1<<60 {
			t.Errorf("%T: %+v", m, e)
		}
	}
	holder.say(&wire.Ack{Lease: b.Lease, UpTo: b.First}) // it still holds it
	holder.say(&wire.Nack{Lease: b.Lease, From: b.First + 1}, &wire.Credit{Batches: 1, Bytes: 1 << 20})
	if e := holder.refused(wire.LeaseLost); e.Lease != b.Lease { // before it comes again
		t.Errorf("%+v", e)
	}
	again := hear[*wire.Batch](holder)
	if again.First > b.First+1 || again.Delivery != 2 || again.Lease == b.Lease {
		t.Errorf("first %+v, then %+v", b, again)
	}
	holder.say(&wire.Ack{Lease: b.Lease, UpTo: b.Last})
	if e := holder.refused(wire.LeaseLost); e.Lease != b.Lease {
		t.Errorf("%+v", e)
	}
	holder.say(&wire.Ack{Lease: again.Lease, UpTo: again.Last})
	holder.say(&wire.Ack{Lease: again.Lease, UpTo: again.Last})
	holder.refused(wire.LeaseLost)
	holder.goesOn()
}

// Why: nothing of a silent member's stays with it, and it learns so.
func TestHeartbeatsStop(t *testing.T) {
	s := newSite(t, func(o *settings) { o.broker.Groups.Lease = 2 * time.Second })
	s.append(0, 10)
	silent := s.join("g", "silent", 1)
	b := hear[*wire.Batch](silent)
	talker := s.greet(transport.RoleAll)
	talker.say(&wire.Join{Group: "g", Name: "talker", Session: "x"})
	hear[*wire.Joined](talker)
	talker.say(&wire.Credit{Batches: 1, Bytes: 1 << 20})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // any word is a sign of life, also one that is refused
		defer close(stopped)
		word := []byte("\x81\xa1t\xa4what")
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_ = talker.conn.Send(transport.Message{Frames: [][]byte{word}})
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	if bye := hear[*wire.Bye](silent); bye.Code != wire.Refused || !strings.Contains(bye.Text, "heartbeat") {
		t.Errorf("%+v", bye)
	}
	silent.closed()
	for {
		m, err := talker.next()
		must(t, err)
		if again, ok := m.(*wire.Batch); ok {
			if again.First != b.First || again.Delivery != 2 {
				t.Errorf("first %+v, then %+v", b, again)
			}
			return
		}
	}
}

// Why: a member that does not read must cost nobody else anything.
func TestStalledMember(t *testing.T) {
	s := newSite(t, func(o *settings) { o.transport.WriteTimeout = 3 * time.Second })
	goesOn := s.bystander()
	s.join("stalled", "n", 200) // and reads no more
	s.append(1, 60_000)
	goesOn()
	eventually(t, "the stalled member to be cut", func() bool { return s.server.Stats().Ended["stalled"] == 1 })
	goesOn()
	s.join("stalled", "m", 16).take(60_000)
}

// Why: over the limit the one who pins most goes, soon and not when its socket times out.
func TestWhoPinsMostGoes(t *testing.T) {
	s := newSite(t, func(o *settings) { o.broker.Limits.Memory, o.broker.Limits.Pinned = 8<<20, 1<<20 })
	p := s.join("stalled", "n", 200)
	busy := s.join("busy", "m", 1)
	for range 10 {
		s.append(1, 20_000)
	}
	for s.counts()[sentAway] == 0 { // who has most to read goes first
		b := hear[*wire.Batch](busy)
		busy.say(&wire.Ack{Lease: b.Lease, UpTo: b.Last}, &wire.Credit{Batches: 1, Bytes: uint64(len(busy.payload))})
	}
	eventually(t, "the memory to be given back", func() bool {
		st, err := s.settings.serve.Broker.Status(s.ctx)
		return err == nil && st.Memory.Pinned < 1<<20
	})
	for err := error(nil); err == nil; {
		_, err = p.next()
	}
}

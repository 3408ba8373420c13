package serve

import (
	"testing"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

func (s *site) listen(seen ...wire.Position) (*peer, *wire.Listening) {
	s.t.Helper()
	p := s.greet(transport.RoleListen)
	p.say(&wire.Listen{Req: 3, Name: "cache", Seen: seen})
	return p, hear[*wire.Listening](p)
}

// The transcript of docs/protocol.md, section 5.
func TestLifeOfAListener(t *testing.T) {
	s := newSite(t, nil)
	p, at := s.listen()
	if at.Req != 3 || len(at.MDTs) != 2 || at.MDTs[0] != (wire.Position{MDT: mdts[0]}) {
		t.Errorf("%+v", at)
	}
	s.append(1, 20)
	for last := uint64(0); last < 20; {
		b := hear[*wire.Batch](p)
		indexes(t, b, p.payload)
		if b.MDT != mdts[1] || b.Lease != 0 || b.From != last {
			t.Fatalf("%+v", b)
		}
		last = b.To
	}
	p.say(&wire.Leave{})
	hear[*wire.Bye](p)
	p.closed()
	s.append(1, 5)
	eventually(t, "the records to be read", func() bool {
		st, err := s.settings.serve.Broker.Status(s.ctx)
		return err == nil && st.MDTs[1].Read == 25
	})
	p, _ = s.listen(wire.Position{MDT: mdts[1], Index: 20}, wire.Position{MDT: "none-MDT0000", Index: 7})
	if g := hear[*wire.Gap](p); g.MDT != mdts[1] || g.From != 20 || g.To != 25 || g.Why == "" {
		t.Errorf("%+v", g)
	}
}

// Why: the answer must come before the first record, and good-bye after the last,
// whatever the scheduler does.
func TestListenersOrder(t *testing.T) {
	s := newSite(t, nil)
	s.flow(5000)
	for range 50 {
		p := s.dial(transport.RoleListen)
		p.say(&wire.Hello{V: 1, Min: 1}, &wire.Listen{Name: "cache"})
		hear[*wire.Hello](p)
		hear[*wire.Listening](p)
		p.say(&wire.Leave{})
		for {
			m, err := p.next()
			must(t, err)
			if _, ok := m.(*wire.Bye); ok {
				break
			}
		}
		p.closed()
	}
}

// Why: a slow listener holds nobody up, and learns exactly what it missed.
func TestSlowListener(t *testing.T) {
	const records = 100_000
	s := newSite(t, func(o *settings) { o.broker.History = 1 << 20 })
	p, _ := s.listen() // and does not read yet
	s.append(1, records)
	s.join("g", "n", 16).take(records) // everybody else has everything
	last, seen, missed := uint64(0), 0, 0
	for last < records {
		m, err := p.next()
		must(t, err)
		var from, to uint64
		switch m := m.(type) {
		case *wire.Batch:
			indexes(t, m, p.payload)
			from, to, seen = m.From, m.To, seen+int(m.N)
		case *wire.Gap:
			from, to, missed = m.From, m.To, missed+int(m.Count)
			if m.Unknown || m.Count != m.To-m.From {
				t.Fatalf("%+v", m)
			}
		default:
			t.Fatalf("%T", m)
		}
		if from != last {
			t.Fatalf("after %d comes (%d, %d]", last, from, to)
		}
		last = to
	}
	if seen+missed != records || missed == 0 || seen == 0 {
		t.Errorf("%d records seen and %d missed of %d", seen, missed, records)
	}
}

// Why: a session that ends tells everybody so, not only members.
func TestStopping(t *testing.T) {
	s := newSite(t, nil)
	listener, _ := s.listen()
	silent := s.dial(transport.RoleAll)
	peers := []*peer{s.join("g", "n", 0), listener, s.greet(transport.RoleOperate)}
	for _, p := range peers {
		p.say(&wire.Heartbeat{})
	}
	s.stop()
	for _, p := range append(peers, silent) {
		if bye := hear[*wire.Bye](p); bye.Code != wire.Stopping {
			t.Errorf("%+v", bye)
		}
		p.closed()
	}
}

// Why: a broker that has ended by itself must not leave peers waiting.
func TestBrokerEnds(t *testing.T) {
	s := newSite(t, nil)
	listener, _ := s.listen()
	member, operator := s.join("g", "n", 0), s.greet(transport.RoleOperate)
	s.end()
	hear[*wire.Bye](member)
	member.closed()
	listener.say(&wire.Heartbeat{})
	for err := error(nil); err == nil; {
		_, err = listener.next()
	}
	eventually(t, "the operator to be told", func() bool {
		operator.say(&wire.Request{Op: wire.OpStatus})
		m, err := operator.next()
		must(t, err)
		bye, ok := m.(*wire.Bye)
		return ok && bye.Code == wire.Stopping
	})
}

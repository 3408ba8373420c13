package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/wire"
)

func TestMemberJoinsTakesAndAcks(t *testing.T) {
	s := startServerAt(t, ipcAddr(t))
	m, p, join := joinAt(t, s, Distribution("fid"), Start("earliest"), CreateGroup(), MDTs("MDT0"), Session("s1"),
		Fields(changelog.Format{}))
	want := wire.Join{Req: 1, Group: "g", Name: "w1", Session: "s1", MDTs: []string{"MDT0"}, Distribution: "fid",
		Start: "earliest", Create: true, Fields: 0x1000}
	if !slices.Equal(join.MDTs, want.MDTs) {
		t.Errorf("MDTs %v", join.MDTs)
	}
	join.MDTs, want.MDTs = nil, nil
	if got := *join; got.Name != want.Name || got.Session != want.Session || got.Distribution != want.Distribution ||
		got.Start != want.Start || !got.Create || got.Fields != want.Fields {
		t.Errorf("join %+v", got)
	}
	p.batch("MDT0", 7, 42, 51)
	b := next(t, m)
	if b.MDT != "MDT0" || b.Epoch != 1 || b.From != 41 || b.To != 51 || b.First != 42 || b.Last != 51 || b.Count != 10 ||
		b.Delivery != 1 || b.Lease() != 7 || b.Addr != s.addr {
		t.Errorf("batch %+v", b)
	}
	at := b.First
	for rec := range b.Records() {
		if rec.Index() != at {
			t.Errorf("record %d in place of %d", rec.Index(), at)
		}
		at++
	}
	if err := m.AckUpTo(b, 45); err != nil {
		t.Error(err)
	}
	if ack := hear[*wire.Ack](p); *ack != (wire.Ack{Lease: 7, UpTo: 45}) {
		t.Errorf("ack %+v", ack)
	}
	if err := m.Ack(b); err != nil {
		t.Error(err)
	}
	if ack := hear[*wire.Ack](p); *ack != (wire.Ack{Lease: 7, UpTo: 51}) {
		t.Errorf("ack %+v", ack)
	}
	if b.Packed() != nil {
		t.Error("an acknowledged batch still has memory")
	}
	if err := m.Ack(b); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("second ack: %v", err)
	}
	p.batch("MDT0", 8, 52, 60)
	if err := m.Nack(next(t, m), 55, time.Second); err != nil {
		t.Error(err)
	}
	if nack := hear[*wire.Nack](p); *nack != (wire.Nack{Lease: 8, From: 55, DelayMS: 1000}) {
		t.Errorf("nack %+v", nack)
	}
	p.hangUp()
	p, again := s.member()
	if again.Create || again.Session != "s1" {
		t.Errorf("came back with %+v: a group that was deleted stays so", again)
	}
	farewell(t, m, p)
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := m.Next(t.Context()); err != ErrStopped {
		t.Errorf("next after close: %v", err)
	}
	if err := m.Ack(b); err != ErrStopped {
		t.Errorf("ack after close: %v", err)
	}
}

// What was acknowledged before Close is sent before the member leaves.
func TestCloseFlushesAcks(t *testing.T) {
	s := startServer(t)
	m, p, _ := joinAt(t, s)
	const batches = 10
	for i := range uint64(batches) {
		p.batch("MDT0", i+1, 10*i+1, 10*i+10)
	}
	for range batches {
		b := next(t, m)
		for rec := range b.Records() {
			if err := m.AckUpTo(b, rec.Index()); err != nil {
				t.Fatal(err)
			}
		}
	}
	closed := later(func() (struct{}, error) { return struct{}{}, m.Close() })
	done := map[uint64]uint64{}
	for m := range p.said {
		switch m := m.(type) {
		case *wire.Ack:
			done[m.Lease] = m.UpTo
		case *wire.Leave:
			for i := range uint64(batches) {
				if done[i+1] != 10*i+10 {
					t.Errorf("lease %d is acknowledged up to %d when the member leaves", i+1, done[i+1])
				}
			}
			p.say(&wire.Bye{}, nil)
		}
	}
	closed(t)
}

func TestMemberComesBackAsItself(t *testing.T) {
	s := startServer(t)
	var events []Event
	m, p, first := joinAt(t, s, OnEvent(func(e Event) { events = append(events, e) }))
	p.batch("MDT0", 1, 1, 5)
	old := next(t, m)
	p.batch("MDT0", 2, 6, 9) // is not taken: the connection ends before
	p.hangUp()
	p, again := s.member()
	if again.Session != first.Session || again.Name != first.Name || first.Session == "" {
		t.Errorf("joined as %q %q, again as %q %q", first.Name, first.Session, again.Name, again.Session)
	}
	var lost *LeaseError
	if err := m.Ack(old); !errors.As(err, &lost) || !errors.Is(err, ErrLeaseLost) || lost.Lease != 1 || lost.MDT != "MDT0" {
		t.Errorf("ack of a batch of the old connection: %v", err)
	}
	// The same lease numbers as before: a server may have lost its memory.
	p.batch("MDT0", 1, 1, 9)
	b := next(t, m)
	for b.Last == 9 && b.First == 6 { // taken before the connection was known to have ended
		b = next(t, m)
	}
	if b.First != 1 || b.Last != 9 {
		t.Errorf("redelivered: %d to %d", b.First, b.Last)
	}
	if err := m.Ack(old.Clone()); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("an old batch acknowledges a new one with the same number: %v", err)
	}
	if err := m.Ack(b); err != nil {
		t.Error(err)
	}
	if ack := hear[*wire.Ack](p); *ack != (wire.Ack{Lease: 1, UpTo: 9}) {
		t.Errorf("ack %+v", ack)
	}
	var kinds []string
	for _, e := range events {
		switch e := e.(type) {
		case Connected:
			kinds = append(kinds, "connected "+e.Broker+" "+e.Distribution)
		case Disconnected:
			if e.Err == nil || e.Addr != s.addr {
				t.Errorf("event %+v", e)
			}
			kinds = append(kinds, "disconnected")
		}
	}
	if want := []string{"connected b1 mdt", "disconnected", "connected b1 mdt"}; !slices.Equal(kinds, want) {
		t.Errorf("events %v", kinds)
	}
	farewell(t, m, p)
}

// The server says that a lease has ended after the call returned nil.
func TestLeaseLostReachesTheNextAck(t *testing.T) {
	s := startServer(t)
	var lost []LeaseLost
	m, p, _ := joinAt(t, s, OnEvent(func(e Event) {
		if e, ok := e.(LeaseLost); ok {
			lost = append(lost, e)
		}
	}))
	p.batch("MDT0", 3, 1, 5)
	b := next(t, m)
	if err := m.AckUpTo(b, 2); err != nil {
		t.Fatal(err)
	}
	hear[*wire.Ack](p)
	p.say(&wire.Error{Code: wire.LeaseLost, Text: "too late", Lease: 3}, nil)
	p.batch("MDT0", 4, 1, 5) // behind it: when this is here, so is the error
	again := next(t, m)
	if len(lost) != 1 || lost[0] != (LeaseLost{s.addr, 3, "too late"}) {
		t.Errorf("events %+v", lost)
	}
	if err := m.Ack(b); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("ack: %v", err)
	}
	if err := m.Ack(again); err != nil {
		t.Error(err)
	}
	farewell(t, m, p)
}

// Why: a nack takes back all leases behind its own, and its answer comes last. It must be heard however many events
// that makes: until then the caller is handed nothing, and so takes none of them.
func TestNackWithManyLeases(t *testing.T) {
	const leases = maxEvents + 100
	s := startServer(t)
	lost := 0
	m, p, _ := joinAt(t, s, Window(2*leases, 1<<30), OnEvent(func(e Event) {
		if _, ok := e.(LeaseLost); ok {
			lost++
		}
	}))
	var first *Batch
	for i := range uint64(leases) {
		p.batch("MDT0", i+1, i+1, i+1)
		b := next(t, m)
		if first == nil {
			first = b
		}
	}
	if err := m.Nack(first, 1, 0); err != nil {
		t.Fatal(err)
	}
	hear[*wire.Nack](p)
	for i := range uint64(leases) {
		p.say(&wire.Error{Code: wire.LeaseLost, Lease: leases - i}, nil)
	}
	p.batch("MDT0", leases+1, 1, 1)
	if b := next(t, m); b.First != 1 {
		t.Errorf("after the nack: %+v", b)
	}
	if lost != leases-1 { // its own is no news
		t.Errorf("%d leases were told to be lost of %d", lost, leases-1)
	}
	farewell(t, m, p)
}

func TestLostRecordsAreNeverSilent(t *testing.T) {
	s := startServer(t)
	m, p, _ := joinAt(t, s)
	p.say(&wire.Lost{Group: "g", MDT: "MDT0", Epoch: 1, From: 4, To: 9}, nil)
	p.batch("MDT0", 1, 10, 11)
	var lost *LostError
	if _, err := m.Next(t.Context()); !errors.As(err, &lost) || lost.Lost != (Lost{s.addr, "MDT0", 1, 4, 9}) {
		t.Errorf("next: %v", err)
	}
	if b := next(t, m); b.First != 10 {
		t.Errorf("after the loss: %d", b.First)
	}
	farewell(t, m, p)
}

func TestSeveralBrokersAreOneStream(t *testing.T) {
	s1, s2 := startServer(t), anotherServer(t, "tcp://127.0.0.1:0")
	member := later(func() (*Member, error) { return Join(context.Background(), []string{s1.addr, s2.addr}, "g") })
	p1, _ := s1.member()
	p2, _ := s2.member()
	m, err := member(t)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const each = 50
	for i := range uint64(each) {
		p1.batch("MDT0", i+1, i+1, i+1)
		p2.batch("MDT1", i+1, i+1, i+1)
		got := map[string]uint64{}
		for range 2 {
			b := next(t, m)
			got[b.MDT] = b.First
			if err := m.Ack(b); err != nil {
				t.Error(err)
			}
		}
		if got["MDT0"] != i+1 || got["MDT1"] != i+1 {
			t.Fatalf("got %v", got)
		}
		for _, p := range []*peer{p1, p2} {
			if ack := hear[*wire.Ack](p); ack.Lease != i+1 {
				t.Errorf("ack %+v", ack)
			}
		}
	}
	// One of them dies: the other goes on.
	p1.hangUp()
	p2.batch("MDT1", each+1, each+1, each+1)
	if b := next(t, m); b.MDT != "MDT1" {
		t.Errorf("batch of %s", b.MDT)
	}
	s1.member()
}

func TestCreditComesBackAsBatchesAreTaken(t *testing.T) {
	s := startServer(t)
	joined := later(func() (*Member, error) {
		return Join(context.Background(), []string{s.addr}, "g", Window(4, 1000))
	})
	p := s.accept()
	hear[*wire.Join](p)
	p.say(&wire.Joined{Req: 1, Group: "g", Name: "x", Distribution: "mdt"}, nil)
	credit := *hear[*wire.Credit](p)
	if credit != (wire.Credit{Batches: 4, Bytes: 1000}) {
		t.Errorf("first credit %+v", credit)
	}
	m, err := joined(t)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	payload := len(pack(t, 1, 1))
	for i := range uint64(100) {
		if credit.Batches == 0 {
			t.Fatal("no credit left")
		}
		p.batch("MDT0", i+1, i+1, i+1)
		next(t, m).Release() // not acknowledged: credit comes back all the same
		more := hear[*wire.Credit](p)
		credit.Batches += more.Batches - 1
		credit.Bytes += more.Bytes - uint64(payload)
		if credit != (wire.Credit{Batches: 4, Bytes: 1000}) {
			t.Fatalf("credit %+v after %d batches", credit, i+1)
		}
	}
}

// A server that sends more than it may does not fill our memory.
func TestMoreThanTheCreditEndsTheMember(t *testing.T) {
	s := startServer(t)
	m, p, _ := joinAt(t, s, Window(2, 1<<20))
	for i := range uint64(3) {
		p.batch("MDT0", i+1, i+1, i+1)
	}
	for range p.said { // until it hangs up
	}
	var err error
	for err == nil {
		_, err = m.Next(t.Context())
	}
	if !errors.Is(err, ErrProtocol) {
		t.Errorf("next: %v", err)
	}
}

func TestRefusedJoins(t *testing.T) {
	for code, want := range map[wire.Code]error{wire.NameInUse: ErrNameInUse, wire.UnknownGroup: ErrUnknownGroup,
		wire.Role: ErrRefused, wire.Refused: ErrRefused, wire.UnknownMDT: ErrUnknownMDT, wire.Version: ErrVersion,
		"new-in-version-9": ErrRefused} {
		t.Run(string(code), func(t *testing.T) {
			s := startServer(t)
			member := later(func() (*Member, error) { return Join(context.Background(), []string{s.addr}, "g") })
			p := s.accept()
			p.say(&wire.Error{Code: code, Text: "because", Req: 1}, nil)
			var refusal *Error
			if _, err := member(t); !errors.Is(err, want) || !errors.As(err, &refusal) || refusal.Text != "because" {
				t.Errorf("join: %v", err)
			}
		})
	}
}

// What is refused later ends the member for good.
func TestRefusedWhenItComesBack(t *testing.T) {
	s := startServer(t)
	m, p, _ := joinAt(t, s)
	p.hangUp()
	p = s.accept()
	hear[*wire.Join](p)
	p.say(&wire.Error{Code: wire.UnknownGroup, Req: 1}, nil)
	for range 2 {
		if _, err := m.Next(t.Context()); !errors.Is(err, ErrUnknownGroup) {
			t.Errorf("next: %v", err)
		}
	}
}

// Servers that stop, have no room, or are not there yet are tried again.
func TestWhatPassesIsTriedAgain(t *testing.T) {
	s := startServer(t)
	m, p, _ := joinAt(t, s)
	p.say(&wire.Bye{Code: wire.Stopping}, nil)
	p.hangUp()
	p = s.accept()
	p.say(&wire.Error{Code: wire.Full}, nil)
	p.hangUp()
	p, _ = s.member()
	p.batch("MDT0", 1, 1, 1)
	if b := next(t, m); b.First != 1 {
		t.Errorf("batch %+v", b)
	}
	farewell(t, m, p)
}

func TestPatientMemberWaitsForItsServer(t *testing.T) {
	addr := ipcAddr(t)
	if _, err := Join(t.Context(), []string{addr}, "g"); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("join where nobody is: %v", err)
	}
	m, err := Join(t.Context(), []string{addr}, "g", Patient(), Retry(time.Millisecond, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := startServerAt(t, addr)
	p, _ := s.member()
	p.batch("MDT0", 1, 1, 1)
	if b := next(t, m); b.First != 1 {
		t.Errorf("batch %+v", b)
	}
	farewell(t, m, p)
}

func TestJoinEndsWithItsContext(t *testing.T) {
	s := startServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	member := later(func() (*Member, error) { return Join(ctx, []string{s.addr}, "g") })
	s.accept() // and says nothing to the join
	cancel()
	if _, err := member(t); !errors.Is(err, context.Canceled) {
		t.Errorf("join: %v", err)
	}
}

func TestNonsense(t *testing.T) {
	for name, say := range map[string]func(t *testing.T, p *peer){
		"not what the header says": func(t *testing.T, p *peer) { p.say(batchOf("MDT0", 1, 1, 3), pack(t, 1, 2)) },
		"cut":                      func(t *testing.T, p *peer) { p.say(batchOf("MDT0", 1, 1, 2), pack(t, 1, 2)[:100]) },
		"no lease":                 func(t *testing.T, p *peer) { p.say(batchOf("MDT0", 0, 1, 2), pack(t, 1, 2)) },
		"empty":                    func(t *testing.T, p *peer) { p.say(&wire.Batch{MDT: "MDT0", Lease: 1}, []byte{}) },
		"a gap for a member":       func(t *testing.T, p *peer) { p.say(&wire.Gap{MDT: "MDT0"}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			m, p, _ := joinAt(t, s)
			say(t, p)
			if b, err := m.Next(t.Context()); !errors.Is(err, ErrProtocol) {
				t.Errorf("next: %+v, %v", b, err)
			}
		})
	}
}

func TestHeartbeatsWhileTheCallerWorks(t *testing.T) {
	s := startServer(t)
	member := later(func() (*Member, error) { return Join(context.Background(), []string{s.addr}, "g") })
	p := <-s.peers
	hear[*wire.Hello](p)
	p.say(&wire.Hello{V: 1, Min: 1, HeartbeatMS: 1}, nil)
	hear[*wire.Join](p)
	p.say(&wire.Joined{Req: 1, Group: "g", Name: "x"}, nil)
	m, err := member(t)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // nobody calls Next
		hear[*wire.Heartbeat](p)
	}
	farewell(t, m, p)
}

// A server from which nothing comes is given up.
func TestSilentServerIsLeft(t *testing.T) {
	s := startServer(t)
	member := later(func() (*Member, error) {
		return Join(context.Background(), []string{s.addr}, "g", Retry(time.Millisecond, time.Millisecond))
	})
	p := <-s.peers
	hear[*wire.Hello](p)
	p.say(&wire.Hello{V: 1, Min: 1, HeartbeatMS: 1}, nil)
	hear[*wire.Join](p)
	p.say(&wire.Joined{Req: 1, Group: "g", Name: "x"}, nil)
	m, err := member(t)
	if err != nil {
		t.Fatal(err)
	}
	p, _ = s.member() // again, by itself
	farewell(t, m, p)
}

func TestRecords(t *testing.T) {
	s := startServer(t)
	m, p, _ := joinAt(t, s)
	p.batch("MDT0", 1, 1, 3)
	p.batch("MDT0", 2, 4, 4)
	var got []uint64
	for rec, err := range m.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.Index())
		if rec.Index() == rec.Batch.Last {
			if err := rec.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) == 4 {
			break
		}
	}
	if !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("records %v", got)
	}
	for lease := uint64(1); lease <= 2; lease++ {
		if ack := hear[*wire.Ack](p); ack.Lease != lease {
			t.Errorf("ack %+v", ack)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range m.Records(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("records: %v", err)
		}
	}
	farewell(t, m, p)
}

func TestCloneStays(t *testing.T) {
	s := startServer(t)
	m, p, _ := joinAt(t, s)
	p.batch("MDT0", 1, 1, 3)
	b := next(t, m)
	c := b.Clone()
	b.Release()
	p.batch("MDT0", 2, 100, 103) // into the same memory, perhaps
	next(t, m)
	at := uint64(1)
	for rec := range c.Records() {
		if rec.Index() != at {
			t.Errorf("record %d in place of %d", rec.Index(), at)
		}
		at++
	}
	if err := m.Ack(c); err != nil || at != 4 {
		t.Errorf("ack of a clone: %v, %d records", err, at-1)
	}
	hear[*wire.Ack](p)
	farewell(t, m, p)
}

func TestBadSettings(t *testing.T) {
	for _, opts := range [][]JoinOption{{Name("")}, {Session("")}, {Window(0, 1)}, {Retry(2, 1)}} {
		if _, err := Join(t.Context(), []string{"tcp://localhost:1"}, "g", opts...); err == nil {
			t.Error("no error")
		}
	}
	if _, err := Join(t.Context(), nil, "g"); err == nil {
		t.Error("no address: no error")
	}
	if _, err := Join(t.Context(), []string{"nonsense"}, "g", Patient()); err != nil {
		t.Errorf("a patient join says it later: %v", err)
	}
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

func TestMemberGetsAcknowledgesAndTheLogIsCleared(t *testing.T) {
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByFID, groups.ByMDT} {
		t.Run(d.String(), func(t *testing.T) {
			s := newSite(t)
			log := s.logs[firstMDT]
			log.grow(3000)
			s.group("g", d)
			m := s.join("g", "m", 8)
			wantRange(t, m.take(3000), 1, 3000)
			s.eventually("the clear", func() bool { return log.cleared() == 3000 })
			log.grow(3100)
			wantRange(t, m.take(100), 3001, 3100)
			s.eventually("the clear", func() bool { return log.cleared() == 3100 })
		})
	}
}

func TestGroupWithoutMembersHoldsTheClear(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	s.group("idle", groups.ByMDT)
	m := s.join("g", "m", 8)
	m.take(100)
	s.restart() // whatever could be cleared was
	if c := log.cleared(); c != 0 {
		t.Fatalf("cleared up to %d", c)
	}
	must(t, s.b.DeleteGroup(s.ctx, "idle", false))
	s.eventually("the clear", func() bool { return log.cleared() == 100 })
}

func TestRestartGoesOnAtTheDurableMark(t *testing.T) {
	s := newSite(t)
	log := s.logs[firstMDT]
	log.grow(100)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 8)
	d := m.next()
	if d.MaybeRedelivered {
		t.Fatal("the first delivery ever is marked as maybe redelivered")
	}
	must(t, m.m.Ack(s.ctx, d.Lease, 40))
	s.restart()
	if c := log.cleared(); c != 40 {
		t.Errorf("cleared up to %d, want 40", c)
	}
	m = s.join("g", "m", 8)
	d = m.next()
	if !d.MaybeRedelivered || d.From != 40 || d.First != 41 || d.Attempt != 1 {
		t.Fatalf("got (%d,%d] from %d, maybe redelivered %v", d.From, d.To, d.First, d.MaybeRedelivered)
	}
	m.ack(d)
	s.eventually("the clear", func() bool { return log.cleared() == 100 })
}

func TestMembersShareByFID(t *testing.T) {
	const records = 20000
	s := newSite(t)
	s.group("g", groups.ByFID)
	members := []*someone{s.join("g", "a", 16), s.join("g", "b", 16), s.join("g", "c", 16)}
	s.logs[firstMDT].grow(records)
	type got struct {
		member int
		d      *Delivery
	}
	all := make(chan got)
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	for i, m := range members {
		go func() {
			for {
				d, err := m.inbox.Next(ctx)
				if err != nil {
					return
				}
				select {
				case all <- got{i, d}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	seen := make(map[uint64]bool)
	last := make(map[changelog.FID]uint64)
	busy := make(map[int]bool)
	for len(seen) < records {
		g := <-all
		busy[g.member] = true
		for scan := changelog.NewScanner(g.d.Records); scan.Scan(); {
			r := scan.Record()
			if seen[r.Index()] {
				t.Fatalf("record %d came twice", r.Index())
			}
			seen[r.Index()] = true
			keys := []changelog.FID{r.Target()}
			if source, ok := r.Source(); ok && source != r.Target() {
				keys = append(keys, source)
			}
			for _, key := range keys {
				if r.Index() <= last[key] {
					t.Fatalf("%v: record %d came after %d", key, r.Index(), last[key])
				}
				last[key] = r.Index()
			}
		}
		m := members[g.member]
		m.ack(g.d)
		must(t, m.m.Credit(s.ctx, 1, int64(len(g.d.Records))))
	}
	if len(busy) != 3 {
		t.Errorf("only %d members got something", len(busy))
	}
	s.eventually("the clear", func() bool { return s.logs[firstMDT].cleared() == records })
}

// A member that gives back as credit what it got, in bytes of records, always goes on:
// what was charged for a part of a batch is put right by what it held.
func TestCreditByRealBytesNeverRunsDry(t *testing.T) {
	const records = 30000
	s := newSite(t)
	s.group("g", groups.ByFID)
	s.group("other", groups.ByFID) // whose lanes cut batches elsewhere
	a, b := s.join("g", "a", 0), s.join("g", "b", 0)
	for _, m := range []*someone{a, b} {
		must(t, m.m.Credit(s.ctx, 2, 2000))
	}
	s.logs[firstMDT].grow(records)
	total := 0
	for total < records {
		for _, m := range []*someone{a, b} {
			select {
			case msg := <-m.inbox.messages:
				d, ok := msg.(*Delivery)
				if !ok {
					if _, joined := msg.(Joined); joined {
						continue
					}
					t.Fatalf("got %v", msg)
				}
				must(t, s.b.Done(s.ctx, d))
				total += d.Count
				m.ack(d)
				must(t, m.m.Credit(s.ctx, 1, int64(len(d.Records))))
			case <-s.ctx.Done():
				t.Fatalf("dry after %d records", total)
			default:
			}
		}
	}
}

// full is a peer whose inbox is always full.
type full struct{ ended chan string }

func (full) Joined(Joined)                 {}
func (full) Deliver(*Delivery) bool        { return false }
func (full) Refused(groups.LeaseID, error) {}
func (full) Lost(Lost)                     {}
func (f full) Ended(reason error)          { f.ended <- reason.Error() }

func TestPeerWithoutRoomIsSentAway(t *testing.T) {
	s := newSite(t)
	s.group("g", groups.ByMDT)
	s.group("first", groups.ByMDT)
	first := s.join("first", "m", 8)
	for i := range uint64(10) { // as many batches, which are all handed out at once
		s.logs[firstMDT].grow(10 * (i + 1))
		first.take(10)
	}
	f := full{make(chan string, 1)}
	m, err := s.b.Join(s.ctx, JoinOptions{Group: "g", Name: "m", Session: "s"}, f)
	must(t, err)
	must(t, m.Credit(s.ctx, 8, 1<<20))
	<-f.ended
	must(t, m.Leave()) // of no consequence
	other := s.join("g", "m", 8)
	wantRange(t, other.take(100), 1, 100)
}

func TestJoinIsRefused(t *testing.T) {
	s := newSite(t)
	join := func(o JoinOptions) error {
		_, err := s.b.Join(s.ctx, o, s.b.NewInbox())
		return err
	}
	wantError(t, join(JoinOptions{Group: "g", Name: "m"}), core.ErrUnknownGroup)
	s.group("g", groups.ByMDT)
	byFID, latest, byMDT, earliest := groups.ByFID, core.Latest, groups.ByMDT, core.Earliest
	wantError(t, join(JoinOptions{Group: "g", Name: "m", Distribution: &byFID}), core.ErrGroupExists)
	wantError(t, join(JoinOptions{Group: "g", Name: "m", Start: &latest}), core.ErrGroupExists)
	wantError(t, join(JoinOptions{Group: "g", Name: "m", MDTs: []string{"nowhere"}}), core.ErrUnknownMDT)
	must(t, join(JoinOptions{Group: "g", Name: "m", Session: "1", Distribution: &byMDT, Start: &earliest}))
	must(t, join(JoinOptions{Group: "new", Name: "m", Create: true, Distribution: &byFID}))
	for _, name := range []string{"", "a\x00b", string(make([]byte, 300)), "\xff"} {
		if err := join(JoinOptions{Group: name, Name: "m", Create: true}); err == nil {
			t.Errorf("a group named %.10q could be made", name)
		}
	}
	s.group("later", groups.ByMDT) // the state can still be written
	if list, err := s.b.Groups(s.ctx); err != nil || len(list) != 3 {
		t.Errorf("the groups are %v (%v)", list, err)
	}
}

func TestNameInUse(t *testing.T) {
	s := newSite(t)
	s.group("g", groups.ByMDT)
	first := s.join("g", "m", 8)
	s.logs[firstMDT].grow(10)
	first.next()
	inbox := s.b.NewInbox()
	_, err := s.b.Join(s.ctx, JoinOptions{Group: "g", Name: "m", Session: "other"}, inbox)
	must(t, err)
	_, err = inbox.Next(s.ctx)
	wantError(t, err, groups.ErrNameInUse)
	again := s.join("g", "m", 8) // the same session takes over
	if _, err := first.inbox.Next(s.ctx); !errors.Is(err, ErrDisconnected) {
		t.Errorf("the first connection gets %v", err)
	}
	if d := again.next(); d.First != 1 || d.Attempt != 2 {
		t.Errorf("got %d, attempt %d", d.First, d.Attempt)
	}
}

func TestLostLeaseIsRefused(t *testing.T) {
	s := newSite(t)
	s.group("g", groups.ByMDT)
	m := s.join("g", "m", 8)
	s.logs[firstMDT].grow(10)
	d := m.next()
	must(t, s.b.Seek(s.ctx, "g", firstMDT, 5))
	m.ack(d)
	_, err := m.inbox.Next(s.ctx)
	if errors.Is(err, groups.ErrLeaseLost) {
		wantRange(t, m.take(5), 6, 10)
		return
	}
	must(t, err) // the new delivery came before
	if _, err = m.inbox.Next(s.ctx); !errors.Is(err, groups.ErrLeaseLost) {
		t.Fatalf("got %v", err)
	}
}

func TestNackedRecordsComeAgain(t *testing.T) {
	s := newSite(t)
	s.group("g", groups.RoundRobin)
	m := s.join("g", "m", 8)
	s.logs[firstMDT].grow(10)
	d := m.next()
	must(t, m.m.Ack(s.ctx, d.Lease, 4))
	must(t, m.m.Nack(s.ctx, d.Lease, 5, 0))
	d = m.next()
	if d.First != 5 || d.Attempt != 2 || d.MaybeRedelivered {
		t.Fatalf("got %d, attempt %d, maybe redelivered %v", d.First, d.Attempt, d.MaybeRedelivered)
	}
	m.ack(d)
	s.eventually("the clear", func() bool { return s.logs[firstMDT].cleared() == 10 })
}

func TestSilentMemberIsSentAway(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Groups.Lease = 1 })
	s.group("g", groups.ByMDT)
	inbox := s.b.NewInbox()
	m, err := s.b.Join(s.ctx, JoinOptions{Group: "g", Name: "m", Session: "s"}, inbox)
	must(t, err)
	for err == nil {
		_, err = inbox.Next(s.ctx)
	}
	wantError(t, err, ErrDisconnected)
	must(t, m.Leave())
}

func TestManyGroupsAndMembers(t *testing.T) {
	const records, groupsOfEach, each = 4000, 3, 2
	s := newSite(t, firstMDT, secondMDT)
	for _, log := range s.logs {
		log.grow(records)
	}
	ended := make(chan error)
	running := 0
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByFID, groups.ByMDT} {
		for i := range groupsOfEach {
			name := fmt.Sprint(d, i)
			s.group(name, d)
			running++
			go func() { ended <- s.drain(name, each, 2*records) }()
		}
	}
	for range running {
		must(t, <-ended)
	}
	for _, log := range s.logs {
		s.eventually("the clear", func() bool { return log.cleared() == records })
	}
}

// drain has members of a group take so many records, together.
func (s *site) drain(group string, members, records int) error {
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	took := make(chan []uint64)
	for i := range members {
		inbox := s.b.NewInbox()
		m, err := s.b.Join(ctx, JoinOptions{Group: group, Name: fmt.Sprint(i), Session: "s"}, inbox)
		if err != nil {
			return err
		}
		go func() {
			_ = m.Credit(ctx, 8, 1<<20)
			for {
				d, err := inbox.Next(ctx)
				if err != nil {
					return
				}
				_ = m.Ack(ctx, d.Lease, d.Last)
				_ = m.Credit(ctx, 1, int64(len(d.Records)))
				select {
				case took <- indexesOf(d.Records):
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	var all []uint64
	for len(all) < records {
		select {
		case some := <-took:
			all = append(all, some...)
		case <-ctx.Done():
			return fmt.Errorf("%s got %d records", group, len(all))
		}
	}
	slices.Sort(all)
	for i, index := range all {
		if want := uint64(i/2 + 1); index != want {
			return fmt.Errorf("%s got %d, want %d", group, index, want)
		}
	}
	return nil
}

// Why: what is taken back before it was cut out, or while it waits behind that, never gets to its member, who so cannot
// give the credit for it anew.
func TestCreditOfWhatWasTakenBack(t *testing.T) {
	for _, distribution := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		s := newSite(t)
		s.group("g", distribution)
		cutter := func(busy bool) {
			must(t, s.b.call(s.ctx, func(l *loop) { l.cutterOf("g", 0).busy = busy }))
		}
		s.logs[firstMDT].grow(1000)
		m := s.join("g", "m", 0)
		for range 3 {
			cutter(true)
			must(t, m.m.Credit(s.ctx, 1, 1<<20)) // once: it comes back, or this goes dry
			must(t, s.b.Seek(s.ctx, "g", firstMDT, 0))
			s.eventually("a lease", func() bool { return s.status().Groups[0].Members[0].Leases > 0 })
			must(t, s.b.Seek(s.ctx, "g", firstMDT, 0))
			cutter(false)
			d := m.next()
			if d.First != 1 {
				t.Errorf("%s: %d comes first", distribution, d.First)
			}
			s.eventually("the credit to be used up", func() bool { return s.status().Groups[0].Members[0].Credit == 0 })
		}
		s.end()
	}
}

package groups

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Each test here is about one thing that was wrong once, or could only be wrong at
// the edges. What reads as a story is in testdata.

var start = time.Unix(1000, 0)

// newGroup returns a group with MDTs from 0 and members a, b, ... with ids from 1.
func newGroup(config Config, mdts, members int) *Group {
	g := New(config)
	for i := range mdts {
		g.AddMDT(MDT(i), 0)
	}
	for i := range members {
		join(g, MemberID(i+1))
	}
	return g
}

// join has a member join who has all the credit there is.
func join(g *Group, id MemberID) {
	if err := g.Join(id, fmt.Sprint("m", id), "s", nil, start); err != nil {
		panic(err)
	}
	must(g.Credit(id, maxBatches, maxBytes, start))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// handOut lets all streams that are woken hand out from one batch.
func handOut(g *Group, p Piece, now time.Time) (given []Delivery) {
	for queue := g.Woken(); len(queue) > 0; queue = append(queue[1:], g.Woken()...) {
		s := queue[0]
		if from, why := s.Need(now); why != Ready || !p.covers(from) {
			continue
		}
		if d, why := s.Take(p, ^uint64(0), now); why == Ready {
			queue = append(queue, s)
			if d.Lease != 0 {
				given = append(given, d)
			}
		}
	}
	return given
}

// batch is one of so many indexes behind from, a byte each, with records of all slots.
func batch(from, n uint64) Piece { return Piece{From: from, To: from + n, Bytes: int64(n)} }

// wake has all streams of an MDT looked at: there is a new batch.
func wake(g *Group, mdt MDT) { g.Track(mdt).wakeStreams() }

func TestPoolForgetsWhatIsDone(t *testing.T) {
	g := newGroup(Config{}, 1, 1)
	var given []Delivery
	for i := range uint64(3) {
		wake(g, 0)
		given = append(given, handOut(g, batch(i, 1), start)...)
	}
	for _, d := range given[1:] {
		must(g.Ack(1, d.Lease, d.To, start))
	}
	must(g.Nack(1, given[1].Lease, given[1].To, 0, start))
	if n := len(g.Track(0).pool.returned); n != 0 {
		t.Errorf("a nack of a lease that was acknowledged returned %d ranges", n)
	}
	must(g.Nack(1, given[0].Lease, 1, 0, start))
	must(g.Skip(0, 1))
	handOut(g, batch(0, 3), start)
	if mark := g.Track(0).Mark(); mark != 3 || len(g.leases) != 0 {
		t.Errorf("all is acknowledged or passed over: the mark is %d, %d leases are left", mark, len(g.leases))
	}
}

func TestMovedWithoutEndedTracks(t *testing.T) {
	g := newGroup(Config{Distribution: ByMDT}, 1, 1)
	d := handOut(g, batch(0, 2), start)[0]
	must(g.Ack(1, d.Lease, 2, start))
	must(g.RemoveMDT(0))
	g.AddMDT(0, 0) // in a new epoch
	if moved := g.Moved(); len(moved) != 0 {
		t.Errorf("an ended track has moved, to %d", moved[0].Mark())
	}
	old := g.Track(0)
	if again := g.AddMDT(0, 7); g.Track(0) != again || !old.ended || len(g.order) != 1 {
		t.Error("an MDT was added twice")
	}
	for _, s := range g.Woken() {
		if s.Gone() || s.Track() == old {
			t.Error("a stream of an ended track is woken")
		}
	}
}

func TestGoneStreams(t *testing.T) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT, ByFID} {
		g := newGroup(Config{Distribution: distribution}, 1, 1)
		streams := slices.Clone(g.Track(0).Streams())
		d := handOut(g, batch(0, 2), start)[0]
		must(g.Seek(0, 1))
		for _, s := range streams {
			if _, why := s.Need(start); !s.Gone() || why != Empty {
				t.Errorf("%s: a gone stream says %q", distribution, why)
			}
			if d, why := s.Take(batch(1, 2), 99, start); why != Empty || d.Lease != 0 {
				t.Errorf("%s: a gone stream says %q and hands out %v", distribution, why, d)
			}
		}
		if err := g.Ack(1, d.Lease, 2, start); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("%s: ack of a lease before the seek: %v", distribution, err)
		}
	}
}

// A batch that does not cover the place any more, as the stream fell back or time
// passed meanwhile, must never move a cursor.
func TestBatchElsewhere(t *testing.T) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT, ByFID} {
		g := newGroup(Config{Distribution: distribution}, 1, 1)
		s := g.Track(0).Streams()[0]
		g.Woken()
		for _, p := range []Piece{batch(1, 5), {From: 0, To: 0, Bytes: 1}} {
			if d, why := s.Take(p, 99, start); why != Elsewhere || d.Lease != 0 || s.Cursor() != 0 {
				t.Errorf("%s: batch (%d,%d]: %q, delivery %v, cursor %d", distribution, p.From, p.To, why, d, s.Cursor())
			}
			if !slices.Contains(g.Woken(), s) {
				t.Errorf("%s: the stream is not woken", distribution)
			}
		}
	}
	g := newGroup(Config{}, 1, 2)
	d := handOut(g, batch(0, 4), start)[0]
	must(g.Nack(d.Member, d.Lease, 1, 0, start))
	back := g.Track(0).pool.back
	if _, why := back.Take(batch(4, 4), 99, start); why != Elsewhere {
		t.Errorf("a batch behind what was returned: %q", why)
	}
}

// Who moves the least: a takeover moves nobody else's keys.
func TestSticky(t *testing.T) {
	g := newGroup(Config{Distribution: ByFID}, 1, 3)
	handOut(g, batch(0, 4), start)
	before := shares(g)
	must(g.Join(4, "m1", "s", nil, start))
	after := shares(g)
	if after[4] != before[1] || after[2] != before[2] || after[3] != before[3] {
		t.Errorf("a takeover of 1 by 4 moved the keys of others: %v, before %v", len(after), len(before))
	}
	must(g.Join(5, "m5", "s", nil, start))
	if n := len(g.Track(0).streams); n != 3+3 {
		t.Errorf("a fourth member took keys of three: there are %d lanes, want 6", n)
	}

	m := newGroup(Config{Distribution: ByMDT}, 6, 1)
	join(m, 2)
	for i := range 6 {
		m.order[i].streams[0].moveAtOnce(MemberID(1 + min(i, 2)/2)) // two of 1, four of 2
	}
	join(m, 3)
	var owners []MemberID
	for _, t := range m.order {
		owners = append(owners, t.streams[0].owner)
	}
	if want := []MemberID{1, 1, 3, 3, 2, 2}; !slices.Equal(owners, want) {
		t.Errorf("a third member took more than it had to: %v, want %v", owners, want)
	}
}

// shares returns the slots of each owner in MDT 0.
func shares(g *Group) map[MemberID]Slots {
	owned := make(map[MemberID]Slots)
	for _, s := range g.Track(0).streams {
		slots := owned[s.target()]
		slots.Union(s.keys)
		owned[s.target()] = slots
	}
	return owned
}

// Members that come and go during a long backlog must not leave ever more lanes behind.
func TestLanesDoNotPileUp(t *testing.T) {
	const members = 6
	g := newGroup(Config{Distribution: ByFID, InFlight: 300}, 1, members)
	open := make(map[MemberID][]Delivery)
	var queue []*Stream
	most, newest := 0, MemberID(members)
	for round := range 6000 {
		queue = append(queue, g.Woken()...)
		for range len(queue) {
			s := queue[0]
			queue = queue[1:]
			from, why := s.Need(start)
			if why != Ready {
				continue
			}
			if d, why := s.Take(batch(from/10*10, 10), ^uint64(0), start); why == Ready {
				queue = append(queue, s)
				if d.Lease != 0 {
					open[d.Member] = append(open[d.Member], d)
				}
			}
		}
		for m, list := range open {
			half := (len(list) + 1) / 2
			for _, d := range list[:half] {
				_ = g.Ack(m, d.Lease, d.To, start) // some are lost
			}
			open[m] = list[half:]
		}
		if round%40 == 0 {
			old := newest - members + 1
			must(g.Leave(old))
			delete(open, old)
			newest++
			join(g, newest)
		}
		most = max(most, len(g.Track(0).streams))
	}
	// A newcomer takes a part of each lane, a leaver's goes to all.
	if most > 5*members {
		t.Errorf("%d members have had up to %d lanes", members, most)
	}
	if g.Track(0).Mark() < 10000 {
		t.Errorf("the mark is only at %d", g.Track(0).Mark())
	}
}

// A member that gives credit for what it got must not run dry because its share of a
// batch was estimated.
func TestCreditForWhatWasGot(t *testing.T) {
	g := New(Config{Distribution: ByFID})
	g.AddMDT(0, 0)
	for id := range MemberID(4) {
		must(g.Join(id+1, fmt.Sprint(id), "s", nil, start))
		must(g.Credit(id+1, 2, 100, start))
	}
	for i := range uint64(500) {
		wake(g, 0)
		given := handOut(g, Piece{From: i, To: i + 1, Bytes: 1000}, start)
		if len(given) != 4 {
			t.Fatalf("batch %d went to %d members of 4", i, len(given))
		}
		for _, d := range given {
			bytes := int64(d.Member) * 10 // what it really was
			g.Measured(d, bytes, d.To, start)
			must(g.Ack(d.Member, d.Lease, d.To, start))
			must(g.Credit(d.Member, 1, bytes, start))
		}
	}
	for _, m := range g.members {
		if m.batches != 2 || m.bytes != 100 {
			t.Errorf("member %d has credit %d, %d at the end; it began with 2, 100", m.id, m.batches, m.bytes)
		}
	}
}

func TestCreditLimits(t *testing.T) {
	g := newGroup(Config{}, 1, 1)
	for range 5 {
		must(g.Credit(1, int(^uint(0)>>1), 1<<62, start))
	}
	must(g.Credit(1, -5, -5, start))
	if m := g.members[1]; m.batches != maxBatches || m.bytes != maxBytes {
		t.Errorf("credit is %d, %d", m.batches, m.bytes)
	}
	if err := g.Credit(9, 1, 1, start); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("credit of nobody: %v", err)
	}
}

// One more credit wakes one more stream, however many wait for it.
func TestNoStorm(t *testing.T) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT, ByFID} {
		g := New(Config{Distribution: distribution})
		for i := range 100 {
			g.AddMDT(MDT(i), 0)
		}
		must(g.Join(1, "m", "s", nil, start))
		handOut(g, batch(0, 1), start) // all wait for credit now
		for range 3 {
			must(g.Credit(1, 1, 100, start))
			woken := g.Woken()
			if len(woken) != 1 {
				t.Fatalf("%s: one credit has woken %d streams", distribution, len(woken))
			}
			if _, why := woken[0].Take(batch(0, 1), 99, start); why != Ready {
				t.Fatalf("%s: it says %q", distribution, why)
			}
			for _, s := range g.Woken() {
				if _, why := s.Need(start); why == Ready {
					t.Fatalf("%s: there is credit left", distribution)
				}
			}
		}
		// Who has no use for the credit does not keep it from others.
		must(g.Credit(1, 1, 100, start))
		seen := 0
		for woken := g.Woken(); len(woken) > 0; woken = g.Woken() {
			seen += len(woken)
		}
		if seen < 90 {
			t.Errorf("%s: nobody used the credit, and only %d were woken", distribution, seen)
		}
	}
}

// Time wakes nobody before it is due, and nobody twice.
func TestDelays(t *testing.T) {
	g := newGroup(Config{Distribution: ByMDT}, 3, 1)
	for i, d := range handOut(g, batch(0, 1), start) {
		must(g.Nack(1, d.Lease, 1, time.Duration(i+1)*time.Second, start))
	}
	if given := handOut(g, batch(0, 1), start); len(given) != 0 {
		t.Errorf("handed out in spite of a delay: %v", given)
	}
	for i := range 4 {
		now := start.Add(time.Duration(i) * time.Second)
		for range 3 {
			g.Tick(now.Add(-time.Millisecond))
			if woken := g.Woken(); len(woken) != 0 {
				t.Fatalf("after %d s: %d streams woken too early", i, len(woken))
			}
		}
		g.Tick(now)
		if given := handOut(g, batch(0, 1), now); len(given) != min(i, 1) {
			t.Fatalf("after %d s: %d handed out", i, len(given))
		}
	}
	if len(g.delayed.streams) != 0 {
		t.Error("somebody waits still")
	}
}

// Whatever happens a thousand times over must not leave anything behind.
func TestNothingPilesUp(t *testing.T) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT, ByFID} {
		g := newGroup(Config{Distribution: distribution, InFlight: 10, AckTimeout: time.Minute, Lease: time.Minute}, 4, 2)
		now := start
		for i := range 2000 {
			now = now.Add(time.Second)
			id := MemberID(i + 10)
			must(g.Join(id, "visitor", "s", []MDT{MDT(i % 4)}, now))
			must(g.Credit(id, i%3, 5, now))
			must(g.Heartbeat(1, now))
			must(g.Heartbeat(2, now))
			from := g.Track(MDT(i % 4)).Low()
			given := handOut(g, batch(from, 3), now)
			for k, d := range given {
				if k%2 == 0 {
					_ = g.Nack(d.Member, d.Lease, d.To, time.Second, now)
				} else {
					_ = g.Ack(d.Member, d.Lease, d.To, now)
				}
			}
			switch i % 5 {
			case 0:
				must(g.Seek(MDT(i%4), g.Track(MDT(i%4)).Mark()))
			case 1:
				must(g.RemoveMDT(MDT(i % 4)))
				g.AddMDT(MDT(i%4), uint64(i))
			case 2:
				_ = g.Skip(MDT(i%4), uint64(i%40))
			}
			g.Tick(now)
			if len(g.Expired(now)) > 0 {
				t.Fatal("somebody has expired")
			}
			must(g.Leave(id))
		}
		size := len(g.order) + len(g.members) + len(g.byName) + g.heard.Len() + len(g.crews) + len(g.calls) + len(g.delayed.streams)
		for _, tr := range g.order {
			size += len(tr.streams) + len(tr.skips) + len(tr.flight) + len(tr.held.streams) + len(tr.low.streams) + len(tr.lanes)
			for _, s := range tr.streams {
				size += len(s.waiters) + len(s.lines) + len(s.tries)
			}
		}
		for _, m := range g.members {
			size += len(m.line.streams)
		}
		if size > 300 || len(g.leases) > 100 || g.open.Len() > len(g.leases) || len(g.Woken())+len(g.Moved()) > 100 {
			t.Errorf("%s: %d things are kept, %d leases", distribution, size, len(g.leases))
		}
	}
}

// What is ahead of the mark is limited in leases too, and remembered in few parts.
func TestManySmallHandOuts(t *testing.T) {
	g := newGroup(Config{InFlight: 64 << 20}, 1, 1)
	n := uint64(0)
	for ; len(handOut(g, batch(n, 1), start)) > 0; n++ {
		wake(g, 0)
	}
	if n > mostFlights+mostFlights/fineness || n < mostFlights {
		t.Errorf("%d records of one byte are in flight", n)
	}
	if parts := len(g.Track(0).flight); parts > 2*fineness {
		t.Errorf("the way ahead is remembered in %d parts", parts)
	}
}

func TestUnknown(t *testing.T) {
	g := newGroup(Config{}, 1, 1)
	for what, err := range map[string]error{
		"leave": g.Leave(7), "heartbeat": g.Heartbeat(7, start), "ack": g.Ack(7, 1, 1, start), "nack": g.Nack(7, 1, 1, 0, start),
	} {
		if !errors.Is(err, ErrUnknownMember) {
			t.Errorf("%s of nobody: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"skip": g.Skip(7, 1), "seek": g.Seek(7, 1), "resume": g.Resume(7), "remove": g.RemoveMDT(7),
	} {
		if !errors.Is(err, ErrUnknownMDT) {
			t.Errorf("%s of MDT 7: %v", what, err)
		}
	}
	if err := g.Ack(1, 99, 1, start); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("ack of a lease that never was: %v", err)
	}
	if err := g.Join(2, "m1", "another", nil, start); !errors.Is(err, ErrNameInUse) {
		t.Errorf("join under a name in use: %v", err)
	}
	must(g.Join(3, "nothing", "s", []MDT{}, start))
	if g.members[3].servesMDT(0) {
		t.Error("who serves no MDT serves one")
	}
	g.Measured(Delivery{Member: 77, Lease: 77}, 1, 1, start)
	if Distribution(9).String() == "" || Blocked(99).String() == "" || Merging.String() != "merging" || ByFID.String() != "fid" || Elsewhere.String() != "elsewhere" {
		t.Error("a name is wrong")
	}
}

// Nobody can stop a lane for ever by a nack and go.
func TestLongestDelay(t *testing.T) {
	for _, delay := range []time.Duration{-1 << 63, 1<<63 - 1} {
		g := newGroup(Config{Distribution: ByMDT}, 1, 1)
		d := handOut(g, batch(0, 3), start)[0]
		must(g.Nack(1, d.Lease, 1, delay, start))
		must(g.Leave(1))
		join(g, 2)
		now := start
		if delay > 0 {
			handOut(g, batch(0, 3), now)
			now = now.Add(MaxDelay)
		}
		g.Tick(now)
		if len(handOut(g, batch(0, 3), now)) != 1 {
			t.Errorf("a delay of %d holds for more than %s", delay, MaxDelay)
		}
	}
}

// A nack beyond the end of a lease gives nothing back, and ends nothing.
func TestNackBeyond(t *testing.T) {
	g := newGroup(Config{Distribution: ByMDT}, 1, 1)
	d := handOut(g, batch(0, 3), start)[0]
	must(g.Nack(1, d.Lease, 4, 0, start))
	must(g.Ack(1, d.Lease, 99, start))
	if g.Track(0).Mark() != 3 {
		t.Errorf("the mark is %d", g.Track(0).Mark())
	}
}

// What nobody could hear costs no member its leases, neither by heartbeats nor by acks.
func TestExcuse(t *testing.T) {
	for _, distribution := range []Distribution{RoundRobin, ByMDT, ByFID} {
		g := newGroup(Config{Distribution: distribution, InFlight: 10, AckTimeout: time.Minute, Lease: time.Minute}, 1, 1)
		d := handOut(g, batch(0, 3), start)[0]
		now := start.Add(time.Hour)
		g.Excuse(time.Hour - 30*time.Second)
		for _, alive := range []bool{true, false} {
			g.Tick(now)
			if gone := len(g.Expired(now)) > 0; gone == alive || g.Holds(1, d.Lease) != alive {
				t.Errorf("%s: %s after the start the member is sent away: %t, and has its lease: %t", distribution, now.Sub(start), gone, g.Holds(1, d.Lease))
			}
			now = now.Add(31 * time.Second)
		}
	}
}

package groups

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The simulation drives one group over MDTs full of made-up records, with members
// that stall, die, come back, acknowledge and give back as the seed wills, and
// checks after every step what docs/ordering-and-acks.md promises. The oracle knows
// records, keys and who holds what; it knows nothing of lanes, cursors or pools.

// simRecord is one record, with what the oracle knows of it.
type simRecord struct {
	index     uint64
	keys      []Slot
	acked     bool
	holder    *simMember // whom it is in flight at
	delivered int
	skipped   bool
}

type simMDT struct {
	id      MDT
	records []*simRecord
	last    uint64
	ceiling uint64
}

// simLease is a delivery as a member sees it.
type simLease struct {
	d       Delivery
	mdt     *simMDT
	records []*simRecord
	acked   uint64
}

func (l *simLease) indexes() (list []uint64) {
	for _, r := range l.records {
		list = append(list, r.index)
	}
	return list
}

type simMember struct {
	id            MemberID
	name, session string
	credit        int
	open          []*simLease
	ended         []*simLease // no longer ours: must be answered lease-lost
}

type sim struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	now     time.Time
	g       *Group
	mdts    []*simMDT
	members []*simMember
	nextID  MemberID
	queue   []*Stream
	log     []string
	nacks   bool
}

func newSim(t *testing.T, seed uint64) *sim {
	rng := rand.New(rand.NewPCG(seed, 1))
	config := Config{
		Name:         "g",
		Distribution: Distribution(rng.IntN(3)),
		InFlight:     int64(rng.IntN(200) + 5),
		Lease:        time.Minute,
	}
	if rng.IntN(3) == 0 {
		config.AckTimeout = 20 * time.Second
	}
	s := &sim{t: t, seed: seed, rng: rng, now: time.Unix(0, 0), g: New(config), nacks: rng.IntN(2) == 0}
	for i := range rng.IntN(3) + 1 {
		m := &simMDT{id: MDT(i)}
		m.grow(rng, rng.IntN(200)+20)
		s.mdts = append(s.mdts, m)
		s.g.AddMDT(m.id, 0)
	}
	return s
}

// grow adds n records with small gaps between their indexes.
func (m *simMDT) grow(rng *rand.Rand, n int) {
	for range n {
		m.last++
		if rng.IntN(10) == 0 {
			m.last += uint64(rng.IntN(3))
		}
		r := &simRecord{index: m.last, keys: []Slot{Slot(rng.IntN(20) * 200)}}
		if rng.IntN(8) == 0 {
			if other := Slot(rng.IntN(20) * 200); other != r.keys[0] {
				r.keys = append(r.keys, other)
			}
		}
		m.records = append(m.records, r)
	}
	m.ceiling = max(m.ceiling, m.last)
}

// piece is a batch that covers what follows from: it may begin before it and ends anywhere.
func (m *simMDT) piece(rng *rand.Rand, from uint64) (Piece, bool) {
	if from >= m.last {
		return Piece{}, false
	}
	back := min(from, uint64(rng.IntN(5)))
	p := Piece{From: from - back, To: min(m.last, from+1+uint64(rng.IntN(12))), Slots: &Slots{}}
	for _, r := range m.between(p.From, p.To) {
		p.Bytes++
		p.Slots.Add(r.keys[0])
		if len(r.keys) == 2 {
			p.Slots.Add(r.keys[1])
			p.Pairs = append(p.Pairs, Pair{r.index, r.keys[0], r.keys[1]})
		}
	}
	return p, true
}

func (m *simMDT) between(from, to uint64) []*simRecord {
	lo, _ := slices.BinarySearchFunc(m.records, from+1, func(r *simRecord, i uint64) int { return int(int64(r.index) - int64(i)) })
	hi := lo
	for hi < len(m.records) && m.records[hi].index <= to {
		hi++
	}
	return m.records[lo:hi]
}

func (s *sim) fail(format string, args ...any) {
	s.t.Helper()
	tail := s.log
	if len(tail) > 200 {
		tail = tail[len(tail)-200:]
	}
	for _, line := range tail {
		s.t.Log(line)
	}
	s.t.Fatalf("seed %d (%s): %s", s.seed, s.g.Config.Distribution, fmt.Sprintf(format, args...))
}

func (s *sim) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// work lets streams hand out, in random order, until none can, or a while.
func (s *sim) work(most int) {
	for range most {
		s.queue = append(s.queue, s.g.Woken()...)
		if len(s.queue) == 0 {
			return
		}
		i := s.rng.IntN(len(s.queue))
		stream := s.queue[i]
		s.queue = slices.Delete(s.queue, i, i+1)
		s.try(stream)
		s.check()
	}
}

func (s *sim) try(stream *Stream) {
	if stream.Gone() {
		return
	}
	from, why := stream.Need(s.now)
	if why != Ready {
		return
	}
	mdt := s.mdts[stream.Track().MDT]
	p, ok := mdt.piece(s.rng, from)
	if !ok {
		return // at the end: woken again when there is more
	}
	d, why := stream.Take(p, mdt.ceiling, s.now)
	if why == Ready {
		if d.Lease != 0 {
			s.deliver(mdt, d)
		}
		s.queue = append(s.queue, stream)
	}
}

// deliver is the member's end, and where the oracle checks order.
func (s *sim) deliver(mdt *simMDT, d Delivery) {
	i := slices.IndexFunc(s.members, func(m *simMember) bool { return m.id == d.Member })
	if i < 0 {
		s.fail("delivery to unknown member %d", d.Member)
	}
	m := s.members[i]
	if m.credit--; m.credit < 0 {
		s.fail("member %d got more than it had credit for", m.id)
	}
	l := &simLease{d: d, mdt: mdt, acked: d.From}
	for _, r := range mdt.between(d.From, d.To) {
		if d.Slots == nil || d.Slots.Has(r.keys[0]) {
			s.checkDelivery(mdt, m, d, r)
			r.holder, r.acked = m, false
			r.delivered++
			l.records = append(l.records, r)
		}
	}
	m.open = append(m.open, l)
	s.note("deliver %d/%d (%d,%d] count %d to %d: %v", mdt.id, d.Lease, d.From, d.To, d.Count, m.id, l.indexes())
}

// checkDelivery checks rules 3 to 6 for one record about to be delivered.
func (s *sim) checkDelivery(mdt *simMDT, to *simMember, d Delivery, r *simRecord) {
	if r.holder != nil {
		s.fail("record %d goes to member %d while in flight at %d", r.index, to.id, r.holder.id)
	}
	if r.skipped {
		s.fail("record %d was skipped", r.index)
	}
	if (r.delivered > 0) != (d.Count > 1) && r.delivered > 0 {
		s.fail("record %d was delivered %d times before, the delivery counts %d", r.index, r.delivered, d.Count)
	}
	if s.g.Config.Distribution == RoundRobin {
		return
	}
	for _, other := range mdt.records {
		if other == r || !s.related(r, other) {
			continue
		}
		switch {
		case other.index > r.index && other.holder != nil:
			s.fail("record %d goes to member %d while %d, newer and of the same key, is in flight at %d", r.index, to.id, other.index, other.holder.id)
		case other.index < r.index && other.holder != nil && other.holder != to:
			s.fail("record %d goes to member %d while %d, older and of the same key, is in flight at %d", r.index, to.id, other.index, other.holder.id)
		case other.index < r.index && other.holder == nil && !other.acked && !other.skipped:
			s.fail("record %d goes to member %d before %d, older and of the same key", r.index, to.id, other.index)
		}
	}
}

// related tells whether two records of one MDT share a key.
func (s *sim) related(a, b *simRecord) bool {
	if s.g.Config.Distribution == ByMDT {
		return true
	}
	for _, k := range a.keys {
		if slices.Contains(b.keys, k) {
			return true
		}
	}
	return false
}

// check checks rules 1, 2 and 7.
func (s *sim) check() {
	s.g.Moved()
	for _, mdt := range s.mdts {
		t := s.g.Track(mdt.id)
		first := mdt.last + 1
		for _, r := range mdt.records {
			if !r.acked && !r.skipped {
				first = r.index
				break
			}
		}
		if t.Mark() >= first {
			s.fail("MDT %d: the mark is %d, but record %d is not acknowledged", mdt.id, t.Mark(), first)
		}
		var ahead int64
		for _, r := range mdt.between(t.Mark(), t.Frontier()) {
			if r.delivered > 0 {
				ahead++
			}
		}
		if limit := s.g.Config.InFlight*3 + 100; ahead > limit { // parts of batches are weighed by estimate
			s.fail("MDT %d: %d records are ahead of the mark, %d allowed", mdt.id, ahead, limit)
		}
	}
}

func (s *sim) join(name, session string) {
	s.nextID++
	m := &simMember{id: s.nextID, name: name, session: session}
	// A takeover ends the old connection's leases at once.
	var old *simMember
	for _, x := range s.members {
		if x.name == name {
			old = x
		}
	}
	if old != nil && old.session != session {
		if err := s.g.Join(m.id, name, session, nil, s.now); err == nil {
			s.fail("a stranger took the name %s", name)
		}
		return
	}
	if old != nil {
		s.endAll(old)
		s.members = slices.DeleteFunc(s.members, func(x *simMember) bool { return x == old })
	}
	s.note("join %d as %s", m.id, name)
	s.members = append(s.members, m)
	if err := s.g.Join(m.id, name, session, nil, s.now); err != nil {
		s.fail("join: %v", err)
	}
}

// endAll takes all leases from a member.
func (s *sim) endAll(m *simMember) {
	for _, l := range m.open {
		s.end(m, l)
	}
	m.open = nil
}

// end takes one lease from a member: what is not acknowledged is in flight nowhere.
func (s *sim) end(m *simMember, l *simLease) {
	for _, r := range l.records {
		if r.holder == m && r.index > l.acked {
			r.holder = nil
		}
	}
	m.ended = append(m.ended, l)
}

func (s *sim) die(m *simMember) {
	s.note("member %d dies", m.id)
	s.endAll(m)
	s.members = slices.DeleteFunc(s.members, func(x *simMember) bool { return x == m })
	if err := s.g.Leave(m.id); err != nil {
		s.fail("leave: %v", err)
	}
}

func (s *sim) credit(m *simMember) {
	n := s.rng.IntN(4) + 1
	m.credit += n
	if err := s.g.Credit(m.id, n, 1<<30, s.now); err != nil {
		s.fail("credit: %v", err)
	}
}

// ack acknowledges a part of a random open lease, or all of it.
func (s *sim) ack(m *simMember, l *simLease) {
	upTo := l.d.To
	if s.rng.IntN(3) == 0 {
		upTo = l.d.From + uint64(s.rng.IntN(int(l.d.To-l.d.From)+1))
	}
	err := s.g.Ack(m.id, l.d.Lease, upTo, s.now)
	s.note("member %d acks %d up to %d: %v", m.id, l.d.Lease, upTo, err)
	if err != nil {
		// Only what an AckTimeout or a neighbour's nack ended may be refused.
		if s.g.Config.AckTimeout == 0 && !s.nacks {
			s.fail("ack of lease %d: %v", l.d.Lease, err)
		}
		s.lost(m, l)
		return
	}
	l.acked = max(l.acked, upTo)
	for _, r := range l.records {
		if r.index <= l.acked && r.holder == m {
			r.acked, r.holder = true, nil
		}
	}
	if l.acked == l.d.To {
		m.open = slices.DeleteFunc(m.open, func(x *simLease) bool { return x == l })
	}
}

// lost is what a member learns from lease-lost.
func (s *sim) lost(m *simMember, l *simLease) {
	s.end(m, l)
	m.open = slices.DeleteFunc(m.open, func(x *simLease) bool { return x == l })
}

// sync tells the oracle which leases the group ended by itself (a nack, a timeout):
// exactly those that it does not know any more.
func (s *sim) sync() {
	for _, m := range s.members {
		for _, l := range slices.Clone(m.open) {
			if _, ok := s.g.leases[l.d.Lease]; !ok {
				s.lost(m, l)
			}
		}
	}
}

func (s *sim) nack(m *simMember, l *simLease) {
	from := l.d.From + 1 + uint64(s.rng.IntN(int(l.d.To-l.d.From)))
	delay := time.Duration(s.rng.IntN(3)) * time.Second
	s.note("member %d nacks %d from %d", m.id, l.d.Lease, from)
	if err := s.g.Nack(m.id, l.d.Lease, from, delay, s.now); err != nil {
		s.fail("nack: %v", err)
	}
	s.sync()
}

func (s *sim) step() {
	switch n := s.rng.IntN(100); {
	case n < 6 || len(s.members) == 0:
		if len(s.members) < 5 {
			s.join(fmt.Sprintf("m%d", s.rng.IntN(6)), fmt.Sprint(s.rng.IntN(8)/7))
		}
	case n < 9:
		s.die(s.members[s.rng.IntN(len(s.members))])
	case n < 12:
		mdt := s.mdts[s.rng.IntN(len(s.mdts))]
		mdt.grow(s.rng, s.rng.IntN(20))
		s.wakeAll()
	case n < 16:
		s.now = s.now.Add(time.Duration(s.rng.IntN(10)) * time.Second)
		s.g.Tick(s.now)
		s.sync()
	case n < 18:
		s.g.Pause(s.rng.IntN(2) == 0)
	case n < 20:
		s.skip()
	case n < 45:
		s.credit(s.members[s.rng.IntN(len(s.members))])
	default:
		s.answer()
	}
}

// answer lets a random member react to a random delivery.
func (s *sim) answer() {
	m := s.members[s.rng.IntN(len(s.members))]
	switch n := s.rng.IntN(20); {
	case n == 0 && len(m.ended) > 0:
		l := m.ended[s.rng.IntN(len(m.ended))]
		if err := s.g.Ack(m.id, l.d.Lease, l.d.To, s.now); err == nil {
			s.fail("member %d could acknowledge lease %d, which had ended", m.id, l.d.Lease)
		}
	case len(m.open) == 0:
	case n == 1 && s.nacks:
		s.nack(m, m.open[s.rng.IntN(len(m.open))])
	default:
		s.ack(m, m.open[s.rng.IntN(len(m.open))])
	}
}

func (s *sim) skip() {
	mdt := s.mdts[s.rng.IntN(len(s.mdts))]
	if len(mdt.records) == 0 {
		return
	}
	r := mdt.records[s.rng.IntN(len(mdt.records))]
	if r.delivered == 0 && !r.acked && s.g.Skip(mdt.id, r.index) == nil {
		s.note("skip %d", r.index)
		r.skipped = true
	}
}

// wakeAll is what the broker does for streams that wait for new records.
func (s *sim) wakeAll() {
	for _, mdt := range s.mdts {
		s.queue = append(s.queue, s.g.Track(mdt.id).Streams()...)
	}
}

// finish lets everybody behave and demands that everything gets acknowledged.
func (s *sim) finish() {
	s.g.Pause(false)
	if len(s.members) == 0 {
		s.join("last", "0")
	}
	for range 20000 {
		s.now = s.now.Add(time.Second)
		s.g.Tick(s.now)
		s.sync()
		for _, m := range s.members {
			if m.credit < 3 {
				s.credit(m)
			}
			if len(m.open) > 0 {
				s.ack(m, m.open[0])
			}
		}
		s.work(1000)
		if s.complete() {
			return
		}
	}
	for _, mdt := range s.mdts {
		for _, x := range s.g.Track(mdt.id).Streams() {
			s.note("MDT %d stream cursor %d mark %d owner %d to %d leases %d blocked %s after %v", mdt.id, x.cursor, x.mark(), x.owner, x.moveTo, len(x.leases), x.blocked, x.after != nil)
		}
		for _, l := range s.g.leases {
			s.note("lease %d of %d (%d,%d] acked %d", l.id, l.member, l.from, l.to, l.acked)
		}
		s.note("MDT %d mark %d of %d, ahead %d of %d", mdt.id, s.g.Track(mdt.id).Mark(), mdt.last, s.g.Track(mdt.id).ahead, s.g.Config.InFlight)
	}
	s.fail("stuck: not everything could be acknowledged")
}

func (s *sim) complete() bool {
	for _, mdt := range s.mdts {
		if s.g.Track(mdt.id).Mark() != mdt.last {
			return false
		}
	}
	return true
}

func runSim(t *testing.T, seed uint64) {
	s := newSim(t, seed)
	for range s.rng.IntN(300) + 50 {
		s.step()
		s.work(s.rng.IntN(30))
	}
	s.finish()
}

var (
	seeds     = flag.Uint64("seeds", 5000, "how many seeds TestSimulation runs")
	firstSeed = flag.Uint64("seed", 0, "the first of them")
)

func TestSimulation(t *testing.T) {
	for seed := range *seeds {
		runSim(t, *firstSeed+seed)
	}
}

package groups

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The simulation drives one group over MDTs full of made-up records, with members
// that stall, die, come back, acknowledge and give back as the seed wills, and
// operators that interfere. The oracle (oracle_test.go) checks after every step what
// docs/ordering-and-acks.md promises. It knows records, keys and who holds what; of
// lanes, cursors and pools it knows nothing.
//
// Each step has random numbers of its own, so the others stay what they are when one
// is left out: a failing seed can be shrunk (simrun_test.go).

// simRecord is one record, with what the oracle knows of it.
type simRecord struct {
	index     uint64
	keys      []Slot
	bytes     int64
	filtered  bool // dropped by a module: nobody gets it
	acked     bool
	skipped   bool
	holder    *simMember // whom it is in flight at
	last      *simMember // who had it last
	delivered int
	most      int  // how often it may be delivered at most; 0 for no limit
	stale     bool // must be delivered again before anything newer of its keys
}

// done tells whether nothing waits for the record any more.
func (r *simRecord) done() bool {
	return r.filtered || r.acked || r.skipped && r.holder == nil
}

type simMDT struct {
	id       MDT
	records  []*simRecord
	byKey    map[Slot][]*simRecord
	last     uint64
	ceiling  uint64 // on disk
	wanted   uint64 // the ceiling that is to be written
	mark     uint64 // as it was when last checked
	frontier uint64 // the end of the foremost delivery
	removed  bool
}

// simLease is a delivery as a member sees it.
type simLease struct {
	d        Delivery
	mdt      *simMDT
	member   *simMember
	records  []*simRecord
	acked    uint64
	measured bool // the group knows which record is the last
	progress time.Time
}

// last returns the index of the last record; 0 if there is none.
func (l *simLease) last() uint64 {
	if len(l.records) == 0 {
		return 0
	}
	return l.records[len(l.records)-1].index
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
	serves        []MDT
	batches       int // credit
	bytes         int64
	open          []*simLease
	ended         []*simLease // no longer ours: must be answered lease-lost
	heard         time.Time
	turn          int // when it had the last
}

func (m *simMember) servesMDT(mdt MDT) bool { return m.serves == nil || slices.Contains(m.serves, mdt) }

func (m *simMember) hasCredit() bool { return m.batches > 0 && m.bytes > 0 }

type sim struct {
	seed    uint64
	source  rand.PCG
	rng     *rand.Rand
	now     time.Time
	g       *Group
	mdts    []*simMDT
	members []*simMember
	nextID  MemberID
	turns   int
	queue   []*Stream
	cuts    []*simLease // still to be measured
	verbose bool
	log     []string

	// What this seed goes in for.
	nacks, lags, restricts, measures bool
	// mayEnd tells which leases the current step may end without their member's doing.
	mayEnd func(l *simLease) bool
}

// simFailure is what the simulation panics with.
type simFailure string

func (s *sim) fail(format string, args ...any) {
	panic(simFailure(fmt.Sprintf(format, args...)))
}

func (s *sim) note(format string, args ...any) {
	if s.verbose {
		s.log = append(s.log, fmt.Sprintf(format, args...))
	}
}

// oneIn is true once in n times.
func (s *sim) oneIn(n int) bool { return s.rng.IntN(n) == 0 }

func newSim(seed uint64, verbose bool) *sim {
	s := &sim{seed: seed, now: time.Unix(0, 0), verbose: verbose}
	s.rng = rand.New(&s.source)
	s.source.Seed(seed, 0)
	config := Config{
		Name:         "g",
		Distribution: Distribution(s.rng.IntN(3)),
		InFlight:     int64(s.rng.IntN(200) + 5),
		Lease:        time.Duration(s.rng.IntN(60)+15) * time.Second,
	}
	if s.oneIn(8) {
		config.InFlight = 0
	}
	if s.oneIn(3) {
		config.AckTimeout = 20 * time.Second
	}
	if s.oneIn(3) {
		config.MaxDeliveries = s.rng.IntN(3) + 1
	}
	s.g = New(config)
	s.nacks, s.lags, s.restricts, s.measures = s.oneIn(2), s.oneIn(2), s.oneIn(2), !s.oneIn(4)
	barriers := []int{4, 8, 30}[s.rng.IntN(3)]
	for i := range s.rng.IntN(3) + 1 {
		m := &simMDT{id: MDT(i), byKey: make(map[Slot][]*simRecord)}
		s.grow(m, s.rng.IntN(200)+20, barriers)
		s.mdts = append(s.mdts, m)
		s.g.AddMDT(m.id, 0)
	}
	s.note("%s, in flight %d, ack timeout %s, most deliveries %d", config.Distribution, config.InFlight, config.AckTimeout, config.MaxDeliveries)
	return s
}

// grow adds n records with small gaps between their indexes; one in barriers has two
// keys. Now and then modules drop a few in a row.
func (s *sim) grow(m *simMDT, n, barriers int) {
	drop := 0
	for range n {
		m.last++
		if s.oneIn(10) {
			m.last += uint64(s.rng.IntN(3))
		}
		if s.oneIn(40) {
			drop = s.rng.IntN(20)
		}
		r := &simRecord{index: m.last, keys: []Slot{Slot(s.rng.IntN(20) * 200)}, bytes: 1, filtered: drop > 0, most: s.g.Config.MaxDeliveries}
		drop--
		if other := Slot(s.rng.IntN(20) * 200); s.oneIn(barriers) && other != r.keys[0] {
			r.keys = append(r.keys, other)
		}
		m.records = append(m.records, r)
		for _, k := range r.keys {
			m.byKey[k] = append(m.byKey[k], r)
		}
	}
	if !s.lags {
		m.ceiling = m.last
	}
}

// longest is how many indexes a batch covers at most.
const longest = 18

// piece is a batch that covers what follows from: it may begin before it and ends anywhere.
func (s *sim) piece(m *simMDT, from uint64) (Piece, bool) {
	if from >= m.last {
		return Piece{}, false
	}
	back := min(from, uint64(s.rng.IntN(5)))
	p := Piece{From: from - back, To: min(m.last, from+1+uint64(s.rng.IntN(longest-5))), Slots: &Slots{}}
	for _, r := range between(m.records, p.From, p.To) {
		if r.filtered {
			continue
		}
		p.Bytes += r.bytes
		p.Slots.Add(r.keys[0])
		if len(r.keys) == 2 {
			p.Slots.Add(r.keys[1])
			p.Pairs = append(p.Pairs, Pair{r.index, r.keys[0], r.keys[1]})
		}
	}
	if p.Bytes > 0 && s.oneIn(12) {
		p.Slots = nil // nobody looked
	}
	return p, true
}

// between returns the records in (from, to].
func between(records []*simRecord, from, to uint64) []*simRecord {
	byIndex := func(r *simRecord, i uint64) int { return int(int64(r.index) - int64(i)) }
	lo, _ := slices.BinarySearchFunc(records, from+1, byIndex)
	hi, found := slices.BinarySearchFunc(records[lo:], to, byIndex)
	if found {
		hi++
	}
	return records[lo : lo+hi]
}

// work lets streams hand out, in random order, until none can, or a while.
func (s *sim) work(most int) {
	for range most {
		s.queue = append(s.queue, s.g.Woken()...)
		if len(s.queue) == 0 {
			s.checkQuiet()
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
	if stream.Gone() && s.oneIn(2) {
		return // the broker may also not look
	}
	from, why := stream.Need(s.now)
	if why != Ready {
		return
	}
	mdt := s.mdts[stream.Track().MDT]
	if s.oneIn(50) && from+longest < mdt.last {
		from += uint64(s.rng.IntN(longest)) // the batch comes late: the stream is elsewhere by now
	}
	p, ok := s.piece(mdt, from)
	if !ok {
		return // at the end: woken again when there is more
	}
	d, why := stream.Take(p, mdt.ceiling, s.now)
	if why == NeedsCeiling {
		mdt.wanted = max(mdt.wanted, p.To+uint64(s.rng.IntN(20)))
	}
	if why == Ready {
		if d.Lease != 0 {
			s.deliver(mdt, d)
		}
		s.queue = append(s.queue, stream)
	}
}

// deliver is the member's end.
func (s *sim) deliver(mdt *simMDT, d Delivery) {
	i := slices.IndexFunc(s.members, func(m *simMember) bool { return m.id == d.Member })
	if i < 0 {
		s.fail("delivery to unknown member %d", d.Member)
	}
	m := s.members[i]
	l := &simLease{d: d, mdt: mdt, member: m, acked: d.From, progress: s.now}
	for _, r := range between(mdt.records, d.From, d.To) {
		if !r.filtered && (d.Slots == nil || d.Slots.Has(r.keys[0])) {
			l.records = append(l.records, r)
		}
	}
	s.note("deliver %d/%d (%d,%d] count %d to %d: %v", mdt.id, d.Lease, d.From, d.To, d.Count, m.id, l.indexes())
	s.checkDelivery(l)
	for _, r := range l.records {
		s.checkRecord(l, r)
		r.holder, r.last, r.acked, r.stale = m, m, false, false
		r.delivered++
	}
	s.turns++
	m.turn = s.turns
	m.batches--
	m.bytes -= d.Bytes
	m.open = append(m.open, l)
	if s.measures {
		s.measure(l)
	} else {
		s.cuts = append(s.cuts, l)
	}
}

// measure tells the group what was in a delivery.
func (s *sim) measure(l *simLease) {
	var bytes int64
	for _, r := range l.records {
		bytes += r.bytes
	}
	l.measured = true
	s.g.Measured(l.d, bytes, l.last(), s.now)
	m := l.member
	had := m.hasCredit()
	m.bytes += l.d.Bytes - bytes
	if bytes == 0 {
		m.batches++
	}
	if m.hasCredit() && !had {
		s.turns++
		m.turn = s.turns
	}
	if l.acked >= l.last() {
		s.acknowledged(l, l.d.To)
	}
}

func (s *sim) join(name, session string, serves []MDT) {
	s.nextID++
	m := &simMember{id: s.nextID, name: name, session: session, serves: serves, heard: s.now}
	i := slices.IndexFunc(s.members, func(x *simMember) bool { return x.name == name })
	if i >= 0 && s.members[i].session != session {
		if err := s.g.Join(m.id, name, session, serves, s.now); err == nil {
			s.fail("a stranger took the name %s", name)
		}
		return
	}
	if i >= 0 { // a takeover ends the old connection's leases at once
		s.endAll(s.members[i])
		s.members = slices.Delete(s.members, i, i+1)
	}
	s.note("join %d as %s, serves %v", m.id, name, serves)
	s.members = append(s.members, m)
	if err := s.g.Join(m.id, name, session, serves, s.now); err != nil {
		s.fail("join: %v", err)
	}
	s.checkShares()
}

// joinAny lets somebody join.
func (s *sim) joinAny() {
	if len(s.members) >= 5 {
		return
	}
	var serves []MDT
	if s.restricts && s.oneIn(2) {
		serves = []MDT{}
		for _, m := range s.mdts {
			if s.oneIn(2) {
				serves = append(serves, m.id)
			}
		}
	}
	s.join(fmt.Sprintf("m%d", s.rng.IntN(6)), fmt.Sprint(s.rng.IntN(8)/7), serves)
}

// endAll takes all leases from a member.
func (s *sim) endAll(m *simMember) {
	for _, l := range slices.Clone(m.open) {
		s.lost(l)
	}
}

// lost takes one lease from its member: what is not acknowledged is in flight
// nowhere, and comes again, with all that is newer of its keys.
func (s *sim) lost(l *simLease) {
	for _, r := range l.records {
		if r.holder == l.member && r.index > l.acked {
			r.holder = nil
			s.outdate(l.mdt, r)
		}
	}
	l.member.ended = append(l.member.ended, l)
	l.member.open = slices.DeleteFunc(l.member.open, func(x *simLease) bool { return x == l })
}

func (s *sim) die(m *simMember) {
	s.note("member %d dies", m.id)
	s.endAll(m)
	s.members = slices.DeleteFunc(s.members, func(x *simMember) bool { return x == m })
	if err := s.g.Leave(m.id); err != nil {
		s.fail("leave: %v", err)
	}
	if s.g.Leave(m.id) == nil || s.g.Credit(m.id, 1, 1, s.now) == nil {
		s.fail("member %d is still there", m.id)
	}
	s.checkShares()
}

func (s *sim) credit(m *simMember) {
	n, bytes := s.rng.IntN(4)+1, int64(s.rng.IntN(40)+1)
	if !s.measures {
		bytes = 1 << 30
	}
	had := m.hasCredit()
	m.batches += n
	m.bytes += bytes
	if m.heard = s.now; m.hasCredit() && !had {
		s.turns++
		m.turn = s.turns
	}
	s.note("member %d gets credit %d, %d", m.id, n, bytes)
	if err := s.g.Credit(m.id, n, bytes, s.now); err != nil {
		s.fail("credit: %v", err)
	}
}

// ack acknowledges a part of an open lease, or all of it. As long as it was not
// measured the group cannot know which record is the last.
func (s *sim) ack(l *simLease) {
	upTo := l.d.To
	switch {
	case s.oneIn(3):
		upTo = l.d.From + uint64(s.rng.IntN(int(l.d.To-l.d.From)+1))
	case l.measured && s.oneIn(2):
		upTo = l.records[s.rng.IntN(len(l.records))].index
	}
	said := upTo
	if upTo == l.d.To && s.oneIn(8) {
		said += uint64(s.rng.IntN(20)) // beyond the lease, which means nothing
	}
	err := s.g.Ack(l.member.id, l.d.Lease, said, s.now)
	s.note("member %d acks %d up to %d: %v", l.member.id, l.d.Lease, said, err)
	if err != nil {
		s.fail("ack of lease %d: %v", l.d.Lease, err)
	}
	l.member.heard = s.now
	if l.measured && upTo >= l.last() {
		upTo = l.d.To
	}
	s.acknowledged(l, upTo)
}

// acknowledged notes that a lease is acknowledged up to an index.
func (s *sim) acknowledged(l *simLease, upTo uint64) {
	if upTo > l.acked {
		l.acked, l.progress = upTo, s.now
	}
	for _, r := range l.records {
		if r.index <= l.acked && r.holder == l.member {
			r.acked, r.holder = true, nil
		}
	}
	if l.acked == l.d.To {
		l.member.open = slices.DeleteFunc(l.member.open, func(x *simLease) bool { return x == l })
	}
}

func (s *sim) nack(l *simLease) {
	from := l.d.From + 1 + uint64(s.rng.IntN(int(l.d.To-l.d.From)))
	delay := time.Duration(s.rng.IntN(3)) * time.Second
	s.note("member %d nacks %d from %d, delay %s", l.member.id, l.d.Lease, from, delay)
	if err := s.g.Nack(l.member.id, l.d.Lease, from, delay, s.now); err != nil {
		s.fail("nack: %v", err)
	}
	l.member.heard = s.now
	if _, open := s.g.leases[l.d.Lease]; open {
		s.fail("lease %d was given back and goes on", l.d.Lease)
	}
	s.mayEnd = func(x *simLease) bool {
		return x == l || s.g.Config.Distribution != RoundRobin && x.member == l.member && x.mdt == l.mdt
	}
}

// answer lets a random member react to a random delivery.
func (s *sim) answer() {
	m := s.members[s.rng.IntN(len(s.members))]
	switch n := s.rng.IntN(20); {
	case n == 0 && len(m.ended) > 0:
		l := m.ended[s.rng.IntN(len(m.ended))]
		m.heard = s.now
		if err := s.g.Ack(m.id, l.d.Lease, l.d.To, s.now); err == nil {
			s.fail("member %d could acknowledge lease %d, which had ended", m.id, l.d.Lease)
		}
	case n == 1 && len(s.members) > 1: // of somebody else
		x := s.members[s.rng.IntN(len(s.members))]
		if x == m || len(x.open) == 0 {
			return
		}
		l := x.open[s.rng.IntN(len(x.open))]
		m.heard = s.now
		if err := s.g.Ack(m.id, l.d.Lease, l.d.To, s.now); err == nil {
			s.fail("member %d could acknowledge lease %d of member %d", m.id, l.d.Lease, x.id)
		}
	case len(m.open) == 0:
	case n == 2 && s.nacks:
		s.nack(m.open[s.rng.IntN(len(m.open))])
	default:
		s.ack(m.open[s.rng.IntN(len(m.open))])
	}
}

// step does one thing.
func (s *sim) step() {
	s.mayEnd = func(*simLease) bool { return false }
	if len(s.cuts) > 0 && s.oneIn(3) { // late: it may be acknowledged or lost by now
		i := s.rng.IntN(len(s.cuts))
		s.measure(s.cuts[i])
		s.cuts = slices.Delete(s.cuts, i, i+1)
		s.check()
	}
	switch n := s.rng.IntN(200); {
	case n < 12 || len(s.members) == 0:
		s.joinAny()
	case n < 18:
		s.die(s.members[s.rng.IntN(len(s.members))])
	case n < 24:
		s.grow(s.mdts[s.rng.IntN(len(s.mdts))], s.rng.IntN(20), 8)
		s.wakeAll()
	case n < 32:
		s.pass(time.Duration(s.rng.IntN(10)) * time.Second)
	case n < 35:
		m := s.members[s.rng.IntN(len(s.members))]
		m.heard = s.now
		if err := s.g.Heartbeat(m.id, s.now); err != nil {
			s.fail("heartbeat: %v", err)
		}
	case n < 49:
		s.operate()
	case n < 90:
		s.credit(s.members[s.rng.IntN(len(s.members))])
	default:
		s.answer()
	}
	s.reap()
	s.check()
}

// pass lets time pass.
func (s *sim) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.note("%s", s.now.Sub(time.Unix(0, 0)))
	s.mayEnd = s.timedOut
	s.g.Tick(s.now)
	s.reap()
	s.checkTimeouts()
	for _, id := range s.g.Expired(s.now) {
		i := slices.IndexFunc(s.members, func(m *simMember) bool { return m.id == id })
		if i < 0 || s.now.Sub(s.members[i].heard) <= s.g.Config.Lease {
			s.fail("member %d expired, which is alive or none", id)
		}
		s.die(s.members[i])
	}
	for _, m := range s.members {
		if s.now.Sub(m.heard) > s.g.Config.Lease {
			s.fail("member %d did not expire", m.id)
		}
	}
}

// operate is what operators and the broker do.
func (s *sim) operate() {
	mdt := s.mdts[s.rng.IntN(len(s.mdts))]
	switch n := s.rng.IntN(14); {
	case mdt.removed:
		s.add(mdt)
	case n < 3:
		s.g.Pause(!s.g.paused)
		s.note("paused: %v", s.g.paused)
	case n < 7:
		s.raise(mdt)
	case n < 10:
		s.skip(mdt)
	case n < 12:
		s.resume(mdt)
	case n == 12 && s.oneIn(2):
		s.seek(mdt)
	case n == 13 && s.oneIn(3):
		s.note("remove MDT %d", mdt.id)
		s.mayEnd = func(l *simLease) bool { return l.mdt == mdt }
		mdt.removed = true
		if err := s.g.RemoveMDT(mdt.id); err != nil {
			s.fail("remove: %v", err)
		}
	}
}

// add serves an MDT again, from its mark on. What was to be passed over is forgotten.
func (s *sim) add(mdt *simMDT) {
	s.note("add MDT %d at %d", mdt.id, mdt.mark)
	mdt.removed = false
	for _, r := range mdt.records {
		r.skipped = false
	}
	s.g.AddMDT(mdt.id, mdt.mark)
	s.startAt(mdt, mdt.mark)
}

// raise has the ceiling written that was asked for.
func (s *sim) raise(mdt *simMDT) {
	if mdt.wanted > mdt.ceiling {
		mdt.ceiling = mdt.wanted
		s.note("ceiling of MDT %d at %d", mdt.id, mdt.ceiling)
		s.g.Track(mdt.id).CeilingRaised()
	}
}

func (s *sim) skip(mdt *simMDT) {
	r := mdt.records[s.rng.IntN(len(mdt.records))]
	if open := between(mdt.records, mdt.mark, mdt.mark+uint64(s.rng.IntN(40))); len(open) > 0 {
		r = open[len(open)-1]
	}
	err := s.g.Skip(mdt.id, r.index)
	if (err != nil) != (r.index <= mdt.mark) {
		s.fail("skip %d with the mark at %d: %v", r.index, mdt.mark, err)
	}
	if err == nil {
		s.note("skip %d/%d", mdt.id, r.index)
		r.skipped = true
		s.pardon(mdt)
	}
}

func (s *sim) resume(mdt *simMDT) {
	s.note("resume MDT %d", mdt.id)
	if err := s.g.Resume(mdt.id); err != nil {
		s.fail("resume: %v", err)
	}
	s.pardon(mdt)
}

// pardon allows more deliveries of what was delivered as often as it may.
func (s *sim) pardon(mdt *simMDT) {
	for _, r := range mdt.records {
		if r.most > 0 && r.delivered >= r.most && r.holder == nil {
			r.most = r.delivered + s.g.Config.MaxDeliveries
		}
	}
}

func (s *sim) seek(mdt *simMDT) {
	to := uint64(s.rng.IntN(int(mdt.last) + 1))
	if s.oneIn(2) {
		to = mdt.mark + uint64(s.rng.IntN(5))
	}
	to = min(to, mdt.last)
	s.note("seek %d/%d, the mark is %d", mdt.id, to, mdt.mark)
	s.mayEnd = func(l *simLease) bool { return l.mdt == mdt }
	for _, r := range mdt.records {
		r.skipped = r.skipped && r.index > mdt.mark // what was passed over before is history
	}
	if err := s.g.Seek(mdt.id, to); err != nil {
		s.fail("seek: %v", err)
	}
	s.startAt(mdt, to)
}

// startAt has the oracle forget what was before a track began.
func (s *sim) startAt(mdt *simMDT, mark uint64) {
	s.reap()
	mdt.mark, mdt.frontier = mark, mark
	for _, r := range mdt.records {
		r.acked, r.delivered, r.stale, r.last, r.most = r.index <= mark, 0, false, nil, s.g.Config.MaxDeliveries
	}
}

// wakeAll is what the broker does for streams that wait for new records.
func (s *sim) wakeAll() {
	for _, mdt := range s.mdts {
		if !mdt.removed {
			s.queue = append(s.queue, s.g.Track(mdt.id).Streams()...)
		}
	}
}

// finish lets everybody behave and demands that everything gets acknowledged.
func (s *sim) finish() {
	if s.g.paused {
		s.g.Pause(false)
	}
	for _, mdt := range s.mdts {
		if mdt.removed {
			s.add(mdt)
		}
	}
	quiet := 0
	for before := s.total(); quiet < 200; before = s.total() {
		s.pass(time.Second)
		if !slices.ContainsFunc(s.members, func(m *simMember) bool { return m.serves == nil }) {
			s.join("last", "0", nil)
		}
		s.mayEnd = func(*simLease) bool { return false }
		for _, m := range slices.Clone(s.members) {
			if m.batches < 3 || m.bytes < 10 {
				s.credit(m)
			}
			if m.heard = s.now; len(m.open) > 0 {
				s.ack(m.open[0])
			}
			_ = s.g.Heartbeat(m.id, s.now)
		}
		for _, mdt := range s.mdts {
			if s.raise(mdt); quiet == 50 {
				s.resume(mdt)
			}
		}
		s.reap()
		s.work(1000)
		if s.complete() {
			s.checkEnd()
			return
		}
		if quiet++; s.total() != before {
			quiet = 0
		}
	}
	s.describe()
	s.fail("stuck: not everything could be acknowledged")
}

// total changes whenever a mark or an acked index does.
func (s *sim) total() (n uint64) {
	for _, mdt := range s.mdts {
		n += s.g.Track(mdt.id).Mark()
	}
	for _, m := range s.members {
		for _, l := range m.open {
			n += l.acked
		}
	}
	return n
}

func (s *sim) complete() bool {
	for _, mdt := range s.mdts {
		if s.g.Track(mdt.id).Mark() != mdt.last {
			return false
		}
	}
	return true
}

// describe notes where everything stands.
func (s *sim) describe() {
	for _, mdt := range s.mdts {
		t := s.g.Track(mdt.id)
		s.note("MDT %d mark %d of %d, ahead %d of %d, ceiling %d", mdt.id, t.Mark(), mdt.last, t.ahead, s.g.Config.InFlight, mdt.ceiling)
		for _, x := range t.Streams() {
			s.note("  stream %d cursor %d mark %d owner %d to %d leases %d %s after %v", x.id, x.cursor, x.mark(), x.owner, x.moveTo, len(x.leases), x.blocked, x.after != nil)
			for _, l := range x.leases {
				s.note("    lease %d of %d (%d,%d] acked %d", l.id, l.member.id, l.from, l.to, l.acked)
			}
		}
	}
}

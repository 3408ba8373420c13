package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/groups"
)

// The simulation runs a broker's core in a world of made-up MDTs, readers, a disk
// and members, all with delays and faults, and checks after every step what
// docs/ordering-and-acks.md and the design promise. The oracle counts records: what
// each group acknowledged, what the MDT holds, what is on disk.

// recordSize is what a made-up record weighs, in bytes.
const recordSize = 100

type world struct {
	rng  *dice
	now  time.Time
	cfg  Config
	core *Core
	mdts []*worldMDT
	disk disk

	readers map[ReaderID]*worldReader
	chains  map[ChainID]*worldChain
	groups  map[string]*worldGroup // that some member was welcomed to, or that are on disk
	members []*worldMember
	lastID  Peer
	pending []pending
	stored  bool // a Persist is on its way
	log     []string
	// delivered notes what was delivered, by group, MDT and key, if it is not nil.
	delivered map[string][]uint64
	contents  map[*Batch][]uint64
	sending   map[*Batch]int    // how many deliveries of it writers have
	copies    map[*Batch]*Batch // what was made of them for those who get records repacked
	kept      map[*Batch]bool   // that the core has kept and not said to be free
	freed     map[*Batch]bool
	over      int // for how long more was pinned than may be
	most      int // records in a batch
	refused   groups.LeaseID
	owed      map[Peer][]Lost // what a member that was welcomed is still to be told
	calm      bool            // no more faults: everything must come to its end
	stopping  bool            // lcapd comes to an orderly end
	// handed is the highest index that was handed out, by mark and epoch.
	handed map[handedKey]uint64
}

// unhand forgets what was handed out under a mark that is gone.
func (w *world) unhand(mark string) {
	maps.DeleteFunc(w.handed, func(k handedKey, _ uint64) bool { return k.mark == mark })
}

type handedKey struct {
	mark  string
	epoch Epoch
}

// pending is something on its way to the core; one lane keeps its order.
type pending struct {
	lane string
	do   func()
}

type worldMDT struct {
	id       groups.MDT
	epoch    Epoch
	records  []uint64
	keys     map[uint64][]groups.Slot
	hidden   []uint64        // indexes of records that are not visible yet
	revealed map[uint64]bool // that were hidden
	last     uint64
	cleared  uint64 // by us
	purged   uint64 // by Lustre itself
	removed  bool   // lcapd does not serve it
	again    bool   // it was removed once: lcapd does not know what it delivered then
	// What the records are: see makeRecord.
	made  map[uint64]simRecord
	lives map[groups.Slot]bool   // whether the file of a key does
	files map[groups.Slot]uint32 // how many a key had
}

// gone is the highest index that can no longer be read.
func (m *worldMDT) gone() uint64 { return max(m.cleared, m.purged) }

type worldReader struct {
	id      ReaderID
	mdt     *worldMDT
	at      uint64
	until   uint64
	granted int64
	blind   map[uint64]bool // what became visible behind it
}

// worldGroup is what the oracle knows of a group.
type worldGroup struct {
	name  string
	start map[groups.MDT]uint64
	acked map[groups.MDT]map[uint64]bool
	// excused are records that an operator passed over, passed those that must not come.
	excused, passed map[groups.MDT]map[uint64]bool
	paused          bool

	moved bool // by a seek: what it acknowledged may come again
	// expires says that its limits let it expire, or did; gaveUp what it was told, by MDT, that
	// it gave up, told whether that was to a member who has acknowledged something since.
	expires bool
	gaveUp  map[groups.MDT][]Missed
	ever    map[groups.MDT][]Missed // all of that there ever was
	heard   time.Time               // when it acknowledged something last, since lcapd started
	// model is what the members, sharing a data base, made of the records: the last one
	// applied, by MDT and key. pardoned is up to where they need not have seen them.
	model    map[groups.MDT]map[groups.Slot]uint64
	pardoned map[groups.MDT]uint64
	chains   []string                       // that it has or had; none if it never had one
	seen     map[groups.MDT]map[uint64]bool // what was ever handed out to it
}

type worldMember struct {
	id      Peer
	name    string
	group   string
	session string
	open    []Deliver
	ready   bool // was welcomed
	heard   time.Time
	// applied is up to where it applied each delivery that it has.
	applied map[groups.LeaseID]uint64
}

// disk is the state store.
type disk struct {
	groups map[string]GroupState
	marks  map[string]MarkState
	mdts   map[groups.MDT]MDTState
	broken bool
}

func newWorld(rng *dice) *world {
	w := &world{
		rng: rng, now: time.Unix(1000, 0), most: 10,
		readers:  make(map[ReaderID]*worldReader),
		chains:   make(map[ChainID]*worldChain),
		groups:   make(map[string]*worldGroup),
		contents: make(map[*Batch][]uint64),
		sending:  make(map[*Batch]int),
		copies:   make(map[*Batch]*Batch),
		kept:     make(map[*Batch]bool),
		freed:    make(map[*Batch]bool),
		handed:   make(map[handedKey]uint64),
		disk:     disk{groups: make(map[string]GroupState), marks: make(map[string]MarkState), mdts: make(map[groups.MDT]MDTState)},
	}
	w.cfg = Config{
		Memory: int64(rng.IntN([]int{60, 6}[rng.IntN(2)])*1500 + 1), Grant: int64(rng.IntN(60)*recordSize + 1), CatchUps: rng.IntN(3) + 1,
		CeilingStep: uint64(rng.IntN(100) + 1), PersistEvery: 200 * time.Millisecond, ClearEvery: time.Second,
		ClearAgain: time.Hour, HoleDelay: 2 * time.Second, RetryAfter: 3 * time.Second, Linger: time.Duration(rng.IntN(3)) * time.Second,
		Pinned: int64(rng.IntN(30) * 1500), ExpireEvery: 3 * time.Second, StandStill: time.Duration(rng.IntN(3)) * time.Second,
	}
	for i := range rng.IntN(3) + 1 {
		m := &worldMDT{id: groups.MDT(i), keys: make(map[uint64][]groups.Slot), revealed: make(map[uint64]bool)}
		m.grow(rng, rng.IntN(150)+10)
		w.mdts = append(w.mdts, m)
		w.disk.mdts[m.id] = MDTState{MDT: m.id} // lcapd init
	}
	w.start()
	return w
}

func (m *worldMDT) grow(rng *dice, n int) {
	for range n {
		m.last++
		if rng.IntN(20) == 0 {
			for range rng.IntN(5) {
				m.hidden = append(m.hidden, m.last) // it may become visible, or not
				m.setKeys(rng)
				m.last++
			}
		}
		m.records = append(m.records, m.last)
		m.setKeys(rng)
	}
}

func (m *worldMDT) setKeys(rng *dice) {
	keys := []groups.Slot{groups.Slot(rng.IntN(16) * 256)}
	if rng.IntN(10) == 0 {
		keys = append(keys, groups.Slot(rng.IntN(16)*256+1))
	}
	m.keys[m.last] = keys
	m.makeRecord(m.last)
}

// reveal makes a record visible that was not. Readings that are past it, or have read
// ahead, do not see it.
func (w *world) reveal(m *worldMDT) {
	if len(m.hidden) == 0 {
		return
	}
	late := m.hidden // those that the live reading has passed, if there are some
	if x := w.core.mdts[m.id]; x != nil {
		late = slices.DeleteFunc(slices.Clone(late), func(i uint64) bool { return i > x.lastRead })
	}
	if len(late) == 0 {
		late = m.hidden
	}
	index := late[w.rng.IntN(len(late))]
	m.hidden = slices.DeleteFunc(m.hidden, func(i uint64) bool { return i == index })
	if index <= m.gone() {
		return
	}
	w.note("record %d of MDT %d becomes visible", index, m.id)
	m.revealed[index] = true
	at, _ := slices.BinarySearch(m.records, index)
	m.records = slices.Insert(m.records, at, index)
	for _, id := range w.readerIDs() {
		if r := w.readers[id]; r.mdt == m && w.rng.IntN(2) == 0 {
			r.blind[index] = true
		}
	}
}

// secondLook answers a CheckHole. What is not visible by then never will be.
func (w *world) secondLook(o CheckHole) {
	m := w.mdts[o.MDT]
	ev := HoleChecked{MDT: o.MDT, Epoch: o.Epoch, Hole: o.Hole}
	if o.Epoch != m.epoch || !w.calm && w.rng.IntN(10) == 0 {
		ev.Err = errors.New("EIO")
		w.step(ev)
		return
	}
	r := &worldReader{mdt: m, at: o.Hole.From, until: o.Hole.To}
	for r.at < r.until && len(ev.Found) < 2 {
		b := w.batch(m, r, w.visible(r, w.rng.IntN(2)+1))
		for _, index := range w.contents[b] {
			ev.Late = append(ev.Late, groups.LateRecord{Index: index, Home: m.keys[index][0], Bytes: recordSize})
		}
		ev.Found = append(ev.Found, b)
		r.at = b.To
	}
	if len(ev.Late) == 0 && r.at < r.until {
		ev.Late = nil
	}
	m.hidden = slices.DeleteFunc(m.hidden, func(x uint64) bool { return x > o.Hole.From && x <= r.at })
	if len(ev.Late) == 0 {
		ev.Found = nil
	}
	w.step(ev)
}

// start is lcapd's start, from what is on disk.
func (w *world) start() {
	st := State{}
	for _, m := range w.mdts {
		s, served := w.disk.mdts[m.id]
		if m.removed = !served; served {
			st.MDTs = append(st.MDTs, s)
		}
	}
	for _, name := range sortedKeys(w.disk.groups) {
		st.Groups = append(st.Groups, w.disk.groups[name])
		w.know(name) // also one that was being deleted
		g := w.groups[name]
		g.paused = w.disk.groups[name].Paused
		w.recall(g)
		for id := range g.passed {
			g.passed[id] = make(map[uint64]bool)
		}
	}
	for _, key := range sortedKeys(w.disk.marks) {
		st.Marks = append(st.Marks, w.disk.marks[key])
	}
	w.core = New(w.cfg, st, w.now)
	w.carryOut()
	for _, m := range w.mdts {
		if !m.removed {
			w.seeReset(m)
			w.purged(m)
		}
	}
}

// purged tells what Lustre dropped, as who looks for it finds it.
func (w *world) purged(m *worldMDT) {
	w.step(Purged{MDT: m.id, Epoch: m.epoch, To: m.purged, Cleared: w.core.mdts[m.id].clear.sent})
}

// seeReset is what lcapd finds when it compares the identities that it kept.
func (w *world) seeReset(m *worldMDT) {
	if w.core.mdts[m.id].epoch != m.epoch {
		w.step(Reset{MDT: m.id, Epoch: m.epoch})
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// failure ends a run.
type failure string

func (w *world) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// step applies an event and carries out what comes of it.
func (w *world) step(ev Event) {
	w.core.Step(ev)
	w.carryOut()
}

// do has an operator ask for something, who may be refused.
func (w *world) do(r Request) {
	if err := w.core.Do(r); err != nil {
		w.note("%T: %v", r, err)
	}
	w.carryOut()
}

func (w *world) carryOut() {
	if w.stopping {
		return // nothing is handed out any more
	}
	for rounds := 0; ; rounds++ {
		if rounds > 1e5 {
			w.fail("the work does not end")
		}
		more := w.core.Work(w.rng.IntN(8) + 1)
		for _, out := range w.core.Outputs() {
			w.output(out)
		}
		w.check()
		if !more {
			w.checkPinned()
			return
		}
	}
}

// later puts something on its way; what has the same lane keeps its order.
func (w *world) later(lane string, do func()) { w.pending = append(w.pending, pending{lane, do}) }

// arrive lets one of the things on their way arrive.
func (w *world) arrive() {
	if len(w.pending) == 0 {
		return
	}
	i := w.rng.IntN(len(w.pending))
	for j, p := range w.pending[:i] {
		if p.lane == w.pending[i].lane {
			i = j
			break
		}
	}
	p := w.pending[i]
	w.pending = slices.Delete(w.pending, i, i+1)
	p.do()
}

func (w *world) output(out Output) {
	switch o := out.(type) {
	case OpenReader:
		m := w.mdts[o.MDT]
		w.readers[o.Reader] = &worldReader{id: o.Reader, mdt: m, at: o.From, until: o.Until, blind: make(map[uint64]bool)}
		w.note("open reader %d of MDT %d at %d until %d", o.Reader, o.MDT, o.From, o.Until)
	case CloseReader:
		delete(w.readers, o.Reader)
		w.note("close reader %d", o.Reader)
	case Grant:
		w.readers[o.Reader].granted += o.Bytes
	case OpenChain:
		w.openChain(o)
	case Process:
		w.process(o)
	case CloseChain:
		w.note("close chain %d", o.Chain)
		delete(w.chains, o.Chain)
	case Deliver:
		w.deliver(o)
	case Welcome:
		w.welcome(o)
	case Refuse:
		w.note("refuse %d: %v", o.Peer, o.Err)
		w.refused = o.Lease
		w.members = slices.DeleteFunc(w.members, func(m *worldMember) bool { return m.id == o.Peer && !m.ready })
		w.drop(o)
	case Disconnect:
		w.note("disconnect %d: %s", o.Peer, o.Reason)
		if m := w.member(o.Peer); m != nil && strings.HasPrefix(o.Reason, "no heartbeat") && w.now.Sub(m.heard) < w.disk.groups[m.group].Config.Lease {
			w.fail("member %d is sent away, and was heard %s ago", o.Peer, w.now.Sub(m.heard))
		}
		w.members = slices.DeleteFunc(w.members, func(m *worldMember) bool { return m.id == o.Peer })
	case Persist:
		w.persist(o)
	case Clear:
		w.clear(o)
	case CheckHole:
		w.later("hole", func() { w.secondLook(o) })
	case Lost:
		w.lost(o)
	case Free:
		if w.freed[o.Batch] || w.sending[o.Batch] > 0 {
			w.fail("(%d,%d] is free, and was before: %v, writers have %d deliveries", o.Batch.From, o.Batch.To, w.freed[o.Batch], w.sending[o.Batch])
		}
		w.freed[o.Batch] = true
		delete(w.kept, o.Batch)
	case Publish:
		if w.freed[o.Batch] {
			w.fail("(%d,%d] is published, and was free", o.Batch.From, o.Batch.To)
		}
	case Alarm, GroupStored, Restarted:
	default:
		w.fail("unknown output %T", out)
	}
}

// read has a reader deliver a batch, if it may.
func (w *world) read(r *worldReader) {
	m := r.mdt
	if r.granted <= 0 {
		return
	}
	if r.until != 0 && r.at >= r.until {
		delete(w.readers, r.id)
		w.step(ReaderEnded{Reader: r.id})
		return
	}
	if !w.calm && w.rng.IntN(60) == 0 {
		delete(w.readers, r.id)
		w.note("reader %d fails", r.id)
		w.step(ReaderEnded{Reader: r.id, Err: errors.New("EIO"), Stopped: w.rng.IntN(4) == 0})
		return
	}
	b := w.batch(m, r, w.visible(r, w.rng.IntN(w.most)+1))
	if b.To == b.From {
		return // nothing new
	}
	r.at = b.To
	r.granted -= b.Weight()
	w.step(BatchRead{Reader: r.id, Batch: b})
}

// visible returns the next records that the reader shows, n at most.
func (w *world) visible(r *worldReader, n int) (records []uint64) {
	i, _ := slices.BinarySearch(r.mdt.records, max(r.at, r.mdt.gone())+1)
	for ; i < len(r.mdt.records) && len(records) < n; i++ {
		index := r.mdt.records[i]
		if r.until != 0 && index > r.until {
			break
		}
		if !r.blind[index] {
			records = append(records, index)
		}
	}
	return records
}

func (w *world) batch(m *worldMDT, r *worldReader, records []uint64) *Batch {
	b := &Batch{MDT: m.id, Epoch: m.epoch, From: r.at, To: r.at, Slots: new(groups.Slots), Count: len(records), Records: make([]byte, len(records)*recordSize)}
	w.contents[b] = records
	prev := r.at
	for _, index := range records {
		if index > prev+1 {
			b.Holes = append(b.Holes, Range{prev, index - 1})
		}
		prev = index
		keys := m.keys[index]
		for _, k := range keys {
			b.Slots.Add(k)
		}
		if len(keys) == 2 {
			b.Pairs = append(b.Pairs, groups.Pair{Index: index, Home: keys[0], Other: keys[1]})
		}
		b.To = index
	}
	// A catch-up covers up to its end, whether or not there are records.
	if r.until != 0 {
		if rest := (&worldReader{mdt: m, at: b.To, until: r.until, blind: r.blind}); len(w.visible(rest, 1)) == 0 {
			if b.To < r.until {
				b.Holes = append(b.Holes, Range{b.To, r.until})
			}
			b.To = r.until
		}
	}
	return b
}

func (w *world) member(id Peer) *worldMember {
	i := slices.IndexFunc(w.members, func(m *worldMember) bool { return m.id == id })
	if i < 0 {
		return nil
	}
	return w.members[i]
}

// covered returns the records of a delivery.
func (w *world) covered(d Deliver) (records []uint64) {
	m := w.mdts[d.MDT]
	for _, index := range w.contents[d.Batch] {
		if index > d.From && index <= d.To && (d.Slots == nil || d.Slots.Has(m.keys[index][0])) {
			records = append(records, index)
		}
	}
	return records
}

func (w *world) deliver(d Deliver) {
	m := w.member(d.Member)
	if m == nil || !m.ready {
		w.fail("delivery to %d, which is no welcomed member", d.Member)
	}
	if w.freed[d.Batch] {
		w.fail("delivery of (%d,%d] from a batch that was free", d.From, d.To)
	}
	if d.Batch.From > d.From || d.To > d.Batch.To || d.From >= d.To {
		w.fail("delivery of (%d,%d] from a batch of (%d,%d]", d.From, d.To, d.Batch.From, d.Batch.To)
	}
	mark, ok := w.disk.marks[markKey(m.group, d.MDT)]
	if !ok || d.To > mark.Ceiling || mark.Epoch != d.Epoch {
		w.fail("delivery up to %d, the ceiling on disk is %d", d.To, mark.Ceiling)
	}
	handed := handedKey{markKey(m.group, d.MDT), d.Epoch}
	w.handed[handed] = max(w.handed[handed], d.To)
	if len(w.owed[d.Member]) > 0 {
		w.fail("member %d gets records before it was told what %s has missed: %v", d.Member, m.group, w.owed[d.Member])
	}
	g := w.groups[m.group]
	if g.paused {
		w.fail("delivery to %s, which is paused", m.group)
	}
	for _, index := range w.covered(d) {
		g.seen[d.MDT][index] = true
		if g.passed[d.MDT][index] {
			w.fail("record %d comes to %s, which was to pass over it", index, m.group)
		}
		again := g.acked[d.MDT][index] && !w.mdts[d.MDT].revealed[index] // else it may have come late before
		if again && d.Count == 1 && !d.MaybeRedelivered && index > w.mdts[d.MDT].purged && !w.mdts[d.MDT].again && !g.moved {
			w.fail("record %d was acknowledged by %s and comes again unmarked", index, m.group)
		}
		if index <= w.mdts[d.MDT].cleared {
			w.fail("record %d was cleared already", index)
		}
	}
	if w.delivered != nil {
		for _, index := range w.covered(d) {
			for _, k := range w.mdts[d.MDT].keys[index] {
				key := fmt.Sprintf("%s/%d/%d", m.group, d.MDT, k)
				w.delivered[key] = append(w.delivered[key], index)
			}
		}
	}
	w.note("deliver MDT %d (%d,%d] to %d of %s, late %v", d.MDT, d.From, d.To, m.id, m.group, d.Late)
	records := w.covered(d)
	if len(records) > 0 || d.Whole() {
		m.open = append(m.open, d)
	}
	lane := fmt.Sprint("sent", d.Member)
	if !d.Whole() {
		ev := Measured{Delivery: d.Delivery}
		if n := len(records); n > 0 {
			ev.Bytes, ev.Last = int64(n)*recordSize, records[n-1]
			if d.Repacked {
				ev.Bytes /= 2
			}
		}
		w.later(lane, func() { w.step(ev) })
	}
	held := d.Batch
	w.sending[held]++
	if d.Repacked {
		w.later(lane, func() { held = w.repack(d) })
	}
	w.later(lane, func() {
		w.letGo(held)
		w.step(Sent{Peer: d.Member, Batch: held})
	})
}

// repack puts a smaller copy of its batch in the place of what a delivery holds; sometimes there is nothing
// to cut.
func (w *world) repack(d Deliver) *Batch {
	if d.Batch.To%4 == 0 {
		return d.Batch
	}
	held := w.copies[d.Batch]
	if held == nil {
		made := *d.Batch
		held, made.Records = &made, made.Records[:len(made.Records)/2]
		w.copies[d.Batch] = held
	}
	w.sending[held]++
	w.letGo(d.Batch)
	w.step(Copied{Peer: d.Member, Batch: d.Batch, Copy: held})
	return held
}

// letGo notes that a writer has one delivery of a batch less.
func (w *world) letGo(b *Batch) {
	if w.sending[b]--; w.sending[b] == 0 {
		delete(w.sending, b)
	}
}

func (w *world) welcome(o Welcome) {
	m := w.member(o.Peer)
	if m == nil {
		return // it went away meanwhile
	}
	m.ready, m.heard = true, w.now
	w.owe(m)
	if _, onDisk := w.disk.groups[m.group]; !onDisk {
		w.fail("welcome to group %s, which is not on disk", m.group)
	}
	w.know(m.group)
}

// know starts the oracle's account of a group that is on disk.
func (w *world) know(name string) {
	if w.groups[name] != nil {
		return
	}
	g := &worldGroup{name: name, paused: w.disk.groups[name].Paused,
		gaveUp: make(map[groups.MDT][]Missed), ever: make(map[groups.MDT][]Missed), excused: make(map[groups.MDT]map[uint64]bool), passed: make(map[groups.MDT]map[uint64]bool), start: make(map[groups.MDT]uint64), acked: make(map[groups.MDT]map[uint64]bool),
		model: make(map[groups.MDT]map[groups.Slot]uint64), pardoned: make(map[groups.MDT]uint64), seen: make(map[groups.MDT]map[uint64]bool)}
	if text := w.disk.groups[name].Modules; text != "" {
		g.chains = []string{text}
	}
	for _, m := range w.mdts {
		g.model[m.id] = make(map[groups.Slot]uint64)
		g.start[m.id] = w.disk.marks[markKey(name, m.id)].Mark
		g.forget(m.id)
		g.excuse(m)
	}
	w.groups[name] = g
}

// forget begins a new account of an MDT.
func (g *worldGroup) forget(id groups.MDT) {
	g.seen[id] = make(map[uint64]bool)
	g.acked[id], g.excused[id], g.passed[id] = make(map[uint64]bool), make(map[uint64]bool), make(map[uint64]bool)
}

// excuse takes what Lustre purged for acknowledged: the group cannot get it any more.
func (g *worldGroup) excuse(m *worldMDT) {
	g.pardon(m, max(m.purged, g.start[m.id]))
	for _, index := range m.records {
		if index <= m.purged {
			g.acked[m.id][index] = true
		}
	}
}

// pardon notes that the group need not have seen what lies at or below index.
func (g *worldGroup) pardon(m *worldMDT, index uint64) {
	g.pardoned[m.id] = max(g.pardoned[m.id], index)
}

// apply has a member of the group apply a record to what all of them share.
func (g *worldGroup) apply(m *worldMDT, d Deliver, index uint64) {
	for i, key := range m.keys[index] {
		// Who is not past a record that became visible late reads it in its place, but
		// for its second key it may still be late.
		late := d.Late || i > 0 && m.revealed[index]
		if !late || index > g.model[m.id][key] {
			g.model[m.id][key] = index
		}
	}
}

// compare demands that what the groups that keep order made of the records is what
// there is: for each key the last record of it.
func (w *world) compare() {
	for _, name := range sortedKeys(w.groups) {
		g := w.groups[name]
		for _, m := range w.mdts {
			if !w.isFor(name, m.id) {
				continue
			}
			if len(g.chains) > 0 {
				w.compareChained(g, m)
				continue
			}
			if w.disk.groups[name].Config.Distribution == groups.RoundRobin {
				continue
			}
			last := make(map[groups.Slot]uint64)
			for _, index := range m.records {
				for _, key := range m.keys[index] {
					if !g.excused[m.id][index] || index == g.model[m.id][key] {
						last[key] = index
					}
				}
			}
			for key, index := range last {
				if got := g.model[m.id][key]; got != index && index > g.pardoned[m.id] {
					w.fail("group %s, MDT %d, key %d: the last record applied is %d, want %d", name, m.id, key, got, index)
				}
			}
		}
	}
}

func markKey(group string, id groups.MDT) string { return fmt.Sprintf("%s/%d", group, id) }

// drop has a member drop what it has of a lease that was revoked: it comes again, and who keeps
// an order must not go on with it.
func (w *world) drop(o Refuse) {
	if m := w.member(o.Peer); m != nil && errors.Is(o.Err, groups.ErrLeaseLost) {
		m.open = slices.DeleteFunc(m.open, func(d Deliver) bool { return d.Lease == o.Lease })
	}
}

// persist is a write on its way to the disk: it takes its time, and may fail.
func (w *world) persist(o Persist) {
	if w.stored {
		w.fail("two writes to the state at once")
	}
	w.stored = true
	w.later("disk", func() {
		w.stored = false
		if !w.calm && (w.disk.broken || w.rng.IntN(20) == 0) {
			w.step(Persisted{Seq: o.Seq, Err: errors.New("ENOSPC")})
			return
		}
		w.disk.write(w, o.Update)
		w.step(Persisted{Seq: o.Seq})
	})
}

func (d *disk) write(w *world, u Update) {
	for _, name := range u.Deleted {
		if _, ok := d.groups[name]; !ok {
			w.fail("group %s is deleted, and is not there", name)
		}
		delete(d.groups, name)
		delete(w.groups, name)
		for _, m := range w.mdts {
			delete(d.marks, markKey(name, m.id))
			w.unhand(markKey(name, m.id))
		}
	}
	for _, id := range u.Removed {
		delete(d.mdts, id)
		for key, s := range d.marks {
			if s.MDT == id {
				delete(d.marks, key)
				w.unhand(key)
			}
		}
	}
	for _, s := range u.MDTs {
		old, had := d.mdts[s.MDT]
		if had && s.Epoch == old.Epoch && s.Cleared < old.Cleared {
			w.fail("the clear of MDT %d falls from %d to %d", s.MDT, old.Cleared, s.Cleared)
		}
		if !had { // added: every group owes what is not cleared
			for _, g := range w.groups {
				g.start[s.MDT] = s.Cleared
				g.pardon(w.mdts[s.MDT], s.Cleared)
			}
		}
		d.mdts[s.MDT] = s
	}
	for _, g := range u.Groups {
		if old, ok := d.groups[g.Config.Name]; ok && (!slices.Equal(old.MDTs, g.MDTs) || old.Config != g.Config) {
			w.fail("group %s becomes another one", g.Config.Name)
		}
		d.groups[g.Config.Name] = g
	}
	for _, s := range u.Marks {
		key := markKey(s.Group, s.MDT)
		if old, ok := d.marks[key]; ok && s.Mark < old.Mark && s.Epoch == old.Epoch && !s.Seek {
			w.fail("the mark of %s falls from %d to %d", key, old.Mark, s.Mark)
		}
		if old, ok := d.marks[key]; ok && s.Ceiling < old.Ceiling && s.Epoch == old.Epoch && !u.Ended {
			w.fail("the ceiling of %s falls from %d to %d", key, old.Ceiling, s.Ceiling)
		}
		if handed := w.handed[handedKey{key, s.Epoch}]; s.Ceiling < handed {
			w.fail("the ceiling of %s is %d, below %d that was handed out", key, s.Ceiling, handed)
		}
		if _, ok := d.groups[s.Group]; !ok || !w.isFor(s.Group, s.MDT) {
			w.fail("a mark of %s, which is not to be", key)
		}
		if m := d.mdts[s.MDT]; m.Epoch == s.Epoch && s.Mark < m.Cleared {
			w.fail("the mark of %s is %d, below the last clear %d", key, s.Mark, m.Cleared)
		}
		w.checkMissed(d.marks[key], s)
		d.marks[key] = s
	}
	for _, g := range u.Groups {
		w.know(g.Config.Name)
	}
}

// clear is a clear on its way to the MDT. Here the oracle checks the first promise.
func (w *world) clear(o Clear) {
	m := w.mdts[o.MDT]
	if o.Index == 0 || o.Index > m.last {
		w.fail("illegal clear %d of MDT %d, whose last index is %d", o.Index, m.id, m.last)
	}
	for name, g := range w.groups {
		if !w.isFor(name, m.id) {
			continue
		}
		if on := w.disk.marks[markKey(name, m.id)]; o.Index > on.Mark || on.Epoch != m.epoch {
			w.fail("clear %d of MDT %d, but on disk %s has %d", o.Index, m.id, name, on.Mark)
		}
		for _, index := range m.records {
			if index > g.start[m.id] && index <= o.Index && !g.acked[m.id][index] && !g.excused[m.id][index] && !w.missedOnDisk(name, m, index) && !g.mayMiss(m, index) {
				w.fail("clear %d of MDT %d, but %s, which starts at %d, has not acknowledged %d%s", o.Index, m.id, name, g.start[m.id], index, g.story(m, index))
			}
		}
	}
	w.later(mdtLane(m), func() {
		var err error
		switch {
		case !w.calm && w.rng.IntN(15) == 0:
			err = syscall.EIO
		case o.Epoch != m.epoch:
			err = syscall.EINVAL // the driver does not send it
		case o.Index < m.cleared:
			err = syscall.EINVAL
		default:
			m.cleared = o.Index
		}
		w.note("clear MDT %d up to %d: %v", m.id, o.Index, err)
		w.step(Cleared{MDT: m.id, Epoch: o.Epoch, Index: o.Index, Err: err, Refused: errors.Is(err, syscall.EINVAL)})
	})
}

func mdtLane(m *worldMDT) string { return fmt.Sprint("mdt", m.id) }

// check checks the memory limit.
func (w *world) check() {
	c := w.core
	for _, m := range c.order {
		if len(m.late) > 0 {
			return // what was found late comes on top
		}
	}
	// A chain may have one window, what it held back as it lets it go, and one batch more.
	allowed := int64(len(c.chains)) * (4*w.cfg.Grant + 60*(recordSize+640))
	allowed += w.cfg.Memory + int64(len(c.feeds))*(w.cfg.Grant+int64(w.most)*(recordSize+32)+640)
	if c.memory > allowed || c.memory < 0 || c.granted < 0 {
		w.fail("%d bytes of batches are kept, %d granted, %d allowed", c.memory, c.granted, allowed)
	}
}

// checkPinned adds up what is kept, and what only writers hold. Whoever holds too much
// of that is to be cut before long.
func (w *world) checkPinned() {
	c := w.core
	kept, pinned := int64(0), int64(0)
	inWindow := make(map[*Batch]bool)
	count := func(batches []*Batch) {
		for _, b := range batches {
			kept += b.Weight()
			inWindow[b] = true
		}
	}
	for _, m := range c.order {
		count(m.live.batches)
		count(m.late)
		for _, f := range m.catchUps {
			count(f.batches)
		}
	}
	count(w.checkChains())
	if c.leaving < 0 {
		w.fail("%d bytes are leaving", c.leaving)
	}
	w.checkFreed(inWindow)
	for b := range w.sending {
		if !inWindow[b] {
			pinned += b.Weight()
		}
	}
	if kept != c.memory || pinned != c.pinned {
		w.fail("%d bytes are kept and %d pinned, the core counts %d and %d", kept, pinned, c.memory, c.pinned)
	}
	var worst *peer
	for _, p := range c.peers {
		if p.sends > 1 {
			worst = p
		}
	}
	w.over++
	if worst == nil || pinned-c.leaving <= w.cfg.Pinned {
		w.over = 0
	}
	if w.over > 10 {
		w.fail("%d bytes are pinned, and member %d, who has %d of them, is not cut", pinned, worst.id, worst.unsent)
	}
}

func (w *world) join(group, name, session string) {
	w.lastID++
	old := slices.IndexFunc(w.members, func(m *worldMember) bool { return m.group == group && m.name == name })
	if old >= 0 && w.members[old].session != session {
		return
	}
	w.members = append(w.members, &worldMember{id: w.lastID, name: name, group: group, session: session, applied: make(map[groups.LeaseID]uint64)})
	w.note("join %d to %s", w.lastID, group)
	w.step(Join{Peer: w.lastID, Group: group, Name: name, Session: session, Repacked: w.lastID%3 == 0})
}

func (w *world) die(m *worldMember) {
	if m == nil {
		return
	}
	w.note("member %d dies", m.id)
	if n := len(m.open); n > 0 { // it had begun with them
		i := w.rng.IntN(n)
		w.work(m, i, m.open[i].From+uint64(w.rng.IntN(int(m.open[i].To-m.open[i].From)+1)))
	}
	w.members = slices.DeleteFunc(w.members, func(x *worldMember) bool { return x == m })
	w.step(Down{Peer: m.id})
}

// ack has the member process a delivery, up to somewhere, and say so. What it says
// may be lost with the broker; the record counts as acknowledged by the group.
func (w *world) ack(m *worldMember) {
	if m == nil || len(m.open) == 0 {
		return
	}
	i := w.rng.IntN(min(3, len(m.open)))
	d := m.open[i]
	upTo := d.To
	if w.rng.IntN(4) == 0 {
		upTo = d.From + uint64(w.rng.IntN(int(d.To-d.From)+1))
	}
	w.work(m, i, upTo)
	g := w.groups[m.group]
	for _, index := range w.covered(d) {
		if index <= upTo {
			g.acked[d.MDT][index] = true
		}
	}
	if upTo == d.To {
		m.open = slices.Delete(m.open, i, i+1)
	}
	w.note("member %d acks %d up to %d", m.id, d.Lease, upTo)
	m.heard = w.now
	w.refused = 0
	w.step(Ack{Peer: m.id, Lease: d.Lease, UpTo: upTo})
	if w.refused != d.Lease {
		g.known(w.now)
	}
}

// work has the member apply what it was handed out: all before delivery i, and of that
// what lies up to upTo. It applies in order, whatever it acknowledges first.
func (w *world) work(m *worldMember, i int, upTo uint64) {
	g := w.groups[m.group]
	for n, d := range m.open[:i+1] {
		end := d.To
		if n == i {
			end = upTo
		}
		for _, index := range w.covered(d) {
			if g != nil && index > m.applied[d.Lease] && index <= end {
				g.apply(w.mdts[d.MDT], d, index)
			}
		}
		m.applied[d.Lease] = max(m.applied[d.Lease], end)
	}
}

// checkFreed checks that a batch is said to be free when nobody has it, and not before.
func (w *world) checkFreed(inWindow map[*Batch]bool) {
	for b := range inWindow {
		if w.freed[b] {
			w.fail("(%d,%d] is kept, and was free", b.From, b.To)
		}
		w.kept[b] = true
	}
	for b := range w.kept {
		if !inWindow[b] && w.sending[b] == 0 {
			w.fail("nobody has (%d,%d] any more, and it is not free", b.From, b.To)
		}
	}
}

// stop is lcapd's orderly end: what is to be durable gets to the disk, if that works.
func (w *world) stop() {
	w.note("lcapd stops")
	w.stopping = true
	for i := 0; i < 100 && w.core.Save(); i++ {
		for _, out := range w.core.Outputs() {
			switch out.(type) {
			case Persist, Clear:
				w.output(out)
			}
		}
		w.arrive()
	}
	w.stopping = false
	w.end()
}

// crash is lcapd killed, or stopped.
func (w *world) crash() {
	if w.rng.IntN(3) == 0 {
		w.stop()
		return
	}
	w.note("lcapd crashes")
	w.end()
}

// end is the end of lcapd: what was on its way is lost, or arrives all the same.
func (w *world) end() {
	w.sending, w.copies, w.kept = make(map[*Batch]int), make(map[*Batch]*Batch), make(map[*Batch]bool)
	for _, p := range w.pending {
		if (p.lane == "disk" || strings.HasPrefix(p.lane, "mdt")) && w.rng.IntN(2) == 0 {
			w.core = New(w.cfg, State{}, w.now) // nobody hears the answer
			p.do()
		}
	}
	w.pending, w.members, w.stored, w.over, w.owed = nil, nil, false, 0, nil
	w.readers, w.chains = make(map[ReaderID]*worldReader), make(map[ChainID]*worldChain)
	w.start()
}

// acts is what can happen in a world, with how often it does. A script names them.
var acts = []struct {
	name   string
	weight int
	do     func(w *world)
}{
	{"create", 3, func(w *world) {
		w.do(CreateGroup{GroupState{Config: w.groupConfig(), Start: Start(w.rng.IntN(2)), MDTs: w.someMDTs()}})
	}},
	{"chained", 2, (*world).createChained},
	{"rechain", 1, (*world).rechain},
	{"join", 7, func(w *world) {
		w.join(fmt.Sprintf("g%d", w.rng.IntN(3)), fmt.Sprintf("m%d", w.rng.IntN(4)), "s")
	}},
	{"die", 2, func(w *world) { w.die(w.anyMember()) }},
	{"crash", 1, (*world).crash},
	{"grow", 2, func(w *world) { w.mdts[w.rng.IntN(len(w.mdts))].grow(w.rng, w.rng.IntN(30)) }},
	{"reveal", 4, func(w *world) { w.reveal(w.mdts[w.rng.IntN(len(w.mdts))]) }},
	{"break", 1, func(w *world) { w.disk.broken = !w.disk.broken && w.rng.IntN(3) == 0 }},
	{"delete", 1, (*world).deleteGroup},
	{"seek", 1, (*world).seek},
	{"skip", 1, (*world).skip},
	{"pause", 1, (*world).pause},
	{"limit", 1, (*world).limit},
	{"upset", 1, func(w *world) { w.upset(w.mdts[w.rng.IntN(len(w.mdts))]) }},
	{"tick", 7, func(w *world) { w.tick(time.Duration(w.rng.IntN(1500)) * time.Millisecond) }},
	{"read", 25, (*world).readSome},
	{"credit", 15, (*world).credit},
	{"ack", 20, func(w *world) { w.ack(w.anyMember()) }},
	{"nack", 2, func(w *world) { w.nack(w.anyMember()) }},
	{"heartbeat", 1, func(w *world) { w.heartbeat(w.anyMember()) }},
	{"arrive", 15, (*world).arrive},
}

// anyMember returns one of the members, or nil.
func (w *world) anyMember() *worldMember {
	if len(w.members) == 0 {
		return nil
	}
	return w.members[w.rng.IntN(len(w.members))]
}

// someMDTs says for which MDTs a group is to be: all, as a rule.
func (w *world) someMDTs() (list []groups.MDT) {
	if w.rng.IntN(4) != 0 {
		return nil
	}
	for _, m := range w.mdts {
		if !m.removed && w.rng.IntN(2) == 0 {
			list = append(list, m.id)
		}
	}
	return list
}

// isFor tells whether a group is for an MDT.
func (w *world) isFor(group string, id groups.MDT) bool {
	set := w.disk.groups[group].MDTs
	return set == nil || slices.Contains(set, id)
}

// skip has an operator pass over a record: the group need not get it any more, and will
// not, as long as lcapd runs and nobody seeks.
func (w *world) skip() {
	m := w.mdts[w.rng.IntN(len(w.mdts))]
	name := fmt.Sprintf("g%d", w.rng.IntN(3))
	g := w.groups[name]
	if inCore := w.core.groups[name]; g == nil || inCore == nil || !inCore.onDisk || m.removed || len(m.records) == 0 {
		return
	}
	index := m.records[w.rng.IntN(len(m.records))]
	w.note("skip %d of MDT %d for %s", index, m.id, name)
	if w.core.Do(Skip{Group: name, MDT: m.id, Index: index}) == nil {
		g.excused[m.id][index] = true
		g.passed[m.id][index] = !m.revealed[index] // when the mark is past a hole, that is forgotten
	}
	w.carryOut()
}

// pause has an operator stop a group, or let it go on.
func (w *world) pause() {
	name := fmt.Sprintf("g%d", w.rng.IntN(3))
	g := w.groups[name]
	if inCore := w.core.groups[name]; g != nil && inCore != nil && inCore.onDisk {
		g.paused = w.rng.IntN(2) == 0
		w.note("pause %s: %v", name, g.paused)
		w.do(PauseGroup{Group: name, Paused: g.paused})
	}
}

// nack has a member give back what it was handed out, where it knows what that is: in
// the distribution fid it may have been more than one lane's.
func (w *world) nack(m *worldMember) {
	if m == nil || len(m.open) == 0 || w.disk.groups[m.group].Config.Distribution == groups.ByFID {
		return
	}
	d := m.open[w.rng.IntN(len(m.open))]
	all := w.disk.groups[m.group].Config.Distribution == groups.ByMDT && !d.Late
	had := slices.Clone(m.open)
	w.note("member %d nacks %d", m.id, d.Lease)
	m.heard = w.now
	w.refused = 0
	w.step(Nack{Peer: m.id, Lease: d.Lease, From: d.From + 1, Delay: time.Duration(w.rng.IntN(2000)) * time.Millisecond})
	all = all && w.refused != d.Lease // else the lease had ended, and the others go on
	m.open = slices.DeleteFunc(m.open, func(x Deliver) bool {
		isOld := slices.ContainsFunc(had, func(y Deliver) bool { return y.Lease == x.Lease })
		return x.Lease == d.Lease || all && isOld && x.MDT == d.MDT && !x.Late
	})
}

func (w *world) heartbeat(m *worldMember) {
	if m != nil && m.ready {
		m.heard = w.now
		w.step(Heartbeat{Peer: m.id})
	}
}

// seek has an operator move a group: what it passes over it need not acknowledge.
func (w *world) seek() {
	m := w.mdts[w.rng.IntN(len(w.mdts))]
	name := fmt.Sprintf("g%d", w.rng.IntN(3))
	g := w.groups[name]
	if inCore := w.core.groups[name]; g == nil || m.removed || inCore == nil || !inCore.onDisk || !w.isFor(name, m.id) {
		return
	}
	to := w.core.mdts[m.id].clear.reserved
	if last := w.core.mdts[m.id].lastRead; w.rng.IntN(3) == 0 {
		to = last // above all holes
	} else {
		to += uint64(w.rng.IntN(int(last-to) + 1))
	}
	g.pardon(m, to)
	w.note("seek %s in MDT %d to %d", name, m.id, to)
	g.moved = true
	for index := range to {
		g.acked[m.id][index+1] = true // visible or not
	}
	g.passed[m.id] = make(map[uint64]bool)
	for _, x := range w.members {
		if x.group == name {
			x.open = slices.DeleteFunc(x.open, func(d Deliver) bool { return d.MDT == m.id })
		}
	}
	w.do(Seek{Group: name, MDT: m.id, Index: to})
}

// upset is what happens to an MDT that is not ours to decide.
func (w *world) upset(m *worldMDT) {
	switch w.rng.IntN(6) {
	case 0:
		w.reset(m)
	case 1:
		w.purge(m, m.gone()+uint64(w.rng.IntN(int(m.last-m.gone())+1)))
	case 2:
		if !m.removed {
			w.note("remove MDT %d", m.id)
			for _, g := range w.groups {
				g.passed[m.id] = make(map[uint64]bool)
				delete(g.gaveUp, m.id)
				g.seen[m.id] = make(map[uint64]bool) // lcapd forgets what it handed out
			}
			m.removed, m.again = true, true
			w.do(RemoveMDT{MDT: m.id})
			w.closed(m)
		}
	default:
		w.add(m)
	}
}

// reset begins a new epoch: what the groups owed of the old one is gone.
func (w *world) reset(m *worldMDT) {
	w.note("reset MDT %d", m.id)
	m.epoch++
	m.records, m.hidden, m.last, m.cleared, m.purged = nil, nil, 0, 0, 0
	m.made, m.lives, m.files = nil, nil, nil
	m.grow(w.rng, w.rng.IntN(50)+1)
	for _, g := range w.groups {
		g.start[m.id] = 0
		g.forget(m.id)
		g.model[m.id], g.pardoned[m.id] = make(map[groups.Slot]uint64), 0
	}
	for _, x := range w.members {
		x.open = slices.DeleteFunc(x.open, func(d Deliver) bool { return d.MDT == m.id })
	}
	if !m.removed {
		w.seeReset(m)
	}
}

// purge is Lustre dropping what we have not acknowledged; lcapd is told.
func (w *world) purge(m *worldMDT, to uint64) {
	w.note("MDT %d purges up to %d", m.id, to)
	m.purged = max(m.purged, to)
	for _, g := range w.groups {
		g.excuse(m)
	}
	if !m.removed {
		w.purged(m)
	}
}

// closed drops the readers of an MDT that lcapd has left.
func (w *world) closed(m *worldMDT) {
	for id, r := range w.readers {
		if r.mdt == m {
			w.fail("reader %d of the removed MDT %d was left open", id, m.id)
		}
	}
	for _, x := range w.members {
		x.open = slices.DeleteFunc(x.open, func(d Deliver) bool { return d.MDT == m.id })
	}
}

// add has lcapd serve an MDT (again): every group from what was cleared on.
func (w *world) add(m *worldMDT) {
	underway := slices.ContainsFunc(w.pending, func(p pending) bool { return p.lane == mdtLane(m) })
	if !m.removed || underway {
		return // who adds an MDT knows what was cleared
	}
	w.note("add MDT %d", m.id)
	m.removed = false
	w.do(AddMDT{State: MDTState{MDT: m.id, Epoch: m.epoch, Cleared: m.cleared}})
}

func (w *world) groupConfig() groups.Config {
	return groups.Config{
		Name: fmt.Sprintf("g%d", w.rng.IntN(3)), Distribution: groups.Distribution(w.rng.IntN(3)),
		InFlight: int64(w.rng.IntN(100)*recordSize + 5), Lease: []time.Duration{time.Hour, time.Hour, 4 * time.Second}[w.rng.IntN(3)],
	}
}

func (w *world) deleteGroup() {
	name := fmt.Sprintf("g%d", w.rng.IntN(3))
	w.members = slices.DeleteFunc(w.members, func(m *worldMember) bool { return m.group == name && !m.ready })
	delete(w.groups, name) // from here on it holds nothing back
	w.note("delete %s", name)
	w.do(DeleteGroup{Group: name})
}

func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	if w.cfg.StandStill > 0 && d > w.cfg.StandStill {
		for _, m := range w.members { // nobody could hear them
			m.heard = m.heard.Add(d)
		}
	}
	w.step(Tick{Now: w.now})
	w.tickChains()
	for _, m := range w.members {
		if lease := w.disk.groups[m.group].Config.Lease; m.ready && w.groups[m.group] != nil && w.now.Sub(m.heard) > lease {
			w.fail("member %d was silent for %s, and is still there", m.id, w.now.Sub(m.heard))
		}
	}
}

func (w *world) readSome() {
	if ids := w.readerIDs(); len(ids) > 0 {
		w.read(w.readers[ids[w.rng.IntN(len(ids))]])
	}
}

func (w *world) readerIDs() []ReaderID { return slices.Sorted(maps.Keys(w.readers)) }

func (w *world) credit() {
	if len(w.members) == 0 {
		return
	}
	if m := w.members[w.rng.IntN(len(w.members))]; m.ready {
		m.heard = w.now
		w.step(Credit{Peer: m.id, Batches: w.rng.IntN(4) + 1, Bytes: 1 << 20})
	}
}

// finish lets everybody behave, and demands that every group acknowledges
// everything and every MDT is cleared to its end.
func (w *world) finish() {
	w.calm = true
	for round := range 3000 {
		if len(w.chains) > 0 { // they let go much at once: who is cut for that would be cut again and again
			w.cfg.Pinned, w.core.cfg.Pinned = 1<<20, 1<<20
		}
		for _, m := range w.mdts {
			w.add(m)
			w.do(Restart{MDT: m.id})
		}
		for _, name := range sortedKeys(w.groups) {
			if g := w.groups[name]; g.paused {
				g.paused = false
				w.do(PauseGroup{Group: name})
			}
		}
		w.tick(500 * time.Millisecond)
		for range 20 {
			w.readSome()
			w.arrive()
		}
		for _, name := range sortedKeys(w.groups) {
			if !slices.ContainsFunc(w.members, func(m *worldMember) bool { return m.group == name }) {
				w.join(name, "last", "s")
			}
		}
		for _, m := range slices.Clone(w.members) {
			if m.ready {
				m.heard = w.now
				w.step(Credit{Peer: m.id, Batches: 1, Bytes: 1 << 20})
				w.ack(m)
			}
		}
		if round > 10 && w.complete() {
			w.compare()
			return
		}
	}
	w.describe()
	w.fail("stuck: not everything was acknowledged and cleared")
}

func (w *world) complete() bool {
	if len(w.groups) == 0 {
		return true
	}
	for _, m := range w.mdts {
		for name := range w.groups {
			if m.gone() < m.last && w.isFor(name, m.id) {
				return false
			}
		}
	}
	return true
}

// describe logs where everything stands.
func (w *world) describe() {
	for _, m := range w.core.order {
		w.note("MDT %d: last %d, live (%d,%d], granted %d, memory %d of %d, holes %v, clear %+v, queue %d", m.id, w.mdts[m.id].last, m.live.start, m.live.end, m.live.granted, w.core.memory, w.cfg.Memory, m.holes, m.clear, len(m.queue))
		for _, f := range m.catchUps {
			w.note("  catch-up %d (%d,%d] until %d done %v users %d granted %d", f.id, f.start, f.end, f.until, f.done, len(f.users), f.granted)
		}
		for _, t := range m.tracks {
			if x := t.chain; x != nil {
				w.note("  chain %d of %s (%d,%d] of %d batches, given %d unanswered %d held %+v waiters %d retry %v", x.id, t.group.Config.Name, x.start, x.end, len(x.batches), x.intake.at, len(x.unanswered), x.held, len(x.waiters), x.retryAt)
			}
			w.note("  %s: mark %d durable %d ceiling %d wanted %d dirty %v", t.group.Config.Name, t.Mark(), t.durable, t.ceiling, t.wanted, t.dirty)
			for _, s := range t.Streams() {
				w.note("    stream at %d: %s queued %v feed %v", s.Cursor(), s.Blocked(), consumerOf(s).queued, consumerOf(s).feed != nil)
			}
		}
	}
	for _, m := range w.members {
		w.note("member %d of %s ready %v open %d", m.id, m.group, m.ready, len(m.open))
	}
}

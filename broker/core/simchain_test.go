package core

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// Groups of the simulation may have a chain of modules: real ones, in a stage that takes its
// time, fails, and is lost in a crash. The records are those of files that live and die, one
// after the other for each ordering key, so a real chain has something to merge and to cancel.
// The oracle knows what the rules in docs/modules.md let a chain drop; nothing else may be
// missing. And who was handed the birth of a file must be handed its death.

// simChains are the chains that groups of the simulation have.
var simChains = []string{
	`[{filter: {types: -SATTR}}]`,
	`[{filter: {types: MARK}}]`, // all records are dropped: there is no MARK
	`[{cancel: {records: 12, age: 2s, parent: drop}}]`,
	`[{coalesce: {records: 12, age: 2s}}]`,
	`[{filter: {types: -CLOSE}}, {cancel: {records: 40, age: 3s, parent: drop}}, {coalesce: {records: 8, age: 1s}}]`,
}

// simRecord is a record of the simulation: about which file it is, and what happens to it.
type simRecord struct {
	file   changelog.FID
	kind   changelog.Type
	packed []byte
}

// makeRecord decides what the record at index is: about the file of its key that lives,
// or the birth of one. It throws no dice of the script: scripts are older than it.
func (m *worldMDT) makeRecord(index uint64) {
	key := m.keys[index][0]
	if m.made == nil {
		m.made = make(map[uint64]simRecord)
		m.lives = make(map[groups.Slot]bool)
		m.files = make(map[groups.Slot]uint32)
	}
	kind := changelog.TypeCreat
	switch roll := rand.New(rand.NewPCG(index<<8|uint64(m.id), uint64(m.epoch))).IntN(10); {
	case !m.lives[key]:
		m.lives[key] = true
		m.files[key]++
	case len(m.keys[index]) == 2:
		kind = changelog.TypeRenme
	case roll < 4:
		kind = changelog.TypeUnlnk
		m.lives[key] = false
	case roll < 7:
		kind = changelog.TypeClose
	default:
		kind = changelog.TypeSattr
	}
	file := changelog.FID{Seq: 0x200000400 + uint64(key), Oid: m.files[key]}
	f := changelog.Fields{Type: kind, Index: index, Time: changelog.Time(index), Format: changelog.Format{Flags: changelog.FlagVersion}, Target: file}
	if kind != changelog.TypeClose && kind != changelog.TypeSattr {
		f.Parent, f.Name = changelog.FID{Seq: 0x200000300, Oid: 1}, fmt.Sprint("f", f.Target)
	}
	switch kind {
	case changelog.TypeUnlnk:
		f.Payload = changelog.FlagLastLink
	case changelog.TypeRenme:
		f.Format.Flags |= changelog.FlagRename
		f.Target, f.Source, f.SourceParent, f.SourceName = changelog.FID{}, file, f.Parent, f.Name
	}
	packed, err := f.Append(nil)
	if err != nil {
		panic(err)
	}
	m.made[index] = simRecord{file, kind, packed}
}

// worldChain is an instance of a chain at work.
type worldChain struct {
	o      OpenChain
	chain  *modules.Chain
	orders []Process
}

func planOf(text string) *modules.Plan {
	specs, err := modules.ParseSpecs(text)
	if err == nil {
		var p *modules.Plan
		if p, err = modules.Parse(specs, modules.Builtin(), modules.Use{Consumers: modules.Changes}); err == nil {
			return p
		}
	}
	panic(err)
}

func (w *world) openChain(o OpenChain) {
	w.note("open chain %d of %s in MDT %d behind %d, ceiling %d", o.Chain, o.Group, o.MDT, o.After, o.Ceiling)
	w.chains[o.Chain] = &worldChain{o: o, chain: planOf(w.core.groups[o.Group].modules).New(modules.Start{After: o.After, Ceiling: o.Ceiling})}
}

func (x *worldChain) lane() string { return fmt.Sprint("chain", x.o.Chain) }

// process has a stage take a batch, after a while.
func (w *world) process(o Process) {
	if w.freed[o.Batch] {
		w.fail("chain %d is given (%d,%d], which was free", o.Chain, o.Batch.From, o.Batch.To)
	}
	x := w.chains[o.Chain]
	x.orders = append(x.orders, o)
	if len(x.orders) > MostUnanswered {
		w.fail("chain %d has %d batches to do", o.Chain, len(x.orders))
	}
	w.later(x.lane(), func() { w.push(x) })
}

func (w *world) push(x *worldChain) {
	if w.chains[x.o.Chain] != x {
		return
	}
	o := x.orders[0]
	x.orders = x.orders[1:]
	m := w.mdts[o.Batch.MDT]
	in := modules.Batch{From: o.After, To: o.Batch.To}
	for _, index := range w.contents[o.Batch] {
		if index > o.After {
			in.Records = append(in.Records, m.made[index].packed...)
			in.Count++
		}
	}
	out, err := x.chain.Push(w.now, in)
	if err == nil && !w.calm && w.rng.IntN(60) == 0 {
		err = errors.New("a module fails")
	}
	w.processed(x, out, true, err)
}

// tickChains lets time pass for the stages, those that are not in the middle of a batch.
func (w *world) tickChains() {
	for _, id := range slices.Sorted(keysOf(w.chains)) {
		x := w.chains[id]
		if due, ok := x.chain.Due(); ok && !due.After(w.now) {
			w.later(x.lane(), func() {
				if w.chains[id] != x {
					return
				}
				out, err := x.chain.Tick(w.now)
				w.processed(x, out, false, err)
			})
		}
	}
}

func keysOf[K comparable, V any](m map[K]V) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// processed tells the core what a stage made.
func (w *world) processed(x *worldChain, out modules.Batch, taken bool, err error) {
	ev := Processed{Chain: x.o.Chain, Taken: taken, Err: err}
	if err == nil {
		ev.Batches = w.derive(x, out)
		for _, s := range x.chain.Stats() {
			ev.Held.Records += s.Held.Records
			ev.Held.Bytes += s.Held.Bytes / w.heldPart()
		}
	}
	w.step(ev)
}

// heldPart is which part of what windows hold counts: records are smaller here than they would be.
// In every other world all of it does, and fills the memory several times.
func (w *world) heldPart() int64 {
	if w.cfg.Memory/1500%2 == 0 {
		return 1
	}
	return 100
}

// derive makes derived batches of what a chain let go, cut anywhere.
func (w *world) derive(x *worldChain, out modules.Batch) (list []*Batch) {
	m := w.mdts[x.o.MDT]
	var indexes []uint64
	for scan := changelog.NewScanner(out.Records); scan.Scan(); {
		indexes = append(indexes, scan.Last)
	}
	for from := out.From; from < out.To; {
		to := out.To
		if w.rng.IntN(3) == 0 {
			to = from + 1 + uint64(w.rng.IntN(int(out.To-from)))
		}
		n := 0
		for n < len(indexes) && indexes[n] <= to {
			n++
		}
		b := &Batch{MDT: m.id, Epoch: x.o.Epoch, From: from, To: to, Slots: new(groups.Slots), Count: n, Records: make([]byte, n*recordSize)}
		w.contents[b] = indexes[:n]
		for _, index := range indexes[:n] {
			keys := m.keys[index]
			for _, k := range keys {
				b.Slots.Add(k)
			}
			if len(keys) == 2 {
				b.Pairs = append(b.Pairs, groups.Pair{Index: index, Home: keys[0], Other: keys[1]})
			}
		}
		if n > 0 && indexes[n-1] < to {
			b.Holes = []Range{{indexes[n-1], to}}
		}
		list, indexes, from = append(list, b), indexes[n:], to
	}
	return list
}

// rechain has an operator change the chain of a group, who may be refused.
func (w *world) rechain() {
	name := fmt.Sprintf("g%d", w.rng.IntN(3))
	text := append(simChains, "")[w.rng.IntN(len(simChains)+1)]
	g, inCore := w.groups[name], w.core.groups[name]
	if g == nil || inCore == nil || !inCore.onDisk || !mayHave(inCore.Config, text) {
		return
	}
	w.note("set the chain of %s: %s", name, text)
	g.chains = append(g.chains, text) // also when it does not become durable
	w.do(SetChain{Group: name, Modules: text})
}

// mayMiss tells whether a group may go without a record for good, as its chain, or one that it
// had, may drop it.
func (g *worldGroup) mayMiss(m *worldMDT, index uint64) bool {
	for _, text := range g.chains {
		if text == "" {
			continue
		}
		switch r := m.made[index]; slices.Index(simChains, text) {
		case 0:
			if r.kind == changelog.TypeSattr {
				return true
			}
		case 1:
			return true
		case 2:
			if g.unseenLife(m, index) {
				return true
			}
		case 3:
			if m.isRepeated(index, 0) {
				return true
			}
		case 4:
			if r.kind == changelog.TypeClose || g.unseenLife(m, index) || m.isRepeated(index, changelog.TypeClose) {
				return true
			}
		}
	}
	return false
}

// about are the records that the MDT shows of the file that the one at index is about.
func (m *worldMDT) about(index uint64) (list []uint64) {
	for _, i := range m.records {
		if m.made[i].file == m.made[index].file {
			list = append(list, i)
		}
	}
	return list
}

// unseenLife tells whether the record is of a file that is dead, and was never renamed, whose
// birth nobody of the group was handed. A rename that became visible when others had passed
// does not count, nor one that Lustre purged: the chain may have read the birth before that.
func (g *worldGroup) unseenLife(m *worldMDT, index uint64) bool {
	list := m.about(index)
	first, last := list[0], list[len(list)-1]
	renamed := slices.ContainsFunc(list, func(i uint64) bool { return m.made[i].kind == changelog.TypeRenme && !m.revealed[i] && i > m.purged })
	return m.made[first].kind == changelog.TypeCreat && m.made[last].kind == changelog.TypeUnlnk && !renamed && !g.seen[m.id][first]
}

// isRepeated tells whether the next record about the file says the same, but for those of the
// type left out, and those that may have become visible when others had passed.
func (m *worldMDT) isRepeated(index uint64, left changelog.Type) bool {
	kind := m.made[index].kind
	if kind != changelog.TypeClose && kind != changelog.TypeSattr {
		return false
	}
	for _, i := range m.about(index) {
		switch {
		case i <= index, left != 0 && m.made[i].kind == left:
		case m.made[i].kind == kind:
			return true
		case !m.revealed[i]:
			return false
		}
	}
	return false
}

// compareChained demands that nothing is missing in a group that its chains may not drop, and
// that nothing was applied in the wrong order: for each key what lies above the last record
// applied.
func (w *world) compareChained(g *worldGroup, m *worldMDT) {
	ordered := w.disk.groups[g.name].Config.Distribution != groups.RoundRobin
	for _, index := range m.records {
		if index <= g.pardoned[m.id] || g.excused[m.id][index] || w.missedOnDisk(g.name, m, index) {
			continue
		}
		if !g.acked[m.id][index] {
			if !g.mayMiss(m, index) {
				w.fail("group %s, MDT %d: record %d of type %s was never acknowledged, and may not be dropped%s", g.name, m.id, index, m.made[index].kind, g.story(m, index))
			}
			continue
		}
		for _, key := range m.keys[index] {
			if got := g.model[m.id][key]; ordered && got < index && !g.mayMiss(m, index) {
				w.fail("group %s, MDT %d, key %d: the last record applied is %d, want %d", g.name, m.id, key, got, index)
			}
		}
	}
}

// checkChains adds up what chains have to do and hold.
func (w *world) checkChains() (derived []*Batch) {
	busy := int64(0)
	for _, m := range w.core.order {
		for _, t := range m.tracks {
			x := t.chain
			if x == nil {
				continue
			}
			if x.id == 0 && len(x.batches)+len(x.unanswered) > 0 || x.id != 0 && w.core.chains[x.id] != x {
				w.fail("%s has a chain %d with %d batches that is none", t.group.Config.Name, x.id, len(x.batches))
			}
			derived = append(derived, x.batches...)
			busy += x.held.Bytes
			for _, b := range x.unanswered {
				busy += b.Weight()
			}
		}
	}
	if busy != w.core.chained {
		w.fail("chains have %d bytes, the core counts %d", busy, w.core.chained)
	}
	return derived
}

// createChained makes a group with a chain.
func (w *world) createChained() {
	text := simChains[w.rng.IntN(len(simChains))]
	config := w.groupConfig()
	if !mayHave(config, text) {
		text = simChains[3]
	}
	w.do(CreateGroup{GroupState{Config: config, Start: Start(w.rng.IntN(2)), Modules: text, MDTs: w.someMDTs()}})
}

// mayHave tells whether a group may have the chain. What comes again of a pool may come without
// what follows it: the birth of a file whose death was cancelled with it.
func mayHave(config groups.Config, text string) bool {
	return config.Distribution != groups.RoundRobin || !strings.Contains(text, "cancel")
}

// story tells what happens to the file of a record, and what the group was handed of it.
func (g *worldGroup) story(m *worldMDT, index uint64) (text string) {
	if len(g.chains) == 0 {
		return ""
	}
	for _, i := range m.records {
		if r := m.made[i]; r.file == m.made[index].file {
			text += fmt.Sprintf("; %d %s seen %v acked %v late %v", i, r.kind, g.seen[m.id][i], g.acked[m.id][i], m.revealed[i])
		}
	}
	return text + fmt.Sprint("; chains ", g.chains)
}

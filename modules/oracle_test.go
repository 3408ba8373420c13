package modules_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/modules/moduletest"
)

var (
	oracleSeeds = flag.Uint64("oracle.seeds", 400, "histories for each chain of the oracle tests")
	oracleFirst = flag.Uint64("oracle.first", 0, "the first seed")
)

// processed is what chains made of a history: the records that remain, by MDT and index.
type processed struct {
	kept  []map[uint64]changelog.Record
	order [][]uint64 // indexes by MDT, as they came out
}

// process runs the stream of each MDT through a chain of its own, in random batches and at random times.
func process(t *testing.T, plan *modules.Plan, h *moduletest.History, mdts int, rnd *rand.Rand, start modules.Start) processed {
	t.Helper()
	var p processed
	for mdt := range mdts {
		packed, _ := h.Stream(mdt)
		kept := map[uint64]changelog.Record{}
		var order []uint64
		take := func(b modules.Batch, err error) {
			if err != nil {
				t.Fatal(err)
			}
			for scan := changelog.NewScanner(b.Records); scan.Scan(); {
				kept[scan.Last] = scan.Record().Clone()
				order = append(order, scan.Last)
			}
		}
		c := plan.New(start)
		now, from := time.Unix(0, 0), start.After
		for scan := changelog.NewScanner(packed); scan.Scan(); {
			if scan.Last <= start.After {
				continue
			}
			now = now.Add(time.Duration(rnd.IntN(300)) * time.Millisecond)
			take(c.Push(now, modules.Batch{From: from, To: scan.Last, Records: scan.Record().Bytes()}))
			if from = scan.Last; rnd.IntN(20) == 0 {
				now = now.Add(time.Second)
				take(c.Tick(now))
			}
		}
		take(c.Flush(now))
		p.kept, p.order = append(p.kept, kept), append(p.order, order)
	}
	return p
}

// original applies a history as it happened.
func original(h *moduletest.History) *moduletest.Consumer {
	c := moduletest.NewConsumer()
	for i, s := range h.Steps {
		c.Apply(i, record(s.Packed))
	}
	return c
}

func record(packed []byte) changelog.Record {
	r, _, err := changelog.Next(packed)
	if err != nil {
		panic(err)
	}
	return r
}

// apply applies what is left of a history, each record at its place.
func apply(c *moduletest.Consumer, h *moduletest.History, p processed, after uint64) {
	for i, s := range h.Steps {
		if r, ok := p.kept[s.MDT][s.Index]; ok && s.Index > after {
			c.Apply(i, r)
		}
	}
}

// A database that is fed by the original streams and one that is fed by what modules left of them are the same.
func TestOracle(t *testing.T) {
	const window = "records: 40, age: 4s"
	for _, c := range []struct {
		name, chain string
		mdts        int
		use         modules.Use
		compare     moduletest.States
	}{
		{"coalesce", `[{coalesce: {` + window + `}}]`, 1, modules.Use{Consumers: modules.Changes}, moduletest.States{Parents: true}},
		{"coalesce, 2 MDTs", `[{coalesce: {` + window + `}}]`, 2, modules.Use{Consumers: modules.Changes}, moduletest.States{Parents: true}},
		{"coalesce, state read", `[{coalesce: {` + window + `}}]`, 2, modules.Use{Consumers: modules.State}, moduletest.States{Read: true, Parents: true}},
		{"cancel", `[{cancel: {` + window + `, parent: drop}}]`, 1, modules.Use{Consumers: modules.Changes, OneMDT: true}, moduletest.States{}},
		{"cancel, 2 MDTs", `[{cancel: {` + window + `, parent: drop}}]`, 2, modules.Use{Consumers: modules.Changes}, moduletest.States{}},
		{"cancel, 3 MDTs", `[{cancel: {` + window + `, parent: drop}}]`, 3, modules.Use{Consumers: modules.Changes}, moduletest.States{}},
		{"cancel and refresh", `[{cancel: {` + window + `}}]`, 2, modules.Use{Consumers: modules.State}, moduletest.States{Read: true, Parents: true}},
		{"both", `[{coalesce: {` + window + `}}, {cancel: {` + window + `}}, {coalesce: {` + window + `}}]`, 2, modules.Use{Consumers: modules.State}, moduletest.States{Read: true, Parents: true}},
		{"both, one MDT", `[{cancel: {` + window + `}}, {coalesce: {` + window + `}}]`, 1, modules.Use{Consumers: modules.State, OneMDT: true}, moduletest.States{Read: true, Parents: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dropped := 0
			for seed := *oracleFirst; seed < *oracleFirst+*oracleSeeds; seed++ {
				h := moduletest.NewHistory(seed, c.mdts, 150, false)
				rnd := rand.New(rand.NewPCG(seed, 5))
				p := process(t, plan(t, c.chain, c.use), h, c.mdts, rnd, modules.Start{})
				want, got := original(h), moduletest.NewConsumer()
				if !reflect.DeepEqual(want.Names(), h.Names()) {
					t.Fatalf("seed %d: the oracle itself is wrong", seed)
				}
				apply(got, h, p, 0)
				if d := want.Difference(got, c.compare); d != "" {
					t.Fatalf("seed %d: original and processed differ about %s\n%s", seed, d, story(h, p))
				}
				for _, kept := range p.kept {
					dropped -= len(kept)
				}
				dropped += len(h.Steps)
			}
			if dropped < int(*oracleSeeds)*3 {
				t.Errorf("only %d records were dropped: this test tests nothing", dropped)
			}
		})
	}
}

// story prints a history, and what is left of it.
func story(h *moduletest.History, p processed) string {
	var text []byte
	for _, s := range h.Steps {
		mark := "  "
		kept, ok := p.kept[s.MDT][s.Index]
		if !ok {
			mark = "- "
		} else if kept.Type() != record(s.Packed).Type() {
			mark = "~ "
		}
		text = fmt.Appendf(text, "%sMDT%d ", mark, s.MDT)
		text = record(record(s.Packed).AppendRepacked(nil, changelog.Format{Flags: changelog.FlagRename})).AppendLFS(text)
	}
	return string(text)
}

// A consumer that saw everything up to the ceiling, and gets the rest from a chain that begins anywhere before, knows the same
// names as one that saw everything: nothing that it saw is dead without its knowing it.
func TestCeiling(t *testing.T) {
	p := plan(t, `[{coalesce: {records: 40, age: 4s}}, {cancel: {records: 40, age: 4s}}]`, modules.Use{Consumers: modules.State, OneMDT: true})
	for seed := *oracleFirst; seed < *oracleFirst+*oracleSeeds; seed++ {
		h := moduletest.NewHistory(seed, 1, 150, false)
		rnd := rand.New(rand.NewPCG(seed, 6))
		_, last := h.Stream(0)
		ceiling := rnd.Uint64N(last + 1)
		mark := rnd.Uint64N(ceiling + 1)
		seen := moduletest.NewConsumer()
		for i, s := range h.Steps {
			if s.Index <= ceiling {
				seen.Apply(i, record(s.Packed))
			}
		}
		left := process(t, p, h, 1, rnd, modules.Start{After: mark, Ceiling: ceiling})
		apply(seen, h, left, mark)
		if want := h.Names(); !reflect.DeepEqual(seen.Names(), want) {
			t.Fatalf("seed %d: mark %d, ceiling %d: names differ: got %v, want %v\n%s", seed, mark, ceiling, seen.Names(), want, story(h, left))
		}
	}
}

// A chain that is lost in the middle, and another one that begins at a mark before what the first one covered, with what the first one
// let out as the ceiling: nothing is lost, and no ghost remains.
func TestCrash(t *testing.T) {
	pl := plan(t, `[{cancel: {records: 30, age: 4s}}, {coalesce: {records: 30, age: 4s}}]`, modules.Use{Consumers: modules.State, OneMDT: true})
	for seed := *oracleFirst; seed < *oracleFirst+*oracleSeeds; seed++ {
		h := moduletest.NewHistory(seed, 1, 150, false)
		rnd := rand.New(rand.NewPCG(seed, 8))
		db := moduletest.NewConsumer()
		mark, ceiling := uint64(0), uint64(0)
		for crashes := rnd.IntN(4); ; crashes-- {
			stop := len(h.Steps)
			if crashes > 0 {
				stop = rnd.IntN(stop)
			}
			covered := runUntil(t, pl.New(modules.Start{After: mark, Ceiling: ceiling}), h, mark, stop, rnd, crashes <= 0, func(step int, r changelog.Record) {
				db.Apply(step, r)
				ceiling = max(ceiling, r.Index())
			})
			if crashes <= 0 {
				break
			}
			mark += rnd.Uint64N(covered - mark + 1) // acknowledged, or less
		}
		if want := h.Names(); !reflect.DeepEqual(db.Names(), want) {
			t.Fatalf("seed %d: names differ: got %v, want %v", seed, db.Names(), want)
		}
	}
}

// runUntil pushes the steps behind mark up to stop into a chain, and returns its mark.
func runUntil(t *testing.T, c *modules.Chain, h *moduletest.History, mark uint64, stop int, rnd *rand.Rand, flush bool, use func(int, changelog.Record)) uint64 {
	t.Helper()
	steps := map[uint64]int{}
	take := func(b modules.Batch, err error) {
		if err != nil {
			t.Fatal(err)
		}
		for scan := changelog.NewScanner(b.Records); scan.Scan(); {
			use(steps[scan.Last], scan.Record())
		}
	}
	now, from := time.Unix(0, 0), mark
	for i, s := range h.Steps[:stop] {
		if s.Index <= mark {
			continue
		}
		steps[s.Index] = i
		now = now.Add(time.Duration(rnd.IntN(300)) * time.Millisecond)
		take(c.Push(now, modules.Batch{From: from, To: s.Index, Records: s.Packed}))
		from = s.Index
	}
	if flush {
		take(c.Flush(now))
	}
	return c.Mark()
}

// What reorder lets out, in its order, leads to the same names and the same state.
func TestOracleReorder(t *testing.T) {
	pl := plan(t, `[{coalesce: {records: 20, age: 4s}}, {reorder: {records: 20, age: 4s}}]`, modules.Use{Consumers: modules.State, OneMDT: true, Whole: true})
	moved := 0
	for seed := *oracleFirst; seed < *oracleFirst+*oracleSeeds; seed++ {
		h := moduletest.NewHistory(seed, 1, 150, false)
		p := process(t, pl, h, 1, rand.New(rand.NewPCG(seed, 9)), modules.Start{})
		steps := map[uint64]int{}
		for i, s := range h.Steps {
			steps[s.Index] = i
		}
		got, last := moduletest.NewConsumer(), uint64(0)
		for _, index := range p.order[0] {
			if index < last {
				moved++
			}
			last = index
			got.Apply(steps[index], p.kept[0][index])
		}
		if d := original(h).Difference(got, moduletest.States{Read: true, Parents: true}); d != "" {
			t.Fatalf("seed %d: differ about %s", seed, d)
		}
	}
	if moved < int(*oracleSeeds) {
		t.Errorf("only %d records changed places", moved)
	}
}

// Why directories stay on a file system of several MDTs: here the birth and the death of a directory are in the log of one, and the
// renames that gave it another name and its old one again are in the log of another.
func TestWhyDirectoriesStay(t *testing.T) {
	var (
		birth = record(line(t, 1, "MKDIR f=1 n=9/a"))
		away  = record(line(t, 1, "RENME s=1 o=9/a n=8/b"))
		back  = record(line(t, 2, "RENME s=1 o=8/b n=9/a"))
		death = record(line(t, 2, "RMDIR f=1 n=9/a last"))
	)
	all, without := moduletest.NewConsumer(), moduletest.NewConsumer()
	for i, r := range []changelog.Record{birth, away, back, death} {
		all.Apply(i, r)
	}
	for i, r := range []changelog.Record{away, back} {
		without.Apply(i, r)
	}
	if len(all.Names()) != 0 || len(without.Names()) != 1 {
		t.Errorf("%v remain of all records, %v without birth and death: then they could be cancelled", all.Names(), without.Names())
	}
}

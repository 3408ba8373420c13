package scatter_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/scatter"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// named returns a record about an object.
func named(t testing.TB, index uint64, oid uint32, name string) []byte {
	t.Helper()
	f := changelog.Fields{
		Type: changelog.TypeCreat, Format: changelog.Format{Flags: changelog.FlagVersion},
		Index: index, Target: changelog.FID{Seq: 7, Oid: oid}, Name: name,
	}
	packed, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// batch makes a batch of packed records as the ingest stage does: the range ends
// with the last record.
func batch(records ...[]byte) *core.Batch {
	b := &core.Batch{Records: bytes.Join(records, nil), Slots: new(groups.Slots)}
	last := uint64(0)
	for scan := changelog.NewScanner(b.Records); scan.Scan(); last = scan.Last {
		if b.Count == 0 {
			b.From = scan.Last - 1
		} else if scan.Last != last+1 {
			b.Holes = append(b.Holes, core.Range{From: last, To: scan.Last - 1})
		}
		b.Count++
		home, other, two := groups.Keys(scan.Record())
		b.Slots.Add(home)
		b.Homes, b.Sizes = append(b.Homes, home), append(b.Sizes, uint16(scan.Record().Size()))
		if two {
			b.Slots.Add(other)
		}
	}
	b.To = last
	return b
}

// vectors returns the 2000 mixed records of the golden data as a batch.
func vectors(t testing.TB) *core.Batch {
	t.Helper()
	packed, err := os.ReadFile("../../changelog/testdata/vectors/stream.bin")
	if err != nil {
		t.Fatal(err)
	}
	return batch(packed)
}

// slotsOf returns the set of the home slots of objects.
func slotsOf(oids ...uint32) *groups.Slots {
	s := new(groups.Slots)
	for _, oid := range oids {
		s.Add(groups.SlotOf(changelog.FID{Seq: 7, Oid: oid}))
	}
	return s
}

// unnoted is a batch of which nobody has noted homes and sizes: they have to be found.
func unnoted(b *core.Batch) *core.Batch {
	other := *b
	other.Homes, other.Sizes = nil, nil
	return &other
}

// naive is the definition of a part.
func naive(b *core.Batch, w scatter.Want) (p scatter.Part) {
	for scan := changelog.NewScanner(b.Records); scan.Scan(); {
		home, _, _ := groups.Keys(scan.Record())
		if scan.Last <= w.From || scan.Last > w.To || w.Slots != nil && !w.Slots.Has(home) {
			continue
		}
		p.Records = append(p.Records, scan.Record().Bytes()...)
		if p.Count == 0 {
			p.First = scan.Last
		}
		p.Count, p.Last = p.Count+1, scan.Last
	}
	return p
}

// checkPart compares a part with its definition, and checks what it keeps in memory.
func checkPart(t testing.TB, b *core.Batch, w scatter.Want, got scatter.Part) {
	t.Helper()
	want := naive(b, w)
	if !bytes.Equal(got.Records, want.Records) {
		t.Fatalf("want (%d, %d]: %d bytes of records, not the %d expected", w.From, w.To, len(got.Records), len(want.Records))
	}
	if got.Count != want.Count || got.First != want.First || got.Last != want.Last || got.Bytes() != int64(len(want.Records)) {
		t.Fatalf("want (%d, %d]: got %d records, %d to %d; expected %d, %d to %d", w.From, w.To, got.Count, got.First, got.Last, want.Count, want.First, want.Last)
	}
	if shared := within(got.Records, b.Records); shared != got.Shared {
		t.Fatalf("the part says shared=%v, its bytes say %v", got.Shared, shared)
	}
	idle := 0 // bytes that a part may have besides
	if len(got.Records) >= scatter.PageBytes {
		idle = max(scatter.PageBytes-1, len(got.Records)) // new memory, or that of another part
	}
	if kept := cap(got.Records); !got.Shared && kept > len(got.Records)+idle || got.Shared && 2*len(got.Records) < len(b.Records) {
		t.Fatalf("a part of %d bytes keeps %d (shared=%v, batch %d)", len(got.Records), kept, got.Shared, len(b.Records))
	}
	if got.Shared && cap(got.Records) != len(got.Records) {
		t.Fatal("an append to the part would change what is behind it")
	}
}

// within tells whether part lies in the memory of all.
func within(part, all []byte) bool {
	if len(part) == 0 {
		return false
	}
	at, start := uintptr(unsafe.Pointer(&part[0])), uintptr(unsafe.Pointer(&all[0]))
	return at >= start && at < start+uintptr(len(all))
}

func TestCutTable(t *testing.T) {
	// Indexes 11, 12, 14, 15, 16; objects 1, 2, 1, 3, 3. The range is (10, 20].
	b := batch(named(t, 11, 1, "a"), named(t, 12, 2, "bb"), named(t, 14, 1, "ccc"), named(t, 15, 3, "dddd"), named(t, 16, 3, "eeeee"))
	b.To = 20
	b.Holes = append(b.Holes, core.Range{From: 16, To: 20})
	everything := ^uint64(0)
	for _, c := range []struct {
		name    string
		want    scatter.Want
		indexes []uint64
		shared  bool
	}{
		{"everything", scatter.Want{From: 10, To: 20}, []uint64{11, 12, 14, 15, 16}, true},
		{"more than everything", scatter.Want{To: everything}, []uint64{11, 12, 14, 15, 16}, true},
		{"all slots", scatter.Want{To: everything, Slots: &groups.AllSlots}, []uint64{11, 12, 14, 15, 16}, true},
		{"all slots that there are", scatter.Want{From: 10, To: 20, Slots: slotsOf(1, 2, 3, 4)}, []uint64{11, 12, 14, 15, 16}, true},
		{"the first ones", scatter.Want{From: 10, To: 14}, []uint64{11, 12, 14}, true},
		{"the last ones", scatter.Want{From: 12, To: 20}, []uint64{14, 15, 16}, true},
		{"from a hole", scatter.Want{From: 13, To: 20}, []uint64{14, 15, 16}, true},
		{"to a hole", scatter.Want{From: 10, To: 13}, []uint64{11, 12}, false},
		{"one record", scatter.Want{From: 14, To: 15}, []uint64{15}, false},
		{"a hole", scatter.Want{From: 12, To: 13}, nil, false},
		{"the hole at the end", scatter.Want{From: 16, To: 20}, nil, false},
		{"nothing", scatter.Want{From: 14, To: 14}, nil, false},
		{"upside down", scatter.Want{From: 15, To: 12}, nil, false},
		{"before", scatter.Want{From: 0, To: 10}, nil, false},
		{"behind", scatter.Want{From: 20, To: 30}, nil, false},
		{"a slot", scatter.Want{From: 10, To: 20, Slots: slotsOf(1)}, []uint64{11, 14}, false},
		{"a slot in a range", scatter.Want{From: 11, To: 20, Slots: slotsOf(1)}, []uint64{14}, false},
		{"slots in a run", scatter.Want{From: 12, To: 20, Slots: slotsOf(1, 3)}, []uint64{14, 15, 16}, true},
		{"a slot without records", scatter.Want{From: 10, To: 20, Slots: slotsOf(4)}, nil, false},
		{"no slot", scatter.Want{From: 10, To: 20, Slots: new(groups.Slots)}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := scatter.Cut(b, []scatter.Want{c.want})[0]
			checkPart(t, b, c.want, p)
			var indexes []uint64
			for scan := changelog.NewScanner(p.Records); scan.Scan(); {
				indexes = append(indexes, scan.Last)
			}
			if !slices.Equal(indexes, c.indexes) || p.Shared != c.shared {
				t.Errorf("got %v, shared=%v; want %v, shared=%v", indexes, p.Shared, c.indexes, c.shared)
			}
		})
	}
}

// What was sealed without slots may have any.
func TestCutWithoutSlots(t *testing.T) {
	b := vectors(t)
	b.Slots, b.Homes, b.Sizes = nil, nil, nil
	half := new(groups.Slots)
	for slot := range groups.Slot(groups.SlotCount / 2) {
		half.Add(slot)
	}
	for _, slots := range []*groups.Slots{nil, &groups.AllSlots, half, slotsOf(1), {}} {
		w := scatter.Want{From: b.From, To: b.To, Slots: slots}
		checkPart(t, b, w, scatter.Cut(b, []scatter.Want{w})[0])
	}
}

// After a filter indexes without a record are no holes.
func TestCutOfAFilteredBatch(t *testing.T) {
	b := batch(named(t, 11, 1, "a"), named(t, 12, 2, "b"), named(t, 14, 3, "c"))
	b.From, b.To = 5, 30
	w := scatter.Want{From: 5, To: 30}
	checkPart(t, b, w, scatter.Cut(b, []scatter.Want{w})[0])
}

func TestCutOfNothing(t *testing.T) {
	b := &core.Batch{From: 10, To: 20, Slots: new(groups.Slots), Holes: []core.Range{{From: 10, To: 20}}}
	for _, p := range scatter.Cut(b, []scatter.Want{{From: 10, To: 20}, {From: 12, To: 13}, {To: 30, Slots: slotsOf(1)}}) {
		if p.Records != nil || p.Count != 0 || p.First != 0 || p.Last != 0 || p.Shared {
			t.Errorf("got %+v", p)
		}
	}
	if parts := scatter.Cut(b, nil); len(parts) != 0 {
		t.Errorf("got %v for no want", parts)
	}
}

// A rename belongs to its source; its other slot gets nothing of it.
func TestCutByHomeOnly(t *testing.T) {
	f := changelog.Fields{
		Type: changelog.TypeRenme, Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagRename},
		Index: 1, Target: changelog.FID{Seq: 7, Oid: 1}, Source: changelog.FID{Seq: 7, Oid: 2}, Name: "to", SourceName: "from",
	}
	packed, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := batch(packed)
	parts := scatter.Cut(b, []scatter.Want{{To: 9, Slots: slotsOf(1)}, {To: 9, Slots: slotsOf(2)}})
	if parts[0].Count != 0 || parts[1].Count != 1 || !parts[1].Shared {
		t.Errorf("got %+v", parts)
	}
}

func TestCutPanicsAtUnsealedBytes(t *testing.T) {
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "batch (0, 9] was sealed with bytes that are no record") {
			t.Errorf("the panic is %q", text)
		}
	}()
	scatter.Cut(&core.Batch{To: 9, Count: 1, Records: make([]byte, 40)}, []scatter.Want{{From: 1, To: 9}})
}

// partition shares out all slots among lanes, at random.
func partition(rnd *rand.Rand, lanes int) []*groups.Slots {
	sets := make([]*groups.Slots, lanes)
	for i := range sets {
		sets[i] = new(groups.Slots)
	}
	for slot := range groups.Slot(groups.SlotCount) {
		sets[rnd.IntN(lanes)].Add(slot)
	}
	return sets
}

// Whatever the partition of the slots: the parts together are the batch, each in order.
func TestPartitionsAreWhole(t *testing.T) {
	b := vectors(t)
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		lanes := 1 + rnd.IntN(8)
		if seed%10 == 0 {
			lanes = 1 + rnd.IntN(groups.SlotCount)
		}
		var wants []scatter.Want
		for _, set := range partition(rnd, lanes) {
			wants = append(wants, scatter.Want{From: b.From, To: b.To, Slots: set})
		}
		parts := scatter.Cut(b, wants)
		byIndex := map[uint64][]byte{}
		for i, p := range parts {
			if i < 16 {
				checkPart(t, b, wants[i], p)
			}
			for scan := changelog.NewScanner(p.Records); scan.Scan(); {
				if byIndex[scan.Last] != nil {
					t.Fatalf("seed %d: record %d is in two parts", seed, scan.Last)
				}
				byIndex[scan.Last] = scan.Record().Bytes()
			}
		}
		var union []byte
		for scan := changelog.NewScanner(b.Records); scan.Scan(); {
			union = append(union, byIndex[scan.Last]...)
		}
		if !bytes.Equal(union, b.Records) {
			t.Fatalf("seed %d: the parts of %d lanes are not the batch", seed, lanes)
		}
	}
}

// Wants of several groups, which overlap, and cuts of one lane after the other.
func TestAnyWants(t *testing.T) {
	b := vectors(t)
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var wants []scatter.Want
		for range 1 + rnd.IntN(3) {
			for _, set := range partition(rnd, 1+rnd.IntN(5)) {
				middle := b.From + rnd.Uint64N(b.To-b.From)
				if rnd.IntN(4) == 0 {
					set = nil
				}
				wants = append(wants, scatter.Want{From: b.From, To: middle, Slots: set}, scatter.Want{From: middle, To: b.To, Slots: set})
			}
		}
		before := bytes.Clone(b.Records)
		for _, b := range []*core.Batch{b, unnoted(b)} {
			for i, p := range scatter.Cut(b, wants) {
				checkPart(t, b, wants[i], p)
			}
		}
		if !bytes.Equal(before, b.Records) {
			t.Fatal("the batch changed")
		}
	}
}

// To hand out everything costs the same for any batch.
func TestWholeIsFree(t *testing.T) {
	b := vectors(t)
	wants := []scatter.Want{{From: b.From, To: b.To}}
	if n := testing.AllocsPerRun(100, func() { scatter.Cut(b, wants) }); n > 1 {
		t.Errorf("%v allocations, want that of the result only", n)
	}
}

// One cutter after the other batch, into memory that was used before: nothing is left of that.
func TestCutAgain(t *testing.T) {
	spare := make(chan []byte, 64)
	cut := scatter.Cutter{Spare: spare}
	all := full(t)
	small := batch(named(t, 1, 5, "a"), named(t, 2, 6, "b"), named(t, 3, 5, "c"))
	rng := rand.New(rand.NewPCG(1, 2))
	again := 0
	for range 200 {
		b := all
		if rng.IntN(4) == 0 {
			b = small
		}
		if rng.IntN(3) == 0 {
			b = unnoted(b)
		}
		var wants []scatter.Want
		for _, set := range partition(rng, 1+rng.IntN(6)) {
			wants = append(wants, scatter.Want{From: b.From + uint64(rng.IntN(2)), To: b.To, Slots: set})
		}
		waiting := len(spare)
		parts := cut.CutForm(b, b, wants)
		again += waiting - len(spare)
		for i, p := range parts {
			checkPart(t, b, wants[i], p)
		}
		for _, p := range parts {
			if p.Shared || len(spare) == cap(spare) {
				continue
			}
			for i := range p.Records[:cap(p.Records)] {
				p.Records[:cap(p.Records)][i] = 0xee
			}
			spare <- p.Records
		}
	}
	if again < 50 {
		t.Errorf("memory was used again %d times", again)
	}
}

package ingest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// Whatever the size of batches and reads, the golden stream comes out as it went in.
func TestStreamComesOutAsItWentIn(t *testing.T) {
	stream := vectors(t)
	for _, size := range []int{1, 64, 100, 157, 1000, 4096, 30_000, 128 << 10, 1 << 20} {
		for _, each := range []int{1, 7, 100, 2000} {
			for _, slots := range []bool{false, true} {
				o := ingest.Options{MDT: 3, Epoch: 2, BatchBytes: size, Slots: slots}
				batches, err := seal(o, split(stream, each)...)
				check(t, err)
				checkBatches(t, o, batches, stream)
			}
		}
	}
}

func TestStreamInRandomReads(t *testing.T) {
	stream := vectors(t)
	single := split(stream, 1)
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		o := ingest.Options{BatchBytes: 1 + rnd.IntN(20_000), Slots: true}
		var pieces [][]byte
		for rest := single; len(rest) > 0; {
			n := min(1+rnd.IntN(200), len(rest))
			pieces = append(pieces, bytes.Join(rest[:n], nil))
			rest = rest[n:]
		}
		batches, err := seal(o, pieces...)
		check(t, err)
		checkBatches(t, o, batches, stream)
	}
}

// A catch-up reading ends exactly at its end, wherever that is.
func TestStreamUntil(t *testing.T) {
	stream := vectors(t)
	all := slices.Collect(func(yield func(changelog.Record) bool) {
		for scan := changelog.NewScanner(stream); scan.Scan() && yield(scan.Record()); {
		}
	})
	first, last := all[0].Index(), all[len(all)-1].Index()
	for until := first - 1; until < last; until += 37 {
		o := ingest.Options{Start: first - 1, Until: until, BatchBytes: 5000, Slots: true}
		batches, err := seal(o, split(stream, 50)...)
		check(t, err)
		var want []byte
		for _, r := range all {
			if r.Index() <= until {
				want = append(want, r.Bytes()...)
			}
		}
		checkBatches(t, o, batches, want)
		if to := batches[len(batches)-1].To; to != until {
			t.Fatalf("until %d: the last batch ends at %d", until, to)
		}
	}
}

// show prints what a batch covers: (From, To] with the indexes of its records.
func show(b *core.Batch) string {
	var indexes []uint64
	for scan := changelog.NewScanner(b.Records); scan.Scan(); {
		indexes = append(indexes, scan.Last)
	}
	return fmt.Sprintf("(%d,%d]%v holes %v", b.From, b.To, indexes, b.Holes)
}

// Records of 66 bytes.
func TestSealer(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     ingest.Options
		reads [][]byte
		want  []string
	}{
		{"nothing", ingest.Options{}, nil, nil},
		{"an empty read", ingest.Options{}, [][]byte{nil, {}}, nil},
		{"one record", ingest.Options{}, [][]byte{recs(1)}, []string{"(0,1][1] holes []"}},
		{"start 0 is start 1", ingest.Options{Start: 0}, [][]byte{recs(1)}, []string{"(0,1][1] holes []"}},
		{"start in the middle", ingest.Options{Start: 10}, [][]byte{recs(10, 11)}, []string{"(9,11][10 11] holes []"}},
		{"missing at the start", ingest.Options{Start: 10}, [][]byte{recs(15)}, []string{"(9,15][15] holes [{9 14}]"}},
		{"missing in the middle", ingest.Options{}, [][]byte{recs(1, 2, 4, 8)}, []string{"(0,8][1 2 4 8] holes [{2 3} {4 7}]"}},
		{"missing between reads", ingest.Options{}, [][]byte{recs(1, 2), recs(4)}, []string{"(0,4][1 2 4] holes [{2 3}]"}},
		{"two fit", ingest.Options{BatchBytes: 132}, [][]byte{recs(1, 2, 3)}, []string{"(0,2][1 2] holes []", "(2,3][3] holes []"}},
		{"two do not fit", ingest.Options{BatchBytes: 131}, [][]byte{recs(1, 2)}, []string{"(0,1][1] holes []", "(1,2][2] holes []"}},
		{"one does not fit", ingest.Options{BatchBytes: 1}, [][]byte{recs(1, 2)}, []string{"(0,1][1] holes []", "(1,2][2] holes []"}},
		{"a hole goes with what follows it", ingest.Options{BatchBytes: 66}, [][]byte{recs(1, 5)}, []string{"(0,1][1] holes []", "(1,5][5] holes [{1 4}]"}},
		{"reads go together", ingest.Options{BatchBytes: 198}, [][]byte{recs(1, 2), recs(3)}, []string{"(0,3][1 2 3] holes []"}},
		{"as far as they fit", ingest.Options{BatchBytes: 197}, [][]byte{recs(1, 2), recs(3)}, []string{"(0,2][1 2] holes []", "(2,3][3] holes []"}},
		{"until a record", ingest.Options{Until: 2}, [][]byte{recs(1, 2, 3)}, []string{"(0,2][1 2] holes []"}},
		{"until a hole", ingest.Options{Until: 4}, [][]byte{recs(1, 2, 7)}, []string{"(0,4][1 2] holes [{2 4}]"}},
		{"until a hole, in another read", ingest.Options{Until: 4}, [][]byte{recs(1, 2), recs(7)}, []string{"(0,4][1 2] holes [{2 4}]"}},
		{"until, nothing there", ingest.Options{Start: 3, Until: 4}, [][]byte{recs(7)}, []string{"(2,4][] holes [{2 4}]"}},
		{"until, and a batch is full", ingest.Options{Until: 4, BatchBytes: 132}, [][]byte{recs(1, 2, 3, 9)}, []string{"(0,2][1 2] holes []", "(2,4][3] holes [{3 4}]"}},
		{"until, and a batch was sealed", ingest.Options{Until: 4, BatchBytes: 1}, [][]byte{recs(1, 2), recs(3), recs(9)}, []string{"(0,1][1] holes []", "(1,2][2] holes []", "(2,4][3] holes [{3 4}]"}},
		{"not yet until", ingest.Options{Until: 4}, [][]byte{recs(1, 2)}, []string{"(0,2][1 2] holes []"}},
		{"until before the start", ingest.Options{Start: 5, Until: 4}, [][]byte{recs(7)}, nil},
		{"bad bytes behind until", ingest.Options{Until: 2}, [][]byte{append(recs(1, 2, 3), 1, 2, 3)}, []string{"(0,2][1 2] holes []"}},
		{"bad bytes at until", ingest.Options{Until: 2}, [][]byte{append(recs(1, 2), 1, 2, 3)}, []string{"(0,2][1 2] holes []"}},
		{"the last index", ingest.Options{Start: 1<<64 - 1}, [][]byte{recs(1<<64 - 1)}, []string{"(18446744073709551614,18446744073709551615][18446744073709551615] holes []"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			batches, err := seal(c.o, c.reads...)
			check(t, err)
			var got []string
			for _, b := range batches {
				got = append(got, show(b))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestDone(t *testing.T) {
	s := ingest.NewSealer(ingest.Options{Start: 5, Until: 6})
	if s.Done() || s.Position() != 4 {
		t.Errorf("done %v at %d before the start", s.Done(), s.Position())
	}
	for i, want := range []bool{false, true, true} {
		_, err := add(s, recs(uint64(5+i)))
		check(t, err)
		if s.Done() != want {
			t.Errorf("done %v after index %d", s.Done(), 5+i)
		}
	}
	if s.Position() != 6 {
		t.Errorf("the position is %d", s.Position())
	}
	if !ingest.NewSealer(ingest.Options{Start: 5, Until: 4}).Done() {
		t.Error("there is nothing to read, and it is not done")
	}
}

func TestSlotsAndPairs(t *testing.T) {
	stream := bytes.Join([][]byte{rec(1), rename(2, 20, 21), rec(3), rename(4, 40, 41)}, nil)
	slot := func(oid uint32) groups.Slot { return groups.SlotOf(changelog.FID{Seq: 7, Oid: oid}) }
	batches, err := seal(ingest.Options{Slots: true}, stream)
	check(t, err)
	b := batches[0]
	if want := []groups.Pair{{Index: 2, Home: slot(21), Other: slot(20)}, {Index: 4, Home: slot(41), Other: slot(40)}}; !slices.Equal(b.Pairs, want) {
		t.Errorf("pairs %v, want %v", b.Pairs, want)
	}
	for _, oid := range []uint32{1, 20, 21, 3, 40, 41} {
		if !b.Slots.Has(slot(oid)) {
			t.Errorf("the slot of object %d is missing", oid)
		}
	}
	if n := b.Slots.Count(); n != 6 {
		t.Errorf("%d slots", n)
	}
}

// What was sealed without slots gets the same ones later.
func TestWithSlots(t *testing.T) {
	stream := vectors(t)
	plain, err := seal(ingest.Options{BatchBytes: 10_000}, stream)
	check(t, err)
	o := ingest.Options{BatchBytes: 10_000, Slots: true}
	var later []*core.Batch
	for _, b := range plain {
		with := ingest.WithSlots(b)
		if b.Slots != nil || &with.Records[0] != &b.Records[0] {
			t.Fatal("the batch was changed, or its records copied")
		}
		if ingest.WithSlots(with) != with {
			t.Fatal("a batch with slots is not good enough")
		}
		later = append(later, with)
	}
	checkBatches(t, o, later, stream)
}

func TestSealEmpty(t *testing.T) {
	s := ingest.NewSealer(ingest.Options{})
	if b, _ := s.Seal(); b != nil {
		t.Errorf("got %s", show(b))
	}
	_, err := add(s, recs(1))
	check(t, err)
	if b, _ := s.Seal(); b == nil || b.Count != 1 {
		t.Errorf("got %v", b)
	}
	if b, _ := s.Seal(); b != nil {
		t.Errorf("got %s for the second time", show(b))
	}
}

// In the steady state nothing is allocated but what leaves.
func TestSealerAllocations(t *testing.T) {
	s := ingest.NewSealer(ingest.Options{})
	one := recs(1)
	index := uint64(0)
	allocations := testing.AllocsPerRun(1000, func() {
		index++
		changelog.SetIndex(one, index)
		if _, err := add(s, one); err != nil {
			t.Fatal(err)
		}
		_, _ = s.Seal()
	})
	if allocations > 2 {
		t.Errorf("%v allocations for a batch, want it and its records", allocations)
	}
}

// A filter for everybody allocates nothing for a record, only what leaves: the batch, its records and, of the live
// reading, the identities of those that were dropped.
func TestSealerAllocationsWithModules(t *testing.T) {
	p := goldenPage(t)
	for _, f := range typeFilters {
		for name, until := range map[string]uint64{"live": 0, "catch-up": 1 << 60} {
			s := ingest.NewSealer(through(ingest.Options{Until: until}, planFor(t, f.chain)))
			index, kept := uint64(0), 0
			allocations := testing.AllocsPerRun(100, func() {
				index = p.number(index)
				batches, err := add(s, p.packed)
				check(t, err)
				if b, err := s.Seal(); b != nil {
					check(t, err)
					batches = append(batches, b)
				}
				kept = 0
				for _, b := range batches {
					kept += b.Count
				}
			})
			t.Logf("%s, %s: %v allocations for %d records, of which %d are kept", f.keeps, name, allocations, len(p.offsets), kept)
			if allocations > 32 { // 6 as a rule; a buffer that was lent may have to grow again, with the race detector often
				t.Errorf("%s, %s: %v allocations for a batch", f.keeps, name, allocations)
			}
		}
	}
}

// A page that is full is the batch; one that is not is copied, so that nobody keeps a page
// for a few records.
func TestFullPageIsNotCopied(t *testing.T) {
	const full = 112 << 10 // there is not enough room left for a read
	for _, bytes := range []int{66, 64 << 10, full, full + 66, 128 << 10} {
		s := ingest.NewSealer(ingest.Options{BatchBytes: 128 << 10})
		page := s.Room()
		batches, err := add(s, recs(upTo(1, uint64(bytes/66))...))
		check(t, err)
		if b, _ := s.Seal(); b != nil {
			batches = append(batches, b)
		}
		b := batches[0]
		if isPage := &b.Records[0] == &page[0]; len(batches) != 1 || isPage != (bytes > full) {
			t.Errorf("%d bytes: %d batches, it is the page: %v", bytes, len(batches), isPage)
		}
		if spare := cap(b.Records) - len(b.Records); spare > len(page)/8 {
			t.Errorf("%d bytes: %d bytes of memory lie idle", bytes, spare)
		}
		if taken := &s.Room()[0] != &page[0]; taken != (bytes > full) {
			t.Errorf("%d bytes: the next ones go elsewhere: %v", bytes, taken)
		}
	}
}

// What comes behind a full page goes into memory that others have let go of, if there is
// some that is large enough; and nothing is left of what was there.
func TestSparePages(t *testing.T) {
	spare := make(chan []byte, 2)
	old := bytes.Repeat([]byte{0xee}, 128<<10)
	spare <- old[:100]
	spare <- make([]byte, 1000) // of something else
	o := ingest.Options{Spare: spare, BatchBytes: 128 << 10}
	stream := recs(upTo(1, 5000)...)
	batches, err := seal(o, stream)
	check(t, err)
	checkBatches(t, o, batches, stream)
	if &batches[0].Records[0] != &old[0] || len(spare) != 0 {
		t.Error("the spare page is not used")
	}
}

func TestFootprint(t *testing.T) {
	if n := (ingest.Options{}).Footprint(); n != 3*ingest.DefaultBatchBytes {
		t.Errorf("got %d", n)
	}
}

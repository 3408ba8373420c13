package groups

import (
	"reflect"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

func TestSlots(t *testing.T) {
	set := func(slots ...Slot) (s Slots) {
		for _, x := range slots {
			s.Add(x)
		}
		return s
	}
	a, b := set(0, 63, 64, 4095), set(1, 64, 4095)
	if a.Count() != 4 || AllSlots.Count() != SlotCount || a.common(&b) != 2 {
		t.Errorf("counts: %d, %d, %d", a.Count(), AllSlots.Count(), a.common(&b))
	}
	for _, x := range []Slot{0, 63, 64, 4095} {
		if !a.Has(x) || a.Has(x^2) {
			t.Errorf("slot %d", x)
		}
	}
	none, one := set(), set(2)
	if !a.Meets(&b) || a.Meets(&one) || a.Meets(&none) {
		t.Error("Meets is wrong")
	}
	u := a
	u.Union(&b)
	if u != set(0, 1, 63, 64, 4095) {
		t.Error("Union is wrong")
	}
	if u.remove(&b); u != set(0, 63) {
		t.Error("remove is wrong")
	}
	rest := a
	if taken := rest.take(2); taken != set(0, 63) || rest != set(64, 4095) {
		t.Error("take does not take the lowest")
	}
	if taken := rest.take(99); taken != set(64, 4095) || rest != none {
		t.Error("take of more than there is")
	}
}

func TestTries(t *testing.T) {
	base := func() tries { return tries{{10, 2, 0}, {20, 3, 0}, {25, 0, 0}, {30, 1, 1}} }
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"at the start", base().at(0), try{10, 2, 0}},
		{"at an end", base().at(10), try{20, 3, 0}},
		{"at the last end", base().at(30), try{^uint64(0), 0, 0}},
		{"of nothing", tries(nil).at(5), try{^uint64(0), 0, 0}},
		{"after", base().after(20), tries{{25, 0, 0}, {30, 1, 1}}},
		{"after all", len(base().after(30)), 0},
		{"before", base().before(15), tries{{10, 2, 0}, {15, 3, 0}}},
		{"before an end", base().before(20), tries{{10, 2, 0}, {20, 3, 0}}},
		{"before all", base().before(99), base()},
		{"push of the same", base().push(try{40, 1, 1}), tries{{10, 2, 0}, {20, 3, 0}, {25, 0, 0}, {40, 1, 1}}},
		{"push of another", tries{{10, 2, 0}}.push(try{20, 2, 1}), tries{{10, 2, 0}, {20, 2, 1}}},
		{"push of what is there", tries{{10, 2, 0}}.push(try{10, 5, 0}), tries{{10, 2, 0}}},
		{"end", base().end(), uint64(30)},
		{"no end", tries(nil).end(), uint64(0)},
		{"spent", try{1, 3, 1}.spent(2), true},
		{"not spent", try{1, 3, 2}.spent(2), false},
		{"no limit", try{1, 300, 0}.spent(0), false},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	f := base()
	f.forgive(3)
	if !reflect.DeepEqual(f, tries{{10, 2, 0}, {20, 3, 3}, {25, 0, 0}, {30, 1, 1}}) {
		t.Errorf("forgive: %v", f)
	}
	whole := base()
	cut := whole.before(25)
	if cut[0].n = 99; whole[0].n != 2 {
		t.Error("before shares its memory")
	}
}

func TestPiece(t *testing.T) {
	some, other := &Slots{}, &Slots{}
	some.Add(1)
	some.Add(2)
	other.Add(3)
	p := Piece{From: 10, To: 20, Bytes: 1000, Slots: some, Pairs: []Pair{{12, 1, 2}, {15, 2, 1}}}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"all of it", p.share(10, 20), int64(1000)},
		{"more", p.share(5, 20), int64(1000)},
		{"a part", p.share(12, 15), int64(300)},
		{"a little", Piece{From: 0, To: 1 << 40, Bytes: 5}.share(0, 1), int64(1)},
		{"all keys", p.weight(nil, 10, 20), int64(1000)},
		{"its keys", p.weight(&Slots{2}, 10, 20), int64(500)},
		{"holds for all", p.holdsFor(nil), true},
		{"holds for some", p.holdsFor(some), true},
		{"not for others", p.holdsFor(other), false},
		{"without bytes", Piece{To: 5, Slots: some}.holdsFor(nil), false},
		{"without slots", Piece{To: 5, Bytes: 5, Slots: &Slots{}}.holdsFor(nil), false},
		{"unknown slots", Piece{To: 5, Bytes: 5}.holdsFor(other), true},
		{"covers its start", p.covers(10), true},
		{"not its end", p.covers(20), false},
		{"nor before", p.covers(9), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	for index, want := range map[uint64]bool{11: false, 12: true, 13: false, 15: true, 16: false} {
		if pair, found := p.pairAt(index); found != want || found && pair.Index != index {
			t.Errorf("pair at %d: %v, %v", index, pair, found)
		}
	}
}

func TestKeys(t *testing.T) {
	fid := func(n uint64) changelog.FID { return changelog.FID{Seq: 0x200000400 + n, Oid: 7} }
	target, parent, source, zero := fid(1), fid(2), fid(3), changelog.FID{}
	rename := changelog.Format{Flags: changelog.FlagVersion | changelog.FlagRename}
	plain := changelog.Format{Flags: changelog.FlagVersion}
	type keys struct {
		home, other Slot
		two         bool
	}
	one := func(f changelog.FID) keys { return keys{home: SlotOf(f)} }
	cases := map[string]struct {
		fields changelog.Fields
		want   keys
	}{
		"RENME over nothing":       {changelog.Fields{Type: changelog.TypeRenme, Format: rename, Parent: parent, Source: source}, one(source)},
		"RENME over a file":        {changelog.Fields{Type: changelog.TypeRenme, Format: rename, Target: target, Parent: parent, Source: source}, keys{SlotOf(source), SlotOf(target), true}},
		"RENME of a FID over it":   {changelog.Fields{Type: changelog.TypeRenme, Format: rename, Target: source, Source: source}, one(source)},
		"RENME with a zero source": {changelog.Fields{Type: changelog.TypeRenme, Format: rename, Target: target, Parent: parent}, one(target)},
		"RENME of Lustre 2.0":      {changelog.Fields{Type: changelog.TypeRenme, Format: plain, Target: target, Parent: parent}, one(target)},
		"RNMTO of Lustre 2.0":      {changelog.Fields{Type: changelog.TypeRnmto, Format: plain, Parent: parent}, one(parent)},
		"MIGRT":                    {changelog.Fields{Type: changelog.TypeMigrt, Format: rename, Target: target, Parent: parent, Source: source}, keys{SlotOf(target), SlotOf(source), true}},
		"MIGRT without a target":   {changelog.Fields{Type: changelog.TypeMigrt, Format: rename, Parent: parent, Source: source}, keys{SlotOf(parent), SlotOf(source), true}},
		"MIGRT without anything":   {changelog.Fields{Type: changelog.TypeMigrt, Format: plain}, one(zero)},
		"MARK":                     {changelog.Fields{Type: changelog.TypeMark, Format: plain, Target: changelog.MarkerTarget(0x1000000)}, keys{}},
		"a type of tomorrow":       {changelog.Fields{Type: 99, Format: plain, Target: target}, one(target)},
		"tomorrow's, no target":    {changelog.Fields{Type: 99, Format: plain, Parent: parent}, one(zero)},
	}
	for typ := changelog.TypeCreat; typ.Known(); typ++ {
		if typ == changelog.TypeRenme || typ == changelog.TypeMigrt {
			continue
		}
		cases[typ.String()+" with a target"] = struct {
			fields changelog.Fields
			want   keys
		}{changelog.Fields{Type: typ, Format: plain, Target: target, Parent: parent}, one(target)}
		want := keys{} // what lies in parent may be left over (ABI 10.7)
		if typ <= changelog.TypeRnmto {
			want = one(parent)
		}
		cases[typ.String()+" with a zero target"] = struct {
			fields changelog.Fields
			want   keys
		}{changelog.Fields{Type: typ, Format: plain, Parent: parent}, want}
	}
	for name, c := range cases {
		packed, err := c.fields.Append(nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, _, err := changelog.Next(packed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got keys
		if got.home, got.other, got.two = Keys(r); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if SlotOf(zero) != 0 {
		t.Error("a zero FID is not in slot 0")
	}
	if SlotOf(changelog.FID{Seq: 1, Oid: 2, Ver: 3}) != SlotOf(changelog.FID{Seq: 1, Oid: 2}) {
		t.Error("the version of a FID counts")
	}
}

// FIDs come in rows: of one sequence, or of many sequences with the same ids. Both
// must spread like chance would have it: chi square with 4095 degrees of freedom is
// between 3700 and 4500, but for once in a million.
func TestSlotsAreEven(t *testing.T) {
	const n = 100_000
	for name, fid := range map[string]func(i uint32) changelog.FID{
		"one sequence":         func(i uint32) changelog.FID { return changelog.FID{Seq: 0x200000401, Oid: i} },
		"a high sequence":      func(i uint32) changelog.FID { return changelog.FID{Seq: 0x2000013a1 + 1<<34, Oid: 0x10000 + i} },
		"a sequence per node":  func(i uint32) changelog.FID { return changelog.FID{Seq: 0x200000400 + uint64(i%1000), Oid: 1 + i/1000} },
		"a sequence per file":  func(i uint32) changelog.FID { return changelog.FID{Seq: 0x200000400 + uint64(i), Oid: 1} },
		"every other":          func(i uint32) changelog.FID { return changelog.FID{Seq: 0x200000401, Oid: 2 * i} },
		"a stride":             func(i uint32) changelog.FID { return changelog.FID{Seq: 0x200000401, Oid: 4096 * i} },
		"sequence and id grow": func(i uint32) changelog.FID { return changelog.FID{Seq: 0x200000400 + uint64(i), Oid: i} },
	} {
		var counts [SlotCount]int
		for i := range uint32(n) {
			counts[SlotOf(fid(i))]++
		}
		chi, want := 0.0, float64(n)/SlotCount
		for _, count := range counts {
			chi += (float64(count) - want) * (float64(count) - want) / want
		}
		// Below chance is better still: rows may spread more evenly than chance.
		if chi > 4500 {
			t.Errorf("%s: chi square is %.0f", name, chi)
		}
		t.Logf("%s: chi square %.0f", name, chi)
	}
}

package ingest_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// planFor compiles a chain for everybody; where it is told to, the module break fails.
func planFor(t testing.TB, text string) *modules.Plan {
	t.Helper()
	specs, err := modules.ParseSpecs(text)
	check(t, err)
	kinds := append(modules.Builtin(), modules.Kind{Name: "break", Parse: func(o *modules.Options, _ modules.Use) (modules.Factory, error) {
		at := uint64(o.Int("at", 0, 0, 1<<40))
		return func(modules.Start) modules.Module { return breaking{at: at} }, nil
	}})
	plan, err := modules.Parse(specs, kinds, modules.Use{Scope: modules.ForAll})
	check(t, err)
	return plan
}

type breaking struct {
	modules.Stateless
	at uint64
}

func (m breaking) Push(r changelog.Record, out *modules.Out) {
	if r.Index() == m.at {
		out.Fail(errBroken)
	}
	out.Keep(r)
}

// through returns the options with the chain of a plan that begins where they do.
func through(o ingest.Options, plan *modules.Plan) ingest.Options {
	o.Modules = plan.New(modules.Start{After: max(o.Start, 1) - 1})
	return o
}

// whole passes a whole stream through a chain at once: what any reading of it must leave.
func whole(t testing.TB, plan *modules.Plan, packed []byte) []byte {
	t.Helper()
	out, err := plan.New(modules.Start{}).Push(time.Time{}, modules.Batch{To: math.MaxUint64, Records: packed})
	check(t, err)
	return out.Records
}

// What comes out of modules is the same however the stream is read and sealed; what the MDT
// showed is told as it is without them.
func TestModulesForEverybody(t *testing.T) {
	stream := vectors(t)
	single := split(stream, 1)
	for _, text := range []string{
		`[{filter: {types: CREAT UNLNK RENME}}]`, `[{filter: {types: "-CLOSE"}}]`, `[{filter: {where: 'uid >= 0'}}]`,
		`[{filter: {where: 'index < 0'}}]`, `[{filter: {where: 'index > 0'}}]`, `[{project: {fields: [rename]}}]`,
		`[{filter: {types: "-CLOSE"}}, {project: {fields: []}}]`,
	} {
		plan := planFor(t, text)
		want := whole(t, plan, stream)
		for seed := range uint64(20) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			o := ingest.Options{MDT: 3, Epoch: 2, BatchBytes: 1 + rnd.IntN(40_000), Slots: seed%2 == 0}
			var pieces [][]byte
			for rest := single; len(rest) > 0; {
				n := min(1+rnd.IntN(300), len(rest))
				pieces = append(pieces, bytes.Join(rest[:n], nil))
				rest = rest[n:]
			}
			raw, err := seal(o, pieces...)
			check(t, err)
			got, err := seal(through(o, plan), pieces...)
			check(t, err)
			checkPassed(t, o, raw, got, want)
		}
	}
}

// checkPassed compares batches that passed modules with the same ones that did not.
func checkPassed(t testing.TB, o ingest.Options, raw, got []*core.Batch, want []byte) {
	t.Helper()
	if len(raw) != len(got) {
		t.Fatalf("%d batches, without modules %d", len(got), len(raw))
	}
	var all []byte
	for i, b := range got {
		r := raw[i]
		all = append(all, b.Records...)
		if b.From != r.From || b.To != r.To || b.Newest != r.Newest || !slices.Equal(b.Holes, r.Holes) || b.Shown() != r.Count {
			t.Fatalf("%+v is not what the MDT showed: %+v", b, r)
		}
		if o.Until == 0 && !slices.Equal(ingest.RecordIDs(b), ingest.RecordIDs(r)) {
			t.Fatalf("(%d, %d] is not recognised by all that the MDT showed", b.From, b.To)
		}
		must := expected(b)
		if b.Count != must.Count || o.Slots && (*b.Slots != *must.Slots || !slices.Equal(b.Pairs, must.Pairs)) {
			t.Fatalf("(%d, %d]: %d records, pairs %v; want %d, %v", b.From, b.To, b.Count, b.Pairs, must.Count, must.Pairs)
		}
		if cap(b.Records)-len(b.Records) > cap(b.Records)/8 || cap(b.Hidden) > 2*len(b.Hidden) {
			t.Fatalf("(%d, %d] keeps more memory than it uses", b.From, b.To)
		}
		last := b.From
		for scan := changelog.NewScanner(b.Records); scan.Scan(); {
			last = scan.Last
		}
		if b.Count > 0 && b.LastRecord() != last {
			t.Fatalf("(%d, %d] says that %d is its last record, not %d", b.From, b.To, b.LastRecord(), last)
		}
	}
	if !bytes.Equal(all, want) {
		t.Fatalf("%d bytes came out, want %d", len(all), len(want))
	}
}

// What is dropped is no hole, and is covered.
func TestDroppedIsNoHole(t *testing.T) {
	plan := planFor(t, `[{filter: {where: 'index in 3..4'}}]`)
	o := ingest.Options{Until: 12}
	batches, err := seal(through(o, plan), recs(1, 3, 4, 5, 9, 13))
	check(t, err)
	b := batches[0]
	if got, want := show(b), "(0,12][3 4] holes [{1 2} {5 8} {9 12}]"; len(batches) != 1 || got != want || b.LastRecord() != 4 || b.Newest.Index != 9 || b.Hidden != nil {
		t.Errorf("%s, last %d, newest %d, want %s", got, b.LastRecord(), b.Newest.Index, want)
	}
}

// Modules that fail end the reading with the batches before; nothing of the one that they
// failed at comes out, however it was sealed.
func TestModulesThatFail(t *testing.T) {
	plan := planFor(t, `[{break: {at: 5}}]`)
	for _, c := range []struct {
		o     ingest.Options
		reads [][]byte
		to    uint64
	}{
		{ingest.Options{BatchBytes: 132}, [][]byte{recs(1, 2, 3, 4, 5, 6, 7, 8)}, 4}, // when it is full
		{ingest.Options{}, [][]byte{recs(1, 2), recs(3, 4, 5)}, 0},                   // when nothing follows
		{ingest.Options{Until: 6}, [][]byte{recs(1, 2, 3, 4, 5, 6)}, 0},              // at the end
		{ingest.Options{}, [][]byte{append(recs(4, 5), 1, 2, 3)}, 0},                 // before bytes that are no record
	} {
		batches, err := seal(through(c.o, plan), c.reads...)
		failed, ok := errors.AsType[*ingest.ModulesError](err)
		if !ok || !errors.Is(err, errBroken) || failed.Position != c.to {
			t.Fatalf("got %v, want that modules failed after %d", err, c.to)
		}
		if n := len(batches); n > 0 && batches[n-1].To != c.to || n == 0 && c.to != 0 {
			t.Errorf("%d batches, want up to %d", n, c.to)
		}
	}
	var got []*core.Batch
	f := feedOf(recs(1, 2), recs(5))
	err := ingest.Run(within(t), f, through(ingest.Options{BatchBytes: 132}, plan), collect(&got))
	if _, ok := errors.AsType[*ingest.ModulesError](err); !ok || !f.closed || len(got) != 1 || got[0].To != 2 || got[0].AtEnd {
		t.Errorf("%d batches, %v", len(got), err)
	}
}

// Records of a hole that modules drop are found all the same: what is left of the hole is
// looked at again.
func TestHoleWhoseRecordsAreDropped(t *testing.T) {
	hole := core.Range{From: 10, To: 20}
	o := through(ingest.Options{Start: 11}, planFor(t, `[{filter: {types: MARK}}]`))
	late, err := ingest.CheckHole(within(t), opener(t, feedOf(recs(12, 30)), 11), o, hole)
	check(t, err)
	if len(late) != 1 || late[0].Count != 0 || late[0].Shown() != 1 || !slices.Equal(late[0].Holes, []core.Range{{From: 10, To: 11}, {From: 12, To: 20}}) {
		t.Errorf("found %+v", late)
	}
}

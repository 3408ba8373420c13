package modules_test

import (
	"bytes"
	"errors"
	"flag"
	"runtime"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// Without a module a batch passes as it is.
func TestEmptyChain(t *testing.T) {
	c := plan(t, ``, modules.Use{}).New(modules.Start{After: 4})
	in := modules.Batch{From: 4, To: 9, Records: line(t, 7, "CLOSE f=1"), Count: 1}
	out, err := c.Push(time.Unix(1, 0), in)
	if err != nil || &out.Records[0] != &in.Records[0] || out.From != 4 || out.To != 9 || c.Mark() != 9 {
		t.Errorf("got %+v, %v", out, err)
	}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = c.Push(time.Unix(1, 0), modules.Batch{From: 9, To: 9})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The mark is right below the oldest record that is held, and follows at once when that one is dropped.
func TestMark(t *testing.T) {
	c := plan(t, `[{coalesce: {records: 3}}]`, changes).New(modules.Start{})
	for i, step := range []struct {
		record string
		mark   uint64
	}{
		{"CLOSE f=1", 0},
		{"CLOSE f=2", 0},
		{"CLOSE f=1", 1}, // drops the first
		{"CLOSE f=2", 2}, // drops the second
		{"CLOSE f=3", 2},
		{"CLOSE f=4", 3}, // lets go the third
		{"CLOSE f=3", 5}, // lets go the fourth, and drops the fifth
	} {
		b, err := c.Push(time.Unix(1, 0), modules.Batch{From: uint64(i), To: uint64(i + 1), Records: line(t, uint64(i+1), step.record)})
		if err != nil || b.To != step.mark || c.Mark() != step.mark {
			t.Errorf("record %d, %s: covered up to %d, mark %d, want %d; %v", i+1, step.record, b.To, c.Mark(), step.mark, err)
		}
	}
	if b, err := c.Flush(time.Unix(1, 0)); err != nil || b.To != 7 {
		t.Errorf("after a flush: %+v, %v", b, err)
	}
}

// The bytes of a record that was changed and those of one that came in lie at the same places of different buffers.
func TestRunsOfBothSorts(t *testing.T) {
	f := changelog.Fields{Type: changelog.TypeRenme, Index: 1, Format: changelog.Format{Flags: changelog.FlagRename}, Name: "b", SourceName: "a"}
	rename, err := f.Append(nil) // project sets the version bit
	if err != nil {
		t.Fatal(err)
	}
	in := append(bytes.Clone(rename), line(t, 2, "CLOSE f=1")...)
	in = append(in, line(t, 3, "CLOSE f=2")...)
	out, err := plan(t, `[{project: {fields: [rename]}}]`, modules.Use{}).New(modules.Start{}).Push(time.Unix(1, 0), modules.Batch{To: 3, Records: in})
	want := bytes.Clone(in)
	want[3] |= 0x10
	if err != nil || !bytes.Equal(out.Records, want) {
		t.Errorf("got %x, %v\nwant %x", out.Records, err, want)
	}
}

// What does not come next is refused, and nothing comes out any more: it would be lost.
func TestInputFaults(t *testing.T) {
	good := modules.Batch{To: 2, Records: line(t, 1, "CLOSE f=1")}
	for name, in := range map[string]modules.Batch{
		"a batch before":       {From: 1, To: 3},
		"a batch left out":     {From: 5, To: 6},
		"upside down":          {From: 2, To: 1},
		"a record twice":       {From: 2, To: 4, Records: append(line(t, 3, "CLOSE f=1"), line(t, 3, "CLOSE f=1")...)},
		"a record before":      {From: 2, To: 4, Records: line(t, 2, "CLOSE f=1")},
		"a record behind":      {From: 2, To: 4, Records: line(t, 5, "CLOSE f=1")},
		"bytes of half record": {From: 2, To: 4, Records: line(t, 3, "CLOSE f=1")[:50]},
	} {
		t.Run(name, func(t *testing.T) {
			c := plan(t, `[coalesce]`, changes).New(modules.Start{})
			if _, err := c.Push(time.Unix(1, 0), good); err != nil {
				t.Fatal(err)
			}
			b, err := c.Push(time.Unix(1, 0), in)
			if !errors.Is(err, modules.ErrInput) || b.Count != 0 || c.Mark() != 0 {
				t.Errorf("got %+v, %v, mark %d", b, err, c.Mark())
			}
		})
	}
}

// faulty is a module that does to each record what it is told.
type faulty struct {
	modules.Stateless
	do func(r changelog.Record, out *modules.Out)
}

func (m *faulty) Push(r changelog.Record, out *modules.Out) { m.do(r, out) }

// A module that breaks its promises ends the chain, with its name; nothing is lost.
func TestModuleFaults(t *testing.T) {
	for name, do := range map[string]func(changelog.Record, *modules.Out){
		"forgets a record": func(r changelog.Record, out *modules.Out) {},
		"keeps it twice":   func(r changelog.Record, out *modules.Out) { out.Keep(r); out.Keep(r) },
		"keeps and drops":  func(r changelog.Record, out *modules.Out) { out.Keep(r); out.Drop(r.Index(), 0, 0) },
		"another index":    func(r changelog.Record, out *modules.Out) { out.Change(r, line(t, 99, "CLOSE f=1")) },
		"no record":        func(r changelog.Record, out *modules.Out) { out.Change(r, []byte("x")) },
		"two records": func(r changelog.Record, out *modules.Out) {
			out.Change(r, append(bytes.Clone(r.Bytes()), r.Bytes()...))
		},
		"fails": func(r changelog.Record, out *modules.Out) { out.Fail(modules.ErrModule) },
		"makes up a record": func(r changelog.Record, out *modules.Out) {
			other, _, _ := changelog.Next(line(t, 99, "CLOSE f=1"))
			out.Keep(other)
		},
	} {
		t.Run(name, func(t *testing.T) {
			kind := modules.Kind{Name: "faulty", Rules: []string{"r"}, Parse: func(*modules.Options, modules.Use) (modules.Factory, error) {
				return func(modules.Start) modules.Module { return &faulty{do: do} }, nil
			}}
			p, err := modules.Parse([]modules.Spec{{Name: "faulty"}}, []modules.Kind{kind}, modules.Use{})
			if err != nil {
				t.Fatal(err)
			}
			c := p.New(modules.Start{})
			b, err := c.Push(time.Unix(1, 0), modules.Batch{To: 2, Records: line(t, 1, "CLOSE f=1")})
			if !errors.Is(err, modules.ErrModule) || b.Count != 0 || c.Mark() != 0 || c.Err() == nil {
				t.Errorf("got %+v, %v, mark %d", b, err, c.Mark())
			}
			if _, err := c.Flush(time.Unix(2, 0)); err == nil {
				t.Error("the chain goes on")
			}
		})
	}
}

var distinct = flag.Int("distinct", 300_000, "objects of TestWindowMemory; 10000000 takes a minute")

// A window takes the memory that it is bounded to, however many objects pass through it.
func TestWindowMemory(t *testing.T) {
	const bound = 16 << 20
	p := plan(t, `[{coalesce: {records: 10000000, bytes: 8MiB, age: 1h}}, {cancel: {records: 10000000, bytes: 8MiB, age: 1h}}]`, state)
	c := p.New(modules.Start{})
	before, most := heap(), int64(0)
	var packed []byte
	f := changelog.Fields{Type: changelog.TypeCreat, Format: changelog.Format{Flags: changelog.FlagVersion}, Name: "a name of usual size", Parent: changelog.FID{Seq: 7, Oid: 1}}
	from, held := uint64(0), int64(0)
	for i := 1; i <= *distinct; i++ {
		f.Index, f.Target = uint64(i), changelog.FID{Seq: 8 + uint64(i)>>20, Oid: uint32(i)}
		var err error
		if packed, err = f.Append(packed); err != nil {
			t.Fatal(err)
		}
		if len(packed) < 64<<10 {
			continue
		}
		if _, err := c.Push(time.Unix(1, 0), modules.Batch{From: from, To: uint64(i), Records: packed}); err != nil {
			t.Fatal(err)
		}
		from, packed = uint64(i), packed[:0]
		held = max(held, c.Stats()[0].Held.Bytes+c.Stats()[1].Held.Bytes)
		if i%20_000 < 1000 {
			most = max(most, heap()-before)
		}
	}
	if held > bound || held < bound*9/10 {
		t.Errorf("the windows say that they hold %d bytes, bound to %d", held, bound)
	}
	if most > bound+2<<20 {
		t.Errorf("the windows take %d bytes of the heap, bound to %d", most, bound)
	}
	t.Logf("%d objects, %.1f MiB held, %.1f MiB of heap", *distinct, float64(held)/(1<<20), float64(most)/(1<<20))
	if _, err := c.Flush(time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	if left := heap() - before; left > 4<<20 {
		t.Errorf("%d bytes are left after a flush", left)
	}
}

// heap returns the bytes in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

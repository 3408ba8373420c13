package wasm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/modules/moduletest"
	"github.com/lcapd/lcapd/modules/wasm"
)

var group = modules.Use{Consumers: modules.Changes}

// compiled keeps what is compiled for all tests: to compile the example takes a second, and much more under -race.
var compiled = wazero.NewCompilationCache()

func TestMain(m *testing.M) {
	code := m.Run()
	if err := compiled.Close(context.Background()); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// kinds are the modules of the tests.
func kinds() []modules.Kind { return append(modules.Builtin(), wasm.Kind(compiled)) }

// plan compiles a chain of the guest in file, with options.
func plan(t testing.TB, file string, options map[string]any) (*modules.Plan, error) {
	t.Helper()
	all := map[string]any{"file": file}
	for k, v := range options {
		all[k] = v
	}
	return modules.Parse([]modules.Spec{{Name: "wasm", Options: all}}, kinds(), group)
}

// records returns three records.
func records(t testing.TB) (packed []byte) {
	t.Helper()
	for i := range uint64(3) {
		f := changelog.Fields{Type: changelog.TypeClose, Index: i + 1, Format: changelog.Format{Flags: changelog.FlagVersion}}
		var err error
		if packed, err = f.Append(packed); err != nil {
			t.Fatal(err)
		}
	}
	return packed
}

// verdict encodes one.
func verdict(index uint64, code byte, packed ...byte) []byte {
	b := append(binary.LittleEndian.AppendUint64(nil, index), code, 0)
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(packed))), packed...)
}

func TestVerdicts(t *testing.T) {
	changed := bytes.Clone(records(t)[64:128])
	changed[24] = 1 // its time
	g := guest{version: 1, answer: bytes.Join([][]byte{verdict(1, 0), verdict(2, 2, changed...), verdict(3, 1)}, nil)}
	p, err := plan(t, g.file(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := p.New(modules.Start{})
	b, err := c.Push(time.Unix(1, 0), modules.Batch{To: 3, Records: records(t)})
	if want := append(bytes.Clone(records(t)[:64]), changed...); err != nil || !bytes.Equal(b.Records, want) || b.To != 3 {
		t.Errorf("got %+v, %v", b, err)
	}
	s := c.Stats()[0]
	if s.In != 3 || s.Kept != 2 || s.Changed != 1 || s.Dropped[0] != (modules.RuleCount{Rule: "guest", Records: 1}) || s.Health != nil {
		t.Errorf("stats are %+v", s)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// i64 returns an answer at an address.
func i64(address, size int64) []byte { return append([]byte{opI64Const}, signed(address<<32|size)...) }

// Whatever a guest does, it ends at that: it is not called any more, its host says so, and no record is lost.
func TestFaults(t *testing.T) {
	three := bytes.Join([][]byte{verdict(1, 1), verdict(2, 1), verdict(3, 1)}, nil)
	second := records(t)[64:128]
	for _, c := range []struct {
		name   string
		guest  guest
		reason string
		is     error
	}{
		{"a trap", guest{process: []byte{opUnreachable}}, "unreachable", nil},
		{"a loop", guest{process: append([]byte{opLoop, typeVoid, opBr, 0, opEnd}, i64(2048, 0)...)}, "took too long: more than 300ms", wasm.ErrTimeout},
		{"an answer outside of its memory", guest{process: i64(1<<20, 100)}, "outside of its memory", nil},
		{"an answer as large as memory", guest{process: i64(1, 0xffff_ffff)}, "outside of its memory", nil},
		{"a place outside of its memory", guest{alloc: append([]byte{opI32Const}, signed(1<<30)...)}, "lcapd_alloc gave 192 bytes at 0x40000000", nil},
		{"a trap in alloc", guest{alloc: []byte{opUnreachable}}, "lcapd_alloc: ", nil},
		{"no verdict", guest{}, "there is none for record 1", wasm.ErrVerdicts},
		{"one too few", guest{answer: three[:24]}, "there is none for record 3", wasm.ErrVerdicts},
		{"half of one", guest{answer: three[:30]}, "there is none for record 3", wasm.ErrVerdicts},
		{"one too many", guest{answer: append(bytes.Clone(three), verdict(4, 0)...)}, "there are 12 bytes more", wasm.ErrVerdicts},
		{"out of order", guest{answer: bytes.Join([][]byte{verdict(2, 0), verdict(1, 0), verdict(3, 0)}, nil)}, "number 1 is about record 2, not 1", wasm.ErrVerdicts},
		{"one twice", guest{answer: bytes.Join([][]byte{verdict(1, 1), verdict(1, 1), verdict(3, 0)}, nil)}, "number 2 is about record 1, not 2", wasm.ErrVerdicts},
		{"an unknown verdict", guest{answer: bytes.Join([][]byte{verdict(1, 3), verdict(2, 0), verdict(3, 0)}, nil)}, "is 3, which is unknown", wasm.ErrVerdicts},
		{"bytes of a record that is kept", guest{answer: bytes.Join([][]byte{verdict(1, 0, 1, 2), verdict(2, 0), verdict(3, 0)}, nil)}, "has 2 bytes", wasm.ErrVerdicts},
		{"another index", guest{answer: bytes.Join([][]byte{verdict(1, 2, second...), verdict(2, 0), verdict(3, 0)}, nil)}, "not one record with that index", wasm.ErrVerdicts},
		{"two records for one", guest{answer: bytes.Join([][]byte{verdict(1, 2, records(t)...), verdict(2, 0), verdict(3, 0)}, nil)}, "not one record with that index", wasm.ErrVerdicts},
		{"no record", guest{answer: bytes.Join([][]byte{verdict(1, 2), verdict(2, 0), verdict(3, 0)}, nil)}, "not one record with that index", wasm.ErrVerdicts},
		{"all memory", guest{process: append([]byte{opLoop, typeVoid, opI32Const, 16, opMemoryGrow, 0, opDrop, opBr, 0, opEnd}, i64(2048, 0)...)}, "took too long", wasm.ErrTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.guest.version = 1
			file := c.guest.file(t)
			for _, policy := range []string{"pass", "stop"} {
				p, err := plan(t, file, map[string]any{"on_failure": policy, "timeout": "300ms"})
				if err != nil {
					t.Fatal(err)
				}
				chain := p.New(modules.Start{})
				b, err := chain.Push(time.Unix(1, 0), modules.Batch{To: 3, Records: records(t)})
				health := chain.Stats()[0].Health
				fault := new(wasm.Fault)
				if !errors.As(health, &fault) || fault.Index != 1 || !strings.Contains(fault.Error(), c.reason) || c.is != nil && !errors.Is(fault, c.is) {
					t.Errorf("%s: health is %v, want %q", policy, health, c.reason)
				}
				switch policy {
				case "pass":
					if err != nil || !bytes.Equal(b.Records, records(t)) || b.To != 3 {
						t.Errorf("%s: got %d records, %v", policy, b.Count, err)
					}
					if b, err = chain.Push(time.Unix(1, 0), modules.Batch{From: 3, To: 4}); err != nil || b.To != 4 {
						t.Errorf("%s: then %+v, %v", policy, b, err)
					}
				case "stop":
					if !errors.As(err, &fault) || b.Count != 0 || chain.Mark() != 0 {
						t.Errorf("%s: got %d records, mark %d, %v", policy, b.Count, chain.Mark(), err)
					}
				}
				if err := chain.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What cannot work is refused when the configuration is read, and says why.
func TestLoad(t *testing.T) {
	good := guest{version: 1}.file(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("this is no module"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		options    map[string]any
		want       string
	}{
		{"no file", "", nil, "file: the module's .wasm file is missing"},
		{"a missing file", "missing.wasm", nil, "file: stat missing.wasm: no such file or directory"},
		{"a directory", t.TempDir(), nil, "is not a file of at most"},
		{"some text", text, nil, "it is not a WebAssembly module that can run here"},
		{"another version", guest{version: 2}.file(t), nil, "it speaks version 2 of the ABI, this program version 1"},
		{"no function", guest{version: 1, leave: "lcapd_process"}.file(t), nil, "it exports no function lcapd_process"},
		{"no memory", guest{version: 1, leave: "memory"}.file(t), nil, "it exports no memory"},
		{"options that it does not take", good, map[string]any{"options": map[string]any{"a": 1}}, "it takes no options"},
		{"a bad option", good, map[string]any{"timeout": "2h"}, "timeout: 2h0m0s is out of range; it may be 1ms to 1m0s"},
		{"a bad policy", good, map[string]any{"on_failure": "ignore"}, `"ignore" is unknown; it may be pass, stop`},
		{"an unknown option", good, map[string]any{"fil": "x"}, "fil: unknown option"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := plan(t, c.file, c.options); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	_, err := modules.Parse([]modules.Spec{{Name: "wasm", Options: map[string]any{"file": good}}}, kinds(), modules.Use{})
	if !errors.Is(err, modules.ErrUnsafe) {
		t.Errorf("for an audit: %v", err)
	}
}

// example returns the example guest as it is in testdata.
func example(t testing.TB) string {
	t.Helper()
	packed, err := os.Open("testdata/example.wasm.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpack, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	code, err := io.ReadAll(unpack)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "example.wasm")
	if err := os.WriteFile(path, code, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// pass runs the golden stream through a guest.
func pass(t testing.TB, file, prefix string) modules.Batch {
	t.Helper()
	p, err := plan(t, file, map[string]any{"options": map[string]any{"prefix": prefix}})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile("../../changelog/testdata/vectors/stream.bin")
	if err != nil {
		t.Fatal(err)
	}
	c := p.New(modules.Start{})
	b, err := c.Push(time.Unix(1, 0), modules.Batch{To: 1 << 40, Records: packed})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Stats()[0]; s.Health != nil || s.In != 2000 {
		t.Fatalf("stats are %+v", s)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

// The example does what it says.
func TestExample(t *testing.T) {
	file := example(t)
	kept := pass(t, file, "rsync")
	if kept.Count == 0 || kept.Count == 2000 {
		t.Fatalf("%d records are kept", kept.Count)
	}
	for scan := changelog.NewScanner(kept.Records); scan.Scan(); {
		if job, _ := scan.Record().JobID(); !bytes.HasPrefix(job, []byte("rsync")) {
			t.Errorf("record %d of job %q was kept", scan.Last, job)
		}
		if _, _, ok := scan.Record().Owner(); ok {
			t.Errorf("record %d tells its owner", scan.Last)
		}
	}
	if _, err := plan(t, file, nil); err == nil || !strings.Contains(err.Error(), "prefix is missing") {
		t.Errorf("without its option: %v", err)
	}
}

// The example is built as its documentation says, and does what the one in testdata does.
func TestExampleIsCurrent(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no go to build the example with")
		}
		t.Skip("there is no go to build the example with")
	}
	built := filepath.Join(t.TempDir(), "built.wasm")
	cmd := exec.Command(tool, "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", built, "./example")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, prefix := range []string{"rsync", "mv"} {
		if !bytes.Equal(pass(t, built, prefix).Records, pass(t, example(t), prefix).Records) {
			t.Errorf("prefix %q: testdata/example.wasm.gz does something else than what is built from ./example; docs/modules.md says how to build it", prefix)
		}
	}
}

// Guests pass the conformance suite, in calls of a few records too.
func TestConformance(t *testing.T) {
	file := example(t)
	moduletest.Run(t, moduletest.Case{
		Chain: `[{wasm: {file: ` + file + `, options: {prefix: "job.1"}}}, {wasm: {file: ` + file + `, call: 4KiB, options: {prefix: job}}}]`,
		Kinds: kinds(), Use: group, Seeds: 5,
	})
}

// BenchmarkExample measures what a guest costs.
func BenchmarkExample(b *testing.B) {
	p, err := plan(b, example(b), map[string]any{"options": map[string]any{"prefix": "rsync"}})
	if err != nil {
		b.Fatal(err)
	}
	packed, err := os.ReadFile("../../changelog/testdata/vectors/stream.bin")
	if err != nil {
		b.Fatal(err)
	}
	c := p.New(modules.Start{})
	defer c.Close()
	last := uint64(0)
	for b.Loop() {
		from := last
		for rest := packed; len(rest) > 0; {
			r, next, err := changelog.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			last++
			changelog.SetIndex(rest[:r.Size()], last)
			rest = next
		}
		if _, err := c.Push(time.Unix(1, 0), modules.Batch{From: from, To: last, Records: packed}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(last), "ns/record")
}

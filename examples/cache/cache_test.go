package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

var (
	file = key{changelog.FID{Seq: 0x200000401, Oid: 1}, ""}
	old  = value{size: 1}
)

// got returns what somebody who waits has got.
func got(t *testing.T, c <-chan value) value {
	t.Helper()
	select {
	case v := <-c:
		return v
	default:
		t.Fatal("no answer")
		return value{}
	}
}

func TestFill(t *testing.T) {
	c := newCache(10, []string{"a"})
	c.connected("a")
	one, two, three := make(chan value, 1), make(chan value, 1), make(chan value, 1)
	f := c.ask(file, one)
	if f == nil || c.ask(file, two) != nil {
		t.Fatal("who comes second does not wait for the first")
	}
	c.filled(f, old)
	if got(t, one) != old || got(t, two) != old {
		t.Error("wrong answer")
	}
	if c.ask(file, three) != nil || got(t, three) != old || c.stats.Hits != 1 {
		t.Error("it is not held")
	}
}

// Each of these makes what was looked up invalid, and what is being looked up too.
func TestInvalid(t *testing.T) {
	for name, do := range map[string]func(*cache){
		"a record":              func(c *cache) { c.drop(file) },
		"a gap":                 (*cache).flush,
		"a connection that end": func(c *cache) { c.disconnected("a") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(10, []string{"a"})
			c.connected("a")
			before, after := make(chan value, 1), make(chan value, 1)
			f := c.ask(file, before)
			do(c)
			again := c.ask(file, after)
			if again == nil {
				t.Fatal("who asks after it gets what was read before")
			}
			c.filled(f, old)
			if got(t, before) != old || len(c.entries) > 0 {
				t.Error("what was read before it is held")
			}
			c.filled(again, value{size: 2})
			if got(t, after).size != 2 || len(c.entries) != 1 && c.isTrusted() {
				t.Error("what was read after it is not held")
			}
			do(c)
			if len(c.entries) > 0 {
				t.Error("it is held still")
			}
		})
	}
}

// Before the listener is in, and while a broker is away, nothing is kept.
func TestUntrusted(t *testing.T) {
	c := newCache(10, []string{"a", "b"})
	for _, step := range []struct {
		do   func()
		held int
	}{
		{func() {}, 0},
		{func() { c.connected("a") }, 0},
		{func() { c.connected("b") }, 1},
		{func() { c.disconnected("a") }, 0},
		{func() { c.connected("a") }, 1},
	} {
		step.do()
		if f := c.ask(file, make(chan value, 1)); f != nil {
			c.filled(f, old)
		}
		if len(c.entries) != step.held {
			t.Errorf("%d entries with %v away, want %d", len(c.entries), c.away, step.held)
		}
	}
	// A look-up that began before is not kept after it.
	c.disconnected("a")
	f := c.ask(file, make(chan value, 1))
	c.connected("a")
	c.filled(f, old)
	if len(c.entries) > 0 {
		t.Error("a look-up from before the connection is held")
	}
}

func TestLimit(t *testing.T) {
	c := newCache(3, nil)
	for i := range uint32(10) {
		c.filled(c.ask(key{changelog.FID{Oid: i + 1}, ""}, make(chan value, 1)), old)
	}
	if len(c.entries) != 3 || c.stats.Evicted != 7 {
		t.Errorf("%d entries, %d evicted", len(c.entries), c.stats.Evicted)
	}
}

func TestKeys(t *testing.T) {
	id := func(n uint32) changelog.FID { return changelog.FID{Seq: 0x200000401, Oid: n} }
	for _, c := range []struct {
		fields changelog.Fields
		want   []key
	}{
		{changelog.Fields{Type: changelog.TypeUnlnk, Target: id(1), Parent: id(2), Name: "a"},
			[]key{{id(1), ""}, {id(2), "a"}, {id(2), ""}}},
		{changelog.Fields{Type: changelog.TypeSattr, Target: id(1), Parent: id(2)}, []key{{id(1), ""}}},
		{changelog.Fields{Type: changelog.TypeOpen, Target: id(1)}, nil},
		{changelog.Fields{Type: changelog.TypeRenme, Format: changelog.Format{Flags: changelog.FlagRename}, Target: id(1),
			Parent: id(2), Name: "a", Source: id(3), SourceParent: id(4), SourceName: "b"},
			[]key{{id(1), ""}, {id(2), "a"}, {id(2), ""}, {id(3), ""}, {id(4), "b"}, {id(4), ""}}},
	} {
		r := pack(t, c.fields)
		if got := keysOf(r); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.fields.Type, got, c.want)
		}
	}
}

func pack(t *testing.T, f changelog.Fields) changelog.Record {
	t.Helper()
	f.Index = 1
	b, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := changelog.Next(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOwn(t *testing.T) {
	f := changelog.Fields{Type: changelog.TypeSattr, Target: file.fid, JobID: "nfsd.host1"}
	f.Format.Flags = changelog.FlagJobID
	r := pack(t, f)
	if !isOwn(r, "nfsd.host1") || isOwn(r, "nfsd.host10") || isOwn(r, "") {
		t.Error("own records are not known by their job")
	}
}

func TestStored(t *testing.T) {
	dir := t.TempDir()
	look := stored(dir)
	if v, err := look(file); err != nil || !v.missing {
		t.Errorf("%+v, %v", v, err)
	}
	name := key{file.fid, "a"}
	if v, err := look(name); err != nil || !v.missing {
		t.Errorf("%+v, %v", v, err)
	}
	for _, d := range []string{"attr", filepath.Join("names", file.fid.String())} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "attr", file.fid.String()), []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file.fid.String(), filepath.Join(dir, "names", file.fid.String(), "a")); err != nil {
		t.Fatal(err)
	}
	if v, err := look(file); err != nil || v != (value{size: 3}) {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := look(name); err != nil || v != (value{fid: file.fid}) {
		t.Errorf("%+v, %v", v, err)
	}
}

// Without a broker it waits for one, and ends when it is told.
func TestRunAlone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	dump := filepath.Join(t.TempDir(), "dump")
	o := options{server: "ipc://" + filepath.Join(t.TempDir(), "none.sock"), readers: 2, every: time.Hour, dump: dump}
	if err := run(ctx, o, &out); err != nil || !bytes.Contains(out.Bytes(), []byte(`"trusted":false`)) {
		t.Errorf("%v, %s", err, &out)
	}
	if text, err := os.ReadFile(dump); err != nil || len(text) > 0 {
		t.Errorf("%q, %v", text, err)
	}
}

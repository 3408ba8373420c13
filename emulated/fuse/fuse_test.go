package fuse

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"
)

// message builds a request as the kernel does.
func message(code opcode, body ...byte) []byte {
	b := append32(nil, uint32(requestHeader+len(body)), uint32(code))
	b = append64(b, 77, 2) // id and node
	b = append(b, make([]byte, requestHeader-len(b))...)
	return append(b, body...)
}

// layout builds a body from its fields: uint32, uint64, bytes.
func layout(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append32(b, uint32(p))
		case uint64:
			b = append64(b, p)
		case string:
			b = append(b, p...)
		}
	}
	return b
}

// requests holds one message of each kind that the kernel sends, laid out as in the
// header linux/fuse.h, with what it says.
var requests = []struct {
	code opcode
	body []byte
	want any
}{
	{opInit, layout(7, 45, 131072, 0x4000008, 0, "later fields"), &start{7, 45, 131072, 0x4000008}},
	{opLookup, layout("changelog\x00"), &Lookup{"changelog"}},
	{opForget, layout(uint64(3)), &Forget{}},
	{opBatchForget, layout(1, 0, uint64(2), uint64(3)), &Forget{}},
	{opGetattr, layout(1, 0, uint64(9)), &Getattr{}},
	{opOpen, layout(0o4001, 0), &Open{Flags: 0o4001}},
	{opOpendir, layout(0, 0), &Opendir{}},
	{opRead, layout(uint64(9), uint64(1000), 4096, 0, uint64(5), 0o4000, 0), &Read{9, 1000, 4096, 0o4000}},
	{opReaddir, layout(uint64(9), uint64(2), 4096, 0, uint64(5), 0, 0), &Readdir{9, 2, 4096}},
	{opWrite, layout(uint64(9), uint64(3), 5, 0, uint64(5), 1, 0, "clear"), &Write{9, 3, 1, []byte("clear")}},
	{opIoctl, layout(uint64(9), 0, 0x403066b3, uint64(17), 2, 8, "ab"), &Ioctl{9, 0x403066b3, 17, []byte("ab"), 8}},
	{opPoll, layout(uint64(9), uint64(4), 1, 25), &Poll{9, 4}},
	{opStatfs, nil, &Statfs{}},
	{opRelease, layout(uint64(9), 0, 0, uint64(5)), &Release{9}},
	{opReleasedir, layout(uint64(9), 0, 0, uint64(5)), &Releasedir{}},
	{opLseek, layout(uint64(9), uint64(1), 3, 0), &Lseek{9}},
	{opInterrupt, layout(uint64(76)), &Interrupt{76}},
	{opDestroy, nil, &Destroy{}},
	{4, layout("anything"), &Other{4}},
}

func TestDecode(t *testing.T) {
	for _, c := range requests {
		got, err := decode(message(c.code, c.body...))
		if want := (Request{ID: 77, Node: 2, Body: c.want}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("opcode %d: %+v, %v; want %+v", c.code, got.Body, err, c.want)
		}
	}
}

func TestDecodeMalformed(t *testing.T) {
	whole := message(opWrite, layout(uint64(9), uint64(3), 5, 0, uint64(5), 1, 0, "clear")...)
	for n := range whole {
		cut := bytes.Clone(whole[:n])
		if n >= 4 {
			native.PutUint32(cut, uint32(n)) // so that it is not the length alone that gives it away
		}
		if r, err := decode(cut); !errors.Is(err, ErrMalformed) || r.Body != nil {
			t.Errorf("the first %d bytes: %+v, %v", n, r, err)
		}
	}
	for name, b := range map[string][]byte{
		"length":      append(bytes.Clone(whole), 0),
		"no end":      message(opLookup, []byte("name")...),
		"huge write":  message(opWrite, layout(uint64(9), uint64(3), 0xffffffff, 0, uint64(5), 1, 0, "clear")...),
		"huge ioctl":  message(opIoctl, layout(uint64(9), 0, 1, uint64(17), 0xffffffff, 8, "ab")...),
		"short start": message(opInit, layout(7, 45)...),
	} {
		if r, err := decode(b); !errors.Is(err, ErrMalformed) || r.ID != 77 && name != "length" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range requests {
		f.Add(message(c.code, c.body...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(bytes.Clone(b))
		if (err == nil) != (r.Body != nil) {
			t.Fatalf("%+v, %v", r, err)
		}
		if err != nil {
			return
		}
		// What was decoded is a matter of the bytes alone, and refers to none of them.
		scratch := bytes.Clone(b)
		again, _ := decode(scratch)
		clear(scratch)
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v, then %+v", r, again)
		}
		if w, ok := r.Body.(*Write); ok && len(w.Data) > len(b)-requestHeader {
			t.Fatalf("%d bytes of data out of %d", len(w.Data), len(b))
		}
	})
}

func TestReplySizes(t *testing.T) {
	a := Attr{Node: 2, Mode: ModeFile | 0o600, Links: 1, Changed: time.Unix(5, 6)}
	for name, c := range map[string]struct {
		got  []byte
		want int // of the struct in the header linux/fuse.h
	}{
		"start":  {appendStart(nil, &start{}), 64},
		"entry":  {a.AppendEntry(nil), 128},
		"attr":   {a.AppendAttr(nil), 104},
		"open":   {AppendOpened(nil, 1), 16},
		"dir":    {AppendOpenedDir(nil), 16},
		"write":  {AppendWritten(nil, 1), 8},
		"ioctl":  {AppendIoctl(nil, 0), 16},
		"poll":   {AppendPoll(nil, 0), 8},
		"statfs": {AppendStatfs(nil), 80},
		"header": {appendReplyHeader(nil, 1, 0), replyHeader},
	} {
		if len(c.got) != c.want {
			t.Errorf("%s: %d bytes, want %d", name, len(c.got), c.want)
		}
	}
}

func TestEntriesFit(t *testing.T) {
	entries := []DirEntry{{1, ModeDir, "."}, {1, ModeDir, ".."}, {2, ModeFile, "changelog-fs-MDT0000"}}
	whole := AppendEntries(nil, entries, 0, 4096)
	if len(whole) != 32+32+48 {
		t.Fatalf("%d bytes", len(whole))
	}
	for size := range uint32(len(whole)) {
		part := AppendEntries([]byte("before"), entries, 0, size)[6:]
		if len(part) > int(size) || !bytes.HasPrefix(whole, part) {
			t.Fatalf("%d bytes in %d", len(part), size)
		}
	}
	if rest := AppendEntries(nil, entries, 2, 4096); !bytes.Equal(rest, whole[64:]) {
		t.Fatalf("from the third on: %q", rest)
	}
	if rest := AppendEntries(nil, entries, 3, 4096); len(rest) != 0 {
		t.Fatalf("behind the last: %q", rest)
	}
}

package wire

import (
	"reflect"
	"runtime/metrics"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// FuzzScan compares the check with the library: what passes is a map that the library reads to its end.
func FuzzScan(f *testing.F) {
	for _, m := range samples {
		for _, frame := range encoded(f, m) {
			f.Add(frame)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > MaxBody {
			return
		}
		ix := new(index)
		if ix.scan(frame) != nil {
			return
		}
		var got map[string]any
		if err := msgpack.Unmarshal(frame, &got); err != nil {
			t.Fatalf("the library refuses what passed: %v", err)
		}
		if len(got) != ix.n {
			t.Fatalf("the library reads %d fields, the check %d", len(got), ix.n)
		}
	})
}

// FuzzDecode reads any two frames: no panic, no large allocation (the fuzzer itself allocates beside us), and what was read is written and read
// again as the same.
func FuzzDecode(f *testing.F) {
	for _, m := range samples {
		frames := encoded(f, m)
		f.Add(frames[0], append([]byte{}, frames[len(frames)-1]...), len(frames) == 2)
	}
	f.Fuzz(func(t *testing.T, header, body []byte, two bool) {
		frames := [][]byte{header}
		if two {
			frames = append(frames, body)
		}
		before := allocated()
		m, payload, err := Decode(frames)
		if grown := allocated() - before; grown > 16<<20+64*uint64(len(header)+len(body)) {
			t.Fatalf("%d bytes were allocated for %d", grown, len(header)+len(body))
		}
		if err != nil {
			if e := err.(*Error); e.Code != BadMessage && e.Code != UnknownMessage {
				t.Fatalf("err = %v", err)
			}
			return
		}
		again, err := Encode(m)
		if err != nil {
			return // caps can be longer than what is written
		}
		if payload != nil {
			again = append(again, payload)
		}
		if back := decoded(t, again); !reflect.DeepEqual(m, back) && !sameButEmpty(m, back) {
			t.Fatalf("read %+v, then %+v", m, back)
		}
	})
}

// allocated returns the bytes allocated by the process so far.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

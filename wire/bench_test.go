package wire

import (
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

var batch = &Batch{MDT: "lustre-MDT0000", Epoch: 1, Lease: 1 << 20, From: 1 << 40, To: 1<<40 + 500, First: 1<<40 + 1,
	Last: 1<<40 + 499, N: 480, Delivery: 1, Form: 0x6000}

func BenchmarkAppendBatch(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendHeader(buf[:0], batch)
	}
}

func BenchmarkAppendAck(b *testing.B) {
	var buf []byte
	ack := &Ack{Lease: 1 << 20, UpTo: 1 << 40}
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendHeader(buf[:0], ack)
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	frames := encoded(b, batch)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(frames); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanBatch(b *testing.B) {
	frames, ix := encoded(b, batch), new(index)
	for b.Loop() {
		if err := ix.scan(frames[0]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLibraryBatch is the same header through the library's reflection.
func BenchmarkLibraryBatch(b *testing.B) {
	b.ReportAllocs()
	var back Batch
	for b.Loop() {
		frame, err := msgpack.Marshal(batch)
		if err != nil {
			b.Fatal(err)
		}
		if err := msgpack.Unmarshal(frame, &back); err != nil {
			b.Fatal(err)
		}
	}
}

package device_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

// BenchmarkRead reads a device to its end through a reader, and with nothing but read(2), in
// turns. Its ratio is that of the rates.
func BenchmarkRead(b *testing.B) {
	const records, buffer = 200_000, 256 << 10
	mdt, s := newSource(b, emulatedtest.Options{})
	packed := recordsOf130Bytes(b, records)
	mdt.AppendNew(packed)
	buf := make([]byte, buffer)
	var bare, reader time.Duration
	for b.Loop() {
		bare += took(func() { readBare(b, s.Path(), buf, len(packed)) })
		reader += took(func() {
			r, err := s.Open(context.Background(), 1)
			check(b, err)
			size := 0
			for {
				n, err := r.Read(buf)
				size += n
				if errors.Is(err, io.EOF) {
					break
				}
				check(b, err)
				if n == 0 {
					check(b, r.Wait(context.Background()))
				}
			}
			check(b, r.Close())
			if size != len(packed) {
				b.Fatalf("read %d bytes of %d", size, len(packed))
			}
		})
	}
	b.ReportMetric(float64(b.N*records)/reader.Seconds()/1e6, "Mrecords/s")
	b.ReportMetric(float64(b.N*records)/bare.Seconds()/1e6, "bare-Mrecords/s")
	b.ReportMetric(float64(bare)/float64(reader), "ratio")
}

func took(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

// readBare reads a device with blocking reads, and looks at nothing.
func readBare(b *testing.B, path string, buf []byte, size int) {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	check(b, err)
	defer f.Close()
	fd := int(f.Fd())
	for got := 0; got < size; {
		n, err := unix.Read(fd, buf)
		check(b, err)
		if n == 0 {
			b.Fatalf("%d bytes of %d", got, size)
		}
		got += n
	}
}

func recordsOf130Bytes(b *testing.B, n int) []byte {
	var packed []byte
	for i := range n {
		f := changelog.Fields{
			Type: changelog.TypeCreat, Index: uint64(i + 1), Time: changelog.Time(i),
			Format: changelog.FormatAll, JobID: "cp.1000", UID: 1000, GID: 1000,
			Target: changelog.FID{Seq: 0x200000401, Oid: uint32(i)}, Parent: changelog.FID{Seq: 0x200000007, Oid: 1}, Name: "file",
		}
		f.Format.Flags &^= changelog.FlagRename
		var err error
		packed, err = f.Append(packed)
		check(b, err)
	}
	return packed
}

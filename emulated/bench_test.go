package emulated_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

// BenchmarkRead is a bare loop of read(2) over records of 130 bytes. Its iterations are
// records.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) { benchmarkRead(b, size) })
	}
}

func benchmarkRead(b *testing.B, size int) {
	mdt := emulatedtest.Start(b, emulatedtest.Options{})
	mdt.Register("", 0)
	appendSized(b, mdt, b.N)
	f := open(b, mdt.Path(), unix.O_RDONLY)
	check(b, f.setFlags(nidBE))
	buf := make([]byte, size)
	b.ReportAllocs()
	b.ResetTimer()
	calls, total := 0, 0
	for {
		n, err := unix.Read(f.n, buf)
		if err == unix.EINTR {
			continue
		}
		check(b, err)
		if n == 0 {
			break
		}
		calls++
		total += n
	}
	b.StopTimer()
	if total != b.N*sizedRecord {
		b.Fatalf("read %d bytes instead of %d records", total, b.N)
	}
	b.SetBytes(sizedRecord)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
	b.ReportMetric(float64(b.N)/float64(calls), "rec/read")
}

const sizedRecord = 130

// appendSized stores n records of 130 bytes.
func appendSized(b *testing.B, mdt *emulatedtest.MDT, n int) {
	f := changelog.Fields{Type: changelog.TypeCreat, Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID}, JobID: "dd.1000"}
	f.Name = strings.Repeat("n", sizedRecord-64-32)
	one, err := f.Append(nil)
	check(b, err)
	if len(one) != sizedRecord {
		b.Fatal(len(one))
	}
	const batch = 8192
	packed := []byte(strings.Repeat(string(one), batch))
	for ; n > 0; n -= batch {
		mdt.AppendNew(packed[:min(n, batch)*sizedRecord])
	}
}

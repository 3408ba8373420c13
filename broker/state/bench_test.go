package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Benchmarks write to the disk of TMPDIR, for real. Next to the time they report the
// bytes that bolt wrote, and the size of the file.

// BenchmarkWrite is one Write with so many marks changed, of 64 groups on 128 MDTs.
func BenchmarkWrite(b *testing.B) {
	const ngroups, mdts = 64, 128
	for _, marks := range []int{8, 128, ngroups * mdts} {
		b.Run(fmt.Sprintf("marks=%d", marks), func(b *testing.B) {
			s := mustOpen(b, initDir(b, b.TempDir(), mdts))
			check(b, s.Write(fullUpdate(ngroups, mdts, 10)))
			mark := uint64(100)
			before := written(b)
			for b.Loop() {
				mark++
				var u Update
				for i := range marks {
					at := i * (ngroups * mdts / marks)
					u.Tracks = append(u.Tracks, testTrack(at/mdts, at%mdts, mark))
				}
				check(b, s.Write(u))
			}
			report(b, s, before)
		})
	}
}

// BenchmarkWriteAll changes the identities of all recent records as well.
func BenchmarkWriteAll(b *testing.B) {
	const ngroups, mdts = 64, 128
	s := mustOpen(b, initDir(b, b.TempDir(), mdts))
	mark := uint64(10)
	before := written(b)
	for b.Loop() {
		mark++
		check(b, s.Write(fullUpdate(ngroups, mdts, mark)))
	}
	report(b, s, before)
}

// BenchmarkOpen opens the state of 64 groups on 128 MDTs, and loads it.
func BenchmarkOpen(b *testing.B) {
	dir := initDir(b, b.TempDir(), 128)
	s, err := Open(dir)
	check(b, err)
	check(b, s.Write(fullUpdate(64, 128, 10)))
	check(b, s.Close())
	for b.Loop() {
		s, err := Open(dir)
		check(b, err)
		_, err = s.Load()
		check(b, err)
		check(b, s.Close())
	}
}

// written returns what the process wrote since it started.
func written(b *testing.B) (bytes float64) {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	check(b, err)
	for line := range strings.Lines(string(text)) {
		if n, err := fmt.Sscanf(line, "wchar: %f", &bytes); n == 1 && err == nil {
			return bytes
		}
	}
	b.Fatal("no wchar in /proc/self/io")
	return 0
}

func report(b *testing.B, s *Store, before float64) {
	b.Helper()
	b.ReportMetric((written(b)-before)/float64(b.N), "written-B/op")
	info, err := os.Stat(filepath.Join(s.dir, fileName))
	check(b, err)
	b.ReportMetric(float64(info.Size()), "file-B")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/op")
}

package changelog_test

import (
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// perRecord runs step over the whole stream as often as the benchmark wants, and
// reports the time of one record. The bytes a second are those of the packed form.
func perRecord(b *testing.B, step func(r changelog.Record)) {
	b.Helper()
	records := streamRecords(b)
	_, buf := stream(b)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		for _, r := range records {
			step(r)
		}
	}
	reportPerRecord(b, len(records))
}

func reportPerRecord(b *testing.B, records int) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
}

func BenchmarkScanner(b *testing.B) {
	_, buf := stream(b)
	b.SetBytes(int64(len(buf)))
	records := 0
	for b.Loop() {
		records = 0
		for s := changelog.NewScanner(buf); s.Scan(); records++ {
		}
	}
	reportPerRecord(b, records)
}

func BenchmarkNext(b *testing.B) {
	_, buf := stream(b)
	b.SetBytes(int64(len(buf)))
	records := 0
	for b.Loop() {
		records = 0
		for rest := buf; len(rest) > 0; records++ {
			var err error
			if _, rest, err = changelog.Next(rest); err != nil {
				b.Fatal(err)
			}
		}
	}
	reportPerRecord(b, records)
}

func BenchmarkReader(b *testing.B) {
	_, buf := stream(b)
	r := changelog.NewReader(&endless{buf: buf})
	b.SetBytes(int64(len(buf)))
	records := 2000
	for b.Loop() {
		for range records {
			if _, err := r.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
	reportPerRecord(b, records)
}

// One accessor as most programs use it: the index, the type, the FID.
func BenchmarkHeaderFields(b *testing.B) {
	perRecord(b, func(r changelog.Record) {
		sink.n += int(r.Index()) + int(r.Type())
		sink.fid = r.Target()
	})
}

func BenchmarkAllFields(b *testing.B) {
	steps := []func(changelog.Record, []byte){}
	for _, name := range []string{"numbers", "Format", "FIDs", "names", "extra", "payload"} {
		steps = append(steps, withoutAllocation[name])
	}
	perRecord(b, func(r changelog.Record) {
		for _, step := range steps {
			step(r, nil)
		}
	})
}

func BenchmarkAppendRepacked(b *testing.B) {
	dst := make([]byte, 0, changelog.MaxRecordSize)
	perRecord(b, func(r changelog.Record) { sink.n += len(r.AppendRepacked(dst, changelog.FormatAll)) })
}

func BenchmarkAppendLFS(b *testing.B) {
	dst := make([]byte, 0, 4096)
	perRecord(b, func(r changelog.Record) { sink.n += len(r.AppendLFS(dst)) })
}

func BenchmarkAppendJSON(b *testing.B) {
	dst := make([]byte, 0, 8192)
	perRecord(b, func(r changelog.Record) { sink.n += len(r.AppendJSON(dst, "testfs-MDT0000")) })
}

func BenchmarkFields(b *testing.B) {
	perRecord(b, func(r changelog.Record) {
		f := r.Fields()
		sink.n += len(f.Name)
	})
}

func BenchmarkFieldsAppend(b *testing.B) {
	fields := make([]changelog.Fields, 0, 2000)
	for _, r := range streamRecords(b) {
		fields = append(fields, r.Fields())
	}
	dst := make([]byte, 0, changelog.MaxRecordSize)
	for b.Loop() {
		for i := range fields {
			packed, err := fields[i].Append(dst)
			if err != nil {
				b.Fatal(err)
			}
			sink.n += len(packed)
		}
	}
	reportPerRecord(b, len(fields))
}

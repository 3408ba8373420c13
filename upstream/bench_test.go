package upstream_test

import (
	"context"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

// perRecord reports the time of a record.
func perRecord(b *testing.B, records uint64) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWorkload makes records, in a tree of the default size.
func BenchmarkWorkload(b *testing.B) {
	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
	w.Skip(1_000_000) // the tree is full
	var buf []byte
	var size int
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		buf = w.Append(buf[:0], epoch)
		size += len(buf)
	}
	b.ReportMetric(float64(size)/float64(b.N), "B/record")
}

// BenchmarkProduce makes records and appends them, 100,000 at a time; subtract
// BenchmarkWorkload for the appending alone.
func BenchmarkProduce(b *testing.B) {
	const records = 100_000
	run := func(b *testing.B, to upstream.Appender) {
		w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
		n := uint64(0)
		for b.Loop() {
			made, err := w.Produce(context.Background(), to, upstream.Pace{Records: records})
			check(b, err)
			n += made
		}
		perRecord(b, n)
	}
	b.Run("llog", func(b *testing.B) {
		log, user, a := newLog(b, llog.AppendOptions{Sync: llog.SyncEvery(time.Second)})
		run(b, clearing{a, upstream.NewLLog(log, user, nil)})
	})
	b.Run("memory", func(b *testing.B) {
		m := newMemory(b)
		run(b, clearing{m, m})
	})
}

// clearing clears what it appends, so that the log stays small.
type clearing struct {
	upstream.Appender
	upstream.Source
}

func (c clearing) AppendNew(ctx context.Context, records []byte) (llog.Appended, error) {
	done, err := c.Appender.AppendNew(ctx, records)
	if err == nil && done.Last/200_000 > done.First/200_000 {
		err = c.Clear(ctx, done.Last)
	}
	return done, err
}

// BenchmarkRead reads a million records.
func BenchmarkRead(b *testing.B) {
	const records = 1_000_000
	run := func(b *testing.B, s upstream.Source) {
		buf := make([]byte, 128<<10)
		n := uint64(0)
		for b.Loop() {
			r, err := s.Open(context.Background(), 1)
			check(b, err)
			for last := uint64(0); last < records; {
				size, err := r.Read(buf)
				check(b, err)
				scan := changelog.NewScanner(buf[:size])
				for scan.Scan() {
					n++
				}
				last = scan.Last
			}
			check(b, r.Close())
		}
		perRecord(b, n)
	}
	template := generate(upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1}), 1, 10_000)
	b.Run("cycle", func(b *testing.B) {
		c, err := upstream.NewCycle(template, records)
		check(b, err)
		defer c.Close()
		run(b, c)
	})
	b.Run("memory", func(b *testing.B) {
		m := newMemory(b)
		fill(b, m)
		run(b, m)
	})
	b.Run("llog", func(b *testing.B) {
		log, user, a := newLog(b, llog.AppendOptions{Sync: llog.SyncNever})
		fill(b, a)
		run(b, upstream.NewLLog(log, user, nil))
	})
}

func fill(b *testing.B, to upstream.Appender) {
	_, err := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1}).Produce(context.Background(), to, upstream.Pace{Records: 1_000_000})
	check(b, err)
}

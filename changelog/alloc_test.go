package changelog_test

import (
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// sink keeps the compiler from dropping what is only measured.
var sink struct {
	n      int
	record changelog.Record
	fid    changelog.FID
	nid    changelog.NID
	format changelog.Format
}

// Each runs over a record, and none may allocate. They take dst with room enough.
var withoutAllocation = map[string]func(r changelog.Record, dst []byte){
	"Next": func(r changelog.Record, _ []byte) {
		sink.record, _, _ = changelog.Next(r.Bytes())
	},
	"numbers": func(r changelog.Record, _ []byte) {
		sink.n += int(r.Flags()) + int(r.Type()) + int(r.Index()) + int(r.Prev()) + int(r.Time()) + r.Size()
	},
	"Format": func(r changelog.Record, _ []byte) { sink.format = r.Format() },
	"FIDs": func(r changelog.Record, _ []byte) {
		sink.fid = r.Target()
		sink.fid = r.Parent()
		sink.fid, _ = r.Source()
		sink.fid, _ = r.SourceParent()
	},
	"names": func(r changelog.Record, _ []byte) {
		source, _ := r.SourceName()
		jobID, _ := r.JobID()
		xattr, _ := r.XattrName()
		sink.n += len(r.Bytes()) + len(r.NameArea()) + len(r.Name()) + len(source) + len(jobID) + len(xattr)
	},
	"extra": func(r changelog.Record, _ []byte) {
		extra, _ := r.Extra()
		uid, gid, _ := r.Owner()
		mode, _ := r.OpenMode()
		sink.n += int(extra) + int(uid) + int(gid) + int(mode)
		sink.nid, _ = r.NID()
	},
	"payload": func(r changelog.Record, _ []byte) {
		r.IsLastUnlink()
		r.IsLastRename()
		hsm, _ := r.HSM()
		attrs, _ := r.Attrs()
		flags, _ := r.OpenFlags()
		marker, _ := r.Marker()
		sink.n += int(hsm.Errno) + int(attrs) + int(flags) + int(marker)
	},
	"values as text": func(r changelog.Record, dst []byte) {
		nid, _ := r.NID()
		sink.n += len(nid.AppendTo(r.Target().AppendTo(dst)))
	},
	"AppendRepacked":   func(r changelog.Record, dst []byte) { sink.n += len(r.AppendRepacked(dst, changelog.FormatAll)) },
	"AppendNormalized": func(r changelog.Record, dst []byte) { sink.n += len(r.AppendNormalized(dst, changelog.FormatClassic)) },
	"AppendTrimmed": func(r changelog.Record, dst []byte) {
		for g := changelog.Generation216; g <= changelog.Generation24; g++ {
			sink.n += len(r.AppendTrimmed(dst, g))
		}
	},
	"AppendLFS":  func(r changelog.Record, dst []byte) { sink.n += len(r.AppendLFS(dst)) },
	"AppendJSON": func(r changelog.Record, dst []byte) { sink.n += len(r.AppendJSON(dst, "testfs-MDT0000")) },
}

func TestNothingAllocates(t *testing.T) {
	records := streamRecords(t)
	for i := range golden(t).Records {
		records = append(records, golden(t).Records[i].record(t))
	}
	dst := make([]byte, 0, 16<<10)
	for name, run := range withoutAllocation {
		t.Run(name, func(t *testing.T) {
			allocations := testing.AllocsPerRun(3, func() {
				for _, r := range records {
					run(r, dst)
				}
			})
			same(t, "allocations", allocations, 0)
		})
	}
}

func TestScannerDoesNotAllocate(t *testing.T) {
	_, buf := stream(t)
	same(t, "allocations", testing.AllocsPerRun(3, func() {
		for s := changelog.NewScanner(buf); s.Scan(); {
			sink.record = s.Record()
		}
	}), 0)
}

func TestAppendFieldsDoesNotAllocate(t *testing.T) {
	fields := make([]changelog.Fields, 0, 2000)
	for _, r := range streamRecords(t) {
		fields = append(fields, r.Fields())
	}
	dst := make([]byte, 0, changelog.MaxRecordSize)
	same(t, "allocations", testing.AllocsPerRun(3, func() {
		for i := range fields {
			b, err := fields[i].Append(dst)
			if err != nil {
				t.Fatal(err)
			}
			sink.n += len(b)
		}
	}), 0)
}

// endless repeats a stream for ever.
type endless struct{ buf, rest []byte }

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		e.rest = e.buf
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// A Reader has its buffer. Beyond that it allocates only where a read ends inside
// a record: a few times in a thousand records.
func TestReaderHardlyAllocates(t *testing.T) {
	_, buf := stream(t)
	r := changelog.NewReader(&endless{buf: buf})
	const records = 100_000
	allocations := testing.AllocsPerRun(1, func() {
		for range records {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocations > records/100 {
		t.Errorf("%v allocations for %d records", allocations, records)
	}
}

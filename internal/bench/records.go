package bench

import (
	"fmt"
	"strings"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

const (
	// templateRecords is how many different records are repeated. They are about as many
	// bytes as a cache of the processor holds, so that the source costs little.
	templateRecords = 1 << 14
	// fullSize is the size of a record with job, owner and NID, and without its name.
	fullSize = 144
	// MinSize and MaxSize bound the size of records.
	MinSize, MaxSize = 65, fullSize + 255
)

// template makes packed records of one size, each of another file; or, with size 0, of
// what files of many sizes and names go through.
func template(size int) ([]byte, error) {
	if size == 0 {
		w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
		var b []byte
		for range templateRecords {
			b = w.Append(b, time.Now())
		}
		return b, nil
	}
	if size < MinSize || size > MaxSize {
		return nil, fmt.Errorf("records of %d bytes: from %d to %d are possible, or 0 for a mix", size, MinSize, MaxSize)
	}
	f := changelog.Fields{Type: changelog.TypeCreat, Time: changelog.TimeOf(time.Now())}
	f.Format.Flags = changelog.FlagVersion
	name := size - changelog.HeaderSize
	if size > fullSize {
		f.Format.Flags |= changelog.FlagJobID | changelog.FlagExtra
		f.Format.Extra = changelog.ExtraUIDGID | changelog.ExtraNID
		f.JobID, f.UID, f.GID = "job.1000", 1000, 100
		name = size - fullSize
	}
	name = min(name, 255)
	var b []byte
	for i := range templateRecords {
		f.Target = changelog.FID{Seq: 0x200000401, Oid: uint32(i + 1)}
		f.Parent = changelog.FID{Seq: 0x200000400, Oid: uint32(i/256 + 1)}
		f.Name = tail(fmt.Sprintf("%s%x", strings.Repeat("f", 255), i), name)
		f.Index = uint64(i + 1)
		var err error
		if b, err = f.Append(b); err != nil {
			return nil, err
		}
	}
	if got := len(b) / templateRecords; got != size {
		return nil, fmt.Errorf("records of %d bytes cannot be made: choose at most %d, or from %d on", size, changelog.HeaderSize+255, fullSize+1)
	}
	return b, nil
}

// tail returns the last n bytes of s.
func tail(s string, n int) string { return s[len(s)-n:] }

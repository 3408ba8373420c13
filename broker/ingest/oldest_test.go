package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
)

// shelf is an MDT that shows its records, and counts those that were read.
type shelf struct {
	packed []byte
	read   int
}

func (s *shelf) open(_ context.Context, start uint64) (ingest.Reader, error) {
	scan := changelog.NewScanner(s.packed)
	from := int64(0)
	for scan.Scan() && scan.Last < start {
		from = scan.Offset()
	}
	return &shelfReader{shelf: s, Reader: bytes.NewReader(s.packed[from:])}, nil
}

type shelfReader struct {
	*bytes.Reader
	shelf *shelf
}

// Read shows one record at a time.
func (r *shelfReader) Read(dst []byte) (int, error) {
	if r.Len() == 0 {
		return 0, io.EOF
	}
	rest := r.shelf.packed[len(r.shelf.packed)-r.Len():]
	scan := changelog.NewScanner(rest)
	if !scan.Scan() {
		return 0, errors.New("no record")
	}
	r.shelf.read++
	return io.ReadFull(r.Reader, dst[:scan.Offset()])
}

func (r *shelfReader) Wait(context.Context) error { return nil }
func (r *shelfReader) Close() error               { return nil }

// recordIDs lists what packed records are recognised by.
func recordIDs(packed []byte) []core.RecordID { return ingest.RecordIDs(&core.Batch{Records: packed}) }

// The oldest record may be a backlog away from those that were read last: what lies between is not read, and that it
// is gone is noticed.
func TestRecogniseTheOldest(t *testing.T) {
	old, backlog, last := recs(7), recs(upTo(500_000, 501_000)...), recs(1_000_000, 1_000_001)
	known := recordIDs(slices.Concat(old, last))
	s := &shelf{packed: bytes.Join([][]byte{old, backlog, last}, nil)}
	found, err := ingest.Recognise(within(t), s.open, known, 6)
	check(t, err)
	if found.First != known[0] || found.Reset || found.PurgedTo != 0 || found.Empty {
		t.Errorf("found %+v", found)
	}
	if s.read > 10 {
		t.Errorf("%d records were read", s.read)
	}
	s.packed = s.packed[len(old):]
	found, err = ingest.Recognise(within(t), s.open, known, 6)
	check(t, err)
	if found.PurgedTo != 499_999 || found.Reset || found.First.Index != 500_000 {
		t.Errorf("found %+v", found)
	}
	if found, err = ingest.Recognise(within(t), s.open, known, 7); err != nil || found.PurgedTo != 0 || found.Reset {
		t.Errorf("found %+v, %v of what was cleared", found, err)
	}
}

// A backlog is gone over for three places at most: where the oldest record is, and the last ones.
func TestRecogniseAtFewPlaces(t *testing.T) {
	indexes := []uint64{7, 100_000, 200_000, 300_000, 300_001, 400_000, 400_500}
	s := &shelf{packed: recs(indexes...)}
	known := recordIDs(s.packed)
	for i, id := range known {
		opened := 0
		open := func(ctx context.Context, start uint64) (ingest.Reader, error) {
			opened++
			return s.open(ctx, start)
		}
		wrong := slices.Clone(known)
		wrong[i].Target.Oid = 7777
		found, err := ingest.Recognise(within(t), open, wrong, 0)
		check(t, err)
		if isMiddle := id.Index == 100_000 || id.Index == 200_000; found.Reset == isMiddle || opened != 4 {
			t.Errorf("with another %d, and %d readings: %+v", id.Index, opened, found)
		}
	}
}

package ingest_test

import (
	"errors"
	"testing"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
)

// Whatever the bytes, and wherever they are split between records: what comes out is
// what framing in one go gives, and so is the error.
func FuzzSealer(f *testing.F) {
	stream := vectors(f)
	f.Add(stream[:900], uint16(300), uint64(0), uint64(0), []byte{3, 1, 0, 9})
	f.Add(stream[:901], uint16(1), uint64(1), uint64(1003), []byte{1})
	f.Add(recs(1, 2, 7, 8), uint16(100), uint64(1), uint64(5), []byte{1, 1})
	f.Add(recs(3, 2), uint16(100), uint64(3), uint64(0), []byte{})
	f.Add(append(recs(1), unknownExtra(2)...), uint16(0), uint64(1), uint64(0), []byte{0})
	f.Fuzz(func(t *testing.T, data []byte, size uint16, start, until uint64, splits []byte) {
		o := ingest.Options{MDT: 1, BatchBytes: int(size) + 1, Start: start, Until: until, Slots: size%2 == 0}
		first := max(start, 1)
		scan := changelog.NewScanner(data)
		scan.Ordered, scan.StrictExtra, scan.Last = true, true, first-1
		var good []byte
		var cuts []int // where records end
		reached := until != 0 && first > until
		for !reached && scan.Scan() {
			if until == 0 || scan.Last <= until {
				good = data[:scan.Offset()]
			}
			reached = until != 0 && scan.Last >= until
			cuts = append(cuts, int(scan.Offset()))
		}
		var pieces [][]byte
		from := 0
		for i, at := 0, 0; len(splits) > 0 && at < len(cuts); i++ {
			pieces = append(pieces, data[from:cuts[at]])
			from = cuts[at]
			at += 1 + int(splits[i%len(splits)])
		}
		batches, err := seal(o, append(pieces, data[from:])...)
		checkBatches(t, o, batches, good)
		checkFuzzPassed(t, o, batches, good, append(pieces, data[from:]))
		if n := len(batches); reached && first <= until && (n == 0 || batches[n-1].To != until) {
			t.Fatalf("the last batch does not end at %d", until)
		}
		checkSameStop(t, err, scan, reached, data)
	})
}

// checkFuzzPassed checks that modules leave of the same pieces what they leave of all of the
// records at once.
func checkFuzzPassed(t *testing.T, o ingest.Options, raw []*core.Batch, good []byte, pieces [][]byte) {
	t.Helper()
	plan := planFor(t, `[{filter: {where: 'index in [1, 3, 7] or uid >= 100 or type in ["RENME", "UNLNK"]'}}, {project: {fields: [rename]}}]`)
	got, err := seal(through(o, plan), pieces...)
	if _, failed := errors.AsType[*ingest.ModulesError](err); failed {
		t.Fatal(err)
	}
	checkPassed(t, o, raw, got, whole(t, plan, good))
}

// checkSameStop compares the error of a Sealer with that of a Scanner over the same
// bytes in one go.
func checkSameStop(t *testing.T, err error, scan *changelog.Scanner, reached bool, data []byte) {
	t.Helper()
	if reached || scan.Err() == nil {
		check(t, err)
		return
	}
	var frame *changelog.FrameError
	stop, ok := errors.AsType[*ingest.Stop](err)
	if !ok || !errors.As(scan.Err(), &frame) {
		t.Fatalf("the error is %v, framing says %v", err, scan.Err())
	}
	if stop.Offset != frame.Offset || stop.Index != frame.Index || stop.Reason != frame.Reason || stop.Detail != frame.Detail || stop.Position != scan.Last {
		t.Fatalf("got %+v, framing says %+v", stop, frame)
	}
	if head := data[stop.Offset:]; string(stop.Head) != string(head[:min(len(head), 64)]) {
		t.Fatalf("the head is %x", stop.Head)
	}
}

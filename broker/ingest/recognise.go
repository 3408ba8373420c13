package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// identify returns what a record is recognised by.
func identify(r changelog.Record) core.RecordID {
	return core.RecordID{Index: r.Index(), Time: r.Time(), Type: r.Type(), Target: r.Target()}
}

// RecordIDs lists what the records are recognised by that an MDT showed in a batch of the live
// reading, whatever modules have made of them.
func RecordIDs(b *core.Batch) (list []core.RecordID) {
	hidden := b.Hidden
	for scan := changelog.NewScanner(b.Records); scan.Scan(); {
		for len(hidden) > 0 && hidden[0].Index < scan.Last {
			list, hidden = append(list, hidden[0]), hidden[1:]
		}
		if len(hidden) > 0 && hidden[0].Index == scan.Last {
			continue // it was another one
		}
		list = append(list, identify(scan.Record()))
	}
	return append(list, hidden...)
}

// Finding is what became of an MDT since it was read last.
type Finding struct {
	// Reset: it counts its indexes anew, or has issued some of them again for other
	// records (ABI 10.8): what is known of it by index holds no more.
	Reset bool
	// PurgedTo, if not 0: it dropped records up to there that were not cleared.
	PurgedTo uint64
	// Empty: it shows no record at all.
	Empty bool
	// First is the first record that it shows; zero if there is none, or nobody looked.
	First core.RecordID
	// Looked is when its last records had been looked for: what is found of its end is as old.
	Looked time.Time
}

// Recognise looks whether an MDT still shows the records that were read from it:
// known, by ascending index, of which those above cleared should be there, as nobody
// else may clear them. It does not wait for anything. It goes by:
//
//   - a record known by its index that is another one now: a reset;
//   - one that is gone while an older one is there: the MDT lost its end: a reset, as
//     the index will be issued again. Records go in their order, whoever clears them, so
//     this holds for those that were cleared, too;
//   - one that is gone, was not cleared, and nothing older is there: a purge.
func Recognise(ctx context.Context, open Opener, known []core.RecordID, cleared uint64) (Finding, error) {
	if len(known) == 0 {
		return Finding{}, nil
	}
	shown := make(map[uint64]core.RecordID, len(known))
	places := worthALook(known)
	for _, place := range places {
		if err := lookFor(ctx, open, place, shown); err != nil {
			return Finding{}, err
		}
	}
	looked := time.Now()
	// Only now: what is still there is older than anything that was cleared meanwhile.
	first, err := firstRecord(ctx, open)
	if err != nil {
		return Finding{}, err
	}
	f := compare(shown, first.Index, slices.Concat(places...), cleared)
	f.First, f.Looked = first, looked
	return f, nil
}

// worthALook returns those of the known records that are to be looked for, by places: each is one reading, as what lies
// between its records costs less to read than another reading to open. For each an MDS goes over all records that it has below
// (ABI 8.3), which may be a backlog of millions. A purge takes the first record, and a crash the last ones: places between
// these are left out.
func worthALook(known []core.RecordID) (places [][]core.RecordID) {
	const apart = 1 << 13 // indexes
	begin := 0
	for i := range known {
		if end := i + 1; end == len(known) || known[end].Index-known[i].Index > apart {
			places, begin = append(places, known[begin:end]), end
		}
	}
	if n := len(places); n > 3 {
		places = [][]core.RecordID{places[0], places[n-2], places[n-1]}
	}
	return places
}

// lookFor adds those of the wanted records to shown that an MDT shows under their indexes, or others in their place.
func lookFor(ctx context.Context, open Opener, wanted []core.RecordID, shown map[uint64]core.RecordID) error {
	last := wanted[len(wanted)-1]
	return look(ctx, open, wanted[0].Index, func(id core.RecordID) bool {
		for len(wanted) > 0 && wanted[0].Index < id.Index { // they will not come any more
			wanted = wanted[1:]
		}
		if len(wanted) > 0 && wanted[0].Index == id.Index {
			shown[id.Index] = id
		}
		return id.Index < last.Index
	})
}

// compare draws the conclusion from what an MDT shows from the first known record on,
// and from the index of its first record, 0 if there is none.
func compare(shown map[uint64]core.RecordID, first uint64, known []core.RecordID, cleared uint64) Finding {
	f := Finding{Empty: first == 0}
	for _, id := range known {
		now, isShown := shown[id.Index]
		switch {
		case isShown && now != id:
			return Finding{Reset: true}
		case isShown:
		case first != 0 && first < id.Index:
			return Finding{Reset: true}
		case id.Index <= cleared:
		case first != 0:
			f.PurgedTo = first - 1
		default:
			f.PurgedTo = id.Index
		}
	}
	return f
}

// firstRecord returns the first record that an MDT shows; zero if there is none.
func firstRecord(ctx context.Context, open Opener) (first core.RecordID, err error) {
	err = look(ctx, open, 1, func(id core.RecordID) bool {
		first = id
		return false
	})
	return first, err
}

// look shows the records from an index on, as many as there are at present, until
// more says that it is enough. It waits for nothing but to be told what there is.
func look(ctx context.Context, open Opener, start uint64, more func(core.RecordID) bool) (err error) {
	r, err := open(ctx, start)
	if err != nil {
		return fmt.Errorf("recognise the MDT: open: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, readErr := r.Read(buf)
		for scan := changelog.NewScanner(buf[:n]); scan.Scan(); {
			if !more(identify(scan.Record())) {
				return nil
			}
		}
		if n == 0 && readErr == nil {
			readErr = r.Wait(ctx)
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return fmt.Errorf("recognise the MDT: %w", readErr)
		}
	}
	return context.Cause(ctx)
}

// LateRecords lists what was found in a hole, for who hands it out record by record.
func LateRecords(found []*core.Batch) (list []groups.LateRecord) {
	for _, b := range found {
		for scan := changelog.NewScanner(b.Records); scan.Scan(); {
			home, _, _ := groups.Keys(scan.Record())
			list = append(list, groups.LateRecord{Index: scan.Last, Home: home, Bytes: int64(scan.Record().Size())})
		}
	}
	return list
}

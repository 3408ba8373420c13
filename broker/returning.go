package broker

import (
	"slices"

	"github.com/lcapd/lcapd/broker/core"
)

// A listener that comes back says where it was, and has missed what was read behind that. For two things the
// place says too little, so they are remembered: records that were found late lie below it, and an epoch
// that is over went on behind it.

// An aside is one of these.
type aside struct {
	epoch core.Epoch
	shown uint64     // the last index that listeners were shown by then, but for late records
	late  core.Range // where records were found; zero where the epoch ended
}

// mostAsides is how many an MDT remembers. MDTs have few.
const mostAsides = 64

// remember notes an aside. Of too many late ones the oldest two become one that covers both.
func (w *mdtWork) remember(x aside) {
	w.asides = append(w.asides, x)
	if len(w.asides) <= mostAsides {
		return
	}
	first, second := w.asides[0], &w.asides[1]
	if first.epoch == second.epoch && !second.isEnd() { // then neither is the first
		second.late = core.Range{From: min(first.late.From, second.late.From), To: max(first.late.To, second.late.To)}
	}
	w.asides = slices.Delete(w.asides, 0, 1)
}

func (x aside) isEnd() bool { return x.late == core.Range{} }

// missed returns what a listener that has seen so much may have missed. Who counted it does not know what of it
// the listener was shown after all: it may have got the late records that came last behind its place.
//
// The order counts, if it is told a part: what lies below its place comes before its place moves. Late
// records above its place are told with the rest that lies there.
func (w *mdtWork) missed(seen Mark) (gaps []Gap) {
	tell := func(epoch core.Epoch, from, to uint64) {
		gaps = append(gaps, Gap{MDT: w.Name, Epoch: epoch, From: from, To: to, Unknown: true})
	}
	for _, x := range w.asides {
		switch {
		case x.epoch == seen.Epoch && x.shown < seen.Index: // it has seen what came after that
		case !x.isEnd() && x.epoch == seen.Epoch && x.late.From < seen.Index:
			tell(x.epoch, x.late.From, min(x.late.To, seen.Index))
		case x.isEnd() && x.epoch == seen.Epoch && x.shown > seen.Index:
			tell(x.epoch, seen.Index, x.shown)
		case x.isEnd() && x.epoch > seen.Epoch && x.epoch < w.epoch:
			tell(x.epoch, 0, x.shown)
		}
	}
	switch {
	case seen.Epoch != w.epoch:
		tell(w.epoch, 0, w.shown)
	case seen.Index < w.shown:
		tell(w.epoch, seen.Index, w.shown)
	}
	return gaps
}

// resume has a listener that was connected before go on where it was, and notes what
// was read since.
func (l *loop) resume(x *Listener) {
	for _, seen := range x.options.Seen {
		id, known := l.numbers[seen.MDT]
		w := x.wants[id]
		if !known || w == nil {
			continue
		}
		w.since, w.epoch, w.after = 0, seen.Epoch, seen.Index
		x.gaps = append(x.gaps, l.mdts[id].missed(seen)...)
	}
}

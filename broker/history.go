package broker

import (
	"sync"
	"sync/atomic"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
)

// history is what listeners are shown: a chain of what was read, newest last, that
// each of them follows at its own pace. The loop appends and lets go of what is too
// old; it waits for no listener and does not know where they are.
//
// Who owns what: the loop owns the history. A link belongs to everybody once its ready
// is closed, and does not change any more, but for one thing: the loop takes its batch
// away when the history is over its limit. That is the atomic pointer, and the whole
// reason for one: a listener that comes too late finds none and knows exactly what it
// missed. A link without batch weighs a hundred bytes, so a listener that stands still
// costs little until it is cut.
type history struct {
	newest    *link
	oldest    *link // the first that may have a batch
	bytes     int64 // of batches
	limit     int64
	listeners int
}

// link is one batch that was read, or a range that nobody could read.
type link struct {
	mdt     groups.MDT
	epoch   core.Epoch
	from    uint64
	to      uint64
	count   int
	weight  int64
	late    bool // found in a hole: it lies below what was shown before
	unknown bool // how many records were in the range is not known
	batch   atomic.Pointer[published]

	ready chan struct{} // closed when next is set
	next  *link
}

// published is a batch and, for what several listeners want instead, its views.
type published struct {
	*core.Batch
	views map[sight]*view
	said  header
}

// header is what listeners are told of a batch, as bytes: once for all who are shown all of it. Who
// needs it first makes it, and who comes meanwhile waits for him.
type header struct {
	once  sync.Once
	bytes []byte
	err   error
}

func newHistory(limit int64) *history {
	first := &link{ready: make(chan struct{})}
	return &history{newest: first, oldest: first, limit: limit}
}

// show appends a batch. Without listeners it is not kept: whoever comes is shown what comes
// later, and one that has just gone must not get hold of it, as nobody waits for him.
func (h *history) show(b *core.Batch, views map[sight]*view, late bool) {
	x := &link{mdt: b.MDT, epoch: b.Epoch, from: b.From, to: b.To, count: b.Count, weight: b.Weight(), late: late}
	if h.listeners > 0 {
		x.batch.Store(&published{Batch: b, views: views})
		h.bytes += x.weight
	}
	h.append(x)
	for h.bytes > h.limit || h.listeners == 0 && h.bytes > 0 {
		h.forgetOldest()
	}
	if h.listeners == 0 {
		h.oldest = h.newest
	}
}

// miss appends a range that is gone before anybody could read it.
func (h *history) miss(mdt groups.MDT, epoch core.Epoch, r core.Range) {
	h.append(&link{mdt: mdt, epoch: epoch, from: r.From, to: r.To, unknown: true})
}

func (h *history) append(x *link) {
	x.ready = make(chan struct{})
	h.newest.next = x
	close(h.newest.ready)
	h.newest = x
}

func (h *history) forgetOldest() {
	if h.oldest.batch.Swap(nil) != nil {
		h.bytes -= h.oldest.weight
	}
	if h.oldest != h.newest {
		h.oldest = h.oldest.next
	}
}

// shown returns the batch of a link; nil when it is too old, or there never was one.
func (x *link) shown() *published { return x.batch.Load() }

// tally counts what a listener was shown. The listener counts, operators look.
type tally struct {
	records, bytes, gaps, missed, filtered atomic.Uint64
}

func (t *tally) gotSome(records, bytes int) {
	t.records.Add(uint64(records))
	t.bytes.Add(uint64(bytes))
}

func (t *tally) missedSome(records int) {
	t.gaps.Add(1)
	t.missed.Add(uint64(records))
}

func (t *tally) leftOut(records int) { t.filtered.Add(uint64(records)) }

// listenerCounts is what a tally comes to: records and bytes shown, gaps told, records in
// them, records left out because the listener does not want them.
type listenerCounts struct{ records, bytes, gaps, missed, filtered uint64 }

func (t *tally) counts() listenerCounts {
	return listenerCounts{t.records.Load(), t.bytes.Load(), t.gaps.Load(), t.missed.Load(), t.filtered.Load()}
}

package broker

import (
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/broker/scatter"
)

// The memory of a batch goes round: a reader fills a page, which is then a batch that
// everybody shares and nobody changes; the core says when it has let go of it, and writers
// have too; and the loop gives the page to whichever reader needs one next. Memory that is
// used again at once is still in the caches, is not zeroed, and is no work for the
// collector.
//
// There is one owner at any time. What the loop shows to somebody of whom it does not hear
// when he is done, such as a listener, it lends: such memory is left to the collector.

// What is cut out of a batch for one member goes round in the same way, between cutters
// and writers.

// sparePages is how many pages may wait for a reader, spareParts how many parts for a
// cutter. More is left to the collector.
const (
	sparePages = 16
	spareParts = 32
)

// lend notes that somebody besides core and writers may read a batch for as long as he
// likes.
func (l *loop) lend(b *core.Batch) { l.lent[b] = struct{}{} }

// free gives the memory of a batch to the readers, if nobody else can have it.
func (l *loop) free(b *core.Batch) {
	if _, lent := l.lent[b]; lent {
		delete(l.lent, b)
		return
	}
	if cap(b.Records) < ingest.PageBytes(l.b.opts.BatchBytes) {
		return // no page
	}
	page := b.Records[:0]
	spoil(page[:cap(page)])
	select {
	case l.b.spare <- page:
	default:
	}
}

// giveBack gives the memory of a part to the cutters. Who calls it was the only one who
// had it.
func (b *Broker) giveBack(part []byte) {
	if cap(part) < scatter.PageBytes {
		return
	}
	spoil(part[:cap(part)])
	select {
	case b.parts <- part[:0]:
	default:
	}
}

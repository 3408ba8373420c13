package broker

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/scatter"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/wire"
)

// A sight is what somebody wants to see of each batch. Equal sights see the same: that
// is what is shared.
type sight struct {
	// plan is what the records of a listener pass; nil for nothing. All who ask for the
	// same have the same plan, as far as it is pure.
	plan *modules.Plan
	// fields are the blocks that records keep, as [changelog.Format.Repacking] has them;
	// the zero value stands for records as they are.
	fields changelog.Format
}

// fieldsOf returns the fields of a sight.
func fieldsOf(want *changelog.Format) changelog.Format {
	if want == nil {
		return changelog.Format{}
	}
	return want.Repacking()
}

// of returns what is seen of a batch: the batch itself if that is all of it.
func (s sight) of(b *core.Batch) (*core.Batch, error) {
	if s.plan != nil {
		var err error
		if b, err = passed(s.plan.New(modules.Start{After: b.From}), b); err != nil {
			return nil, err
		}
	}
	if s.fields != (changelog.Format{}) {
		b = scatter.Repack(b, s.fields)
	}
	return b, nil
}

// passed returns what of a batch comes out of a chain that holds nothing.
func passed(c *modules.Chain, b *core.Batch) (*core.Batch, error) {
	out, err := c.Push(time.Now(), modules.Batch{From: b.From, To: b.To, Records: b.Records, Count: b.Count})
	if err != nil {
		return nil, err
	}
	if out.To != b.To {
		return nil, fmt.Errorf("%w: of (%d, %d] came out (%d, %d]", modules.ErrModule, b.From, b.To, out.From, out.To)
	}
	rest := *b
	rest.Records, rest.Count = out.Records, out.Count
	return &rest, nil
}

// views are batches as they are seen by those who want less than all: filtered, or with
// blocks cut away. Each is made once for all who see the same, members and listeners.
//
// Who owns what: the loop owns the table. It makes an entry without looking at records;
// the view is made by who needs it first, in his own goroutine - a cutter for members,
// the feeder of a listener - and who comes meanwhile waits for him. A listener does not
// ask the loop: the history's links lead to the views that several listeners see alike.
//
// How long: the table has a share of the memory for itself, and forgets the oldest
// when that is used up. Who comes later has his view made for himself. What an entry
// takes is its batch, which it keeps alive, and at most as much once more. What writers
// still hold of a view counts apart: see [core.Copied].
type views struct {
	limit, bytes int64
	table        map[viewOf]*view
	order        []viewOf // of the table, the oldest first
	counts       *viewCounts

	plans    map[string]*modules.Plan // of the listeners' sights, by their text
	watchers map[sight]int            // how many listeners have it, if not all
	shared   []sight                  // those that several have
}

// viewOf is a batch and how it is seen.
type viewOf struct {
	batch *core.Batch
	sight sight
}

// view is an entry of the table. The loop takes away what is to be forgotten, also from
// listeners that still find the entry: that is the atomic pointer.
type view struct {
	make atomic.Pointer[func() (*core.Batch, error)] // makes it, or returns what was made
	made *core.Batch                                 // as the loop knows it; nil as long as it does not
}

// see returns what makes the view, or returns what was made; nil if it is forgotten.
func (v *view) see() func() (*core.Batch, error) {
	if f := v.make.Load(); f != nil {
		return *f
	}
	return nil
}

// viewCounts counts the batches that were made for those who want less, and their records
// before that. Who makes one counts, operators look.
type viewCounts struct{ batches, records atomic.Uint64 }

func (n *viewCounts) count(b *core.Batch) {
	n.batches.Add(1)
	n.records.Add(uint64(b.Count))
}

func (n *viewCounts) total() wire.Views {
	return wire.Views{Batches: n.batches.Load(), Records: n.records.Load()}
}

// maxShared is how many sights of listeners are shared at a time. To publish a batch
// costs the loop something for each; who has a rarer one makes his views himself.
const maxShared = 64

func newViews(limit int64, counts *viewCounts) *views {
	return &views{limit: limit, table: make(map[viewOf]*view), counts: counts,
		plans: make(map[string]*modules.Plan), watchers: make(map[sight]int)}
}

// of returns the view of a batch.
func (t *views) of(b *core.Batch, s sight) *view {
	key := viewOf{b, s}
	v := t.table[key]
	if v != nil {
		return v
	}
	v = new(view)
	see := sync.OnceValues(func() (*core.Batch, error) {
		t.counts.count(b)
		return s.of(b)
	})
	v.make.Store(&see)
	t.table[key] = v
	t.order = append(t.order, key)
	t.bytes += key.weight()
	for t.bytes > t.limit && len(t.order) > 1 {
		t.forgetOldest()
	}
	return v
}

// weight is what an entry takes at most.
func (k viewOf) weight() int64 { return 2 * k.batch.Weight() }

func (t *views) forgetOldest() {
	oldest := t.order[0]
	t.order[0] = viewOf{}
	t.order = t.order[1:]
	t.bytes -= oldest.weight()
	t.table[oldest].make.Store(nil)
	delete(t.table, oldest)
}

// forListeners returns the views of a batch that several listeners are going to see.
func (t *views) forListeners(b *core.Batch) map[sight]*view {
	if len(t.shared) == 0 {
		return nil
	}
	list := make(map[sight]*view, len(t.shared))
	for _, s := range t.shared {
		list[s] = t.of(b, s)
	}
	return list
}

// enter notes that one more listener has a sight, and returns it with the plan that all
// have who see the same.
func (t *views) enter(s sight) sight {
	if s.plan != nil && s.plan.Pure() {
		if known := t.plans[s.plan.String()]; known != nil {
			s.plan = known
		}
		t.plans[s.plan.String()] = s.plan
	}
	if s == (sight{}) {
		return s
	}
	t.watchers[s]++
	if t.watchers[s] == 2 && len(t.shared) < maxShared {
		t.shared = append(t.shared, s)
	}
	return s
}

// leave notes that a listener with a sight is gone.
func (t *views) leave(s sight) {
	if s == (sight{}) {
		return
	}
	if t.watchers[s]--; t.watchers[s] < 2 {
		t.shared = slices.DeleteFunc(t.shared, func(x sight) bool { return x == s })
	}
	if t.watchers[s] > 0 {
		return
	}
	delete(t.watchers, s)
	for other := range t.watchers {
		if other.plan == s.plan {
			return
		}
	}
	if s.plan != nil {
		delete(t.plans, s.plan.String())
	}
}

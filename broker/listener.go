package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

// Listener is shown what is read while it listens: in order, or an exact notice of
// what it missed before the next record. It acknowledges nothing and holds nothing
// back. It has one owner, who calls Next.
type Listener struct {
	b       *Broker
	id      uint64
	options ListenOptions
	at      *link
	wants   map[groups.MDT]*watched
	order   []groups.MDT // of wants
	gaps    []Gap        // to tell before anything else
	begun   time.Time
	sight   sight // set by the loop, before the listener begins
	failed  error // of its modules
	tally   tally
}

// watched is an MDT that a listener is shown.
type watched struct {
	name string
	// since: records older than that were made before the listener came. Zero once it
	// was shown one or told of a gap, if the reader was at the end by then, and for a listener
	// that says what it saw last: it gets what comes behind that, which is after.
	since changelog.Time
	epoch core.Epoch
	after uint64
	gap   *Gap // that grows
	// chain is the listener's modules at work, if what they do does not depend on the
	// record alone.
	chain *modules.Chain
}

// ListenOptions say what a listener wants.
type ListenOptions struct {
	Name string
	MDTs []string // none stands for all
	// Seen is what the listener saw last when it was connected before: it is shown what
	// is still to be read behind that, and told what it missed.
	Seen []Mark
	// Plan is what its records pass; nil for nothing. It must not hold records back.
	Plan *modules.Plan
	// Filter and Modules are what Plan was made of, for operators.
	Filter, Modules string
	// Fields are the blocks that its records shall have, as far as they have them; nil
	// stands for records as they are.
	Fields *changelog.Format
	// Remote is where it is, for operators.
	Remote string
}

// Shown is a batch that a listener is shown, or a gap.
type Shown struct {
	MDT   string
	Epoch core.Epoch
	// From and To are the range (From, To] that was read.
	From, To    uint64
	Records     []byte // packed; shared: nobody may change them
	Count       int
	First, Last uint64 // indexes of the first and the last record
	Late        bool   // found in a hole: it lies below what was shown before
	Gap         *Gap   // instead of records

	said *header // of the batch, if this is all of it
}

// Header returns what is put in front of the records: what makes it returns, or what that has
// returned for another listener who is shown the same. Nobody may change it.
func (s *Shown) Header(makes func() ([]byte, error)) ([]byte, error) {
	if s.said == nil {
		return makes()
	}
	s.said.once.Do(func() { s.said.bytes, s.said.err = makes() })
	return s.said.bytes, s.said.err
}

// Gap is a range that a listener was not shown.
type Gap struct {
	MDT      string
	Epoch    core.Epoch
	From, To uint64 // (From, To]
	// Records is how many were read there and not shown, unless it is Unknown: whether
	// the listener's modules would have let them pass nobody has looked.
	Records int
	Unknown bool
}

// ErrModules ends a listener whose modules have failed.
var ErrModules = errors.New("the listener's modules have failed")

// clockSkew is how much older than its connection a record may be that a listener is
// shown: servers' clocks differ.
const clockSkew = 2 * time.Second

// Listen begins to listen. It returns where each MDT stands: what is shown comes after
// that. [core.ErrUnknownMDT].
func (b *Broker) Listen(ctx context.Context, o ListenOptions) (*Listener, []Mark, error) {
	x := &Listener{b: b, options: o, begun: time.Now(), wants: make(map[groups.MDT]*watched)}
	var marks []Mark
	var refused error
	err := b.call(ctx, func(l *loop) { marks, refused = l.listen(x) })
	if err = firstError(err, refused); err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	return x, marks, nil
}

// listen puts a listener behind what was read last.
func (l *loop) listen(x *Listener) ([]Mark, error) {
	ids, err := l.numbersOf(x.options.MDTs)
	if err != nil {
		return nil, err
	}
	var marks []Mark
	for _, m := range l.mdts {
		if ids != nil && !slices.Contains(ids, m.id) {
			continue
		}
		w := &watched{name: m.Name}
		if !m.atEnd {
			w.since = changelog.TimeOf(x.begun.Add(-clockSkew))
		}
		x.wants[m.id] = w
		x.order = append(x.order, m.id)
		marks = append(marks, Mark{MDT: m.Name, Epoch: m.epoch, Index: m.shown})
	}
	x.at = l.history.newest
	x.sight = l.views.enter(sight{plan: x.options.Plan, fields: fieldsOf(x.options.Fields)})
	l.resume(x)
	l.lastListener++
	x.id = l.lastListener
	l.listeners[x.id] = x
	l.history.listeners++
	return marks, nil
}

// Close ends the listening. It may be called once.
func (x *Listener) Close() error {
	err := x.b.call(context.Background(), func(l *loop) {
		delete(l.listeners, x.id)
		l.views.leave(x.sight)
		n := x.tally.counts()
		l.past.gaps += n.gaps
		l.past.filtered += n.filtered
		l.history.listeners--
	})
	if err == ErrStopped {
		return nil
	}
	return err
}

// Next returns what comes next, and waits for it. Errors: [ErrStopped], [ErrModules], the
// cause of the end of ctx.
func (x *Listener) Next(ctx context.Context) (Shown, error) {
	for x.failed == nil {
		if len(x.gaps) > 0 {
			gap := x.gaps[0]
			x.gaps = x.gaps[1:]
			x.tally.missedSome(gap.Records)
			return Shown{MDT: gap.MDT, Epoch: gap.Epoch, Gap: &gap}, nil
		}
		if !x.isReady() {
			x.tellGaps()
			if len(x.gaps) > 0 {
				continue
			}
			select {
			case <-x.at.ready:
			case <-x.b.done:
				return Shown{}, ErrStopped
			case <-ctx.Done():
				return Shown{}, context.Cause(ctx)
			}
		}
		if s, ok := x.look(x.at.next); ok {
			return s, nil
		}
	}
	return Shown{}, x.failed
}

// HasMore tells whether more was read already than Next has returned. Next may wait all the
// same: it may be nothing that the listener is to be shown.
func (x *Listener) HasMore() bool { return len(x.gaps) > 0 || x.isReady() }

func (x *Listener) isReady() bool {
	select {
	case <-x.at.ready:
		return true
	default:
		return false
	}
}

// tellGaps has all gaps told that were found.
func (x *Listener) tellGaps() {
	for _, id := range x.order {
		x.tellGap(x.wants[id])
	}
}

func (x *Listener) tellGap(w *watched) {
	if w.gap != nil {
		x.gaps = append(x.gaps, *w.gap)
		w.gap = nil
	}
}

// look looks at the next link, and tells whether there is something to show in it. If
// a gap comes first, the link is looked at again behind it.
func (x *Listener) look(k *link) (Shown, bool) {
	w := x.wants[k.mdt]
	if w == nil {
		x.at = k
		return Shown{}, false
	}
	b := k.shown()
	if k.unknown && k.epoch == w.epoch {
		w.after = 0 // begun before our eyes: what was seen before had the number from an lcapd that was killed before it was on disk
	}
	switch {
	case k.epoch == w.epoch && k.to <= w.after && !k.late:
		x.at = k
		return Shown{}, false // seen before
	case b == nil && (w.gap == nil || w.gap.goesOnWith(k)):
		x.at = k
		w.grow(k)
		return Shown{}, false
	case w.gap != nil:
		x.tellGap(w)
		return Shown{}, false
	}
	x.at = k
	return x.show(w, k, b)
}

// goesOnWith tells whether a link follows the gap: one of another epoch does not, and
// neither does what was found late, as it lies elsewhere.
func (g *Gap) goesOnWith(k *link) bool { return g.Epoch == k.epoch && g.To == k.from }

// grow adds a range to what was missed.
func (w *watched) grow(k *link) {
	w.since = 0 // whoever knows of a gap must hear of all that is behind it
	if w.gap == nil {
		w.gap = &Gap{MDT: w.name, Epoch: k.epoch, From: k.from, To: k.from}
		if k.epoch == w.epoch && w.after > k.from && !k.late {
			w.gap.From, w.gap.Unknown = w.after, true // a part of it was seen before
		}
	}
	w.gap.To, w.gap.Records, w.gap.Unknown = k.to, w.gap.Records+k.count, w.gap.Unknown || k.unknown
}

// show shows what of a batch is not older than the listener, and what of that it wants.
func (x *Listener) show(w *watched, k *link, b *published) (Shown, bool) {
	s := Shown{MDT: w.name, Epoch: k.epoch, From: k.from, To: k.to, Records: b.Records, Count: b.Count, Late: k.late}
	if k.epoch == w.epoch && w.after > k.from && !k.late {
		s.From = w.after
		s.Records, s.Count = cut(b.Batch, func(r changelog.Record) bool { return r.Index() > w.after })
	}
	if w.since != 0 {
		s.Records, s.Count = cut(b.Batch, func(r changelog.Record) bool { return r.Time() >= w.since })
		if s.Count > 0 && !k.late { // what was found late says nothing of how far the reading is
			w.since = 0
		}
	}
	if s.Count > 0 {
		s.Last = b.LastRecord()
	}
	switch {
	case x.sight != (sight{}) && s.Count > 0:
		x.see(w, b, &s)
	case s.From == k.from && s.Count == b.Count:
		s.said = &b.said
	}
	if s.Count == 0 || x.failed != nil {
		return s, false
	}
	s.First = firstOf(s.Records).Index()
	x.tally.gotSome(s.Count, len(s.Records))
	return s, true
}

// see leaves of what is shown of a batch what the listener wants. It takes a view that it
// shares with others where there is one.
func (x *Listener) see(w *watched, b *published, s *Shown) {
	part := *b.Batch
	part.From, part.Records, part.Count = s.From, s.Records, s.Count
	view := func() (*core.Batch, error) { return x.viewOf(w, &part) }
	if v := b.views[x.sight]; v != nil && s.Count == b.Count {
		if shared := v.see(); shared != nil {
			view = shared
		}
	}
	seen, err := view()
	if err != nil {
		x.failed = fmt.Errorf("%w, at (%d, %d] of %s: %w", ErrModules, s.From, s.To, s.MDT, err)
		return
	}
	x.tally.leftOut(s.Count - seen.Count)
	s.Records, s.Count = seen.Records, seen.Count
	if seen.Count > 0 {
		s.Last = lastOf(seen.Records)
	}
}

// viewOf makes a view for this listener alone.
func (x *Listener) viewOf(w *watched, b *core.Batch) (*core.Batch, error) {
	x.b.viewCounts.count(b)
	own := x.sight
	if own.plan != nil && !own.plan.Pure() {
		if w.chain == nil {
			w.chain = own.plan.New(modules.Start{After: b.From})
		}
		err := w.chain.GoOn(b.From)
		if err == nil {
			b, err = passed(w.chain, b)
		}
		if err != nil {
			return nil, err
		}
		own.plan = nil
	}
	return own.of(b)
}

// firstOf returns the first of some records, lastOf the index of the last.
func firstOf(records []byte) changelog.Record {
	first, _, err := changelog.Next(records)
	if err != nil {
		panic(err) // the batch was framed when it was sealed
	}
	return first
}

func lastOf(records []byte) uint64 {
	scan := changelog.NewScanner(records)
	for scan.Scan() {
	}
	return scan.Last
}

// cut returns the records of a batch from the first one on that is wanted.
func cut(b *core.Batch, wanted func(changelog.Record) bool) (records []byte, count int) {
	count = b.Count
	at := 0
	for scan := changelog.NewScanner(b.Records); scan.Scan(); count-- {
		if wanted(scan.Record()) {
			return b.Records[at:], count
		}
		at = int(scan.Offset())
	}
	return nil, 0
}

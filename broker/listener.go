package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
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
	tally   tally
}

// watched is an MDT that a listener is shown.
type watched struct {
	name string
	// since: records older than that were made before the listener came. Zero once it
	// was shown one, if the reader was at the end by then, and for a listener that says
	// what it saw last: it gets what comes behind that, which is after.
	since changelog.Time
	epoch core.Epoch
	after uint64
	gap   *Gap // that grows
}

// ListenOptions say what a listener wants.
type ListenOptions struct {
	Name string
	MDTs []string // none stands for all
	// Seen is what the listener saw last when it was connected before: it is shown what
	// is still to be read behind that, and told what it missed.
	Seen []Mark
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
}

// Gap is a range that a listener was not shown.
type Gap struct {
	MDT      string
	Epoch    core.Epoch
	From, To uint64 // (From, To]
	// Records is how many were read there and not shown, unless it is Unknown.
	Records int
	Unknown bool
}

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
		marks = append(marks, Mark{MDT: m.Name, Epoch: l.core.Epoch(m.id), Index: m.shown})
	}
	x.at = l.history.newest
	x.resume(marks)
	l.lastListener++
	x.id = l.lastListener
	l.listeners[x.id] = x
	l.history.listeners++
	return marks, nil
}

// resume has a listener that was connected before go on where it was, and notes what
// was read since.
func (x *Listener) resume(marks []Mark) {
	for _, seen := range x.options.Seen {
		i := slices.IndexFunc(marks, func(m Mark) bool { return m.MDT == seen.MDT })
		if i < 0 {
			continue
		}
		now, w := marks[i], x.wants[x.order[i]]
		w.since, w.epoch, w.after = 0, seen.Epoch, seen.Index
		switch {
		case seen.Epoch == now.Epoch && seen.Index >= now.Index:
		case seen.Epoch == now.Epoch:
			x.gaps = append(x.gaps, Gap{MDT: now.MDT, Epoch: now.Epoch, From: seen.Index, To: now.Index, Unknown: true})
		default:
			x.gaps = append(x.gaps, Gap{MDT: now.MDT, Epoch: now.Epoch, To: now.Index, Unknown: true})
		}
	}
}

// Close ends the listening. It may be called once.
func (x *Listener) Close() error {
	err := x.b.call(context.Background(), func(l *loop) {
		delete(l.listeners, x.id)
		_, _, gaps, _ := x.tally.counts()
		l.gapsTold += gaps
		l.history.listeners--
	})
	if err == ErrStopped {
		return nil
	}
	return err
}

// Next returns what comes next, and waits for it. Errors: [ErrStopped], the cause of
// the end of ctx.
func (x *Listener) Next(ctx context.Context) (Shown, error) {
	for {
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
}

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
	if w.gap == nil {
		w.gap = &Gap{MDT: w.name, Epoch: k.epoch, From: k.from, To: k.from}
		if k.epoch == w.epoch && w.after > k.from {
			w.gap.From, w.gap.Unknown = w.after, true // a part of it was seen before
		}
	}
	w.gap.To, w.gap.Records, w.gap.Unknown = k.to, w.gap.Records+k.count, w.gap.Unknown || k.unknown
}

// show shows what of a batch is not older than the listener.
func (x *Listener) show(w *watched, k *link, b *core.Batch) (Shown, bool) {
	s := Shown{MDT: w.name, Epoch: k.epoch, From: k.from, To: k.to, Records: b.Records, Count: b.Count, Late: k.late}
	if k.epoch == w.epoch && w.after > k.from && !k.late {
		s.From = w.after
		s.Records, s.Count = cut(b, func(r changelog.Record) bool { return r.Index() > w.after })
	}
	if w.since != 0 {
		s.Records, s.Count = cut(b, func(r changelog.Record) bool { return r.Time() >= w.since })
		if s.Count > 0 {
			w.since = 0
		}
	}
	if s.Count == 0 {
		return s, false
	}
	first, _, err := changelog.Next(s.Records)
	if err != nil {
		panic(err) // the batch was framed when it was sealed
	}
	s.First, s.Last = first.Index(), b.Newest.Index
	x.tally.gotSome(s.Count, len(s.Records))
	return s, true
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

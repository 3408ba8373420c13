package modules

import (
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// Sample keeps all records about one object in N, or one record in N. Which ones are kept does not depend on
// where the stream begins.
func Sample() Kind {
	return Kind{
		Name:    "sample",
		Summary: "keeps the records of one object in N, for listeners",
		Rules:   []string{"sample"},
		Parse: func(o *Options, use Use) (Factory, error) {
			n := o.Int("one_in", 0, 1, 1<<40)
			if !o.Set("one_in") {
				o.Errorf("one_in", "sample needs the N of \"one in N\"")
			}
			byObject := o.OneOf("by", "object", "record") == "object"
			return func(Start) Module { return &sample{oneIn: uint64(n), byObject: byObject} }, use.mayLose()
		},
	}
}

type sample struct {
	Stateless
	oneIn    uint64
	byObject bool
}

// Push implements [Module].
func (m *sample) Push(r changelog.Record, out *Out) {
	o := object{seq: r.Index()}
	if m.byObject {
		target, source := subjects(r)
		if o = target; source != noObject {
			o = source // what was renamed
		}
	}
	if (o.hash()>>7)%m.oneIn != 0 {
		out.Drop(r.Index(), 0, 0)
		return
	}
	out.Keep(r)
}

// Rate keeps so many records a second at most, by the time at which they come: what comes too fast is dropped.
func Rate() Kind {
	return Kind{
		Name:    "rate",
		Summary: "keeps so many records a second at most, for listeners",
		Rules:   []string{"rate"},
		Paced:   true,
		Parse: func(o *Options, use Use) (Factory, error) {
			perSecond := o.Int("records", 0, 1, 1_000_000_000)
			if !o.Set("records") {
				o.Errorf("records", "rate needs the records a second")
			}
			burst := o.Int("burst", max(perSecond, 1), 1, 1_000_000_000)
			return func(Start) Module { return &rate{perSecond: perSecond, burst: burst, left: burst} }, use.mayLose()
		},
	}
}

// rate is a bucket that fills with time; each record takes one out.
type rate struct {
	Stateless
	perSecond, burst int64
	left             int64
	since            time.Time // what left was filled up to
}

// Push implements [Module].
func (m *rate) Push(r changelog.Record, out *Out) {
	m.fill(out.Now())
	if m.left == 0 {
		out.Drop(r.Index(), 0, 0)
		return
	}
	m.left--
	out.Keep(r)
}

// fill adds what came in since the last time, in whole records; the rest of the time counts later.
func (m *rate) fill(now time.Time) {
	if m.since.IsZero() {
		m.since = now
	}
	passed := now.Sub(m.since)
	if passed >= time.Second*time.Duration(1+m.burst/m.perSecond) {
		m.left, m.since = m.burst, now
		return
	}
	each := time.Second / time.Duration(m.perSecond)
	if n := int64(passed / each); n > 0 {
		m.left = min(m.burst, m.left+n)
		m.since = m.since.Add(time.Duration(n) * each)
	}
}

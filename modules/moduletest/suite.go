package moduletest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// A Case is a chain that the suite checks. It may have one module or several.
type Case struct {
	// Chain is the text of the chain, as [modules.ParseSpecs] reads it.
	Chain string
	// Kinds are the modules that there are; nil stands for [modules.Builtin].
	Kinds []modules.Kind
	Use   modules.Use
	// Records, Bytes and Age are the bounds of all windows of the chain together; 0 for a chain that holds nothing
	// beyond a batch.
	Records int
	Bytes   int64
	Age     time.Duration
	// Seeds is how many histories it is checked with; 0 stands for 60.
	Seeds int
}

// Run is the conformance suite: with random histories, cut into batches at random, it checks that
//
//   - every record that goes in is kept or dropped once by each module, and Flush leaves nothing held;
//   - the ranges of what comes out follow each other, each record lies in the range that it came out with, and nothing at or
//     below the mark is held;
//   - the records about an object keep their order, and all records do unless the batch says that they do not;
//   - what comes out depends neither on where the batches were cut nor on what ran before;
//   - a quiet stream is let go in time, and the windows stay within their bounds;
//   - nobody changes what went in, or what came out before.
func Run(t *testing.T, c Case) {
	t.Helper()
	if err := Check(c); err != nil {
		t.Fatal(err)
	}
}

// Check does what [Run] does, and returns the first thing that is wrong.
func Check(c Case) error {
	plan, err := c.plan()
	if err != nil {
		return err
	}
	seeds := c.Seeds
	if seeds == 0 {
		seeds = 60
	}
	for seed := range uint64(seeds) {
		h := NewHistory(seed, 1, 60+int(seed%7)*60, true)
		r := &runner{Case: c, plan: plan, seed: seed, rnd: rand.New(rand.NewPCG(seed, 3))}
		r.packed, r.last = h.Stream(0)
		r.times()
		if problem := r.check(); problem != "" {
			return fmt.Errorf("chain %s, seed %d: %s", c.Chain, seed, problem)
		}
	}
	return nil
}

// plan compiles the chain.
func (c *Case) plan() (*modules.Plan, error) {
	if c.Kinds == nil {
		c.Kinds = modules.Builtin()
	}
	specs, err := modules.ParseSpecs(c.Chain)
	if err != nil {
		return nil, err
	}
	return modules.Parse(specs, c.Kinds, c.Use)
}

// runner checks one history.
type runner struct {
	Case
	plan   *modules.Plan
	seed   uint64
	rnd    *rand.Rand
	packed []byte
	last   uint64
	at     map[uint64]time.Time // when each record comes
}

var origin = time.Date(2026, 9, 21, 14, 13, 20, 0, time.UTC)

// times decides when each record comes.
func (r *runner) times() {
	r.at = map[uint64]time.Time{}
	now := origin
	for scan := changelog.NewScanner(r.packed); scan.Scan(); {
		if r.rnd.IntN(10) == 0 {
			now = now.Add(time.Duration(r.rnd.Int64N(int64(min(max(r.Age, time.Second), 10*time.Second)))))
		}
		r.at[scan.Last] = now
	}
}

// result is what came out of a chain.
type result struct {
	records []byte
	batches []modules.Batch
	seen    []uint64 // in the order of coming out
	sums    [][sha256.Size]byte
	decided []map[uint64]int // by module: how often each index was decided about
	passed  []map[uint64]bool
	stats   []modules.Stats
}

// pass runs the history through a new chain. batch tells how many records go in together at most.
func (r *runner) pass(batch func() int) (res *result, problem string) {
	c := r.plan.New(modules.Start{})
	res = &result{}
	for range c.Stats() {
		res.decided, res.passed = append(res.decided, map[uint64]int{}), append(res.passed, map[uint64]bool{})
	}
	c.Trace(func(e modules.Event) {
		if e.Verdict != modules.Holding {
			res.decided[e.Module][e.Index]++
		}
		res.passed[e.Module][e.Index] = e.Verdict == modules.Kept || e.Verdict == modules.Changed
	})
	from, rest := uint64(0), r.packed
	for len(rest) > 0 {
		in := modules.Batch{From: from}
		n := batch()
		var now time.Time
		for size := 0; len(rest) > size; in.Count++ {
			rec, _, err := changelog.Next(rest[size:])
			if err != nil {
				return nil, err.Error()
			}
			// Records of one batch come at one time.
			if in.Count == n || in.Count > 0 && !r.at[rec.Index()].Equal(now) {
				break
			}
			now, in.To = r.at[rec.Index()], rec.Index()
			size += rec.Size()
			in.Records = rest[:size:size]
		}
		rest, from = rest[len(in.Records):], in.To
		out, err := c.Push(now, in)
		if err != nil {
			return nil, err.Error()
		}
		if problem := r.take(res, c, out, now); problem != "" {
			return nil, problem
		}
	}
	return res, r.finish(res, c)
}

// finish lets the stream be quiet, or ends it, and checks that nothing is held.
func (r *runner) finish(res *result, c *modules.Chain) string {
	now := r.at[r.last]
	for n := 0; ; n++ {
		due, ok := c.Due()
		if !ok {
			break
		}
		if n > 100 {
			return "the chain is due again and again, and lets nothing go"
		}
		if r.seed%2 == 0 {
			break
		}
		now = due
		out, err := c.Tick(due)
		if err != nil {
			return err.Error()
		}
		if problem := r.take(res, c, out, due); problem != "" {
			return problem
		}
	}
	out, err := c.Flush(now)
	if err != nil {
		return err.Error()
	}
	if r.seed%2 == 1 && out.Count > 0 {
		return fmt.Sprintf("a quiet stream keeps %d records", out.Count)
	}
	if problem := r.take(res, c, out, now); problem != "" {
		return problem
	}
	res.stats = c.Stats()
	for _, s := range res.stats {
		if s.Held.Records != 0 {
			return fmt.Sprintf("%s holds %d records after a flush", s.Name, s.Held.Records)
		}
	}
	if c.Mark() != r.last {
		return fmt.Sprintf("the mark is %d after a flush, the stream ends at %d", c.Mark(), r.last)
	}
	return ""
}

// take checks a batch that came out.
func (r *runner) take(res *result, c *modules.Chain, b modules.Batch, now time.Time) string {
	previous := uint64(0)
	if n := len(res.batches); n > 0 {
		previous = res.batches[n-1].To
	}
	if b.From != previous || b.To < b.From || b.To != c.Mark() {
		return fmt.Sprintf("the batch covers (%d, %d] behind %d, the mark is %d", b.From, b.To, previous, c.Mark())
	}
	count, last := 0, uint64(0)
	scan := changelog.NewScanner(b.Records)
	for ; scan.Scan(); count++ {
		if scan.Last <= b.From || scan.Last > b.To {
			return fmt.Sprintf("record %d came out in (%d, %d]", scan.Last, b.From, b.To)
		}
		if scan.Last < last && !b.Permuted {
			return fmt.Sprintf("record %d comes behind %d", scan.Last, last)
		}
		last = scan.Last
		res.seen = append(res.seen, last)
	}
	if scan.Err() != nil || count != b.Count {
		return fmt.Sprintf("the batch has %d records and says %d: %v", count, b.Count, scan.Err())
	}
	if cap(b.Records) != len(b.Records) {
		return "an append to the records of a batch would change what is behind them"
	}
	res.batches = append(res.batches, b)
	res.sums = append(res.sums, sha256.Sum256(b.Records))
	res.records = append(res.records, b.Records...)
	return r.bounds(c, now)
}

// bounds checks that the windows are within theirs.
func (r *runner) bounds(c *modules.Chain, now time.Time) string {
	records, size := 0, int64(0)
	for _, s := range c.Stats() {
		records += s.Held.Records
		size += s.Held.Bytes
		if s.Held.Records > 0 && s.Held.Oldest <= c.Mark() {
			return fmt.Sprintf("%s holds record %d, the mark is %d", s.Name, s.Held.Oldest, c.Mark())
		}
		if s.Held.Records > 0 && !s.Held.Due.After(now) {
			return fmt.Sprintf("%s holds record %d, which was due at %v, at %v", s.Name, s.Held.Oldest, s.Held.Due, now)
		}
		if due, ok := c.Due(); s.Held.Records > 0 && (!ok || due.After(s.Held.Due)) {
			return fmt.Sprintf("%s is due at %v, the chain at %v", s.Name, s.Held.Due, due)
		}
		if s.Held.Records > 0 && s.Held.Due.Sub(s.Held.Since) > r.Age {
			return fmt.Sprintf("%s holds record %d until %v, since %v", s.Name, s.Held.Oldest, s.Held.Due, s.Held.Since)
		}
	}
	if records > r.Records || size > r.Bytes {
		return fmt.Sprintf("%d records of %d bytes are held, the bounds are %d and %d", records, size, r.Records, r.Bytes)
	}
	return ""
}

// check runs the history several times and compares.
func (r *runner) check() string {
	before := bytes.Clone(r.packed)
	whole, problem := r.pass(func() int { return 1 << 30 })
	if problem != "" {
		return problem
	}
	if problem := r.accounts(whole); problem != "" {
		return problem
	}
	if problem := r.order(whole); problem != "" {
		return problem
	}
	for range 3 {
		most := 1 + r.rnd.IntN(20)
		other, problem := r.pass(func() int { return 1 + r.rnd.IntN(most) })
		if problem != "" {
			return fmt.Sprintf("in batches of %d records: %s", most, problem)
		}
		if !bytes.Equal(whole.records, other.records) {
			return fmt.Sprintf("in batches of up to %d records %d came out, otherwise %d, or they differ", most, len(other.seen), len(whole.seen))
		}
		for i := range whole.stats {
			if !slices.Equal(whole.stats[i].Dropped, other.stats[i].Dropped) {
				return fmt.Sprintf("in batches of up to %d records %s dropped %v, otherwise %v", most, whole.stats[i].Name, other.stats[i].Dropped, whole.stats[i].Dropped)
			}
		}
		for i, b := range other.batches {
			if sha256.Sum256(b.Records) != other.sums[i] {
				return "a batch that had come out changed"
			}
		}
	}
	if !bytes.Equal(before, r.packed) {
		return "what went in changed"
	}
	return ""
}

// accounts checks that each module decided once about each record that reached it.
func (r *runner) accounts(res *result) string {
	for scan := changelog.NewScanner(r.packed); scan.Scan(); {
		reached := true
		for m, decided := range res.decided {
			if n := decided[scan.Last]; reached && n != 1 || !reached && n != 0 {
				return fmt.Sprintf("%s decided %d times about record %d", res.stats[m].Name, n, scan.Last)
			}
			reached = reached && res.passed[m][scan.Last]
		}
		if came := slices.Contains(res.seen, scan.Last); came != reached {
			return fmt.Sprintf("record %d: kept is %v, came out is %v", scan.Last, reached, came)
		}
	}
	return ""
}

// order checks that records about one object come out in the order of their indexes, and so do changes of names.
func (r *runner) order(res *result) string {
	last := map[changelog.FID]uint64{}
	for scan := changelog.NewScanner(res.records); scan.Scan(); {
		rec := scan.Record()
		source, _ := rec.Source()
		for _, fid := range []changelog.FID{rec.Target(), source} {
			if fid.IsZero() || rec.Type() == changelog.TypeMark {
				continue
			}
			if last[fid] > rec.Index() {
				return fmt.Sprintf("record %d comes behind %d about the same object", rec.Index(), last[fid])
			}
			last[fid] = rec.Index()
		}
	}
	return ""
}

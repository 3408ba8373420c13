package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// endless is a source without end, which fills every page. What its records say follows from
// their indexes. It tells when it was given memory that was used before.
type endless struct{ again chan struct{} }

func (e endless) Open(_ context.Context, start uint64) (Reader, error) {
	return &endlessReader{e, max(start, 1)}, nil
}

func (endless) ClearIf(context.Context, uint64, func() error) error { return nil }

type endlessReader struct {
	endless
	next uint64
}

func (r *endlessReader) Read(dst []byte) (int, error) {
	if len(dst) == ingest.DefaultReadBytes && dst[0] != 0 {
		select {
		case r.again <- struct{}{}:
		default:
		}
	}
	n := 0
	for {
		rec := endlessRecords[r.next%uint64(len(endlessRecords))]
		if n+len(rec) > len(dst) {
			return n, nil
		}
		copy(dst[n:], rec)
		changelog.SetIndex(dst[n:], r.next)
		n += len(rec)
		r.next++
	}
}

func (r *endlessReader) Wait(context.Context) error { return nil }
func (r *endlessReader) Close() error               { return nil }

// endlessRecords are what an endless source repeats. Each is about another object, and they
// are long, so that a test takes few of them for a page.
var endlessRecords = func() (list [97][]byte) {
	for i := range list {
		f := changelog.Fields{
			Type: changelog.TypeClose, Format: changelog.Format{Flags: changelog.FlagVersion}, Index: 1,
			Time: changelog.TimeOf(time.Unix(1_800_000_000, 0)), Target: changelog.FID{Seq: 0x200000400, Oid: uint32(i)},
			Name: strings.Repeat("n", 100+i),
		}
		packed, err := f.Append(nil)
		if err != nil {
			panic(err)
		}
		list[i] = packed
	}
	return list
}()

// checkEndless says what is wrong with records of an endless source.
func checkEndless(records []byte, count int) error {
	scan := changelog.NewScanner(records)
	for scan.Scan() {
		r := scan.Record()
		if want := endlessRecords[r.Index()%uint64(len(endlessRecords))]; !slices.Equal(r.Bytes()[16:], want[16:]) {
			return fmt.Errorf("record %d is about %v", r.Index(), r.Target())
		}
		count--
	}
	if err := scan.Err(); err != nil || count != 0 {
		return fmt.Errorf("%d records are missing: %w", count, err)
	}
	return nil
}

// taker is a member who reads what it was delivered for a while, and says only then that it
// is done.
type taker struct {
	someone
	deliveries chan *Delivery
}

func (x *taker) Joined(Joined)                 {}
func (x *taker) Refused(groups.LeaseID, error) {}
func (x *taker) Lost(Lost)                     {}
func (x *taker) Ended(error)                   {}
func (x *taker) Deliver(d *Delivery) bool {
	x.deliveries <- d // there is room: its credit sees to that
	return true
}

func (x *taker) work() error {
	for {
		var d *Delivery
		select {
		case d = <-x.deliveries:
		case <-x.ctx.Done():
			return nil
		}
		before := slices.Clone(d.Records)
		if err := checkEndless(before, d.Count); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		if !slices.Equal(before, d.Records) {
			return fmt.Errorf("(%d, %d] has changed", d.From, d.To)
		}
		if x.b.Done(x.ctx, d) != nil || x.m.Ack(x.ctx, d.Lease, d.Last) != nil || x.m.Credit(x.ctx, 1, int64(len(before))) != nil {
			return nil // the end
		}
	}
}

// Memory goes round while members and listeners read it: nobody sees it change, whoever
// comes, goes, and is slow.
func TestMemoryGoesRound(t *testing.T) {
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByFID} {
		t.Run(d.String(), func(t *testing.T) {
			again := make(chan struct{})
			s := newSiteWith(t, func(o *Options) {
				o.MDTs[0].Source = endless{again}
				o.Limits.Memory, o.Limits.Pinned, o.History = 4<<20, 2<<20, 1<<20
			})
			ctx, stop := context.WithCancel(s.ctx)
			faults := make(chan error, 10)
			var working sync.WaitGroup
			defer func() { stop(); working.Wait() }()
			s.group("g", d)
			for i := range 3 {
				x := &taker{someone: someone{site: s}, deliveries: make(chan *Delivery, MaxCredit)}
				m, err := s.b.Join(s.ctx, JoinOptions{Group: "g", Name: fmt.Sprint(i), Session: "s"}, x)
				must(t, err)
				x.m = m
				x.credit(4)
				working.Go(func() { faults <- (&taker{someone{&site{t: t, ctx: ctx, b: s.b}, m, nil}, x.deliveries}).work() })
			}
			working.Go(func() { faults <- s.listenAgainAndAgain(ctx) })
			for range 5 { // pages that are used again
				select {
				case <-again:
				case err := <-faults:
					t.Fatalf("somebody has ended too early: %v", err)
				case <-s.ctx.Done():
					t.Fatal("no memory is used again")
				}
			}
			stop()
			for range 4 {
				must(t, <-faults)
			}
		})
	}
}

// listenAgainAndAgain listens for a while, looks at all of it, goes, and comes again.
func (s *site) listenAgainAndAgain(ctx context.Context) error {
	for ctx.Err() == nil {
		x, _, err := s.b.Listen(ctx, ListenOptions{})
		if err != nil {
			return nil
		}
		var held []Shown
		for range 20 {
			shown, err := x.Next(ctx)
			if err != nil {
				break
			}
			held = append(held, shown)
			time.Sleep(5 * time.Millisecond)
		}
		for _, shown := range held {
			if err := checkEndless(shown.Records, shown.Count); shown.Gap == nil && err != nil {
				return fmt.Errorf("listener: %w", err)
			}
		}
		if err := x.Close(); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

// What somebody may read of whom the loop does not hear when he is done is not used again.
func TestLentMemoryIsNotUsedAgain(t *testing.T) {
	l := &loop{b: New(Options{}), lent: make(map[*core.Batch]struct{})}
	page := func() *core.Batch { return &core.Batch{Records: make([]byte, 120<<10, 128<<10)} }
	lent, ours := page(), page()
	l.lend(lent)
	l.free(lent)
	if len(l.b.spare) != 0 || len(l.lent) != 0 {
		t.Errorf("%d pages are to be used again, %d are lent", len(l.b.spare), len(l.lent))
	}
	l.free(&core.Batch{Records: make([]byte, 100)})
	l.free(&core.Batch{})
	l.free(ours)
	if len(l.b.spare) != 1 || &(<-l.b.spare)[:1][0] != &ours.Records[0] {
		t.Error("a page that is nobody's is not used again")
	}
	for range 2 * sparePages {
		l.free(page())
	}
	if n := len(l.b.spare); n != sparePages {
		t.Errorf("%d pages wait", n)
	}
}

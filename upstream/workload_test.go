package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

var epoch = time.Unix(1_800_000_000, 0)

// generate returns the next n records of a workload, numbered from first on.
func generate(w *upstream.Workload, first, n uint64) []byte {
	var b []byte
	for i := range n {
		at := len(b)
		b = w.Append(b, epoch)
		changelog.SetIndex(b[at:], first+i)
	}
	return b
}

// replay applies records to a replica.
func replay(t testing.TB, p *upstream.Replica, records []byte) {
	t.Helper()
	scan := changelog.NewScanner(records)
	scan.Ordered, scan.StrictExtra = true, true
	for scan.Scan() {
		check(t, p.Apply(scan.Record()))
	}
	check(t, scan.Err())
}

func checkTree(t testing.TB, got, want upstream.Tree) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for place, node := range want {
		if got[place] != node {
			t.Errorf("%s in %s is %+v, want %+v", place.Name, place.Parent, got[place], node)
		}
	}
	t.Fatalf("%d names, want %d", len(got), len(want))
}

// Who applies the records has the tree of who made them, at every moment.
func TestWorkloadIsConsistent(t *testing.T) {
	for _, names := range []int{1, 17, 100, 3000} {
		for seed := range uint64(5) {
			w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: seed, MDT: uint16(seed), Names: names})
			p := upstream.NewReplica()
			checkTree(t, p.Tree(), w.Tree())
			index := uint64(1)
			for range 20 {
				replay(t, p, generate(w, index, 1000))
				index += 1000
				checkTree(t, p.Tree(), w.Tree())
			}
			if n := len(w.Tree()); n > max(names, 16)+1 || n < 4 {
				t.Errorf("%d names, %d are allowed", n, names)
			}
		}
	}
}

func TestWorkloadIsDeterministic(t *testing.T) {
	o := upstream.WorkloadOptions{Seed: 7, MDT: 3, Names: 500}
	first := generate(upstream.NewWorkload(o), 1, 20_000)
	if !bytes.Equal(first, generate(upstream.NewWorkload(o), 1, 20_000)) {
		t.Error("the same seed makes other records")
	}
	skipped := upstream.NewWorkload(o)
	skipped.Skip(10_000)
	if rest := generate(skipped, 10_001, 10_000); !bytes.HasSuffix(first, rest) {
		t.Error("after skipping come other records")
	}
	o.Seed++
	if bytes.Equal(first, generate(upstream.NewWorkload(o), 1, 20_000)) {
		t.Error("another seed makes the same records")
	}
}

// Everything that is promised of the records happens, and looks as on an MDT.
func TestWorkloadRecords(t *testing.T) {
	seen := map[changelog.Type]int{}
	var over, overDir, movedDir, lastUnlinks, otherUnlinks int
	dirs := map[changelog.FID]bool{}
	scan := changelog.NewScanner(generate(upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1}), 1, 100_000))
	for scan.Scan() {
		r := scan.Record()
		seen[r.Type()]++
		checkForm(t, r)
		source, _ := r.Source()
		last, _ := r.IsLastUnlink()
		switch {
		case r.Type() == changelog.TypeMkdir:
			dirs[r.Target()] = true
		case r.Type() == changelog.TypeUnlnk && last:
			lastUnlinks++
		case r.Type() == changelog.TypeUnlnk:
			otherUnlinks++
		case dirs[source] && r.Target().IsZero():
			movedDir++
		case dirs[source]:
			overDir++
		case r.Type() == changelog.TypeRenme && !r.Target().IsZero():
			over++
		}
	}
	for _, n := range []int{over, overDir, movedDir, lastUnlinks, otherUnlinks} {
		if n < 10 {
			t.Errorf("%d renames over files, %d over directories, %d of directories, %d last unlinks, %d others", over, overDir, movedDir, lastUnlinks, otherUnlinks)
		}
	}
	for _, name := range []string{"CREAT", "MKDIR", "HLINK", "SLINK", "MKNOD", "UNLNK", "RMDIR", "RENME", "CLOSE", "TRUNC", "SATTR", "XATTR", "MTIME"} {
		typ, err := changelog.ParseType(name)
		check(t, err)
		if seen[typ] < 100 {
			t.Errorf("%d %s among 100000 records", seen[typ], name)
		}
	}
}

// checkForm compares blocks and flags with those of a server of 2.15 (ABI 4.5).
func checkForm(t *testing.T, r changelog.Record) {
	t.Helper()
	rename, version := r.Flags()&changelog.FlagRename != 0, r.Flags()&changelog.FlagVersion != 0
	extra, _ := r.Extra()
	want := changelog.ExtraUIDGID | changelog.ExtraNID
	if r.Type() == changelog.TypeXattr {
		want |= changelog.ExtraXattr
	}
	named := len(r.Name()) > 0
	if rename != (r.Type() == changelog.TypeRenme) || version == rename || extra != want || named != (r.Type() <= changelog.TypeRenme) || named == r.Parent().IsZero() {
		t.Fatalf("no MDT writes\n%s", r.AppendLFS(nil))
	}
}

// Workloads of different MDTs never make the same FID.
func TestWorkloadsAreDisjoint(t *testing.T) {
	owner := map[changelog.FID]int{}
	for mdt := range 4 {
		scan := changelog.NewScanner(generate(upstream.NewWorkload(upstream.WorkloadOptions{MDT: uint16(mdt), Names: 100}), 1, 5000))
		for scan.Scan() {
			fid := scan.Record().Target()
			if before, known := owner[fid]; known && before != mdt && !fid.IsZero() {
				t.Fatalf("%s is on MDT %d and %d", fid, before, mdt)
			}
			owner[fid] = mdt
		}
	}
}

// What stands in the log is what was made.
func TestProduceIntoLog(t *testing.T) {
	log, user, a := newLog(t, llog.AppendOptions{Sync: llog.SyncNever})
	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 5, Names: 300})
	const records = 20_000
	made, err := w.Produce(context.Background(), a, upstream.Pace{Records: records})
	check(t, err)
	if made != records {
		t.Errorf("made %d records", made)
	}
	p := upstream.NewReplica()
	r, err := upstream.NewLLog(log, user, nil).Open(context.Background(), 1)
	check(t, err)
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if err != nil {
			break
		}
		replay(t, p, buf[:n])
	}
	check(t, r.Close())
	checkTree(t, p.Tree(), w.Tree())
}

// counter counts what is appended.
type counter struct{ records, appends int }

func (c *counter) AppendNew(_ context.Context, records []byte) (llog.Appended, error) {
	for scan := changelog.NewScanner(records); scan.Scan(); {
		c.records++
	}
	c.appends++
	return llog.Appended{}, nil
}

// A rate is kept to the record, in virtual time.
func TestProduceAtARate(t *testing.T) {
	for _, rate := range []int{1, 3, 100, 1000, 12_345} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second+10*time.Millisecond)
			defer cancel()
			var c counter
			made, err := upstream.NewWorkload(upstream.WorkloadOptions{Names: 100}).Produce(ctx, &c, upstream.Pace{Rate: rate})
			if !errors.Is(err, context.DeadlineExceeded) || int(made) != c.records {
				t.Errorf("made %d, appended %d, error %v", made, c.records, err)
			}
			if least, most := 10*rate, 10*rate+rate/100+1; c.records < least || c.records > most {
				t.Errorf("%d records in 10 s at %d a second", c.records, rate)
			}
		})
	}
}

// slow is an appender that stands still for a while.
type slow struct {
	counter
	standstill time.Duration
}

func (s *slow) AppendNew(ctx context.Context, records []byte) (llog.Appended, error) {
	time.Sleep(s.standstill)
	s.standstill = 0
	return s.counter.AppendNew(ctx, records)
}

// Who was held up makes up for a second of it, not for all.
func TestProduceForgivesDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 65*time.Second)
		defer cancel()
		s := slow{standstill: time.Minute}
		_, err := upstream.NewWorkload(upstream.WorkloadOptions{Names: 100}).Produce(ctx, &s, upstream.Pace{Rate: 1000})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if s.records < 5900 || s.records > 6100 {
			t.Errorf("%d records in 5 s, after a minute", s.records)
		}
	})
}

func TestProduceEnds(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	for _, rate := range []int{0, 1} {
		made, err := upstream.NewWorkload(upstream.WorkloadOptions{}).Produce(ctx, new(counter), upstream.Pace{Rate: rate})
		if made != 0 || !errors.Is(err, why) {
			t.Errorf("made %d, error %v", made, err)
		}
	}
	m := upstream.NewMemory()
	check(t, m.Close())
	if _, err := upstream.NewWorkload(upstream.WorkloadOptions{}).Produce(context.Background(), m, upstream.Pace{}); !errors.Is(err, upstream.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
}

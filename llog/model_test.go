package llog_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// model says what a log must do, in the simplest way there is.
type model struct {
	records []changelog.Record // all that was ever stored
	last    uint64
	purged  uint64
	users   []llog.User // without the time
	nextID  llog.UserID
}

// purge is what follows every change of users and cursors.
func (m *model) purge() {
	floor := m.last
	for _, u := range m.users {
		floor = min(floor, u.Cleared)
	}
	m.purged = max(m.purged, floor)
}

// from returns the records at or above start that are still there.
func (m *model) from(start uint64) []changelog.Record {
	start = max(start, m.purged+1)
	i, _ := slices.BinarySearchFunc(m.records, start, func(r changelog.Record, i uint64) int { return cmp.Compare(r.Index(), i) })
	return m.records[i:]
}

// wants tells whether a record of the type is stored.
func (m *model) wants(kind changelog.Type) bool {
	return slices.ContainsFunc(m.users, func(u llog.User) bool { return u.Mask == 0 || u.Mask.Has(kind) })
}

func (m *model) user(id llog.UserID) *llog.User {
	for i := range m.users {
		if m.users[i].ID == id {
			return &m.users[i]
		}
	}
	return nil
}

// modelTest does random things to a log and to the model, and compares.
type modelTest struct {
	*testing.T
	rng *rand.Rand
	ctx context.Context
	model
	log     *llog.Log
	app     *llog.Appender
	readers []*llog.Reader
	next    []uint64 // of each reader
	ops     map[string]int
}

func TestModel(t *testing.T) {
	seeds := []uint64{1, 2, 3, uint64(time.Now().UnixNano())}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			m := &modelTest{T: t, rng: rand.New(rand.NewPCG(seed, 9)), ctx: context.Background(), log: memoryLog(t), ops: map[string]int{}}
			m.nextID = 1
			m.openAppender()
			m.newReaders(4)
			for step := range 2000 {
				m.step()
				if m.Failed() {
					t.Fatalf("seed %d, step %d", seed, step)
				}
			}
			check(t, m.app.Close())
			t.Log(m.ops, "last index", m.last, "segments", len(segments(t, m.log)))
		})
	}
}

// modelOps are the operations, with how often they happen.
var modelOps = []struct {
	name   string
	weight int
	do     func(m *modelTest)
}{
	{"append", 25, (*modelTest).append},
	{"read", 25, (*modelTest).read},
	{"clear", 20, (*modelTest).clear},
	{"info", 8, (*modelTest).compareInfo},
	{"tail", 5, (*modelTest).compareTail},
	{"reader", 4, func(m *modelTest) { m.newReaders(1) }},
	{"register", 5, (*modelTest).register},
	{"deregister", 2, (*modelTest).deregister},
	{"clear all", 1, (*modelTest).clearAll},
	{"collect", 1, (*modelTest).collect},
	{"reopen", 4, (*modelTest).reopen},
}

func (m *modelTest) step() {
	total := 0
	for _, op := range modelOps {
		total += op.weight
	}
	choice := m.rng.IntN(total)
	for _, op := range modelOps {
		if choice -= op.weight; choice < 0 {
			m.ops[op.name]++
			op.do(m)
			return
		}
	}
}

func (m *modelTest) openAppender() {
	app, err := m.log.NewAppender(llog.AppendOptions{SegmentSize: 1 + m.rng.Int64N(5000), Sync: []llog.SyncPolicy{llog.SyncEach, llog.SyncNever, llog.SyncEvery(time.Millisecond)}[m.rng.IntN(3)]})
	check(m, err)
	m.app = app
}

// reopen changes the process, so to say: sometimes the old one died in a write.
func (m *modelTest) reopen() {
	check(m, m.app.Close())
	m.log = reopen(m, m.log)
	if repaired, err := m.log.Repair(m.ctx); err != nil || len(repaired) > 0 {
		m.Fatalf("repaired %v, %v", repaired, err)
	}
	bases := segments(m, m.log)
	torn := int64(0)
	if len(bases) > 0 && m.rng.IntN(2) == 0 {
		path := segmentPath(m.log, bases[len(bases)-1])
		info, err := os.Stat(path)
		check(m, err)
		frame := llog.AppendFrame(nil, info.Size(), rec(m.last+1), m.last+1)
		torn = 1 + m.rng.Int64N(int64(len(frame)-1))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		check(m, err)
		_, err = f.Write(frame[:torn])
		check(m, err)
		check(m, f.Close())
		m.compareInfo()
		m.read()
	}
	m.openAppender()
	if got := m.app.TornTail(); (got != nil) != (torn > 0) || got != nil && got.Bytes != torn {
		m.Errorf("torn is %+v, want %d bytes", got, torn)
	}
}

// append appends good and bad batches, with and without indexes of their own.
func (m *modelTest) append() {
	renumber := m.rng.IntN(2) == 0
	index := m.last + 1
	if m.rng.IntN(15) == 0 {
		index = m.rng.Uint64N(m.last + 1) // not above the last one
	}
	var packed []byte
	good := true
	for range m.rng.IntN(12) {
		if m.rng.IntN(10) == 0 {
			index += m.rng.Uint64N(20)
		}
		good = good && (renumber || index > m.last)
		kind := changelog.Type(1 + m.rng.Uint32N(6))
		one := typed(index, kind)
		if renumber {
			changelog.SetIndex(one, m.rng.Uint64())
		}
		packed = append(packed, one...)
		index++
	}
	if len(packed) > 0 && m.rng.IntN(15) == 0 {
		packed, good = packed[:len(packed)-1-m.rng.IntN(60)], false
	}
	add := m.app.Append
	if renumber {
		add = m.app.AppendNew
	}
	got, err := add(m.ctx, packed)
	switch {
	case len(packed) == 0:
		check(m, err)
	case len(m.users) == 0:
		checkIs(m, err, llog.ErrNoUsers)
	case !good:
		if !errors.Is(err, changelog.ErrIndexOrder) && !errors.Is(err, changelog.ErrTruncated) || got.Records > 0 {
			m.Errorf("bad records: %+v, %v", got, err)
		}
	default:
		check(m, err)
		m.stored(packed, renumber, got)
	}
}

// stored takes a good batch into the model.
func (m *modelTest) stored(packed []byte, renumber bool, got llog.Appended) {
	var want llog.Appended
	for _, r := range scan(m, packed) {
		if !m.wants(r.Type()) {
			want.Masked++
			continue
		}
		b := bytes.Clone(r.Bytes())
		if renumber {
			changelog.SetIndex(b, m.last+1)
		}
		one, _, err := changelog.Next(b)
		check(m, err)
		m.records = append(m.records, one)
		m.last = one.Index()
		want.Records++
		want.Last = m.last
		if want.Records == 1 {
			want.First = m.last
		}
	}
	if got.Records != want.Records || got.Masked != want.Masked || got.First != want.First || got.Last != want.Last {
		m.Errorf("append: got %+v, want %+v", got, want)
	}
}

func (m *modelTest) newReaders(n int) {
	for range n {
		start := m.rng.Uint64N(m.last + 3)
		r, err := m.log.NewReader(start, nil)
		check(m, err)
		if len(m.readers) < 4 {
			m.Cleanup(func() { check(m, r.Close()) })
			m.readers, m.next = append(m.readers, r), append(m.next, start)
			continue
		}
		i := m.rng.IntN(len(m.readers))
		old := m.readers[i]
		m.readers[i], m.next[i] = r, start
		m.Cleanup(func() { check(m, r.Close()) })
		check(m, old.Close())
	}
}

// read reads on with one of the readers, once or to the end.
func (m *modelTest) read() {
	i := m.rng.IntN(len(m.readers))
	for range 1 + m.rng.IntN(20) {
		want := m.from(m.next[i])
		buf := make([]byte, llog.MinRead+m.rng.IntN(2000))
		n, err := m.readers[i].Read(buf)
		if len(want) == 0 {
			if n != 0 || err != io.EOF {
				m.Fatalf("at the end: %d, %v", n, err)
			}
			return
		}
		check(m, err)
		got := scan(m, buf[:n])
		if len(got) == 0 || len(got) > len(want) {
			m.Fatalf("got %d records, %d are there", len(got), len(want))
		}
		for j, r := range got {
			if !bytes.Equal(r.Bytes(), want[j].Bytes()) {
				m.Fatalf("got the record %d, want %d", r.Index(), want[j].Index())
			}
		}
		m.next[i] = got[len(got)-1].Index() + 1
	}
}

func (m *modelTest) register() {
	if len(m.users) >= 5 {
		return
	}
	var mask changelog.Mask
	if m.rng.IntN(2) == 0 {
		mask = changelog.Mask(m.rng.Uint64N(128))
	}
	got, err := m.log.Register(m.ctx, "", mask)
	check(m, err)
	want := llog.User{ID: m.nextID, Mask: mask, Cleared: m.last}
	if got.Touched = (time.Time{}); got != want {
		m.Errorf("register: got %+v, want %+v", got, want)
	}
	m.users = append(m.users, want)
	m.nextID++
	m.purge()
}

// anyID returns the id of a user, or sometimes of none.
func (m *modelTest) anyID() llog.UserID {
	if len(m.users) == 0 || m.rng.IntN(10) == 0 {
		return llog.UserID(m.rng.Uint32N(uint32(m.nextID) + 2))
	}
	return m.users[m.rng.IntN(len(m.users))].ID
}

func (m *modelTest) deregister() {
	id := m.anyID()
	err := m.log.Deregister(m.ctx, id)
	if m.user(id) == nil {
		checkIs(m, err, llog.ErrUnknownUser)
		return
	}
	check(m, err)
	m.remove(id)
}

func (m *modelTest) remove(id llog.UserID) {
	m.users = slices.DeleteFunc(m.users, func(u llog.User) bool { return u.ID == id })
	m.purge()
}

func (m *modelTest) clear() {
	id := m.anyID()
	u := m.user(id)
	index := m.rng.Uint64N(m.last + 3)
	if u != nil && m.rng.IntN(4) > 0 {
		index = u.Cleared + m.rng.Uint64N(m.last-u.Cleared+1)
	}
	err := m.log.Clear(m.ctx, id, index)
	switch {
	case index == 0:
		checkIs(m, err, llog.ErrZeroIndex)
	case u == nil:
		checkIs(m, err, llog.ErrUnknownUser)
	case index > m.last:
		checkIs(m, err, llog.ErrBeyondEnd)
	case index < u.Cleared:
		checkIs(m, err, llog.ErrBackwards)
	default:
		check(m, err)
		u.Cleared = index
		m.purge()
		// No segment is left whose successor begins at or below what is purged.
		if bases := segments(m, m.log); len(bases) > 1 && bases[1] <= m.purged+1 {
			m.Errorf("purged to %d, but there are segments %v", m.purged, bases)
		}
	}
}

func (m *modelTest) clearAll() {
	id := m.anyID()
	got, err := m.log.ClearAll(m.ctx, id)
	u := m.user(id)
	if u == nil {
		checkIs(m, err, llog.ErrUnknownUser)
		return
	}
	check(m, err)
	checkEqual(m, "cleared", got, m.last)
	u.Cleared = m.last
	m.purge()
}

func (m *modelTest) collect() {
	limits := llog.IdleLimits{MaxIdle: 1000 * time.Hour, MaxIndexes: m.rng.Uint64N(500)}
	got, err := m.log.CollectIdle(m.ctx, limits, time.Now())
	check(m, err)
	var want []llog.User
	for _, u := range m.users {
		if m.last-u.Cleared > limits.MaxIndexes {
			want = append(want, u)
		}
	}
	checkEqual(m, "collected", len(got), len(want))
	for _, u := range want {
		if !slices.ContainsFunc(got, func(g llog.User) bool { return g.ID == u.ID }) {
			m.Errorf("%s was not collected", u)
		}
		m.remove(u.ID)
	}
}

func (m *modelTest) compareInfo() {
	info, err := m.log.Info()
	check(m, err)
	all := m.from(0)
	want := llog.Info{Records: uint64(len(all)), Current: m.last}
	if len(all) > 0 {
		want.First, want.Last = all[0].Index(), all[len(all)-1].Index()
	}
	if info.Records != want.Records || info.Current != want.Current || info.First != want.First || info.Last != want.Last {
		m.Errorf("info: got %+v, want %+v", info, want)
	}
	for i := range info.Users {
		info.Users[i].Touched = time.Time{}
	}
	if !slices.Equal(info.Users, m.users) {
		m.Errorf("users: got %v, want %v", info.Users, m.users)
	}
}

func (m *modelTest) compareTail() {
	n := m.rng.IntN(40)
	got, err := m.log.Tail(n)
	check(m, err)
	want := m.from(0)
	want = want[max(0, len(want)-n):]
	if !slices.EqualFunc(got, want, func(a, b changelog.Record) bool { return bytes.Equal(a.Bytes(), b.Bytes()) }) {
		m.Errorf("tail of %d: got %d records, want %d", n, len(got), len(want))
	}
}

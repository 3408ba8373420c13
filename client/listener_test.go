package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/wire"
)

// listenAt listens with a server's help.
func listenAt(t testing.TB, s *server, opts ...ListenOption) (*Listener, *peer, *wire.Listen) {
	t.Helper()
	opts = append([]ListenOption{Name("l1"), Retry(time.Millisecond, 10*time.Millisecond)}, opts...)
	listener := later(func() (*Listener, error) { return Listen(context.Background(), []string{s.addr}, opts...) })
	p, listen := s.listener()
	l, err := listener(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, p, listen
}

// heard wants a batch or a gap.
func heard(t testing.TB, l *Listener) (*Batch, *Gap) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, gap, err := l.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b, gap
}

func TestListenerSaysWhatItHasSeen(t *testing.T) {
	s := startServer(t)
	l, p, listen := listenAt(t, s, MDTs("MDT0", "MDT1"))
	if listen.Name != "l1" || !slices.Equal(listen.MDTs, []string{"MDT0", "MDT1"}) || len(listen.Seen) != 0 {
		t.Errorf("listen %+v", listen)
	}
	p.batch("MDT0", 0, 3, 5)
	if b, _ := heard(t, l); b == nil || b.Last != 5 || b.Lease() != 0 {
		t.Errorf("batch %+v", b)
	}
	p.say(&wire.Gap{MDT: "MDT0", Epoch: 1, From: 5, To: 20, Count: 15, Why: "slow"}, nil)
	if _, gap := heard(t, l); gap == nil || *gap != (Gap{Addr: s.addr, MDT: "MDT0", Epoch: 1, From: 5, To: 20, Count: 15, Why: "slow"}) {
		t.Errorf("gap %+v", gap)
	}
	late := batchOf("MDT0", 0, 7, 7)
	late.Flags = wire.Late
	p.say(late, pack(t, 7, 7))
	if b, _ := heard(t, l); b == nil || !b.Late {
		t.Errorf("late batch %+v", b)
	}
	p.batch("MDT1", 0, 1, 2)
	heard(t, l)
	p.hangUp()
	p, listen = s.listener()
	want := []wire.Position{{MDT: "MDT0", Epoch: 1, Index: 20}, {MDT: "MDT1", Epoch: 1, Index: 2}}
	if !slices.Equal(listen.Seen, want) {
		t.Errorf("seen %+v", listen.Seen)
	}
	p.say(&wire.Gap{MDT: "MDT0", Epoch: 1, From: 20, To: 30, Unknown: true, Why: "not connected"}, nil)
	p.batch("MDT0", 0, 31, 31)
	if _, gap := heard(t, l); gap == nil || gap.From != 20 || gap.To != 30 || !gap.Unknown {
		t.Errorf("gap %+v", gap)
	}
	if b, _ := heard(t, l); b == nil || b.First != 31 {
		t.Errorf("batch %+v", b)
	}
}

// Why: a broker that was killed before a new epoch was on disk may give its number again. Who was told that it begins,
// and lost its connection, went on at the place that it had in the one before, and the broker skipped what is below that.
func TestEpochThatBeginsAgain(t *testing.T) {
	x := &listening{}
	hear := func(it item) { x.received(nil, it) }
	hear(item{batch: &Batch{MDT: "MDT0", Epoch: 1, To: 20}})
	hear(item{batch: &Batch{MDT: "MDT1", Epoch: 1, To: 5}})
	hear(item{gap: &Gap{MDT: "MDT0", Epoch: 1, From: 3, To: 7, Unknown: true}}) // of late records
	want := wire.Position{MDT: "MDT0", Epoch: 1, Index: 20}
	if !slices.Contains(x.seen, want) {
		t.Errorf("seen %+v, want %+v", x.seen, want)
	}
	hear(item{gap: &Gap{MDT: "MDT0", Epoch: 1, Unknown: true}})
	hear(item{batch: &Batch{MDT: "MDT0", Epoch: 1, To: 10}})
	want.Index = 10
	if !slices.Contains(x.seen, want) || len(x.seen) != 2 {
		t.Errorf("seen %+v, want %+v and that of MDT1", x.seen, want)
	}
}

// What a listener has received outlives the connection, and is not asked for again.
func TestListenerKeepsWhatItHas(t *testing.T) {
	s := startServer(t)
	l, p, _ := listenAt(t, s)
	p.batch("MDT0", 0, 1, 2)
	p.batch("MDT1", 0, 1, 1)
	p.batch("MDT0", 0, 3, 4)
	for len(listAll(t, l, 1)) == 0 { // one is taken, so the others have been received, or are going to be
	}
	p.hangUp()
	p, again := s.listener()
	p.batch("MDT0", 0, 100, 100)
	var seen uint64
	for _, place := range again.Seen {
		if place.MDT == "MDT0" {
			seen = place.Index
		}
	}
	var got []uint64
	for len(got) == 0 || got[len(got)-1] != 100 {
		b, _ := heard(t, l)
		if b.MDT == "MDT0" {
			got = append(got, b.Last)
		}
	}
	want := []uint64{100}
	if seen == 4 {
		want = []uint64{4, 100}
	}
	if !slices.Equal(got, want) {
		t.Errorf("seen up to %d, then got %v", seen, got)
	}
}

// listAll takes n batches.
func listAll(t testing.TB, l *Listener, n int) (last []uint64) {
	for range n {
		b, _ := heard(t, l)
		last = append(last, b.Last)
	}
	return last
}

// A listener that takes nothing is not read from: its server finds that it is slow.
func TestListenerHoldsNoMoreThanItsWindow(t *testing.T) {
	settings := defaults()
	Window(3, 100).listening(&settings)
	x := &listening{settings: &settings}
	l := &link{role: x, stream: &stream{}, attempt: &attempt{heard: make(chan message), over: make(chan struct{})}}
	open := func() bool { heard, _ := l.ears(); return heard != nil }
	receive := func(bytes int) {
		l.receive(item{batch: &Batch{MDT: "MDT0", packed: make([]byte, bytes)}})
	}
	receive(10)
	receive(10)
	if !open() {
		t.Error("stops before the window is full")
	}
	l.receive(item{gap: &Gap{MDT: "MDT0"}})
	if open() {
		t.Error("goes on with three in a window of three")
	}
	for range 3 {
		l.pop()
	}
	if !open() || l.bytes != 0 {
		t.Errorf("an empty queue holds %d bytes, open: %v", l.bytes, open())
	}
	receive(100)
	if open() {
		t.Error("goes on with 100 bytes in a window of 100")
	}
	l.pop()
	for range maxEvents {
		l.tell(Lost{})
	}
	if l.tell(Connected{}); open() || l.events != maxEvents {
		t.Errorf("%d events wait, open: %v", l.events, open())
	}
}

func TestLongStreamToAListener(t *testing.T) {
	s := startServer(t)
	l, p, _ := listenAt(t, s, Window(2, 1<<30))
	const batches, size = 100, 1000
	sent := later(func() (struct{}, error) {
		for i := range uint64(batches) {
			p.batch("MDT0", 0, i*size+1, i*size+size)
		}
		return struct{}{}, nil
	})
	for i := range uint64(batches) {
		b, _ := heard(t, l)
		if b.First != i*size+1 {
			t.Fatalf("batch %d begins at %d", i, b.First)
		}
		b.Release()
	}
	sent(t)
}

func TestListenerRecords(t *testing.T) {
	s := startServer(t)
	l, p, _ := listenAt(t, s)
	p.batch("MDT0", 0, 1, 2)
	p.say(&wire.Gap{MDT: "MDT0", From: 2, To: 5, Count: 3}, nil)
	p.batch("MDT0", 0, 6, 6)
	var got []uint64
	for rec, err := range l.Records(t.Context()) {
		if gap, ok := IsGap(err); ok {
			got = append(got, 1000+gap.To)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, rec.Index()); rec.Index() == 6 {
			break
		}
	}
	if !slices.Equal(got, []uint64{1, 2, 1005, 6}) {
		t.Errorf("got %v", got)
	}
	l.Close()
	for _, err := range l.Records(t.Context()) {
		if err != ErrStopped {
			t.Errorf("records: %v", err)
		}
	}
}

func TestListenerHasNoLease(t *testing.T) {
	s := startServer(t)
	l, p, _ := listenAt(t, s)
	p.batch("MDT0", 0, 1, 2)
	b, _ := heard(t, l)
	if err := (Record{Batch: b}).Batch.ackUpTo(2); err == nil {
		t.Error("acknowledged")
	}
	p.batch("MDT0", 5, 3, 4)
	if _, _, err := l.Next(t.Context()); !errors.Is(err, ErrProtocol) {
		t.Errorf("a leased batch for a listener: %v", err)
	}
}

// What was asked for is what comes: the server cuts, and says so.
func TestFieldsAreCut(t *testing.T) {
	f := changelog.Fields{Type: changelog.TypeCreat, Index: 1, JobID: "job", Name: "file",
		Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID}}
	packed, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	none := wire.Form(changelog.FlagVersion)
	for _, c := range []struct {
		opts []ListenOption
		want wire.Form
		form wire.Form
		ok   bool
	}{
		{nil, 0, 0, true},
		{nil, 0, none, false},
		{[]ListenOption{Fields(changelog.FormatAll)}, 0x1ff000, 0x13f000, false},
		{[]ListenOption{Fields(changelog.FormatAll)}, 0x1ff000, 0x1ff000, true},
		{[]ListenOption{Fields(changelog.Format{Flags: changelog.FlagRename})}, none | 0x2000, 0, false},
		{[]ListenOption{Fields(changelog.Format{})}, none, none, true},
		{[]ListenOption{Fields(changelog.Format{Extra: changelog.ExtraXattr})}, none, none, true}, // xattr without extra counts for nothing
	} {
		s := anotherServer(t, "tcp://127.0.0.1:0")
		l, p, m := listenAt(t, s, c.opts...)
		if m.Fields != c.want {
			t.Errorf("asked for %#x, want %#x", m.Fields, c.want)
		}
		batch := batchOf("MDT0", 0, 1, 1)
		batch.Form = c.form
		p.say(batch, packed)
		b, _, err := l.Next(t.Context())
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%#x for %#x: %v", c.form, c.want, err)
		}
		if err == nil {
			b.Release()
		}
	}
}

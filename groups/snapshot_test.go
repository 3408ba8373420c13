package groups

import (
	"reflect"
	"testing"
	"time"
)

// The stories in testdata show snapshots as operators see them; here is the rest.

func TestSnapshotFields(t *testing.T) {
	g := New(Config{Name: "robinhood", Distribution: ByMDT, MaxDeliveries: 1})
	g.AddMDT(4, 0)
	g.AddMDT(2, 7)
	must(g.Join(5, "ann", "session 1", []MDT{4, 2, 4}, start))
	must(g.Credit(5, 9, 1000, start))
	must(g.Join(6, "bob", "session 2", []MDT{}, start.Add(time.Second)))
	given := handOut(g, Piece{From: 0, To: 20, Bytes: 100}, start)
	must(g.Ack(5, given[1].Lease, 9, start.Add(5*time.Second)))
	must(g.Nack(5, given[0].Lease, 1, 3*time.Second, start.Add(6*time.Second)))
	must(g.Skip(2, 15))
	handOut(g, Piece{From: 0, To: 20, Bytes: 100}, start.Add(6*time.Second))
	got := g.Snapshot(start.Add(7 * time.Second))
	want := Snapshot{
		Name: "robinhood", Distribution: ByMDT,
		Members: []MemberState{
			{ID: 5, Name: "ann", Session: "session 1", Serves: []MDT{2, 4}, Batches: 7, Bytes: 835, Lanes: 2, Leases: 1, InFlight: 65, Idle: time.Second, Stuck: 2 * time.Second},
			{ID: 6, Name: "bob", Session: "session 2", Serves: []MDT{}, Idle: 6 * time.Second},
		},
		Tracks: []TrackState{{
			MDT: 2, Mark: 9, Frontier: 20, Ahead: 65, Skips: []uint64{15},
			Oldest:  LeaseState{ID: given[1].Lease, Member: 5, From: 7, To: 20, Acked: 9, Count: 1, Age: 7 * time.Second, Idle: 2 * time.Second},
			Streams: []StreamState{{ID: 1, Owner: 5, Cursor: 20, Mark: 9, Leases: 1}},
		}, {
			MDT: 4, Frontier: 20, Ahead: 100,
			Streams: []StreamState{{ID: 1, Owner: 5, Blocked: Delayed, Delay: 2 * time.Second}},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	g.Tick(start.Add(9 * time.Second))
	handOut(g, Piece{From: 0, To: 20, Bytes: 100}, start.Add(9*time.Second))
	got = g.Snapshot(start.Add(9 * time.Second))
	if want := []PoisonedRange{{Stream: 1, From: 0, To: 20, Count: 1}}; !reflect.DeepEqual(got.Tracks[1].Poisoned, want) {
		t.Errorf("poisoned: %v, want %v", got.Tracks[1].Poisoned, want)
	}
}

func TestSnapshotSharesNothing(t *testing.T) {
	g := newGroup(Config{Distribution: ByFID}, 3, 0)
	must(g.Join(1, "ann", "s", []MDT{0, 1, 2}, start))
	must(g.Credit(1, 9, 1000, start))
	handOut(g, batch(0, 10), start)
	join(g, 2)
	join(g, 3)
	handOut(g, batch(0, 10), start)
	must(g.Skip(1, 20))
	first := g.Snapshot(start)
	for range 20 {
		if again := g.Snapshot(start); !reflect.DeepEqual(again, first) {
			t.Fatalf("another order: %+v, before %+v", again, first)
		}
	}
	scratch := g.Snapshot(start)
	scratch.Members[0].Serves[0] = 99
	scratch.Tracks[1].Skips[0] = 99
	scratch.Tracks[1].Streams[0].Owner = 99
	if again := g.Snapshot(start); !reflect.DeepEqual(again, first) {
		t.Error("who changes a snapshot changes the group")
	}
}

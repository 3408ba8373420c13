package groups

import (
	"testing"
	"time"
)

// Why: a late record may have to do with one below it that is still being worked on; who gets it
// must not be overtaken by that one.
func TestLateWaitsForWhatIsBelow(t *testing.T) {
	for _, d := range []Distribution{RoundRobin, ByMDT, ByFID} {
		now := time.Unix(1000, 0)
		g := New(Config{Name: "g", Distribution: d})
		track := g.AddMDT(0, 0)
		if err := g.Join(1, "m", "s", nil, now); err != nil {
			t.Fatal(err)
		}
		if err := g.Credit(1, 10, 1<<20, now); err != nil {
			t.Fatal(err)
		}
		first, why := track.Streams()[0].Take(Piece{From: 0, To: 10, Bytes: 100}, 100, now)
		if why != Ready {
			t.Fatalf("%s: %s", d, why)
		}
		g.Woken()
		if err := g.Late(0, []LateRecord{{Index: 5, Bytes: 10}}); err != nil {
			t.Fatal(err)
		}
		late := track.late.stream
		if _, why := late.Need(now); why != Barrier {
			t.Errorf("%s: before the ack: %s", d, why)
		}
		g.Woken()
		if err := g.Ack(1, first.Lease, 10, now); err != nil {
			t.Fatal(err)
		}
		if woken := g.Woken(); len(woken) == 0 || woken[len(woken)-1] != late && woken[0] != late {
			t.Errorf("%s: the ack did not wake the late record", d)
		}
		if track.Mark() != 4 {
			t.Errorf("%s: the mark is %d", d, track.Mark())
		}
		out, why := late.Take(Piece{From: 4, To: 8, Bytes: 10}, 100, now)
		if why != Ready || !out.Late || out.From != 4 || out.To != 5 || out.Count != 1 {
			t.Fatalf("%s: %s, %+v", d, why, out)
		}
		if err := g.Nack(1, out.Lease, 5, 0, now); err != nil {
			t.Fatal(err)
		}
		out, why = late.Take(Piece{From: 4, To: 8, Bytes: 10}, 100, now)
		if why != Ready || out.Count != 2 {
			t.Fatalf("%s: again: %s, %+v", d, why, out)
		}
		if err := g.Ack(1, out.Lease, 5, now); err != nil {
			t.Fatal(err)
		}
		if track.Mark() != 10 || track.HasLate() {
			t.Errorf("%s: in the end the mark is %d", d, track.Mark())
		}
	}
}

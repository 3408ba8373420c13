package clienttest_test

import (
	"testing"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/client/clienttest"
)

// What a user's test looks like: two members of a group share what an MDT records.
func TestGroup(t *testing.T) {
	b := clienttest.New(t, "test-MDT0000")
	ctx := t.Context()
	first, err := client.Join(ctx, b.Addrs(), "policy", b.Through(), client.Name("first"), client.CreateGroup(), client.Start("earliest"))
	if err != nil {
		t.Fatal(err)
	}
	b.Emit("test-MDT0000", changelog.Fields{Type: changelog.TypeMkdir, Target: changelog.FID{Seq: 0x200000400, Oid: 1}, Name: "results"})
	got, err := first.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got.Count != 1 || got.First != 1 || got.Delivery != 1 {
		t.Errorf("got %+v", got)
	}
	if err := first.Close(); err != nil { // without an ack
		t.Fatal(err)
	}
	second, err := client.Join(ctx, b.Addrs(), "policy", b.Through(), client.Name("second"))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for rec, err := range second.Records(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if string(rec.Name()) != "results" || rec.Batch.Delivery != 2 {
			t.Errorf("got %s, delivery %d", rec.Name(), rec.Batch.Delivery)
		}
		if err := rec.Ack(); err != nil {
			t.Error(err)
		}
		break
	}
}

func TestListener(t *testing.T) {
	b := clienttest.New(t, "test-MDT0000")
	l, err := client.Listen(t.Context(), b.Addrs(), b.Through())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b.Emit("test-MDT0000", changelog.Fields{Type: changelog.TypeClose, Target: changelog.FID{Seq: 0x200000400, Oid: 7}})
	batch, gap, err := l.Next(t.Context())
	if err != nil || gap != nil {
		t.Fatalf("gap %v, %v", gap, err)
	}
	if batch.Count != 1 || batch.Last != 1 {
		t.Errorf("got %+v", batch)
	}
}

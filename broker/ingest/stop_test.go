package ingest_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/broker/ingest"
	"github.com/lcapd/lcapd/changelog"
)

// unknownExtra returns a record with an extra flag that nobody knows yet.
func unknownExtra(index uint64) []byte {
	packed := build(changelog.Fields{
		Type: changelog.TypeCreat, Index: index, Target: changelog.FID{Seq: 7, Oid: 1}, Name: "future",
		Format: changelog.Format{Flags: changelog.FlagExtra},
	})
	packed[changelog.HeaderSize+1] = 0x01 // bit 8 of the extra-flags word
	return packed
}

func TestStops(t *testing.T) {
	junk := bytes.Repeat([]byte{0xff}, 200)
	for _, c := range []struct {
		name   string
		o      ingest.Options
		reads  [][]byte
		good   []byte // what comes before
		reason error
		want   ingest.Stop
		says   []string
	}{
		{
			"cut off", ingest.Options{}, [][]byte{recs(1, 2), recs(3)[:65]}, recs(1, 2), changelog.ErrTruncated,
			ingest.Stop{Position: 2, Index: 3, Offset: 132, Head: recs(3)[:64]},
			[]string{"stopped after index 2, 132 bytes into the reading, at index 3: truncated record: the record needs 66 bytes, 65 are left"},
		},
		{
			"cut off in the header", ingest.Options{Start: 7}, [][]byte{recs(7)[:5]}, nil, changelog.ErrTruncated,
			ingest.Stop{Position: 6, Head: recs(7)[:5]},
			[]string{"stopped after index 6, 0 bytes into the reading: truncated record: the header needs 64 bytes, 5 are left"},
		},
		{
			"not a record", ingest.Options{}, [][]byte{append(recs(1), junk...)}, recs(1), changelog.ErrNameArea,
			ingest.Stop{Position: 1, Offset: 66, Head: junk[:64]},
			[]string{"stopped after index 1, 66 bytes into the reading: impossible name length: the header claims 65535 bytes of names"},
		},
		{
			"backwards", ingest.Options{}, [][]byte{recs(8, 9), recs(10, 3, 4)}, recs(8, 9, 10), changelog.ErrIndexOrder,
			ingest.Stop{Position: 10, Index: 3, Offset: 198, Head: recs(3)[:64]},
			[]string{"stopped after index 10, 198 bytes into the reading, at index 3: index out of order: it follows index 10"},
		},
		{
			"twice", ingest.Options{BatchBytes: 1}, [][]byte{recs(1, 2, 2)}, recs(1, 2), changelog.ErrIndexOrder,
			ingest.Stop{Position: 2, Index: 2, Offset: 132, Head: recs(2)[:64]}, []string{"at index 2: index out of order"},
		},
		{
			"below the start", ingest.Options{Start: 5}, [][]byte{recs(4)}, nil, changelog.ErrIndexOrder,
			ingest.Stop{Position: 4, Index: 4, Head: recs(4)[:64]}, []string{"stopped after index 4, 0 bytes into the reading, at index 4: index out of order"},
		},
		{
			"index 0", ingest.Options{}, [][]byte{recs(0)}, nil, changelog.ErrIndexOrder,
			ingest.Stop{Head: recs(0)[:64]}, []string{"stopped after index 0, 0 bytes into the reading: index out of order"},
		},
		{
			"unknown extra flags", ingest.Options{}, [][]byte{append(recs(1), unknownExtra(2)...)}, recs(1), changelog.ErrUnknownExtra,
			ingest.Stop{Position: 1, Index: 2, Offset: 66, Head: unknownExtra(2)[:64]},
			[]string{"at index 2: unknown extra flags: 0x100 is outside the known 0x1f; the server is newer than this program"},
		},
		{
			"before the end of a catch-up", ingest.Options{Until: 9}, [][]byte{append(recs(1), junk...)}, recs(1), changelog.ErrNameArea,
			ingest.Stop{Position: 1, Offset: 66, Head: junk[:64]}, []string{"stopped after index 1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.MDT = 17
			var stop *ingest.Stop
			batches, err := seal(c.o, c.reads...)
			checkBatches(t, c.o, batches, c.good)
			checkSays(t, err, c.says...)
			if !errors.As(err, &stop) || !errors.Is(err, c.reason) {
				t.Fatalf("the error is %#v", err)
			}
			if stop.MDT != 17 || stop.Position != c.want.Position || stop.Index != c.want.Index || stop.Offset != c.want.Offset {
				t.Errorf("got %+v\nwant %+v", stop, c.want)
			}
			if !bytes.Equal(stop.Head, c.want.Head) {
				t.Errorf("the head is %x", stop.Head)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestAssumeEmpty(t *testing.T) {
	stream := append(recs(1), append(unknownExtra(2), rec(3)...)...)
	o := ingest.Options{AssumeEmpty: true, Slots: true}
	batches, err := seal(o, stream)
	check(t, err)
	checkBatches(t, o, batches, stream)
}

// Nothing is guessed about what comes after a stop.
func TestStopStays(t *testing.T) {
	s := ingest.NewSealer(ingest.Options{})
	_, first := add(s, recs(1)[:10])
	for range 2 {
		batches, err := add(s, recs(1, 2))
		if len(batches) != 0 || err == nil || err != first {
			t.Fatalf("got %v, %v; want nothing but %v", batches, err, first)
		}
	}
	if b, _ := s.Seal(); b != nil {
		t.Errorf("got %s", show(b))
	}
}

func TestStopDump(t *testing.T) {
	_, err := seal(ingest.Options{}, append(recs(1), bytes.Repeat([]byte("x"), 100)...))
	stop, ok := errors.AsType[*ingest.Stop](err)
	if !ok {
		t.Fatal(err)
	}
	const line = "78 78 78 78 78 78 78 78  78 78 78 78 78 78 78 78  |xxxxxxxxxxxxxxxx|\n"
	if dump := stop.Dump(); strings.Count(dump, line) != 4 || strings.Count(dump, "\n") != 4 {
		t.Errorf("got\n%s", dump)
	}
}

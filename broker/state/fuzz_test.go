package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzValue decodes any bytes as every kind of value: what is accepted is encoded to
// something that decodes to the same.
func FuzzValue(f *testing.F) {
	for p, value := range fuzzContent(f) {
		f.Add(p.bucket, p.key, bodyOf(value))
	}
	f.Fuzz(func(t *testing.T, bucket, key string, body []byte) {
		p := place{bucket, key}
		var all Snapshot
		if all.add(p, body) != nil {
			return
		}
		again, err := encodeOne(all, p)
		if err != nil {
			t.Fatalf("%v: %x decodes to %+v, which cannot be encoded: %v", p, body, all, err)
		}
		var same Snapshot
		check(t, same.add(p, again))
		checkEqual(t, "decoded again", same, all)
		if packed := bucket == bucketMDTs || bucket == bucketRecent || bucket == bucketTracks; packed && !bytes.Equal(again, body) {
			t.Fatalf("%v: %x is encoded as %x", p, body, again)
		}
	})
}

// encodeOne encodes the one value that is in a snapshot.
func encodeOne(all Snapshot, p place) ([]byte, error) {
	switch {
	case len(all.Groups) > 0:
		return encodeGroup(all.Groups[0])
	case len(all.MDTs) > 0:
		return encodeMDT(all.MDTs[0]), nil
	case len(all.Recent) > 0:
		return encodeRecent(all.Recent[0]), nil
	case len(all.Tracks) > 0:
		return encodeTrack(all.Tracks[0]), nil
	case len(all.Identity.Upstream) > 0:
		return []byte(all.Identity.Upstream[0].User), nil
	case p == atIdentity:
		return encodeIdentity(all.Identity)
	}
	return nil, nil // the version
}

func fuzzContent(f *testing.F) content {
	file, err := os.Open(golden)
	check(f, err)
	defer file.Close()
	found, err := readState(file, 1<<30, thisSchema())
	check(f, err)
	return found.content
}

// FuzzFile reads a state file with any changes: it is refused with a reason, or bolt
// can work with it. A change is three bytes: where, in two, and what is there.
func FuzzFile(f *testing.F) {
	good, err := os.ReadFile(golden)
	check(f, err)
	f.Add([]byte{})
	for at := 0; at < len(good); at += 61 {
		f.Add([]byte{byte(at >> 8), byte(at), good[at] ^ 1, byte(at >> 8), byte(at + 1), 255})
	}
	dir := f.TempDir()
	path := filepath.Join(dir, fileName)
	f.Fuzz(func(t *testing.T, changes []byte) {
		file := bytes.Clone(good)
		for ; len(changes) >= 3; changes = changes[3:] {
			file[(int(changes[0])<<8|int(changes[1]))%len(file)] = changes[2]
		}
		for page := range 2 { // or no change of a meta would ever get further
			refit(file, page)
		}
		want, err := read(file)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		check(t, os.WriteFile(path, file, 0o644))
		defer os.Remove(path) // a store that failed may have kept its lock
		s, err := Open(dir)
		check(t, err)
		checkEqual(t, "content", mustLoad(t, s), want)
		check(t, s.Write(Update{Upstream: []Upstream{{"fuzz", "cl1"}}}))
		checkBolt(t, s)
		check(t, s.Close())
		after, err := readFile(path, thisSchema())
		check(t, err)
		checkEqual(t, "values", after.content, s.content)
	})
}

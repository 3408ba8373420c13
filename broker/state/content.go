package state

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
)

// The buckets. Each has its own kind of key and value.
const (
	bucketLcapd    = "lcapd"    // the keys below; a bolt file with this bucket is ours
	bucketUpstream = "upstream" // MDT → user, as text
	bucketMDTs     = "mdts"     // MDT → MDT
	bucketRecent   = "recent"   // MDT → Recent
	bucketGroups   = "groups"   // group → Group
	bucketTracks   = "tracks"   // trackKey → Track
)

// What is in bucketLcapd: a version and a seal look the same in every version.
var (
	atVersion  = place{bucketLcapd, "version"}
	atIdentity = place{bucketLcapd, "identity"}
	atSeal     = place{bucketLcapd, "seal"}
)

// place is where a value is stored.
type place struct{ bucket, key string }

// String returns the place as error messages name it.
func (p place) String() string { return fmt.Sprintf("bucket %s, key %q", p.bucket, p.key) }

// trackKey names a track. Names contain no zero byte.
func trackKey(group, mdt string) place { return place{bucketTracks, group + "\x00" + mdt} }

// cutTrackKey is the reverse.
func cutTrackKey(key string) (group, mdt string) {
	group, mdt, _ = strings.Cut(key, "\x00")
	return group, mdt
}

const crcSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers where a value is stored as well as what it is.
func checksum(p place, body []byte) uint32 {
	b := make([]byte, 0, 256)
	b = append(append(b, p.bucket...), 0)
	b = le.AppendUint32(append(b, p.key...), uint32(len(p.key)))
	return crc32.Checksum(append(b, body...), castagnoli)
}

// seal returns a value as it is stored: with its checksum behind it.
func seal(p place, body []byte) []byte {
	return le.AppendUint32(slices.Clip(body), checksum(p, body))
}

// unseal returns the body of a stored value, a part of it.
func unseal(p place, value []byte) ([]byte, error) {
	if len(value) < crcSize {
		return nil, errors.New("the value is too short")
	}
	if body := bodyOf(value); checksum(p, body) == crcOf(value) {
		return body, nil
	}
	return nil, errors.New("the checksum does not match")
}

func bodyOf(value []byte) []byte { return value[:len(value)-crcSize] }

func crcOf(value []byte) uint32 { return le.Uint32(value[len(value)-crcSize:]) }

// sum is what all values come to: how many there are, and their checksums added up.
type sum struct{ values, crcs uint64 }

func (s *sum) add(value []byte) {
	s.values++
	s.crcs += uint64(crcOf(value))
}

func (s *sum) remove(value []byte) {
	s.values--
	s.crcs -= uint64(crcOf(value))
}

// encodeSeal seals the values that are there after a transaction. Bolt has no
// checksums for its pages: without the seal, a page that the disk did not write would
// have what an older version of the file had there, every value of it right, and
// nobody would notice. The number of the transaction, which the meta page has too,
// tells the whole of an older version from the newest.
func encodeSeal(s sum, txid uint64) []byte {
	return le.AppendUint64(le.AppendUint64(le.AppendUint64(nil, s.values), s.crcs), txid)
}

func decodeSeal(b []byte) (s sum, txid uint64, err error) {
	if err := wantSize(b, 24); err != nil {
		return sum{}, 0, err
	}
	return sum{le.Uint64(b), le.Uint64(b[8:])}, le.Uint64(b[16:]), nil
}

// content is all that a state file holds: values with their checksums. Where it is
// verified, or made here, it is without the seal.
type content map[place][]byte

// verify checks all checksums, and the seal against them and the number of the
// file's newest transaction. It takes the seal out.
func (c content) verify(txid uint64) error {
	for p, value := range c {
		if _, err := unseal(p, value); err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
	}
	value, ok := c[atSeal]
	if !ok {
		return fmt.Errorf("%v: missing", atSeal)
	}
	delete(c, atSeal)
	want, of, err := decodeSeal(bodyOf(value))
	if err != nil {
		return fmt.Errorf("%v: %w", atSeal, err)
	}
	if found := c.sum(); found != want {
		return fmt.Errorf("%d values with the sum %d, want %d with %d: some are lost, or from an older version of the file",
			found.values, found.crcs, want.values, want.crcs)
	}
	if of != txid {
		return fmt.Errorf("the values are of transaction %d, want %d, the newest", of, txid)
	}
	return nil
}

func (c content) sum() (s sum) {
	for _, value := range c {
		s.add(value)
	}
	return s
}

// version returns the schema of a state file, before anything else in it is believed.
func (c content) version() (uint32, error) {
	value, ok := c[atVersion]
	if !ok {
		return 0, fmt.Errorf("%v: missing", atVersion)
	}
	body, err := unseal(atVersion, value)
	if err != nil {
		return 0, fmt.Errorf("%v: %w", atVersion, err)
	}
	n, err := decodeVersion(body)
	if err != nil {
		return 0, fmt.Errorf("%v: %w", atVersion, err)
	}
	return n, nil
}

// change is a value to be stored; without one, what is there goes.
type change struct {
	place
	value []byte
}

// apply carries changes out.
func (c content) apply(changes []change) {
	for _, x := range changes {
		if x.value == nil {
			delete(c, x.place)
		} else {
			c[x.place] = x.value
		}
	}
}

// draft is a content with changes that are not carried out yet.
type draft struct {
	base    content
	changed map[place][]byte // nil: deleted
	order   []place          // of changed, as they came
}

func newDraft(base content) *draft { return &draft{base: base, changed: map[place][]byte{}} }

// get returns the body that is at a place, false if there is none.
func (d *draft) get(p place) ([]byte, bool) {
	value, ok := d.changed[p]
	if !ok {
		value = d.base[p]
	}
	if value == nil {
		return nil, false
	}
	return bodyOf(value), true
}

func (d *draft) has(p place) bool {
	_, ok := d.get(p)
	return ok
}

func (d *draft) put(p place, body []byte) { d.set(p, seal(p, body)) }

func (d *draft) delete(p place) { d.set(p, nil) }

func (d *draft) set(p place, value []byte) {
	if _, again := d.changed[p]; !again {
		d.order = append(d.order, p)
	}
	d.changed[p] = value
}

// keys returns the keys of a bucket that begin with prefix, in no order.
func (d *draft) keys(bucket, prefix string) []string {
	var keys []string
	for p := range d.base {
		if _, changed := d.changed[p]; !changed && p.bucket == bucket && strings.HasPrefix(p.key, prefix) {
			keys = append(keys, p.key)
		}
	}
	for p, value := range d.changed {
		if value != nil && p.bucket == bucket && strings.HasPrefix(p.key, prefix) {
			keys = append(keys, p.key)
		}
	}
	return keys
}

// changes returns what differs from the base.
func (d *draft) changes() (found []change) {
	for _, p := range d.order {
		value := d.changed[p]
		if !bytes.Equal(d.base[p], value) { // no value is empty: nil is only equal to nil
			found = append(found, change{p, value})
		}
	}
	return found
}

// with returns a copy of c with changes.
func (c content) with(changes []change) content {
	next := maps.Clone(c)
	next.apply(changes)
	return next
}

package state

import "fmt"

// schemaVersion is the version of what is stored and how. It rises with every
// change of the buckets, keys or values, together with an upgrade to it.
const schemaVersion = 2

// upgrade brings the values of one version to the next. It is pure: the file is
// written anew afterwards, in one step. The version itself is none of its business.
type upgrade func(d *draft) error

// schema is a version with the ways to it: by each version, the upgrade to the next.
type schema struct {
	version  uint32
	upgrades map[uint32]upgrade
}

// thisSchema is what this lcapd reads and writes.
func thisSchema() schema {
	return schema{version: schemaVersion, upgrades: map[uint32]upgrade{1: sinceForTracks}}
}

// sinceForTracks is the way from 1 to 2: where schema 1 had the identity of the record at the
// mark, which nobody asked for, a track says since when it stands still.
func sinceForTracks(d *draft) error {
	const common, recordAtMark = 4 + 3*8, recordSize
	for _, key := range d.keys(bucketTracks, "") {
		at := place{bucketTracks, key}
		body, _ := d.get(at)
		if err := wantSize(body, common+recordAtMark); err != nil {
			return fmt.Errorf("%v: %w", at, err)
		}
		d.put(at, append(body[:common:common], make([]byte, 8)...))
	}
	return nil
}

// knows tells whether a file of the given version can be used.
func (s schema) knows(version uint32) error {
	if version > s.version {
		return fmt.Errorf("%w: %d, and this lcapd knows %d at most; start the newer lcapd that wrote it, "+
			"or restore a backup from before its upgrade (the file of that time may be beside it, as %s.v%d)",
			ErrVersion, version, s.version, fileName, s.version)
	}
	for v := version; v < s.version; v++ {
		if s.upgrades[v] == nil {
			return fmt.Errorf("%w: %d, and this lcapd knows %d and no way there from %d; "+
				"start an lcapd between the two first, which upgrades it", ErrVersion, version, s.version, v)
		}
	}
	return nil
}

// upgrade brings a verified content of a version that it knows to its own.
func (s schema) upgrade(c content, version uint32) (content, error) {
	for ; version < s.version; version++ {
		d := newDraft(c)
		if err := s.upgrades[version](d); err != nil {
			return nil, err
		}
		d.put(atVersion, encodeVersion(version+1))
		c = c.with(d.changes())
	}
	return c, nil
}

package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
)

// How the values of schema 2 look. What changes all the time is packed, in little
// endian; what an operator makes is JSON. A change of any of this needs a new
// schemaVersion and an upgrade.

// Sizes of packed values, in bytes.
const (
	recordSize = 36
	mdtSize    = 4 + 8 + 8
	trackSize  = 4 + 4*8 // and behind it what was missed
	missedSize = 4 + 3*8 + 1
)

var le = binary.LittleEndian

func encodeVersion(n uint32) []byte { return le.AppendUint32(nil, n) }

// decodeVersion works for the state of any version.
func decodeVersion(b []byte) (uint32, error) {
	if err := wantSize(b, 4); err != nil {
		return 0, err
	}
	return le.Uint32(b), nil
}

// storedIdentity is an [Identity] without the MDTs, which have keys of their own.
type storedIdentity struct {
	FileSystem string    `json:"file_system"`
	ID         string    `json:"id"`
	Created    time.Time `json:"created"`
}

func encodeIdentity(id Identity) ([]byte, error) {
	return json.Marshal(storedIdentity{id.FileSystem, id.ID, id.Created.UTC()})
}

func decodeIdentity(b []byte) (Identity, error) {
	var s storedIdentity
	err := decodeJSON(b, &s)
	return Identity{FileSystem: s.FileSystem, ID: s.ID, Created: s.Created.UTC()}, err
}

// storedGroup is a [Group] without its name, which is the key.
type storedGroup struct {
	Distribution string    `json:"distribution"`
	Start        Start     `json:"start"`
	MDTs         []string  `json:"mdts,omitempty"`
	Created      time.Time `json:"created"`
	Filter       string    `json:"filter,omitempty"`
	Chain        string    `json:"chain,omitempty"`
	Consumers    string    `json:"consumers,omitempty"`
	Paused       bool      `json:"paused,omitempty"`
	// What a group has not need not be there.
	MaxBacklog uint64        `json:"max_backlog,omitempty"`
	MaxIdle    time.Duration `json:"max_idle,omitempty"` // nanoseconds
	Expire     bool          `json:"expire,omitempty"`
}

func encodeGroup(g Group) ([]byte, error) {
	return json.Marshal(storedGroup{
		g.Distribution.String(), g.Start, g.MDTs, g.Created.UTC(), g.Filter, g.Chain, g.Consumers, g.Paused,
		g.Limits.Backlog, g.Limits.Idle, g.Limits.Expire,
	})
}

func decodeGroup(name string, b []byte) (Group, error) {
	var s storedGroup
	if err := decodeJSON(b, &s); err != nil {
		return Group{}, err
	}
	g := Group{
		Name: name, Start: s.Start, MDTs: s.MDTs, Created: s.Created.UTC(),
		Filter: s.Filter, Chain: s.Chain, Consumers: s.Consumers, Paused: s.Paused,
		Limits: Limits{Backlog: s.MaxBacklog, Idle: s.MaxIdle, Expire: s.Expire},
	}
	if len(g.MDTs) == 0 { // as it was encoded, and as it compares
		g.MDTs = nil
	}
	var known bool
	if g.Distribution, known = distributionOf(s.Distribution); !known {
		return Group{}, fmt.Errorf("unknown distribution %q", s.Distribution)
	}
	return g, checkGroup(g)
}

// distributionOf is by name: numbers may change from version to version of lcapd.
func distributionOf(name string) (groups.Distribution, bool) {
	for _, d := range []groups.Distribution{groups.RoundRobin, groups.ByMDT, groups.ByFID} {
		if d.String() == name {
			return d, true
		}
	}
	return 0, false
}

func encodeMDT(m MDT) []byte {
	b := le.AppendUint32(make([]byte, 0, mdtSize), m.Epoch)
	b = le.AppendUint64(b, m.Cleared)
	return le.AppendUint64(b, m.Read)
}

func decodeMDT(name string, b []byte) (MDT, error) {
	if err := wantSize(b, mdtSize); err != nil {
		return MDT{}, err
	}
	return MDT{Name: name, Epoch: le.Uint32(b), Cleared: le.Uint64(b[4:]), Read: le.Uint64(b[12:])}, nil
}

func appendRecordID(b []byte, r RecordID) []byte {
	b = le.AppendUint64(b, r.Index)
	b = le.AppendUint64(b, uint64(r.Time))
	b = le.AppendUint32(b, uint32(r.Type))
	b = le.AppendUint64(b, r.Target.Seq)
	b = le.AppendUint32(b, r.Target.Oid)
	return le.AppendUint32(b, r.Target.Ver)
}

// recordID takes the first recordSize bytes of b.
func recordID(b []byte) RecordID {
	return RecordID{
		Index:  le.Uint64(b),
		Time:   changelog.Time(le.Uint64(b[8:])),
		Type:   changelog.Type(le.Uint32(b[16:])),
		Target: changelog.FID{Seq: le.Uint64(b[20:]), Oid: le.Uint32(b[28:]), Ver: le.Uint32(b[32:])},
	}
}

func encodeRecent(r Recent) []byte {
	b := le.AppendUint32(make([]byte, 0, 4+len(r.Records)*recordSize), r.Epoch)
	for _, id := range r.Records {
		b = appendRecordID(b, id)
	}
	return b
}

func decodeRecent(mdt string, b []byte) (Recent, error) {
	if len(b) < 4 || (len(b)-4)%recordSize != 0 {
		return Recent{}, fmt.Errorf("%d bytes are not whole records", len(b))
	}
	r := Recent{MDT: mdt, Epoch: le.Uint32(b)}
	for b = b[4:]; len(b) > 0; b = b[recordSize:] {
		r.Records = append(r.Records, recordID(b))
	}
	return r, checkRecent(r)
}

func encodeTrack(t Track) []byte {
	b := le.AppendUint32(make([]byte, 0, trackSize), t.Epoch)
	b = le.AppendUint64(b, t.Mark)
	b = le.AppendUint64(b, t.Ceiling)
	b = le.AppendUint64(b, t.Start)
	b = appendTime(b, t.Since)
	for _, x := range t.Missed {
		b = le.AppendUint32(b, x.Epoch)
		b = le.AppendUint64(b, x.From)
		b = le.AppendUint64(b, x.To)
		b = appendTime(b, x.At)
		b = append(b, 0)
		if x.Told {
			b[len(b)-1] = 1
		}
	}
	return b
}

// appendTime writes a time as nanoseconds since 1970; 0 is none.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return le.AppendUint64(b, 0)
	}
	return le.AppendUint64(b, uint64(t.UnixNano()))
}

func timeOf(b []byte) time.Time {
	if n := le.Uint64(b); n != 0 {
		return time.Unix(0, int64(n)).UTC()
	}
	return time.Time{}
}

func decodeTrack(group, mdt string, b []byte) (Track, error) {
	if len(b) < trackSize || (len(b)-trackSize)%missedSize != 0 {
		return Track{}, fmt.Errorf("%d bytes are not a track", len(b))
	}
	t := Track{
		Group: group, MDT: mdt,
		Epoch: le.Uint32(b), Mark: le.Uint64(b[4:]), Ceiling: le.Uint64(b[12:]), Start: le.Uint64(b[20:]),
		Since: timeOf(b[28:]),
	}
	for b = b[trackSize:]; len(b) > 0; b = b[missedSize:] {
		if b[28] > 1 {
			return Track{}, fmt.Errorf("%d is neither told nor not told", b[28])
		}
		t.Missed = append(t.Missed, Missed{Epoch: le.Uint32(b), From: le.Uint64(b[4:]), To: le.Uint64(b[12:]), At: timeOf(b[20:]), Told: b[28] == 1})
	}
	return t, checkTrack(t)
}

func wantSize(b []byte, size int) error {
	if len(b) != size {
		return fmt.Errorf("%d bytes, want %d", len(b), size)
	}
	return nil
}

// decodeJSON is strict: what this version does not know it must not drop.
func decodeJSON(b []byte, into any) error {
	if !utf8.Valid(b) {
		return errors.New("text is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the value")
	}
	return nil
}

package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// next is the version after the one of this lcapd.
const next = schemaVersion + 1

// pausing is an upgrade to a version in which all groups are paused.
func pausing(d *draft) error {
	for _, name := range d.keys(bucketGroups, "") {
		body, _ := d.get(place{bucketGroups, name})
		g, err := decodeGroup(name, body)
		if err != nil {
			return err
		}
		g.Paused = true
		if body, err = encodeGroup(g); err != nil {
			return err
		}
		d.put(place{bucketGroups, name}, body)
	}
	return nil
}

// renaming is an upgrade after which the file system has another name.
func renaming(d *draft) error {
	body, _ := d.get(atIdentity)
	id, err := decodeIdentity(body)
	if err != nil {
		return err
	}
	id.FileSystem += "!"
	if body, err = encodeIdentity(id); err != nil {
		return err
	}
	d.put(atIdentity, body)
	return nil
}

// openAs opens a state as a later lcapd would.
func openAs(t *testing.T, dir string, want schema) *Store {
	t.Helper()
	s, err := open(dir, want)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func TestUpgrade(t *testing.T) {
	s := newStore(t, 2)
	check(t, s.Write(fullUpdate(3, 2, 100)))
	want := mustLoad(t, s)
	check(t, s.Close())
	later := schema{version: next + 1, upgrades: map[uint32]upgrade{schemaVersion: pausing, next: renaming}}
	s = openAs(t, s.dir, later)
	want.Identity.FileSystem += "!"
	for i := range want.Groups {
		want.Groups[i].Paused = true
	}
	checkEqual(t, "content", mustLoad(t, s), want)
	check(t, s.Write(Update{Tracks: []Track{testTrack(1, 1, 101)}}))
	want.Tracks[3] = testTrack(1, 1, 101)
	check(t, s.Close())
	s = openAs(t, s.dir, later) // upgraded once only
	checkEqual(t, "content after opening again", mustLoad(t, s), want)
	checkBolt(t, s)
	check(t, s.Close())

	_, err := Open(s.dir)
	checkIs(t, err, ErrVersion)
	checkSays(t, err, s.dir, "4", "knows 2 at most", "newer lcapd", "state.db.v2")
	// Which is where this one finds it.
	check(t, os.Rename(filepath.Join(s.dir, "state.db.v2"), filepath.Join(s.dir, fileName)))
	checkEqual(t, "file system", mustLoad(t, mustOpen(t, s.dir)).Identity.FileSystem, "lustre")
}

func TestUpgradeFails(t *testing.T) {
	s := newStore(t, 2)
	check(t, s.Write(fullUpdate(3, 2, 100)))
	want := mustLoad(t, s)
	check(t, s.Close())
	broken := errors.New("broken")
	for _, tt := range []struct {
		upgrades map[uint32]upgrade
		want     error
		says     string
	}{
		{nil, ErrVersion, "no way there from 2"},
		{map[uint32]upgrade{schemaVersion: pausing}, ErrVersion, "no way there from 3"},
		{map[uint32]upgrade{schemaVersion: pausing, next: func(*draft) error { return broken }}, broken, "upgrade"},
		{map[uint32]upgrade{schemaVersion: pausing, next: func(d *draft) error {
			d.put(atIdentity, []byte("nonsense"))
			return nil
		}}, ErrDamaged, "identity"},
	} {
		_, err := open(s.dir, schema{version: next + 1, upgrades: tt.upgrades})
		checkIs(t, err, tt.want)
		checkSays(t, err, s.dir, tt.says)
		checkEqual(t, "files", names(s.dir), "state.db state.lock ")
	}
	checkEqual(t, "content", mustLoad(t, mustOpen(t, s.dir)), want)
}

// A newer version may have any values; its number is all that is looked at.
func TestNewerVersion(t *testing.T) {
	s := newStore(t, 2)
	check(t, s.bolt.transact([]change{
		{atVersion, seal(atVersion, encodeVersion(next))},
		{atIdentity, []byte("?")},
		{place{"new", "key"}, []byte("?")},
	}, sum{}))
	check(t, s.Close())
	_, err := Open(s.dir)
	checkIs(t, err, ErrVersion)
	checkIs(t, restoreFrom(t.TempDir(), mustFile(t, filepath.Join(s.dir, fileName))), ErrVersion)
}

func mustFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
	return f
}

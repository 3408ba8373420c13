package state

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lcapd/lcapd/groups"
)

var update = flag.Bool("update", false, "write testdata anew")

// goldenContent is what testdata/v2.db holds; testdata/v1.db holds it without what schema 1 had
// no place for, see [goldenOfV1].
func goldenContent() Snapshot {
	return Snapshot{
		Identity: Identity{
			FileSystem: "lustre", ID: "00112233445566778899aabbccddeeff", Created: testTime,
			Upstream: []Upstream{{"lustre-MDT0000", "cl1"}, {"lustre-MDT0001", "cl2-lcapd"}},
		},
		MDTs: []MDT{
			{Name: "lustre-MDT0000", Epoch: 1, Cleared: 1<<40 + 5, Read: 1<<40 + 77},
			{Name: "lustre-MDT0001", Epoch: 3},
		},
		Recent: []Recent{
			{MDT: "lustre-MDT0000", Epoch: 1, Records: []RecordID{testRecord(1<<40 + 75), testRecord(1<<40 + 77)}},
			{MDT: "lustre-MDT0001", Epoch: 3},
		},
		Groups: []Group{
			{
				Name: "audit", Distribution: groups.RoundRobin, Start: Latest, Created: testTime, Paused: true,
				Limits: Limits{Backlog: 1 << 33, Idle: 72 * time.Hour, Expire: true},
			},
			{Name: "cache", Distribution: groups.ByFID, Start: Earliest, Created: testTime.AddDate(0, 1, 0), Chain: "coalesce"},
			{
				Name: "robinhood", Distribution: groups.ByMDT, Start: Earliest, Created: testTime,
				MDTs: []string{"lustre-MDT0001", "lustre-MDT0000"}, Filter: `type == "UNLNK" && uid > 999`,
			},
		},
		Tracks: []Track{
			{Group: "audit", MDT: "lustre-MDT0000", Epoch: 1, Mark: 1<<40 + 10, Ceiling: 1<<40 + 1000, Start: 7, Since: testTime.Add(time.Hour), Missed: []Missed{
				{From: 7, To: 9, At: testTime, Told: true}, {Epoch: 1, From: 1, To: 1<<40 + 10, At: testTime.Add(time.Nanosecond)},
			}},
			{Group: "robinhood", MDT: "lustre-MDT0000", Epoch: 1, Mark: 1<<40 + 5, Ceiling: 1 << 40},
			{Group: "robinhood", MDT: "lustre-MDT0001", Epoch: 3},
		},
	}
}

// goldenOfV1 is what testdata/v1.db holds.
func goldenOfV1() Snapshot {
	all := goldenContent()
	all.Groups[0].Limits = Limits{}
	all.Tracks[0].Since, all.Tracks[0].Missed = time.Time{}, nil
	return all
}

const golden = "testdata/v2.db"

// The state of every schema that there was stays readable, by this lcapd and all later ones.
func TestGolden(t *testing.T) {
	want := goldenContent()
	if *update {
		dir := filepath.Join(t.TempDir(), "state")
		check(t, Init(dir, want.Identity))
		s := mustOpen(t, dir)
		check(t, s.Write(Update{Groups: want.Groups, MDTs: want.MDTs, Recent: want.Recent, Tracks: want.Tracks}))
		check(t, os.WriteFile(golden, backup(t, s), 0o644))
	}
	for path, want := range map[string]Snapshot{golden: want, "testdata/v1.db": goldenOfV1()} {
		file, err := os.ReadFile(path)
		check(t, err)
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, fileName), file, 0o644))
		seen, err := Look(dir)
		check(t, err)
		checkEqual(t, path+" looked at", seen, want)
		left, err := os.ReadFile(filepath.Join(dir, fileName))
		check(t, err)
		if _, err := os.Stat(filepath.Join(dir, fileName+".v1")); !bytes.Equal(left, file) || err == nil {
			t.Errorf("%s is another file after a look", path)
		}
		s := mustOpen(t, dir)
		_, err = Look(dir)
		checkIs(t, err, ErrLocked)
		checkEqual(t, path, mustLoad(t, s), want)
		check(t, s.Write(fullUpdateOf(want)))
		checkBolt(t, s)
		restored := t.TempDir()
		check(t, restoreFrom(restored, bytes.NewReader(file)))
		checkEqual(t, path+" as a backup", mustLoad(t, mustOpen(t, restored)), want)
	}
}

// fullUpdateOf raises all marks by one.
func fullUpdateOf(all Snapshot) (u Update) {
	for _, x := range all.Tracks {
		x.Mark++
		u.Tracks = append(u.Tracks, x)
	}
	return u
}

// What is written has not changed unnoticed either.
func TestGoldenValues(t *testing.T) {
	file, err := os.Open(golden)
	check(t, err)
	defer file.Close()
	found, err := readState(file, 1<<30, thisSchema())
	check(t, err)
	want := goldenContent()
	c, err := firstContent(want.Identity)
	check(t, err)
	d := newDraft(c)
	check(t, d.apply(Update{Groups: want.Groups, MDTs: want.MDTs, Recent: want.Recent, Tracks: want.Tracks}))
	checkEqual(t, "values", c.with(d.changes()), found.content)
}

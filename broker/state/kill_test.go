package state

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

var (
	killRounds = flag.Int("state.rounds", 100, "rounds of TestKill")
	killSeed   = flag.Uint64("state.seed", 0, "seed of TestKill; 0 takes one from the clock")
)

const killGroups, killMDTs = 6, 20

// writeForever raises all marks by one with every Write, and says so when it returned.
// Now and then it deletes and makes groups, so that pages come and go.
func writeForever(s *Store) error {
	all, err := s.Load()
	if err != nil {
		return err
	}
	mark := uint64(0)
	if len(all.Tracks) > 0 {
		mark = all.Tracks[0].Mark
	}
	fmt.Println("began")
	for {
		mark++
		u := fullUpdate(killGroups, killMDTs, mark)
		u.Recent = u.Recent[:mark%killMDTs]
		if mark%7 == 0 {
			for _, g := range u.Groups[:killGroups/2] {
				u.Deleted = append(u.Deleted, g.Name)
			}
		}
		if err := s.Write(u); err != nil {
			return err
		}
		fmt.Println(mark)
	}
}

// A process that is killed at any instant leaves a state that opens, that has at
// least what its last Write that returned stored, and nothing of the one in hand or
// all of it.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := cmp.Or(*killSeed, uint64(time.Now().UnixNano()))
	t.Logf("to run the same choices again: -run '^TestKill$' -state.seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := initDir(t, t.TempDir(), killMDTs)
	s, err := Open(dir)
	check(t, err)
	check(t, s.Write(fullUpdate(killGroups, killMDTs, 0)))
	check(t, s.Close())
	var stored uint64
	for round := range *killRounds {
		c := startChild(t, "write", dir)
		c.await(t, "began")
		time.Sleep(time.Duration(rng.Int64N(int64(30 * time.Millisecond))))
		lines := c.kill(t)
		said := stored
		if len(lines) > 0 {
			said, err = strconv.ParseUint(lines[len(lines)-1], 10, 64)
			check(t, err)
		}
		s, err := Open(dir)
		check(t, err)
		all := mustLoad(t, s)
		check(t, s.Close())
		stored = all.Tracks[0].Mark
		if stored != said && stored != said+1 {
			t.Fatalf("round %d: stored %d, said %d", round, stored, said)
		}
		checkEqual(t, "groups", len(all.Groups), killGroups)
		checkEqual(t, "tracks", len(all.Tracks), killGroups*killMDTs)
		for _, x := range all.Tracks {
			checkEqual(t, "mark", x.Mark, stored)
		}
		for _, x := range all.MDTs {
			checkEqual(t, "last clear", x.Cleared, stored)
		}
	}
	t.Logf("%d writes in %d rounds", stored, *killRounds)
}

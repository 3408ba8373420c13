package upstream

import (
	"fmt"

	"github.com/lcapd/lcapd/changelog"
)

// actor is a user who runs a job on a client.
type actor struct {
	uid, gid uint64
	nid      changelog.NID
	job      string // empty: the client sends none
}

var jobs = []string{"cp", "tar", "python3", "mpirun", "rsync", "dd", "bash", ""}

func newActor(i int) actor {
	const users, clients = 8, 16
	a := actor{
		uid: uint64(1000 + i%users),
		gid: uint64(100 + i%3),
		nid: changelog.NID{Net: 2, Len: 4, Addr: [16]byte{10, 20, 0, byte(1 + i%clients)}},
	}
	if job := jobs[i/4%len(jobs)]; job != "" {
		a.job = fmt.Sprintf("%s.%d", job, a.uid)
	}
	return a
}

// sign fills in who did it, in the blocks that servers 2.11 to 2.15 write (ABI 4.5).
func (w *Workload) sign() {
	a := &w.actors[w.rng.IntN(len(w.actors))]
	f := &w.fields
	f.UID, f.GID, f.NID, f.JobID = a.uid, a.gid, a.nid, a.job
	f.Format.Flags = changelog.FlagVersion | changelog.FlagExtra
	if f.Type == changelog.TypeRenme {
		f.Format.Flags = changelog.FlagRename | changelog.FlagExtra // ABI 3.1: without VERSION
	}
	if a.job != "" {
		f.Format.Flags |= changelog.FlagJobID
	}
	f.Format.Extra |= changelog.ExtraUIDGID | changelog.ExtraNID
}

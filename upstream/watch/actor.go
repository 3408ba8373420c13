package watch

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// actor is who did something, as far as it can be had. The zero actor is unknown.
type actor struct {
	job      string // "comm.uid" of the process, as Lustre's jobid_name %e.%u; "" if it was gone
	uid, gid uint64
	isKnown  bool // uid and gid are
}

// actors remembers who the processes are. A process may end before it is looked at, and
// its number may go to another one later, so nothing is remembered for long.
type actors struct {
	seen map[int32]sighting
}

type sighting struct {
	actor actor
	until time.Time
}

const (
	actorFor  = 100 * time.Millisecond
	actorsMax = 1024
)

// of returns who a process is.
func (a *actors) of(pid int32, now time.Time) actor {
	if s, ok := a.seen[pid]; ok && now.Before(s.until) {
		return s.actor
	}
	if a.seen == nil || len(a.seen) >= actorsMax {
		a.seen = make(map[int32]sighting)
	}
	who := actor{}
	if pid > 0 {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may be gone
		who = parseStatus(status)
	}
	a.seen[pid] = sighting{who, now.Add(actorFor)}
	return who
}

// parseStatus reads /proc/PID/status. The user and group are those that count for files,
// the last of the four numbers in a line.
func parseStatus(status []byte) actor {
	var who actor
	var comm string
	for line := range bytes.Lines(status) {
		key, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(":\t"))
		switch string(key) {
		case "Name":
			comm = string(value)
		case "Uid":
			who.uid, who.isKnown = lastNumber(value)
		case "Gid":
			gid, ok := lastNumber(value)
			who.gid, who.isKnown = gid, who.isKnown && ok
		}
	}
	if !who.isKnown {
		return actor{}
	}
	who.job = fmt.Sprintf("%s.%d", comm, who.uid)
	const most = 31 // that a record holds (ABI 4)
	who.job = who.job[:min(len(who.job), most)]
	return who
}

func lastNumber(value []byte) (uint64, bool) {
	fields := bytes.Fields(value)
	if len(fields) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[len(fields)-1]), 10, 32)
	return n, err == nil
}

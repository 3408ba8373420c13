package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lcapd/lcapd/llog"
)

// spoolUser is the one user of a spool.
const spoolUser = "lcapd"

// Spool opens the log in dir or, if there is none, makes it: the changelog of a producer
// that keeps no records itself, such as a [Workload]. The source clears as its one
// user, which exists when Spool returns. An interrupted Spool is completed by the next.
func Spool(ctx context.Context, dir, mdt string, bell *llog.Bell) (*LLog, error) {
	log, err := llog.Open(dir)
	if errors.Is(err, llog.ErrNotALog) {
		log, err = llog.Create(dir, mdt)
	}
	if err != nil {
		return nil, err
	}
	if log.MDT() != mdt {
		return nil, fmt.Errorf("%s holds the changelog of %s, not of %s", dir, log.MDT(), mdt)
	}
	info, err := log.Info()
	if err != nil {
		return nil, err
	}
	isOurs := func(u llog.User) bool { return u.Name == spoolUser }
	if i := slices.IndexFunc(info.Users, isOurs); i >= 0 {
		return NewLLog(log, info.Users[i].ID, bell), nil
	}
	user, err := log.Register(ctx, spoolUser, 0)
	if err != nil {
		return nil, err
	}
	return NewLLog(log, user.ID, bell), nil
}

// MDTNumber returns the number in the name of an MDT: 10 for lustre-MDT000a.
func MDTNumber(name string) (uint16, error) {
	at := strings.LastIndex(name, "-MDT")
	if at < 0 {
		return 0, fmt.Errorf("%q is no name of an MDT, such as lustre-MDT0000", name)
	}
	digits := name[at+len("-MDT"):]
	n, err := strconv.ParseUint(digits, 16, 16)
	if err != nil || len(digits) != 4 {
		return 0, fmt.Errorf("%q is no name of an MDT, such as lustre-MDT0000", name)
	}
	return uint16(n), nil
}

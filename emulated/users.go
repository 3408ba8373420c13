package emulated

import (
	"fmt"
	"time"

	"github.com/lcapd/lcapd/llog"
)

// AppendUsers appends what mdd.*.changelog_users shows on an MDS of the release (ABI 10.3).
func AppendUsers(b []byte, info llog.Info, v Version, now time.Time) []byte {
	v = v.orNewest()
	if v >= Version215 {
		b = fmt.Appendf(b, "current_index: %d\n%-24s %10s (idle) mask\n", info.Current, "ID", "index")
	} else if v >= Version211 {
		b = fmt.Appendf(b, "current index: %d\nID    index (idle seconds)\n", info.Current)
	} else {
		b = fmt.Appendf(b, "current index: %d\nID    index\n", info.Current)
	}
	for _, u := range info.Users {
		b = appendUser(b, u, v, max(now.Sub(u.Touched), 0)/time.Second)
	}
	return b
}

func appendUser(b []byte, u llog.User, v Version, idle time.Duration) []byte {
	switch {
	case v <= Version210:
		return fmt.Appendf(b, "cl%-3d %d\n", u.ID, u.Cleared)
	case v <= Version214:
		return fmt.Appendf(b, "cl%-3d %d (%d)\n", u.ID, u.Cleared, idle)
	}
	b = fmt.Appendf(b, "%-24s %10d (%d)", u, u.Cleared, idle)
	if u.Mask != 0 {
		b = fmt.Appendf(b, " mask=%s", u.Mask.Join(","))
	}
	return append(b, '\n')
}

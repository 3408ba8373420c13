package emulated

import (
	"time"
)

// idleWatch says when to look for idle users.
type idleWatch struct {
	noticed bool // the log may have grown since the last look
	looking bool
	looked  time.Time
}

// collectIdle has idle users removed, if the log has grown and the last look is long
// enough ago. It looks beside the owner, as it ends with the disk.
func (m *mdt) collectIdle(now time.Time) {
	w := &m.idle
	if m.Idle == nil || !w.noticed || w.looking || now.Sub(w.looked) < m.Idle.Interval {
		return
	}
	w.noticed, w.looking, w.looked = false, true, now
	log, limits := m.Log, *m.Idle
	m.server.workers.Go(func() {
		users, err := log.CollectIdle(m.server.ctx, limits, now)
		m.server.post(func() {
			w.looking = false
			for _, u := range users {
				m.Logger.Info().Stringer("user", u).Uint64("cleared", u.Cleared).Msg("idle user removed")
			}
			if err != nil {
				m.Logger.Warn().Err(err).Msg("cannot look for idle users")
			}
		})
	})
}

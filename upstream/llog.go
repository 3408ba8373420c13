package upstream

import (
	"context"
	"fmt"
	"slices"

	"github.com/lcapd/lcapd/llog"
)

// LLog is a changelog on local disk as the source of one of its users.
//
// It holds nothing that changes: the log is on disk, and belongs to no process. Clear
// may wait for another process that changes the state of the log.
type LLog struct {
	log  *llog.Log
	user llog.UserID
	bell *llog.Bell
}

var _ Source = (*LLog)(nil)

// NewLLog returns the source of a log for a user. bell wakes its readers; it must
// live as long as they do, and serves any number of sources. With nil each reader
// makes its own, of which a process can have only some hundred.
func NewLLog(log *llog.Log, user llog.UserID, bell *llog.Bell) *LLog {
	return &LLog{log, user, bell}
}

// OpenLLog returns the source of the log in dir for a user such as cl1. It refuses a
// log of another MDT than mdt, and a user who is not registered: that one's clears
// would all be refused.
func OpenLLog(dir, mdt, user string, bell *llog.Bell) (*LLog, error) {
	id, err := llog.ParseUserID(user)
	if err != nil {
		return nil, err
	}
	log, err := llog.Open(dir)
	if err != nil {
		return nil, err
	}
	if log.MDT() != mdt {
		return nil, fmt.Errorf("%s holds the changelog of %s, not of %s; change path or mdt", dir, log.MDT(), mdt)
	}
	info, err := log.Info()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(info.Users, func(u llog.User) bool { return u.ID == id }) {
		return nil, fmt.Errorf("%w %s on %s; register one: lcapcli llog register %s", llog.ErrUnknownUser, user, mdt, dir)
	}
	return NewLLog(log, id, bell), nil
}

// Log returns the log.
func (s *LLog) Log() *llog.Log { return s.log }

// Registered tells whether the log still knows the user.
func (s *LLog) Registered(context.Context) (bool, error) {
	info, err := s.log.Info()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(info.Users, func(u llog.User) bool { return u.ID == s.user }), nil
}

// Open implements Source.
func (s *LLog) Open(ctx context.Context, start uint64) (Reader, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r, err := s.log.NewReader(start, s.bell)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Clear implements Source. The clear is durable when it returns.
func (s *LLog) Clear(ctx context.Context, index uint64) error {
	return s.log.Clear(ctx, s.user, index)
}

// ClearIf implements Source. A log that replaced this one has another identity, and is not
// cleared: [llog.ErrReplaced].
func (s *LLog) ClearIf(ctx context.Context, index uint64, isSame func() error) error {
	if err := isSame(); err != nil {
		return err
	}
	return s.Clear(ctx, index)
}

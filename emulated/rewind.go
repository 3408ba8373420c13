package emulated

import (
	"context"
	"errors"
	"io"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// MakeRewound makes a log in dir as the MDT of another log might have it after a crash
// that lost the records above keep: the same records up to there, and the same users,
// whose cursors are above the last of them no more. What is appended to it next issues
// the indexes behind that one again (ABI 10.8). The other log must not change meanwhile.
//
// The users' idle clocks start anew.
func MakeRewound(ctx context.Context, from *llog.Log, dir string, keep uint64) (*llog.Log, error) {
	info, err := from.Info()
	if err != nil {
		return nil, err
	}
	to, err := llog.Create(dir, from.MDT())
	if err != nil || len(info.Users) == 0 {
		return to, err // nothing is kept for nobody
	}
	if err := registerAlike(ctx, to, info.Users); err != nil {
		return nil, err
	}
	// This one holds everything until all cursors are set, and wants every type.
	holder, err := to.Register(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	last, err := copyUpTo(ctx, from, to, lowest(info.Users, keep), keep)
	if err != nil {
		return nil, err
	}
	for _, u := range info.Users {
		if cursor := min(u.Cleared, last); cursor > 0 {
			if err := to.Clear(ctx, u.ID, cursor); err != nil {
				return nil, err
			}
		}
	}
	return to, to.Deregister(ctx, holder.ID)
}

// registerAlike registers users of the same ids, names and masks, in a log without users.
func registerAlike(ctx context.Context, l *llog.Log, users []llog.User) error {
	next := llog.UserID(1)
	for _, u := range users {
		for ; next < u.ID; next++ { // ids of users who have gone
			gone, err := l.Register(ctx, "", 0)
			if err == nil {
				err = l.Deregister(ctx, gone.ID)
			}
			if err != nil {
				return err
			}
		}
		if _, err := l.Register(ctx, u.Name, u.Mask); err != nil {
			return err
		}
		next++
	}
	return nil
}

// lowest returns the smallest of the cursors, limit at most.
func lowest(users []llog.User, limit uint64) uint64 {
	for _, u := range users {
		limit = min(limit, u.Cleared)
	}
	return limit
}

// copyUpTo appends what from has at or below keep, and returns the last index. In the
// place of what everybody has cleared up to floor there is one record, which gives the
// index counter its place.
func copyUpTo(ctx context.Context, from, to *llog.Log, floor, keep uint64) (last uint64, err error) {
	a, err := to.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	r, err := from.NewReader(floor+1, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var packed []byte
	if floor > 0 {
		mark := changelog.Fields{Type: changelog.TypeMark, Index: floor}
		if packed, err = mark.Append(nil); err != nil {
			return 0, err
		}
	}
	buf := make([]byte, readAhead)
	for {
		done, err := a.Append(ctx, packed)
		if err != nil {
			return last, err
		}
		last = max(last, done.Last)
		n, err := r.Read(buf)
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		if packed = upTo(buf[:n], keep); len(packed) == 0 {
			return last, nil
		}
	}
}

// upTo returns the records before the first one above keep.
func upTo(records []byte, keep uint64) []byte {
	s := changelog.NewScanner(records)
	end := int64(0)
	for s.Scan() && s.Last <= keep {
		end = s.Offset()
	}
	return records[:end]
}

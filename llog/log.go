package llog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// Log is a changelog directory. It holds nothing but the name of the directory
// and what never changes about it, so it is safe for use by any number of
// goroutines, needs no closing, and each call sees what other processes did.
type Log struct {
	dir string
	mdt string
	id  logID
}

// MDTName says which names an MDT may have here: they appear in paths, in
// configuration and on the wire.
var MDTName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$`)

// Create makes an empty log in dir, which must be missing or empty, for the MDT
// of the given name.
func Create(dir, mdt string) (_ *Log, err error) {
	if !MDTName.MatchString(mdt) {
		return nil, fmt.Errorf("MDT name %q: use letters, digits, dot, dash and underscore, such as local-MDT0000", mdt)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create changelog: %w", err)
	}
	if err := checkEmpty(dir); err != nil {
		return nil, err
	}
	lock, err := lockFile(context.Background(), filepath.Join(dir, stateLock))
	if err != nil {
		return nil, fmt.Errorf("create changelog: %w", err)
	}
	defer func() { err = errors.Join(err, unlock(lock)) }()
	if err := checkEmpty(dir); err != nil {
		return nil, err // somebody else created one meanwhile
	}
	st := &state{MDT: mdt, ID: newLogID(), Created: time.Now().UTC(), NextUser: 1, Users: []User{}}
	if err := writeState(dir, st); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
		return nil, fmt.Errorf("create changelog: %w", err)
	}
	return &Log{dir, mdt, st.ID}, nil
}

// checkEmpty refuses a directory with anything in it but what a Create leaves
// behind that did not come to its end.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("create changelog: %w", err)
	}
	for _, e := range entries {
		if e.Name() != stateLock && e.Name() != stateFile+tmpSuffix {
			return fmt.Errorf("create changelog in %s: %w; choose a new directory", dir, ErrExists)
		}
	}
	return nil
}

// Open opens the log in dir. It fails with [ErrNotALog], [ErrVersion] or
// [ErrCorrupt].
func Open(dir string) (*Log, error) {
	st, err := readState(dir)
	if err != nil {
		return nil, err
	}
	return &Log{dir, st.MDT, st.ID}, nil
}

// Dir returns the directory of the log.
func (l *Log) Dir() string { return l.dir }

// MDT returns the name of the MDT.
func (l *Log) MDT() string { return l.mdt }

// update changes the state under its lock and makes the change durable; what
// the change purged is freed then. last is the last index issued.
func (l *Log) update(ctx context.Context, change func(st *state, last uint64) error) (err error) {
	lock, err := lockFile(ctx, filepath.Join(l.dir, stateLock))
	if err != nil {
		return fmt.Errorf("change the state of %s: %w", l.dir, err)
	}
	defer func() { err = errors.Join(err, unlock(lock)) }()
	st, err := l.state()
	if err != nil {
		return err
	}
	bases, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	last, err := l.last(st, bases)
	if err != nil {
		return err
	}
	if err := change(st, last); err != nil {
		return err
	}
	st.Purged = max(st.Purged, st.floor(last))
	if err := writeState(l.dir, st); err != nil {
		return err
	}
	if err := l.freeSegments(bases, st.Purged); err != nil {
		return fmt.Errorf("the change is stored, but not all space could be freed: %w", err)
	}
	return nil
}

// state reads the state and checks that it is still that of this log.
func (l *Log) state() (*state, error) {
	st, err := readState(l.dir)
	if err != nil {
		return nil, err
	}
	if st.ID != l.id {
		return nil, fmt.Errorf("%s: %w; open it again", l.dir, ErrReplaced)
	}
	return st, nil
}

// look calls f with the state and the segments. When f fails because a segment
// that was listed is no longer there, as it was purged in between, f is called
// again with what is there then.
func (l *Log) look(f func(st *state, bases []uint64) error) error {
	for {
		st, err := l.state()
		if err != nil {
			return err
		}
		bases, err := listSegments(l.dir)
		if err != nil {
			return err
		}
		err = f(st, bases)
		var gone *vanishedError
		if !errors.As(err, &gone) {
			return err
		}
		if err := l.excuse(gone); err != nil {
			return err
		}
	}
}

// excuse returns nil if the segment is gone because it was purged: all before the
// next one is.
func (l *Log) excuse(gone *vanishedError) error {
	bases, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	st, err := l.state()
	if err != nil {
		return err
	}
	i, listed := slices.BinarySearch(bases, gone.base)
	if listed || i == len(bases) || bases[i] > st.Purged+1 {
		return gone.err
	}
	return nil
}

// last returns the last index issued.
func (l *Log) last(st *state, bases []uint64) (uint64, error) {
	last := st.lowestIssued()
	if len(bases) == 0 {
		return last, nil
	}
	inSegment, err := l.lastOf(bases[len(bases)-1])
	return max(last, inSegment), err
}

// lastOf returns the last index issued when the segment base was last written.
func (l *Log) lastOf(base uint64) (last uint64, err error) {
	s, err := openSegment(l.dir, l.id, base, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	c, err := s.readCheckpoint()
	if err != nil {
		return 0, err
	}
	// The segment was made for base, so everything below it was issued.
	last = max(c.last, base-1)
	// The appender may be in the middle of a write: the next look finds its end.
	const looks = 3
	for range looks {
		size, err := s.size()
		if err != nil {
			return 0, err
		}
		if _, index, _, ok, err := s.frameBefore(size); ok || err != nil {
			return max(last, index), err
		}
	}
	c, err = s.scanFrom(c)
	return max(last, c.last), err
}

// freeSegments removes those of the segments whose records are all at or below purged.
// The last one stays: the appender writes to it.
func (l *Log) freeSegments(bases []uint64, purged uint64) error {
	for i := range len(bases) - 1 {
		if bases[i+1] > purged+1 {
			break
		}
		if err := os.Remove(filepath.Join(l.dir, segmentName(bases[i]))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("free segment: %w", err)
		}
	}
	return nil
}

// userName is what an MDT accepts (ABI 10.1).
var userName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,14}$`)

// Register adds a user, by name unless name is empty, who wants the types of
// mask recorded, or all if mask is 0. It owes nothing of the past: the first
// record that it is responsible for is the next one appended.
func (l *Log) Register(ctx context.Context, name string, mask changelog.Mask) (User, error) {
	if name != "" && !userName.MatchString(name) {
		return User{}, fmt.Errorf("register: %w %q: a letter, then letters, digits, dash or underscore, at most 15 in all", ErrUserName, name)
	}
	var u User
	err := l.update(ctx, func(st *state, last uint64) error {
		for _, other := range st.Users {
			if name != "" && other.Name == name {
				return fmt.Errorf("register %q: %w by %s; choose another", name, ErrUserExists, other.ID)
			}
		}
		u = User{ID: st.NextUser, Name: name, Mask: mask, Cleared: last, Touched: time.Now().UTC()}
		st.NextUser++
		st.Users = append(st.Users, u)
		return nil
	})
	return u, err
}

// Deregister removes the user. What only it had not cleared is gone then.
func (l *Log) Deregister(ctx context.Context, id UserID) error {
	return l.update(ctx, func(st *state, _ uint64) error { return st.remove(id) })
}

func (s *state) remove(id UserID) error {
	if _, err := s.user(id); err != nil {
		return err
	}
	kept := make([]User, 0, len(s.Users))
	for _, u := range s.Users {
		if u.ID != id {
			kept = append(kept, u)
		}
	}
	s.Users = kept
	return nil
}

// Clear acknowledges for the user every record at or below index, with the
// meaning that an MDT gives it (ABI 9.2): index may not be above the last one
// issued ([ErrBeyondEnd]) nor below what the user cleared before
// ([ErrBackwards]); the same index again is fine and shows that the user is
// alive. Index 0 is refused ([ErrZeroIndex]). The clear is durable when the call
// returns.
func (l *Log) Clear(ctx context.Context, id UserID, index uint64) error {
	if index == 0 {
		return fmt.Errorf("clear for %s on %s: %w; name an index, or use --all", id, l.mdt, ErrZeroIndex)
	}
	return l.update(ctx, func(st *state, last uint64) error {
		u, err := st.user(id)
		switch {
		case err != nil:
			return err
		case index > last:
			return fmt.Errorf("clear %d for %s on %s: %w; the last one is %d", index, id, l.mdt, ErrBeyondEnd, last)
		case index < u.Cleared:
			return fmt.Errorf("clear %d for %s on %s: %w; that is %d", index, id, l.mdt, ErrBackwards, u.Cleared)
		}
		u.Cleared, u.Touched = index, time.Now().UTC()
		return nil
	})
}

// ClearAll acknowledges for the user everything up to now, and returns the index
// of the last record that this covers. It is what an MDT does when asked to clear
// index 0: records that were never read are gone too.
func (l *Log) ClearAll(ctx context.Context, id UserID) (uint64, error) {
	var cleared uint64
	err := l.update(ctx, func(st *state, last uint64) error {
		u, err := st.user(id)
		if err != nil {
			return err
		}
		u.Cleared, u.Touched, cleared = last, time.Now().UTC(), last
		return nil
	})
	return cleared, err
}

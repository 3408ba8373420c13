package core

import "time"

// Config are the broker's limits and times.
type Config struct {
	// Memory is how many bytes of batches may be kept, all MDTs together. Each
	// reading may keep one batch in any case.
	Memory int64
	// Pinned is how many bytes of batches that nobody needs any more writers may hold.
	// Beyond it whoever holds most is cut.
	Pinned int64
	// Grant is how many bytes a reader may deliver ahead of what was taken in.
	Grant int64
	// CatchUps is how many catch-up readings an MDT may have at once.
	CatchUps int
	// Linger is how long a catch-up that nobody uses is kept: who was only short of
	// credit comes back to it, and to open one anew is dear.
	Linger time.Duration
	// CeilingStep is how many indexes the hand-out ceiling is reserved ahead. While the
	// state cannot be written, each group is handed out half as many at least, then waits. After
	// a crash as many at most are said to be maybe redelivered that never were delivered.
	CeilingStep uint64
	// PersistEvery is how often marks are written.
	PersistEvery time.Duration
	// ClearEvery is how often an MDT is cleared at most.
	ClearEvery time.Duration
	// ClearAgain is after how long the last clear is sent again, so that a quiet
	// MDT does not take us for idle, and we learn of it if it has dropped our user.
	ClearAgain time.Duration
	// ClearWithoutGroups has the clear follow the reading while there is no group.
	ClearWithoutGroups bool
	// ExpireEvery is how often at most an abandoned group gives up what it holds back.
	ExpireEvery time.Duration
	// StandStill is how far apart two ticks are at most. Beyond it nobody was heard, as lcapd itself
	// stood still, and that time counts for no member's heartbeat or acknowledgement. 0 for any distance.
	StandStill time.Duration
	// HoleDelay is how long after it was seen a hole is read again.
	HoleDelay time.Duration
	// RetryAfter is how long after a failure something is tried again. A reading that
	// worked is tried sooner.
	RetryAfter time.Duration
}

// DefaultConfig holds the defaults.
var DefaultConfig = Config{
	Memory:       1 << 30,
	Pinned:       1 << 28,
	Grant:        1 << 20,
	CatchUps:     4,
	Linger:       2 * time.Second,
	CeilingStep:  1 << 20,
	PersistEvery: 200 * time.Millisecond,
	ClearEvery:   time.Second,
	ClearAgain:   10 * time.Minute,
	ExpireEvery:  time.Minute,
	StandStill:   time.Second,
	HoleDelay:    5 * time.Second,
	RetryAfter:   5 * time.Second,
}

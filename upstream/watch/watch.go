package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

// Options say what to watch.
type Options struct {
	// Path is the directory at the top of the tree, MDT the name of its changelog.
	Path, MDT string
	// State is a directory of lcapd's own. The changelog and what is known of the tree
	// are kept below it. Changes in it are never reported.
	State string
	// Exclude are patterns of what is left out, in the syntax of [path.Match]: names at
	// any depth or, with a slash, paths from the top of the tree.
	Exclude []string
	// Existing says that what is there when the tree is watched for the first time gets
	// records, as if it were made then.
	Existing bool
	// UnlimitedQueue lets the kernel's queue grow without limit (FAN_UNLIMITED_QUEUE): it
	// never overflows, and takes as much of the kernel's memory as changes wait.
	UnlimitedQueue bool
	// Log is told what happens: warnings when changes were dropped.
	Log zerolog.Logger
}

// Stats are counts since the start.
type Stats struct {
	Directories int    // in the tree now
	Events      uint64 // read from the kernel, of the whole file system
	Records     uint64 // appended
	Corrections uint64 // of them, those that the comparison with the file system led to
	Overflows   int    // how often the kernel dropped changes
	Rescans     int    // how often the whole tree was read
	Stalls      int    // how often changes had to wait for 10 s
	Unread      int    // directories that could not be read
	Failures    int    // how often it had to begin again, after an error
	// Modified: files that were written and not closed since, of which there is no record
	// yet.
	Modified int
	// Settled: the records tell the names that were there a moment ago.
	Settled bool
}

// Watch makes a changelog of what happens in a directory tree. See the package comment.
//
// The goroutine that calls Run owns all of it.
type Watch struct {
	options Options
	exclude excludes
	log     zerolog.Logger
	dir     string // below the state
	source  *upstream.LLog
	keeper  llog.UserID // who has records kept until the store stands for them
	asks    chan chan<- Stats
	first   *session // until Run takes it
	stats   Stats    // of the sessions that have ended
}

// knownUser is the name of the changelog user who keeps records until what is known of
// the tree is on disk at them.
const knownUser = "known"

// Open makes ready to watch: from now on the kernel keeps changes for us. The changelog
// is made if there is none. bell wakes its readers. The error is [ErrCannotWatch] or
// [ErrState] if starting it again does not help.
func Open(ctx context.Context, o Options, bell *llog.Bell) (*Watch, error) {
	exclude, err := parseExcludes(o.Exclude)
	if err != nil {
		return nil, err
	}
	w := &Watch{
		options: o, exclude: exclude, log: o.Log.With().Str("mdt", o.MDT).Str("tree", o.Path).Logger(),
		dir: filepath.Join(o.State, "watch-"+o.MDT), asks: make(chan chan<- Stats),
	}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, fmt.Errorf("watch %s: %w", o.Path, err)
	}
	logDir := filepath.Join(w.dir, "log")
	if !isThere(w.storePath()) && isThere(logDir) {
		if log, err := llog.Open(logDir); err == nil {
			if info, err := log.Info(); err == nil && info.Current > 0 {
				return nil, fmt.Errorf("%w: %s is missing, so nobody knows what the records in %s speak of; %s", ErrState, w.storePath(), logDir, beginAnew(w.storePath()))
			}
		}
	}
	if w.source, err = upstream.Spool(ctx, logDir, o.MDT, bell); err != nil {
		return nil, err
	}
	if w.keeper, err = registered(ctx, w.source.Log()); err != nil {
		return nil, err
	}
	w.first, err = w.open(ctx)
	return w, err
}

func (w *Watch) storePath() string { return filepath.Join(w.dir, "known.db") }

// registered returns our user for the store.
func registered(ctx context.Context, log *llog.Log) (llog.UserID, error) {
	info, err := log.Info()
	if err != nil {
		return 0, err
	}
	if i := slices.IndexFunc(info.Users, func(u llog.User) bool { return u.Name == knownUser }); i >= 0 {
		return info.Users[i].ID, nil
	}
	user, err := log.Register(ctx, knownUser, 0)
	return user.ID, err
}

// Source returns the changelog.
func (w *Watch) Source() *upstream.LLog { return w.source }

// Close gives back what Open opened, if Run was never called.
func (w *Watch) Close() error {
	if w.first == nil {
		return nil
	}
	return w.first.close()
}

// Run records changes until ctx ends. When it cannot go on, as on a full disk, it says
// so, and begins again after a while, reading the tree for what it has missed.
func (w *Watch) Run(ctx context.Context) error {
	s := w.first
	w.first = nil
	const firstPause, longestPause = time.Second, 30 * time.Second
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if s != nil {
			err := s.run(ctx)
			if s.isSettled {
				pause = firstPause
			}
			err = errors.Join(err, s.close())
			w.stats = s.sums()
			if ctx.Err() != nil {
				return err
			}
			w.failed(err)
		}
		if !w.idle(ctx, pause) {
			return nil
		}
		var err error
		if s, err = w.open(ctx); err != nil && ctx.Err() == nil {
			w.failed(err)
		}
	}
}

func (w *Watch) failed(err error) {
	w.stats.Failures++
	w.log.Error().Err(err).Msg("changes are not recorded at present; it is tried again, and the tree is read then")
}

// idle answers questions for a while; false if ctx ended.
func (w *Watch) idle(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case reply := <-w.asks:
			reply <- w.stats
		case <-ctx.Done():
			return false
		}
	}
}

// Stats returns the counts. It waits while a large directory is read, or the changelog
// takes nothing; the error is the cause of the end of ctx. Run must be running.
func (w *Watch) Stats(ctx context.Context) (Stats, error) {
	reply := make(chan Stats, 1)
	select {
	case w.asks <- reply:
		return <-reply, nil
	case <-ctx.Done():
		return Stats{}, context.Cause(ctx)
	}
}

package watch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// session is the watching of a tree from one start, or failure, to the next. It has one
// owner, who calls run.
//
// What holds between any two records: what is known is what the log tells, and each name
// for which that is not what is there is touched, or suspect, or in a directory that
// waits to be read, or an event that tells of it waits to be read.
type session struct {
	*Watch
	log      zerolog.Logger
	volume   *volume
	ids      *identifiers
	store    *store
	appender *llog.Appender
	known    *known
	book     *book
	actors   actors
	reader   *reader
	hidden   map[changelog.FID]bool // directories that are never seen: our own

	touched  map[place]struct{} // names to be compared
	suspects map[place]struct{} // names that differed when they were compared
	lost     map[changelog.FID]*loss
	modified map[changelog.FID]modification
	work     []job // directories to be read, the last one first

	rescanning, again bool
	probe             uint64 // the last question to the reader
	lostProbe         uint64 // the one for the lost
	quiet             int64  // what changed before is recorded, ns since 1970; 0 for never
	isSettled         bool
	flushed           time.Time // when the last flush began
	stats             Stats
	err               error
}

// open begins a session: from then on the kernel keeps changes.
func (w *Watch) open(ctx context.Context) (_ *session, err error) {
	s := &session{
		Watch: w, log: w.log, hidden: map[changelog.FID]bool{},
		touched: map[place]struct{}{}, suspects: map[place]struct{}{},
		lost: map[changelog.FID]*loss{}, modified: map[changelog.FID]modification{},
		flushed: time.Now(), stats: w.stats,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	path, err := resolve(w.options.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCannotWatch, err)
	}
	queue, err := openQueue(path, w.options.UnlimitedQueue)
	if err != nil {
		return nil, err
	}
	s.reader = newReader(queue, w.log)
	if s.volume, err = openVolume(path); err != nil {
		return nil, err
	}
	if s.store, err = openStore(w.storePath()); err != nil {
		return nil, err
	}
	if err := s.begin(path); err != nil {
		return nil, err
	}
	if s.appender, err = w.source.Log().NewAppender(llog.AppendOptions{Sync: llog.SyncEvery(time.Second)}); err != nil {
		return nil, err
	}
	if torn := s.appender.TornTail(); torn != nil {
		s.log.Info().Str("file", torn.File).Int64("bytes", torn.Bytes).Msg("an append that a crash had interrupted was cut off")
	}
	return s, s.recall()
}

// begin checks that the tree is the one that the store knows, or begins a new store.
func (s *session) begin(path string) error {
	m := &s.store.meta
	if m.top == (handle{}) {
		*m = meta{top: s.volume.root, system: s.volume.system}
		m.root = newIdentifiers(m.system).fid(m.top)
	}
	if m.top != s.volume.root {
		return fmt.Errorf("%w: %s is not the directory that was watched before; is its file system mounted? %s", ErrState, path, beginAnew(s.storePath()))
	}
	if !m.complete {
		m.complete, m.index, m.quiet = s.options.Existing, 0, 0
		if err := errors.Join(s.store.clear(), s.store.save()); err != nil {
			return err
		}
	}
	s.ids = newIdentifiers(m.system)
	s.ids.fid(s.volume.root) // so that FIDs of its shape can be opened
	return s.hideState(path)
}

// hideState has our own directory never seen.
func (s *session) hideState(path string) error {
	state, err := resolve(s.options.State)
	if err != nil {
		return err
	}
	if path == state || strings.HasPrefix(path, state+string(filepath.Separator)) {
		return fmt.Errorf("%s %w: it is in lcapd's own state directory %s", path, ErrCannotWatch, state)
	}
	fd, err := unix.Open(state, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", state, err)
	}
	defer unix.Close(fd)
	if system, err := systemOf(fd); err != nil || system != s.volume.system {
		return err // another file system
	}
	h, err := handleAt(fd, "")
	if err != nil {
		return fmt.Errorf("look at %s: %w", state, err)
	}
	s.hidden[s.ids.fid(h)] = true
	return nil
}

// recall brings what is known to the end of the log, and has the tree compared with it.
func (s *session) recall() (err error) {
	m := s.store.meta
	s.known = &known{store: s.store}
	if s.known.dirs, err = s.store.load(); err != nil {
		return err
	}
	s.book = &book{known: s.known, to: s.appender, silent: !m.complete, now: time.Now(), last: m.index}
	if m.complete {
		if s.book.last, err = s.known.replay(s.source.Log(), m.index); err != nil {
			return fmt.Errorf("%w; %s", err, beginAnew(s.storePath()))
		}
	}
	s.quiet = m.quiet
	if s.known.dirs[m.root] == nil {
		s.known.dirs[m.root] = &dir{fid: m.root}
	}
	s.makeTop()
	s.rescan()
	return s.failed()
}

// makeTop records the root of the tree, once in the life of its changelog: records of
// what is in it speak of its FID.
func (s *session) makeTop() {
	if _, there := s.known.entry(s.top()); there || s.book.silent {
		return
	}
	h := ""
	if _, fits := s.ids.handle(s.store.meta.root); !fits {
		h = s.volume.root.bytes
	}
	s.book.create(changelog.TypeMkdir, s.top(), s.store.meta.root, h, actor{})
}

// completed ends the first scan: from now on changes are recorded.
func (s *session) completed() {
	s.flush(true)
	if s.failed() != nil || s.store.await() != nil {
		return
	}
	s.book.silent = false
	s.makeTop()
	s.log.Info().Int("directories", len(s.known.dirs)).Msg("the tree is watched: changes are recorded from now on")
}

// run records changes until ctx ends, which is no error, or something fails.
func (s *session) run(ctx context.Context) error {
	more := make(chan struct{})
	close(more)
	var tick <-chan time.Time // nil while nothing is due later
	for s.failed() == nil {
		var work <-chan struct{}
		if len(s.work) > 0 {
			work = more
		}
		if tick == nil && (len(s.modified) > 0 || s.store.now.size > 0) {
			tick = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return s.end()
		case b, ok := <-s.reader.batches:
			if !ok {
				return errors.New("the queue of fanotify has ended")
			}
			s.isSettled = false
			s.take(b)
		case <-work:
			s.scanNext()
		case reply := <-s.asks:
			reply <- s.sums()
		case err := <-s.store.wrote:
			s.store.written(err)
		case <-tick:
			tick = nil
			s.tellModified(time.Now())
			s.ask() // so that it is known up to when all is recorded
		}
		s.rest()
	}
	return s.failed()
}

// rest ends a turn: records are appended, and nothing of the file system is kept open.
func (s *session) rest() {
	s.book.flush()
	s.store.rest()
	s.volume.rest()
	const flushEvery = 15 * time.Second
	due := s.store.now.size > 0 && time.Since(s.flushed) > flushEvery
	if s.store.now.size >= flushAt || due && s.store.frozen == nil {
		s.flush(s.store.meta.complete)
	}
}

// flush begins to write what is known to disk.
func (s *session) flush(complete bool) {
	s.book.flush()
	if s.failed() != nil {
		return
	}
	s.flushed = time.Now()
	m := s.store.meta
	m.complete, m.index, m.quiet = complete, s.book.last, s.quiet
	s.store.flush(context.Background(), m, s.commit)
}

// commit puts a flush between the records that it stands for, which must be on disk
// before it, and their release.
func (s *session) commit(ctx context.Context, index uint64, commit func() error) error {
	if err := s.appender.Sync(ctx); err != nil {
		return err
	}
	if err := commit(); err != nil || index == 0 {
		return err
	}
	return s.source.Log().Clear(ctx, s.keeper, index)
}

// end is the orderly end of a session.
func (s *session) end() error {
	s.book.flush()
	if s.store.meta.complete {
		s.flush(true)
	}
	return errors.Join(s.failed(), s.store.await())
}

// close gives back what a session holds.
func (s *session) close() error {
	var errs []error
	if s.reader != nil {
		errs = append(errs, s.reader.stop())
	}
	if s.store != nil {
		errs = append(errs, s.store.close())
	}
	if s.appender != nil {
		errs = append(errs, s.appender.Close())
	}
	if s.volume != nil {
		errs = append(errs, s.volume.close())
	}
	return errors.Join(errs...)
}

func (s *session) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// failed returns why the session cannot go on.
func (s *session) failed() error {
	for _, err := range []error{s.err, s.store.err} {
		if err != nil {
			return err
		}
	}
	return s.book.err
}

// sums returns the counts.
func (s *session) sums() Stats {
	sum := s.stats
	sum.Directories = len(s.known.dirs)
	sum.Records += s.book.wrote
	sum.Modified = len(s.modified)
	sum.Settled = s.isSettled && !s.book.silent
	return sum
}

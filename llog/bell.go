package llog

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// Bell wakes readers when their logs change: one inotify instance of the
// operating system for any number of logs and readers of a process, since a user
// may have only so many (fs.inotify.max_user_instances, often 128).
//
// One goroutine, run, owns the table of who listens to which directory.
// Subscribers never make it wait: a wake-up that is already pending is enough.
type Bell struct {
	watcher *fsnotify.Watcher
	changes chan bellChange
	stop    chan struct{} // Close sends
	done    chan struct{} // closed by run, when err is final
	err     error
}

// subscription is one reader's end of a Bell.
type subscription struct {
	bell *Bell
	dir  string
	c    chan struct{} // holds at most one wake-up
}

// bellChange adds or removes a subscription.
type bellChange struct {
	sub   *subscription
	add   bool
	reply chan error
}

// NewBell starts a bell. Close ends it.
func NewBell() (*Bell, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch changelogs: %w; if it says too many open files, raise fs.inotify.max_user_instances", err)
	}
	b := &Bell{watcher: w, changes: make(chan bellChange), stop: make(chan struct{}), done: make(chan struct{})}
	go b.run()
	return b, nil
}

// Close ends the bell; who still waits for it gets [ErrClosed]. It may be called
// more than once.
func (b *Bell) Close() error {
	select {
	case b.stop <- struct{}{}:
	case <-b.done:
	}
	<-b.done
	return b.err
}

func (b *Bell) run() {
	defer close(b.done)
	listeners := make(map[string][]*subscription)
	for {
		select {
		case <-b.stop:
			b.err = b.watcher.Close()
			return
		case c := <-b.changes:
			c.reply <- b.change(listeners, c)
		case ev := <-b.watcher.Events:
			ring(listeners[filepath.Dir(ev.Name)])
			ring(listeners[ev.Name]) // the directory itself is gone
		case <-b.watcher.Errors:
			// Events were lost: whoever listens must look for itself.
			for _, subs := range listeners {
				ring(subs)
			}
		}
	}
}

func (b *Bell) change(listeners map[string][]*subscription, c bellChange) error {
	dir := c.sub.dir
	if c.add {
		// Every time: the directory may be another one than the last time.
		if err := b.watcher.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w; if it says no space left, raise fs.inotify.max_user_watches", dir, err)
		}
		listeners[dir] = append(listeners[dir], c.sub)
		return nil
	}
	kept := listeners[dir][:0]
	for _, s := range listeners[dir] {
		if s != c.sub {
			kept = append(kept, s)
		}
	}
	if len(kept) > 0 {
		listeners[dir] = kept
		return nil
	}
	delete(listeners, dir)
	if err := b.watcher.Remove(dir); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
		return fmt.Errorf("stop watching %s: %w", dir, err)
	}
	return nil
}

func ring(subs []*subscription) {
	for _, s := range subs {
		select {
		case s.c <- struct{}{}:
		default:
		}
	}
}

func (b *Bell) subscribe(dir string) (*subscription, error) {
	// The watcher knows a directory by one name only.
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("watch changelog: %w", err)
	}
	s := &subscription{bell: b, dir: dir, c: make(chan struct{}, 1)}
	return s, b.do(bellChange{sub: s, add: true, reply: make(chan error, 1)})
}

func (s *subscription) close() error {
	err := s.bell.do(bellChange{sub: s, reply: make(chan error, 1)})
	if errors.Is(err, ErrClosed) {
		return nil // nothing left to give back
	}
	return err
}

func (b *Bell) do(c bellChange) error {
	select {
	case b.changes <- c:
		return <-c.reply
	case <-b.done:
		return fmt.Errorf("watch changelog: %w", ErrClosed)
	}
}

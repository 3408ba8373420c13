package upstream_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/sourcetest"
)

func TestOpenLLog(t *testing.T) {
	log, _, a := newLog(t, llog.AppendOptions{})
	_, err := a.Append(context.Background(), sourcetest.Records(1, 3))
	check(t, err)
	s, err := upstream.OpenLLog(log.Dir(), "test-MDT0000", "cl1", nil)
	check(t, err)
	check(t, s.Clear(context.Background(), 2))
	if got := readAll(t, s, 1); string(got) != string(sourcetest.Records(3, 3)) {
		t.Errorf("%d bytes", len(got))
	}
	if s.Log().Dir() != log.Dir() {
		t.Errorf("the log is in %s", s.Log().Dir())
	}
	for _, c := range []struct {
		dir, mdt, user string
		is             error
		says           string
	}{
		{log.Dir(), "test-MDT0001", "cl1", nil, "holds the changelog of test-MDT0000, not of test-MDT0001"},
		{log.Dir(), "test-MDT0000", "cl2", llog.ErrUnknownUser, "cl2 on test-MDT0000; register one: lcapcli llog register"},
		{log.Dir(), "test-MDT0000", "me", nil, "me"},
		{filepath.Join(log.Dir(), "none"), "test-MDT0000", "cl1", llog.ErrNotALog, "none"},
	} {
		_, err := upstream.OpenLLog(c.dir, c.mdt, c.user, nil)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: the error is %v", c, err)
		}
	}
}

// A reader without a bell wakes too, and Open ends with its context.
func TestLLogWithoutBell(t *testing.T) {
	log, user, a := newLog(t, llog.AppendOptions{})
	s := upstream.NewLLog(log, user, nil)
	r, err := s.Open(context.Background(), 1)
	check(t, err)
	done := make(chan error)
	go func() {
		buf := make([]byte, 64<<10)
		for n := 0; n == 0; {
			if err := r.Wait(context.Background()); err != nil {
				done <- err
				return
			}
			n, _ = r.Read(buf)
		}
		done <- r.Close()
	}()
	_, err = a.Append(context.Background(), sourcetest.Records(1, 1))
	check(t, err)
	check(t, <-done)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if _, err := s.Open(ctx, 1); !errors.Is(err, why) {
		t.Errorf("the error is %v", err)
	}
}

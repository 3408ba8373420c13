package upstream_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/sourcetest"
)

var reopens = flag.Int("upstream.reopens", 1000, "how often the conformance tests open a reader; the long run has 10000")

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memoryDir returns a new directory in memory, if the machine has one.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "upstream")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return dir
}

// newLog makes a log with a user, and its appender.
func newLog(t testing.TB, o llog.AppendOptions) (*llog.Log, llog.UserID, *llog.Appender) {
	t.Helper()
	log, err := llog.Create(filepath.Join(memoryDir(t), "log"), "test-MDT0000")
	check(t, err)
	user, err := log.Register(context.Background(), "", 0)
	check(t, err)
	a, err := log.NewAppender(o)
	check(t, err)
	t.Cleanup(func() { check(t, a.Close()) })
	return log, user.ID, a
}

func TestLLogConforms(t *testing.T) {
	sourcetest.Run(t, func(t testing.TB) sourcetest.Harness {
		bell, err := llog.NewBell()
		check(t, err)
		t.Cleanup(func() { check(t, bell.Close()) })
		log, user, a := newLog(t, llog.AppendOptions{SegmentSize: 20_000})
		return sourcetest.Harness{
			Source: upstream.NewLLog(log, user, bell),
			Append: func(t testing.TB, records []byte) {
				_, err := a.Append(context.Background(), records)
				check(t, err)
			},
			Deregister: func(t testing.TB) { check(t, log.Deregister(context.Background(), user)) },
			Reopens:    *reopens,
		}
	})
}

func TestMemoryConforms(t *testing.T) {
	sourcetest.Run(t, func(t testing.TB) sourcetest.Harness {
		m := upstream.NewMemory()
		t.Cleanup(func() { check(t, m.Close()) })
		return sourcetest.Harness{
			Source:       m,
			Append:       func(t testing.TB, records []byte) { check(t, m.Append(context.Background(), records)) },
			KeepsCleared: true,
			Reopens:      *reopens,
		}
	})
}

package upstream_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

func spool(t *testing.T, dir string) *upstream.LLog {
	t.Helper()
	s, err := upstream.Spool(context.Background(), dir, "demo-MDT0003", nil)
	check(t, err)
	return s
}

// A workload that is stopped and started again goes on in its spool as if nothing had
// happened.
func TestSpoolGoesOn(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "spool")
	for range 3 {
		s := spool(t, dir)
		info, err := s.Log().Info()
		check(t, err)
		a, err := s.Log().NewAppender(llog.AppendOptions{})
		check(t, err)
		w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 2, MDT: 3})
		w.Skip(info.Current)
		_, err = w.Produce(context.Background(), a, upstream.Pace{Records: 700})
		check(t, err)
		check(t, a.Close())
	}
	s := spool(t, dir)
	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 2, MDT: 3})
	w.Skip(2100)
	p := upstream.NewReplica()
	replay(t, p, readAll(t, s, 1))
	checkTree(t, p.Tree(), w.Tree())
	check(t, s.Clear(context.Background(), 2099))
	if info, err := s.Log().Info(); err != nil || len(info.Users) != 1 || info.Records != 1 {
		t.Errorf("got %+v, %v", info, err)
	}
}

// Who died between making the log and registering left a log without its user.
func TestSpoolIsCompleted(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "spool")
	_, err := llog.Create(dir, "demo-MDT0003")
	check(t, err)
	info, err := spool(t, dir).Log().Info()
	check(t, err)
	if len(info.Users) != 1 || info.Users[0].Name != "lcapd" {
		t.Errorf("the users are %v", info.Users)
	}
}

func TestSpoolRefuses(t *testing.T) {
	dir := memoryDir(t)
	other := filepath.Join(dir, "other")
	_, err := llog.Create(other, "demo-MDT0004")
	check(t, err)
	full := filepath.Join(dir, "full")
	check(t, os.Mkdir(full, 0o755))
	check(t, os.WriteFile(filepath.Join(full, "precious"), bytes.Repeat([]byte("x"), 10), 0o644))
	for dir, says := range map[string]string{other: "demo-MDT0004, not of demo-MDT0003", full: "not empty"} {
		if _, err := upstream.Spool(context.Background(), dir, "demo-MDT0003", nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: the error is %v", dir, err)
		}
	}
}

func TestMDTNumber(t *testing.T) {
	for name, want := range map[string]int{
		"lustre-MDT0000": 0, "a-MDT000a": 10, "a-MDT-MDTffff": 65535,
		"": -1, "lustre": -1, "lustre-MDT": -1, "lustre-MDT0": -1, "lustre-MDT00000": -1, "lustre-MDT00g0": -1, "MDT0000": -1,
	} {
		n, err := upstream.MDTNumber(name)
		if err != nil && want >= 0 || err == nil && int(n) != want {
			t.Errorf("%q: %d, %v", name, n, err)
		}
	}
}

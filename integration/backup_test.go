package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/upstream"
)

// backupSite is an lcapd on an MDT of which another user keeps everything: what an older
// state has not acknowledged is still there.
type backupSite struct {
	*daemonHome
	mdt    *emulatedtest.MDT
	server string
}

func newBackupSite(t *testing.T) *backupSite {
	mdt := emulatedtest.Start(t, emulatedtest.Options{MDT: "home-MDT0000"})
	mdt.Register("", 0)
	mdt.Register("hoarder", 0)
	s := &backupSite{daemonHome: newHome(t, buildPrograms(t)), mdt: mdt}
	s.set("device_dir", mdt.Dir())
	s.set("upstream", `[{mdt: home-MDT0000, driver: device, user: cl1, lustre: "2.14", changelog_users: `+mdt.UsersFile()+`}]`)
	s.init()
	work := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
	var packed []byte
	for range 100 {
		packed = work.Append(packed, time.Now())
	}
	mdt.AppendNew(packed)
	return s
}

func (s *backupSite) run() *running {
	r := s.start()
	s.server = r.addresses[0]
	return r
}

// lcapcli runs lcapcli, which must do it.
func (s *backupSite) lcapcli(args ...string) string {
	s.t.Helper()
	got := runProgram(s.t, filepath.Join(s.bin, "lcapcli"), append([]string{"-s", s.server}, args...)...)
	if got.code != 0 {
		s.t.Fatalf("lcapcli %v: %+v", args, got)
	}
	return got.stdout
}

// consume does some records and returns the index of the first.
func (s *backupSite) consume(count string) string {
	s.t.Helper()
	first, _, _ := strings.Cut(s.lcapcli("consume", "--group", "g", "--count", count), " ")
	return first
}

func (s *backupSite) cleared(index uint64) {
	s.t.Helper()
	eventually(s.t, "the clear", func() bool {
		info, err := s.mdt.Log().Info()
		return err == nil && info.Users[0].Cleared == index
	})
}

// refused demands that a restore changes nothing and says why.
func (s *backupSite) refused(file string, says ...string) {
	s.t.Helper()
	before, _ := os.ReadFile(s.dir + "/state/state.db")
	got := s.lcapd("restore", "-c", s.file(), file)
	after, _ := os.ReadFile(s.dir + "/state/state.db")
	if got.code != 2 || string(before) != string(after) {
		s.t.Errorf("restore %s: %+v", file, got)
	}
	for _, text := range says {
		if !strings.Contains(got.stderr, text) {
			s.t.Errorf("restore %s: %q does not say %q", file, got.stderr, text)
		}
	}
}

// TestBackupAndRestore copies the state of an lcapd that runs, lets it go on, and puts the
// copy back: over the state that went on, and where that is lost. Nothing illegal is cleared.
func TestBackupAndRestore(t *testing.T) {
	s := newBackupSite(t)
	r := s.run()
	if first := s.consume("10"); first != "1" {
		t.Errorf("the first record is %s", first)
	}
	s.cleared(10)
	s.lcapcli("groups", "create", "old", "--start", "latest")
	file := filepath.Join(s.dir, "backup")
	s.lcapcli("backup", file)
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	s.lcapcli("groups", "delete", "old")
	s.consume("50")
	s.cleared(60)
	s.lcapcli("groups", "create", "new", "--start", "latest")
	s.refused(file, "state is in use", "stop it first")
	r.terminate()

	s.refused(s.file(), "not an lcapd state")
	whole, err := os.ReadFile(file)
	must(t, err)
	writeFile(t, s.dir+"/half", string(whole[:len(whole)/2]))
	s.refused(s.dir+"/half", "damaged")
	got := s.lcapd("restore", "-c", s.file(), file)
	for _, text := range []string{"group new was made since", "group old was deleted since", "0 indexes"} {
		if got.code != 0 || !strings.Contains(got.stdout, text) {
			t.Errorf("%+v; it should say %q", got, text)
		}
	}
	r = s.run()
	s.lcapcli("groups", "delete", "old")
	if first := s.consume("20"); first != "61" {
		t.Errorf("the first record is %s", first)
	}
	s.cleared(80)
	r.terminate()

	must(t, os.RemoveAll(s.dir+"/state"))
	got = s.lcapd("restore", "-c", s.file(), file)
	if got.code != 0 || !strings.Contains(got.stdout, "comes again") {
		t.Errorf("%+v", got)
	}
	r = s.run()
	s.lcapcli("groups", "delete", "old")
	if first := s.consume("90"); first != "11" {
		t.Errorf("the first record is %s", first)
	}
	s.cleared(100)
	r.terminate()
	for _, c := range s.mdt.Clears() {
		if c.Result != "ok" {
			t.Errorf("%+v", c)
		}
	}
}

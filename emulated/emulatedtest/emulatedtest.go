// Package emulatedtest gives tests a changelog device of an emulated MDT: package emulated
// in a process and a mount namespace of its own, since Go's poller cannot wait in the
// process that serves. Nothing of it outlives the test process, however that ends.
//
//	func TestMain(m *testing.M) { emulatedtest.Main(m) }
//
//	func TestReads(t *testing.T) {
//		mdt := emulatedtest.Start(t, emulatedtest.Options{})
//		user := mdt.Register("", 0)
//		mdt.Emit(changelog.Fields{Type: changelog.TypeCreat, Name: "a"})
//		... open mdt.Dir() + "/changelog-" + mdt.Name() ...
//	}
//
// Outside CI a test is skipped where there is no /dev/fuse or no right to mount; with
// CI=true in the environment it fails.
package emulatedtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/llog"
)

// Options are the choices of an MDT. The zero value is good.
type Options struct {
	// MDT is its name, test-MDT0000 if empty. With Log it is the log's.
	MDT string
	// Log is what is shown; a new empty log without users if nil.
	Log *llog.Log
	// DeviceDir is where the device appears, under a name of its own: several MDTs may
	// share it. A directory of the MDT's own if empty.
	DeviceDir string
	// Version is the release of Lustre, the newest if 0.
	Version emulated.Version
	// FollowInterval is how long a prefetcher rests at the end of the log: 5 ms if 0,
	// where a real one rests for a second.
	FollowInterval time.Duration
	// OpenLatency, ShortReads, Seed, Dirty, Idle: see [emulated.Options].
	OpenLatency time.Duration
	ShortReads  bool
	Seed        uint64
	Dirty       bool
	Idle        *llog.IdleLimits
}

// MDT is an emulated MDT. Its methods are for the goroutine of the test: they end the
// test when they fail.
type MDT struct {
	tb         testing.TB
	o          Options
	name       string
	dir        string // where the link to the device is
	mountPoint string // in the child's namespace
	clears     string
	log        *llog.Log
	appender   *llog.Appender // of log; nil until it is wanted
	child      *child         // nil when there is none
	swapped    bool           // log is another one than the last child knew
}

// Start starts an MDT, which ends with the test.
func Start(tb testing.TB, o Options) *MDT {
	tb.Helper()
	if o.MDT == "" {
		o.MDT = "test-MDT0000"
	}
	if o.FollowInterval == 0 {
		o.FollowInterval = 5 * time.Millisecond
	}
	m := &MDT{tb: tb, o: o, name: o.MDT, dir: o.DeviceDir, mountPoint: tb.TempDir(), log: o.Log}
	m.clears = filepath.Join(tb.TempDir(), "clears")
	if m.dir == "" {
		m.dir = tb.TempDir()
	}
	if m.log == nil {
		m.log = m.NewLog()
	}
	m.name = m.log.MDT()
	err := m.start()
	if errors.Is(err, errUnavailable) && os.Getenv("CI") != "true" {
		tb.Skip(err)
	}
	m.check(err)
	tb.Cleanup(m.Stop)
	return m
}

func (m *MDT) check(err error) {
	m.tb.Helper()
	if err != nil {
		m.tb.Fatal(err)
	}
}

// start starts a server process and shows its device.
func (m *MDT) start() (err error) {
	m.child, err = startChild(spec{
		Log: m.log.Dir(), MountPoint: m.mountPoint, Clears: m.clears, Version: m.o.Version,
		FollowInterval: m.o.FollowInterval, OpenLatency: m.o.OpenLatency,
		ShortReads: m.o.ShortReads, Seed: m.o.Seed, Dirty: m.o.Dirty, Idle: m.o.Idle,
	})
	if err == nil && m.swapped {
		_, err = m.child.order(emulated.Command{Do: emulated.DoSwap, Dir: m.log.Dir()})
		m.swapped = false
	}
	if err != nil {
		return err
	}
	return m.show()
}

// show makes the link to the device, in one step.
func (m *MDT) show() error {
	next := m.link() + ".next"
	if err := os.Symlink(m.Path(), next); err != nil {
		return err
	}
	return os.Rename(next, m.link())
}

func (m *MDT) hide() error {
	if err := os.Remove(m.link()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (m *MDT) link() string { return filepath.Join(m.dir, "changelog-"+m.name) }

// Name returns the MDT's name.
func (m *MDT) Name() string { return m.name }

// Dir returns a directory that holds the device as /dev does, changelog-NAME. There it
// stays when the server process is another one; while there is none, it is missing.
func (m *MDT) Dir() string { return m.dir }

// Path returns the path of the device in the server process that runs.
func (m *MDT) Path() string { return m.inside("changelog-" + m.name) }

// UsersFile returns the path of a file that shows what the MDS's changelog_users does.
func (m *MDT) UsersFile() string { return m.inside("changelog_users-" + m.name) }

func (m *MDT) inside(name string) string {
	m.tb.Helper()
	return fmt.Sprintf("/proc/%d/root%s", m.running().cmd.Process.Pid, filepath.Join(m.mountPoint, name))
}

func (m *MDT) running() *child {
	m.tb.Helper()
	if m.child == nil {
		m.tb.Fatal("the server of the emulated MDT was killed; Restart it")
	}
	return m.child
}

// Log returns the log that is served.
func (m *MDT) Log() *llog.Log { return m.log }

// Appender returns the appender of the log, which any goroutine may use. It lasts until
// another log is served.
func (m *MDT) Appender() *llog.Appender {
	m.tb.Helper()
	if m.appender == nil {
		var err error
		m.appender, err = m.log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
		m.check(err)
	}
	return m.appender
}

// ReleaseAppender gives the appender back, so that another process may append.
func (m *MDT) ReleaseAppender() {
	m.tb.Helper()
	if m.appender != nil {
		m.check(m.appender.Close())
		m.appender = nil
	}
}

// Register registers a user. A name and a mask may be missing: "" and 0.
func (m *MDT) Register(name string, mask changelog.Mask) llog.UserID {
	m.tb.Helper()
	u, err := m.log.Register(context.Background(), name, mask)
	m.check(err)
	return u.ID
}

// Append stores packed records under the indexes that they carry.
func (m *MDT) Append(packed []byte) llog.Appended {
	m.tb.Helper()
	done, err := m.Appender().Append(context.Background(), packed)
	m.check(err)
	return done
}

// AppendNew stores packed records under the next indexes.
func (m *MDT) AppendNew(packed []byte) llog.Appended {
	m.tb.Helper()
	done, err := m.Appender().AppendNew(context.Background(), packed)
	m.check(err)
	return done
}

// Emit stores records under the next indexes. One without a time happens now.
func (m *MDT) Emit(records ...changelog.Fields) llog.Appended {
	m.tb.Helper()
	var packed []byte
	for _, f := range records {
		if f.Time == 0 {
			f.Time = changelog.TimeOf(time.Now())
		}
		var err error
		packed, err = f.Append(packed)
		m.check(err)
	}
	return m.AppendNew(packed)
}

// do has the server carry out a command.
func (m *MDT) do(c emulated.Command) emulated.Status {
	m.tb.Helper()
	status, err := m.running().order(c)
	m.check(err)
	return status
}

// Status tells how the device is used.
func (m *MDT) Status() emulated.Status {
	m.tb.Helper()
	return m.do(emulated.Command{Do: emulated.DoStatus})
}

// FailReads has the next n prefetchers that look at the log end with errno, which their
// open file shows after its queued records, for ever. A file that is opened later works.
func (m *MDT) FailReads(n int, errno syscall.Errno) {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoFailReads, N: n, Errno: unix.ErrnoName(errno)})
}

// FailOpens has the next n opens fail.
func (m *MDT) FailOpens(n int, errno syscall.Errno) {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoFailOpens, N: n, Errno: unix.ErrnoName(errno)})
}

// FailClears has the next n clears fail; nothing is done.
func (m *MDT) FailClears(n int, errno syscall.Errno) {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoFailClears, N: n, Errno: unix.ErrnoName(errno)})
}

// LoseClears has the next n clears done, and answered with errno all the same.
func (m *MDT) LoseClears(n int, errno syscall.Errno) {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoLoseClears, N: n, Errno: unix.ErrnoName(errno)})
}

// Evict gives every open file an error, after its queued records, for ever.
func (m *MDT) Evict(errno syscall.Errno) {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoEvict, Errno: unix.ErrnoName(errno)})
}

// Hide hides records: prefetchers go over them, and do not come back once they have seen
// a later one.
func (m *MDT) Hide(indexes ...uint64) {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoHide, Indexes: indexes})
}

// Reveal shows all hidden records to those who have not gone over them.
func (m *MDT) Reveal() {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoReveal})
}

// Stall has the MDT answer nobody until Resume: prefetchers stand still and clears hang.
// Records that are queued are still read.
func (m *MDT) Stall() {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoStall})
}

// StallFor is a stall that ends by itself.
func (m *MDT) StallFor(d time.Duration) {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoStall, For: d.String()})
}

// Resume ends a stall.
func (m *MDT) Resume() {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoResume})
}

// ShortReads says whether reads end at random records from now on.
func (m *MDT) ShortReads(on bool) {
	m.tb.Helper()
	m.o.ShortReads = on
	m.do(emulated.Command{Do: emulated.DoShortReads, On: on})
}

// NewLog returns a new empty log of the MDT, without users: its first index is 1.
func (m *MDT) NewLog() *llog.Log {
	m.tb.Helper()
	l, err := llog.Create(filepath.Join(m.tb.TempDir(), "log"), m.name)
	m.check(err)
	return l
}

// Swap serves another log from now on. Open files go on in it at their cursor; an MDT
// that starts anew also evicts them.
func (m *MDT) Swap(l *llog.Log) {
	m.tb.Helper()
	m.ReleaseAppender()
	m.log, m.swapped = l, m.child == nil
	if m.child != nil {
		m.do(emulated.Command{Do: emulated.DoSwap, Dir: l.Dir()})
	}
}

// Rewind serves from now on what a crash of the MDS may have left: the log without the
// records above keep. What is appended next has their indexes.
func (m *MDT) Rewind(keep uint64) *llog.Log {
	m.tb.Helper()
	m.ReleaseAppender()
	l, err := emulated.MakeRewound(context.Background(), m.log, filepath.Join(m.tb.TempDir(), "log"), keep)
	m.check(err)
	m.Swap(l)
	return l
}

// Unmount takes the device away. Who has it open gets ENODEV, a reader after what is
// queued.
func (m *MDT) Unmount() {
	m.tb.Helper()
	m.check(m.hide())
	m.do(emulated.Command{Do: emulated.DoUnmount})
}

// Mount makes the device appear again.
func (m *MDT) Mount() {
	m.tb.Helper()
	m.do(emulated.Command{Do: emulated.DoMount})
	m.check(m.show())
}

// Kill ends the server process with SIGKILL. Who has the device open gets ENOTCONN or
// ECONNABORTED.
func (m *MDT) Kill() {
	m.tb.Helper()
	m.check(m.hide())
	m.check(m.running().kill())
	m.child = nil
}

// Restart starts another server process, after killing the one that runs. What went wrong
// on demand does so no more.
func (m *MDT) Restart() {
	m.tb.Helper()
	if m.child != nil {
		m.Kill()
	}
	m.check(m.start())
}

// Stop ends the MDT, as the end of the test does.
func (m *MDT) Stop() {
	m.tb.Helper()
	err := m.hide()
	if m.appender != nil {
		err = errors.Join(err, m.appender.Close())
		m.appender = nil
	}
	if m.child != nil {
		err = errors.Join(err, m.child.stop())
		m.child = nil
	}
	if err != nil {
		m.tb.Error(err)
	}
}

// Clears returns every clear command that the device has received, over all restarts,
// oldest first.
func (m *MDT) Clears() []emulated.Clear {
	m.tb.Helper()
	clears, err := emulated.ReadClears(m.clears)
	m.check(err)
	return clears
}

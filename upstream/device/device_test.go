package device_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/device"
	"github.com/lcapd/lcapd/upstream/sourcetest"
)

var reopens = flag.Int("device.reopens", 500, "how often the conformance tests open a reader; the long run has 10000")

func TestMain(m *testing.M) { emulatedtest.Main(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// releases are those of Lustre in which a device behaves differently.
var releases = []struct {
	name    string
	version emulated.Version
}{
	{"2.12", emulated.Version212}, // cannot be followed
	{"2.14", emulated.Version214}, // begins to read when it is opened
	{"2.15", emulated.Version215}, // follows at any flag
	{"2.18", emulated.Version218},
}

// soon is how soon the tests' readers look again, and the emulated MDTs too.
const soon = 5 * time.Millisecond

// onlyUser is the first user that an MDT registers.
const onlyUser llog.UserID = 1

// newSource returns an emulated MDT with a user, and the source of its device.
func newSource(t testing.TB, o emulatedtest.Options) (*emulatedtest.MDT, *device.Source) {
	t.Helper()
	if o.Version == 0 {
		o.Version = emulated.Version218
	}
	mdt := emulatedtest.Start(t, o)
	mdt.Register("", 0)
	return mdt, sourceOf(t, mdt, device.Options{User: onlyUser.String()}, o.Version.String())
}

// sourceOf returns the source of an emulated MDT's device.
func sourceOf(t testing.TB, mdt *emulatedtest.MDT, o device.Options, release string) *device.Source {
	t.Helper()
	var err error
	o.Version, err = device.ParseVersion(release)
	check(t, err)
	o.Dir, o.MDT, o.Again = mdt.Dir(), mdt.Name(), soon
	s, err := device.New(o)
	check(t, err)
	return s
}

func TestConforms(t *testing.T) {
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			for _, short := range []bool{false, true} {
				if short && r.version != emulated.Version218 {
					continue
				}
				sourcetest.Run(t, func(t testing.TB) sourcetest.Harness {
					mdt, s := newSource(t, emulatedtest.Options{Version: r.version, ShortReads: short, Seed: 1})
					return sourcetest.Harness{
						Source: s,
						Append: func(_ testing.TB, records []byte) { mdt.Append(records) },
						Deregister: func(t testing.TB) {
							check(t, mdt.Log().Deregister(context.Background(), onlyUser))
						},
						Break:        func(_ testing.TB, errno syscall.Errno) { mdt.Evict(errno) },
						KeepsCleared: true,
						InVain:       inVain(r.version),
						Reopens:      *reopens,
					}
				})
			}
		})
	}
}

// inVain: a device that cannot be followed is opened again and again, and the emulated one
// learns where it is to begin only when it is read; until then it says that it has records.
func inVain(v emulated.Version) int {
	if v <= emulated.Version212 {
		return int(300 * time.Millisecond / soon)
	}
	return 0
}

// some reads until there is something, or the end.
func some(t testing.TB, r upstream.Reader) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 || err != nil {
			return buf[:n], err
		}
		if err := r.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

func open(t testing.TB, s *device.Source, start uint64) upstream.Reader {
	t.Helper()
	r, err := s.Open(context.Background(), start)
	check(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

func indexes(t testing.TB, packed []byte) (list []uint64) {
	t.Helper()
	s := changelog.NewScanner(packed)
	for s.Scan() {
		list = append(list, s.Last)
	}
	check(t, s.Err())
	return list
}

// What an MDT or a node answers, who is told, and what to do about it.
func TestErrors(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Append(sourcetest.Records(1, 100))
	for errno, says := range map[syscall.Errno]string{
		syscall.EACCES: "chlg_ops", syscall.ENODEV: "unmounted", syscall.EIO: "", syscall.ESHUTDOWN: "", syscall.EINVAL: "kernel log", syscall.ENOENT: "changelog_register",
	} {
		mdt.FailReads(1, errno)
		_, err := some(t, open(t, s, 1))
		var e *device.Error
		if !errors.As(err, &e) || !errors.Is(err, errno) || !strings.Contains(e.Remedy, says) || !strings.Contains(err.Error(), "read "+s.Path()) {
			t.Errorf("reading with %v: %v", errno, err)
		}
	}
	for errno, says := range map[syscall.Errno]string{
		syscall.EACCES: "chlg_ops", syscall.ENODEV: "unmounted", syscall.EIO: "", syscall.EINPROGRESS: "snapshot", syscall.ENXIO: "list of users",
	} {
		mdt.FailClears(1, errno)
		err := s.Clear(context.Background(), 10)
		var e *device.Error
		if !errors.As(err, &e) || !errors.Is(err, errno) || !strings.Contains(e.Remedy, says) || !strings.Contains(err.Error(), "clear 10 of "+s.Path()) {
			t.Errorf("clearing with %v: %v", errno, err)
		}
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT) {
			t.Errorf("%v is taken for a refusal", err)
		}
	}
	mdt.FailOpens(2, syscall.EACCES)
	if _, err := s.Open(context.Background(), 1); !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "udev") {
		t.Errorf("opening with EACCES: %v", err)
	}
	if err := s.Clear(context.Background(), 10); !errors.Is(err, syscall.EACCES) {
		t.Errorf("clearing with EACCES: %v", err)
	}
	check(t, s.Clear(context.Background(), 10))
}

// An MDT that takes the place of another one after that was looked at is not cleared.
func TestClearNoOther(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Append(sourcetest.Records(1, 100))
	err := s.ClearIf(context.Background(), 60, func() error {
		mdt.Unmount()
		mdt.Swap(mdt.NewLog())
		mdt.Register("", 0)
		mdt.Append(sourcetest.Records(1, 80))
		mdt.Mount()
		return nil
	})
	if !errors.Is(err, syscall.ENODEV) {
		t.Errorf("clearing what was mounted in between: %v", err)
	}
	got, err := some(t, open(t, s, 1))
	check(t, err)
	if list := indexes(t, got); list[0] != 1 {
		t.Errorf("the other one begins with %d", list[0])
	}
	check(t, s.Clear(context.Background(), 60))
}

// A device that is not there is no answer of an MDT.
func TestAbsent(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Append(sourcetest.Records(1, 10))
	r := open(t, s, 1)
	_, err := some(t, r)
	check(t, err)
	mdt.Unmount()
	for _, err := range []error{s.Clear(context.Background(), 5), func() error { _, err := s.Open(context.Background(), 1); return err }()} {
		if !errors.Is(err, device.ErrAbsent) || errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "mount the file system") {
			t.Errorf("without a device: %v", err)
		}
	}
	mdt.Mount()
	check(t, s.Clear(context.Background(), 5))
	got, err := some(t, open(t, s, 1))
	check(t, err)
	if list := indexes(t, got); list[0] != 6 {
		t.Errorf("after the mount came %v", list)
	}
}

// The server of the device may be killed at any time; a reader ends, another one goes on.
func TestKilled(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Append(sourcetest.Records(1, 10))
	r := open(t, s, 1)
	_, err := some(t, r)
	check(t, err)
	_, err = some(t, r)
	if !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %v", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- r.Wait(context.Background()) }()
	mdt.Kill()
	if err := <-waiting; err == nil {
		if _, err = r.Read(make([]byte, 64<<10)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("after the kill: %v", err)
		}
	}
	mdt.Restart()
	mdt.AppendNew(sourcetest.Records(11, 12))
	got, err := some(t, open(t, s, 11))
	check(t, err)
	if list := indexes(t, got); len(list) != 2 {
		t.Errorf("after the restart: %v", list)
	}
}

// A clear that the MDT does not answer ends with its context, and may be done later.
func TestClearHangs(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Append(sourcetest.Records(1, 10))
	mdt.Stall()
	why := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, why)
	defer cancel()
	if err := s.Clear(ctx, 4); !errors.Is(err, why) {
		t.Errorf("a clear that hangs: %v", err)
	}
	mdt.Resume()
	check(t, s.Clear(context.Background(), 5))
}

// A reader that waits while the MDT is away can be called back.
func TestReadHangs(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Append(sourcetest.Records(1, 10))
	mdt.Stall()
	r := open(t, s, 1)
	if n, err := r.Read(make([]byte, 64<<10)); n != 0 || err != nil {
		t.Fatalf("read %d, %v; it cannot know", n, err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, why)
	defer cancel()
	if err := r.Wait(ctx); !errors.Is(err, why) {
		t.Errorf("a wait that hangs: %v", err)
	}
	mdt.Resume()
	got, err := some(t, r)
	check(t, err)
	if list := indexes(t, got); len(list) != 10 {
		t.Errorf("then came %v", list)
	}
}

// A reader that passed a record's place before it appeared does not see it; a new one does.
func TestLateRecord(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Hide(5, 6)
	mdt.Append(sourcetest.Records(1, 10))
	r := open(t, s, 1)
	got, err := some(t, r)
	check(t, err)
	if list := indexes(t, got); len(list) != 8 {
		t.Errorf("came %v", list)
	}
	mdt.Reveal()
	if got, err := some(t, r); !errors.Is(err, io.EOF) {
		t.Errorf("then came %v, %v", got, err)
	}
	got, err = some(t, open(t, s, 5))
	check(t, err)
	if list := indexes(t, got); len(list) != 6 || list[0] != 5 {
		t.Errorf("a new reader got %v", list)
	}
}

// Where changelog_users can be seen, nobody else's records are cleared.
func TestUserIsChecked(t *testing.T) {
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			named := r.version >= emulated.Version215
			mdt := emulatedtest.Start(t, emulatedtest.Options{Version: r.version})
			first, second := mdt.Register("lcapd", 0), mdt.Register("other", 0)
			mdt.Append(sourcetest.Records(1, 100))
			name := first.String() + "-lcapd"
			if !named {
				name = first.String()
			}
			s := sourceOf(t, mdt, device.Options{User: name, Users: mdt.UsersFile()}, r.name)
			check(t, s.Clear(context.Background(), 40))
			check(t, s.Clear(context.Background(), 30)) // the MDT would refuse it
			if n := len(mdt.Clears()); n != 1 {
				t.Errorf("%d clears were sent; the second one is below the first", n)
			}
			user, err := s.CheckUser()
			if err != nil || user.Cleared != 40 || user.ID != first {
				t.Errorf("%+v, %v", user, err)
			}
			wrong := sourceOf(t, mdt, device.Options{User: second.String() + "-lcapd", Users: mdt.UsersFile()}, r.name)
			if err := wrong.Clear(context.Background(), 50); named && !errors.Is(err, llog.ErrUnknownUser) {
				t.Errorf("clearing as somebody else: %v", err)
			}
			check(t, mdt.Log().Deregister(context.Background(), first))
			if err := s.Clear(context.Background(), 50); !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "changelog_register") {
				t.Errorf("clearing as nobody: %v", err)
			}
			blind := sourceOf(t, mdt, device.Options{User: name, Users: mdt.UsersFile() + ".not"}, r.name)
			if err := blind.Clear(context.Background(), 50); !errors.Is(err, device.ErrUsersUnknown) || errors.Is(err, syscall.ENOENT) {
				t.Errorf("clearing without seeing the users: %v", err)
			}
		})
	}
}

// Zero is never sent by mistake, and everything only when it is meant.
func TestClearAll(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{})
	mdt.Append(sourcetest.Records(1, 10))
	if err := s.Clear(context.Background(), 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("clear 0: %v", err)
	}
	if n := len(mdt.Clears()); n != 0 {
		t.Fatalf("%d clears were sent", n)
	}
	check(t, s.ClearAll(context.Background()))
	if _, err := some(t, open(t, s, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after all was cleared: %v", err)
	}
	nobody := sourceOf(t, mdt, device.Options{}, "2.18")
	if err := nobody.ClearAll(context.Background()); err == nil || !strings.Contains(err.Error(), "no changelog user") {
		t.Errorf("clear as nobody: %v", err)
	}
}

// A golden stream comes out byte for byte, as far as the client can ask for long NIDs.
func TestGoldenStream(t *testing.T) {
	mdt, s := newSource(t, emulatedtest.Options{ShortReads: true, Seed: 7})
	want, err := os.ReadFile("../../changelog/testdata/vectors/stream.bin")
	check(t, err)
	mdt.Append(want)
	r := open(t, s, 1)
	var got []byte
	for {
		part, err := some(t, r)
		if errors.Is(err, io.EOF) {
			break
		}
		check(t, err)
		got = append(got, part...)
	}
	if string(got) != string(want) {
		t.Errorf("%d bytes came of %d, or others", len(got), len(want))
	}
}

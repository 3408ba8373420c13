package emulated_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/llog"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		text string
		want emulated.Version
	}{
		{"2.10", emulated.Version210}, {"2.15", emulated.Version215}, {"2.15.4", emulated.Version215}, {"2.18", emulated.Version218},
		{"2.9", 0}, {"2.19", 0}, {"3.15", 0}, {"2", 0}, {"2.x", 0}, {"", 0}, {"2.-11", 0},
	} {
		if got, err := emulated.ParseVersion(c.text); got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%q: %v, %v", c.text, got, err)
		}
	}
	var zero emulated.Version
	if zero.String() != "2.18" {
		t.Error(zero)
	}
}

// ABI 8.7, 13.
func TestSetFlags(t *testing.T) {
	for _, c := range []struct {
		version emulated.Version
		flags   int
		err     error
		follows bool
	}{
		{emulated.Version212, follow, unix.ENOTTY, false},
		{emulated.Version213, follow, nil, true},
		{emulated.Version215, nidBE, nil, true}, // any bit is FOLLOW
		{emulated.Version215, 0, nil, false},
		{emulated.Version216, nidBE, nil, false},
		{emulated.Version216, 0x1e, nil, false},
		{emulated.Version216, follow | nidBE, nil, true},
	} {
		t.Run(c.version.String(), func(t *testing.T) {
			mdt := start(t, emulatedtest.Options{Version: c.version, OpenLatency: 100 * time.Millisecond}, 1)
			f := open(t, mdt.Path(), nonblocking)
			if err := f.setFlags(c.flags); err != c.err {
				t.Fatalf("set flags: %v, want %v", err, c.err)
			}
			for f.poll(patience)&unix.POLLIN == 0 {
			}
			wantIndexes(t, f.read(4096), 1)
			b, err := f.tryRead(4096)
			if follows := err == unix.EAGAIN; follows != c.follows || len(b) > 0 {
				t.Errorf("at the end: %d bytes, %v", len(b), err)
			}
			if err := unix.IoctlSetInt(f.n, 0x1234, 1); err == nil || c.version >= emulated.Version213 && err != unix.EINVAL {
				t.Errorf("an ioctl that there is not: %v", err)
			}
		})
	}
}

// The server trims records to what the client understands (ABI 7.3).
func TestForms(t *testing.T) {
	const vectors = "../changelog/testdata/vectors/"
	stream, err := os.ReadFile(vectors + "stream.bin")
	check(t, err)
	for _, c := range []struct {
		version emulated.Version
		flags   int
		want    changelog.Generation
	}{
		{emulated.Version210, 0, changelog.Generation27},
		{emulated.Version211, 0, changelog.Generation211},
		{emulated.Version215, 0, changelog.Generation211},
		{emulated.Version218, 0, changelog.Generation211},
		{emulated.Version218, nidBE, changelog.Generation216},
	} {
		mdt := emulatedtest.Start(t, emulatedtest.Options{Version: c.version})
		mdt.Register("", 0)
		mdt.Append(stream)
		f := open(t, mdt.Path(), blocking)
		if c.flags != 0 {
			check(t, f.setFlags(c.flags))
		}
		var want []byte
		for s := changelog.NewScanner(stream); s.Scan(); {
			want = s.Record().AppendTrimmed(want, c.want)
		}
		if got := f.readAll(65536); !bytes.Equal(got, want) {
			t.Errorf("%s, flags %#x: %d bytes, want %d", c.version, c.flags, len(got), len(want))
		}
	}
}

// filterArg is the argument of the filter ioctl.
func filterArg(mask changelog.Mask, id llog.UserID, name string) *[48]byte {
	var b [48]byte
	binary.NativeEndian.PutUint64(b[:], uint64(mask))
	binary.NativeEndian.PutUint32(b[8:], uint32(id))
	copy(b[16:46], name)
	return &b
}

func (f fd) setFilter(arg *[48]byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.n), setFilter, uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return errno
	}
	return nil
}

// ABI 8.7, with the quirks.
func TestFilter(t *testing.T) {
	const creat, unlnk, mkdir = changelog.Mask(1 << 1), changelog.Mask(1 << 6), changelog.Mask(1 << 2)
	mdt := emulatedtest.Start(t, emulatedtest.Options{})
	plain := mdt.Register("", 0)
	audit := mdt.Register("audit", creat|unlnk)
	masked := mdt.Register("", unlnk)
	mdt.Emit(changelog.Fields{Type: changelog.TypeCreat}, changelog.Fields{Type: changelog.TypeUnlnk}, changelog.Fields{Type: changelog.TypeMkdir})
	tooLong := filterArg(0, 0, strings.Repeat("n", 30))
	for name, c := range map[string]struct {
		arg  *[48]byte
		err  error
		want []uint64
	}{
		"by id":                 {filterArg(0, audit, ""), nil, []uint64{1, 2}},
		"by name":               {filterArg(0, 0, "audit"), nil, []uint64{1, 2}},
		"wanted and registered": {filterArg(creat|mkdir, audit, ""), nil, []uint64{1}},
		"nothing in common":     {filterArg(mkdir, audit, ""), nil, []uint64{1, 2, 3}},
		"no name":               {filterArg(0, masked, ""), nil, []uint64{2}},
		"a plain user":          {filterArg(creat, plain, ""), unix.ENOENT, []uint64{1, 2, 3}},
		"nobody":                {filterArg(0, 0, ""), unix.ENOENT, []uint64{1, 2, 3}},
		"id and name together":  {filterArg(0, 0, "cl2-audit"), unix.ENOENT, []uint64{1, 2, 3}},
		"a name without end":    {tooLong, unix.EINVAL, []uint64{1, 2, 3}},
	} {
		f := open(t, mdt.Path(), blocking)
		if err := f.setFilter(c.arg); err != c.err {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if got := indexes(t, f.readAll(4096)); len(got) != len(c.want) || got[0] != c.want[0] {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	old := start(t, emulatedtest.Options{Version: emulated.Version217}, 0)
	if err := open(t, old.Path(), blocking).setFilter(filterArg(0, 1, "")); err != unix.EINVAL {
		t.Error("before there was one:", err)
	}
}

// A filter that lets little through fills no queue, and still finds what it lets through.
func TestFilterGoesFar(t *testing.T) {
	mdt := emulatedtest.Start(t, emulatedtest.Options{})
	user := mdt.Register("rare", 1<<changelog.TypeRmdir|1<<changelog.TypeCreat)
	const many = 60_000 // more than the prefetcher reads at once
	emit(mdt, many)
	mdt.Emit(changelog.Fields{Type: changelog.TypeRmdir})
	f := open(t, mdt.Path(), blocking)
	check(t, f.setFilter(filterArg(1<<changelog.TypeRmdir, user, "")))
	wantIndexes(t, f.readAll(4096), many+1)
}

// ABI 10.3.
func TestUsersFile(t *testing.T) {
	for _, c := range []struct {
		version emulated.Version
		want    string
	}{
		{emulated.Version218, "current_index: 2\nID                            index (idle) mask\n" +
			"cl1                               1 (0)\ncl2-audit                         0 (0) mask=CREAT,UNLNK\n"},
		{emulated.Version214, "current index: 2\nID    index (idle seconds)\ncl1   1 (0)\ncl2   0 (0)\n"},
		{emulated.Version210, "current index: 2\nID    index\ncl1   1\ncl2   0\n"},
	} {
		mdt := emulatedtest.Start(t, emulatedtest.Options{Version: c.version})
		mdt.Register("", 0)
		mdt.Register("audit", 1<<1|1<<6)
		emit(mdt, 2)
		check(t, mdt.Log().Clear(context.Background(), 1, 1))
		got, err := os.ReadFile(mdt.UsersFile())
		check(t, err)
		// The machine may be slow, so how long they have been idle is not compared.
		if text := withoutIdle(string(got)); text != withoutIdle(c.want) {
			t.Errorf("%s shows\n%swant\n%s", c.version, text, c.want)
		}
		info, err := mdt.Log().Info()
		check(t, err)
		idle := info.Users[0].Touched.Add(77 * time.Second)
		text := string(emulated.AppendUsers(nil, info, c.version, idle))
		if has := strings.Contains(text, "(77)"); has != (c.version > emulated.Version210) {
			t.Errorf("%s: %s", c.version, text)
		}
	}
}

func withoutIdle(s string) string { return regexp.MustCompile(`\(\d+\)`).ReplaceAllString(s, "(n)") }

// Stale bytes are there where servers leave them, the same each time, and the record is
// the same to who reads it with care.
func TestDirty(t *testing.T) {
	mdt := emulatedtest.Start(t, emulatedtest.Options{Dirty: true})
	mdt.Register("", 0)
	mdt.Emit(
		changelog.Fields{Type: changelog.TypeClose, Target: changelog.FID{Seq: 1, Oid: 1}, JobID: "cp.0", Format: changelog.Format{Flags: changelog.FlagJobID}},
		changelog.Fields{Type: changelog.TypeXattr, XattrName: "user.a", JobID: "cp.0",
			Format: changelog.Format{Flags: changelog.FlagJobID | changelog.FlagExtra, Extra: changelog.ExtraXattr}},
		changelog.Fields{Type: changelog.TypeCreat, Name: "a", Parent: changelog.FID{Seq: 3}},
	)
	got := open(t, mdt.Path(), blocking).readAll(4096)
	if again := open(t, mdt.Path(), blocking).readAll(4096); !bytes.Equal(got, again) {
		t.Error("another time, other bytes")
	}
	s := changelog.NewScanner(got)
	for i := 0; s.Scan(); i++ {
		rec := s.Record()
		if dirty := rec.Parent().Oid != 0; dirty != (i < 2) {
			t.Errorf("record %d has the parent %v", i+1, rec.Parent())
		}
		if job, ok := rec.JobID(); ok && (string(job) != "cp.0" || bytes.Contains(rec.Bytes(), []byte("cp.0\x00\x00"))) {
			t.Errorf("record %d: %q", i+1, rec.Bytes())
		}
		if name, ok := rec.XattrName(); ok && (string(name) != "user.a" || bytes.Contains(rec.Bytes(), []byte("user.a\x00\x00"))) {
			t.Errorf("record %d: %q", i+1, rec.Bytes())
		}
	}
	check(t, s.Err())
}

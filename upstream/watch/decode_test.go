package watch

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

// packEvent makes the bytes of an event as the kernel does.
func packEvent(mask uint64, pid int32, infos ...[]byte) []byte {
	b := make([]byte, unix.FAN_EVENT_METADATA_LEN)
	for _, i := range infos {
		b = append(b, i...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	b[4] = unix.FANOTIFY_METADATA_VERSION
	binary.NativeEndian.PutUint16(b[6:], unix.FAN_EVENT_METADATA_LEN)
	binary.NativeEndian.PutUint64(b[8:], mask)
	binary.NativeEndian.PutUint32(b[20:], uint32(pid))
	return b
}

func packInfo(kind byte, h handle, name string) []byte {
	b := make([]byte, infoHeader+fsidSize)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(h.bytes)))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.kind))
	b = append(b, h.bytes...)
	if name != "" {
		b = append(append(b, name...), 0)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b[0] = kind
	binary.NativeEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func TestDecode(t *testing.T) {
	old, now, child := handle{1, "12345678"}, handle{1, "abcdefgh"}, handle{129, "handle of 12"}
	b := packEvent(unix.FAN_RENAME|unix.FAN_ONDIR, 7,
		packInfo(unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, old, "a\xff"),
		packInfo(unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, now, "b"),
		packInfo(unix.FAN_EVENT_INFO_TYPE_FID, child, ""))
	more := packEvent(unix.FAN_Q_OVERFLOW, 0)
	e, rest, err := nextEvent(append(b, more...))
	check(t, err)
	want := event{mask: unix.FAN_RENAME | unix.FAN_ONDIR, pid: 7, dir: old, name: "a\xff", toDir: now, to: "b", child: child}
	if e != want || len(rest) != len(more) {
		t.Errorf("%+v and %d bytes, want %+v and %d", e, len(rest), want, len(more))
	}
	if e, rest, err = nextEvent(rest); err != nil || e.mask != unix.FAN_Q_OVERFLOW || len(rest) != 0 {
		t.Errorf("%+v %d %v", e, len(rest), err)
	}
	for cut := range len(b) {
		if _, _, err := nextEvent(b[:cut]); err == nil {
			t.Errorf("%d bytes of %d are an event", cut, len(b))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(packEvent(unix.FAN_CREATE, 1, packInfo(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, handle{1, "12345678"}, "a"), packInfo(unix.FAN_EVENT_INFO_TYPE_FID, handle{1, "87654321"}, "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			_, rest, err := nextEvent(b)
			if err == nil && len(rest) >= len(b) {
				t.Fatal("it does not advance")
			}
			b = rest
		}
	})
}

// A FID holds the handles that fit, and tells file systems and kinds of handles apart.
func TestIdentifiers(t *testing.T) {
	a, b := newIdentifiers(1), newIdentifiers(2)
	seen := map[changelog.FID]handle{}
	for _, h := range []handle{
		{1, "12345678"}, {1, "12345679"}, {2, "12345678"}, {1, "1234567\x00"}, {1, "1234567"},
		{129, "twelve bytes"}, {77, "a handle of twenty b"}, {77, "a handle of twenty c"},
	} {
		for _, ids := range []*identifiers{a, b} {
			f := ids.fid(h)
			if was, taken := seen[f]; taken || f.IsZero() || f.Seq>>63 == 0 {
				t.Errorf("%+v has the FID %s, as %+v has", h, f, was)
			}
			seen[f] = h
			back, fits := ids.handle(f)
			if fits != (len(h.bytes) <= fitting) || fits && back != h {
				t.Errorf("%+v comes back as %+v, %t", h, back, fits)
			}
		}
	}
	if a.fid(handle{1, "12345678"}) != newIdentifiers(1).fid(handle{1, "12345678"}) {
		t.Error("FIDs are not stable")
	}
}

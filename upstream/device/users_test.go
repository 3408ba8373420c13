package device

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/llog"
)

// What the releases of Lustre write (ABI 10.3).
func TestParseUsers(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Users
	}{
		{"2.15", "current_index: 4811\nID                            index (idle) mask\n" +
			"cl1                             101 (5)\ncl2-audit                      4711 (12) mask=MARK,MKDIR,RMDIR\n",
			Users{4811, []User{{1, "", 101, 5}, {2, "audit", 4711, 12}}}},
		{"2.12", "current index: 4811\nID    index (idle seconds)\ncl1   101 (5)\ncl12  4711 (12)\n",
			Users{4811, []User{{1, "", 101, 5}, {12, "", 4711, 12}}}},
		{"2.10", "current index: 4811\nID    index\ncl1   101\n", Users{4811, []User{{1, "", 101, -1}}}},
		{"nobody", "current_index: 18446744073709551615\nID                            index (idle) mask\n", Users{Current: 1<<64 - 1}},
		{"no end of line", "current_index: 0\ncl7-a-b 0 (0)", Users{0, []User{{7, "a-b", 0, 0}}}},
		{"words that are not known", "current_index: 3\n\ncl1 2 (soon) colour=blue\n", Users{3, []User{{1, "", 2, -1}}}},
	} {
		got, err := ParseUsers(c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestParseUsersRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                                    "current index",
		"ID index\ncl1 5\n":                   "current index",
		"current_index: many\n":               `"current_index: many"`,
		"current_index: 5\nroot 7\n":          `"root 7"`,
		"current_index: 5\ncl0 7\n":           `"cl0 7"`,
		"current_index: 5\ncl1\n":             `no index in "cl1"`,
		"current_index: 5\ncl1 -1 (3)\n":      "no index",
		"current_index: 99999999999999999999": "no index",
	} {
		if _, err := ParseUsers(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want it to say %s", text, err, says)
		}
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("current_index: 4811\nID index (idle) mask\ncl2-audit 4711 (12) mask=MARK\n")
	f.Add("current index: 4811\nID    index\ncl1   101\n")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUsers(text)
		if err != nil {
			return
		}
		for _, user := range u.List {
			if user.ID == 0 || user.Idle < -1 && !strings.Contains(text, "-") {
				t.Errorf("%q gave %+v", text, user)
			}
		}
	})
}

func TestFindUser(t *testing.T) {
	u := Users{9, []User{{1, "", 3, 0}, {2, "audit", 4, 0}}}
	for _, c := range []struct {
		id   llog.UserID
		name string
		ok   bool
	}{{1, "", true}, {2, "audit", true}, {2, "", true}, {2, "other", false}, {1, "audit", false}, {3, "", false}} {
		user, err := u.find(c.id, c.name)
		if c.ok != (err == nil) || c.ok && user.ID != c.id {
			t.Errorf("%d %q: %+v, %v", c.id, c.name, user, err)
		}
		if err != nil && !errors.Is(err, llog.ErrUnknownUser) {
			t.Errorf("%d %q: %v", c.id, c.name, err)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"2.15": {2, 15}, "2.15.4\n": {2, 15}, "2.16.50_12_gabc": {2, 16}, "2.10_1": {2, 10}, "3.0": {3, 0},
		"": {}, "2": {}, "2.": {}, "two.ten": {}, "2.-1": {}, "0.9": {}, "2.x": {},
	} {
		got, err := ParseVersion(text)
		if got != want || (err == nil) != (want != Version{}) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for v, long := range map[Version]bool{{2, 15}: false, {2, 16}: true, {2, 18}: true, {3, 0}: true, {}: false} {
		s, err := New(Options{Version: v})
		if err != nil || v != (Version{}) && s.longNIDs() != long {
			t.Errorf("%v: long NIDs %v, error %v", v, s.longNIDs(), err)
		}
	}
}

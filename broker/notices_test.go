package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/internal/clocktest"
	"github.com/lcapd/lcapd/wire"
)

func TestNotices(t *testing.T) {
	for _, x := range []struct {
		name   string
		happen string // seconds, and what: ! it happens, + it is so, - it is not so
		want   string // seconds and lines: ! at once, again with how many, and over
	}{
		{"once", "0! 1-", "0:first 1:over"},
		{"stands", "0+ 10+ 100+ 1000+ 1001-", "0:first 1001:over"},
		{"fails every five seconds", "0! 5! 10! 15! 20! 25! 30! 35! 40! 45! 50! 55! 60! 65! 66-", "0:first 60:again12 66:over1"},
		{"silent failures are said by and by", "0! 5! 10! 30+ 59+ 61+ 62-", "0:first 61:again2 62:over"},
		{"flaps", "0+ 1- 2+ 3- 4+ 5- 6+ 7-", "0:first 1:over"},
		{"flaps for long", "0+ 1- 30+ 31- 59+ 60- 61+ 62-", "0:first 1:over 61:again3 62:over"},
		{"comes back after a while", "0+ 1- 62- 63+ 64-", "0:first 1:over 63:first 64:over"},
		{"comes back and stays", "0+ 1- 10+ 20+ 59+ 60+ 70+ 80-", "0:first 1:over 60:again1 80:over"},
		{"happens before it is seen to be so", "0! 0+ 2+ 3-", "0:first 3:over"},
	} {
		n, begun := make(notices), time.Now()
		s := subject{wire.ClearFailing, "lustre-MDT0000"}
		var got []string
		for i, step := range strings.Fields(x.happen) {
			var seconds int
			var what rune
			if _, err := fmt.Sscanf(step, "%d%c", &seconds, &what); err != nil {
				t.Fatal(err)
			}
			now := begun.Add(time.Duration(seconds) * time.Second)
			now = clocktest.Set(now, time.Duration(i%3-1)*365*24*time.Hour) // somebody sets the clock all the time
			var lines []said
			switch what {
			case '!':
				lines = n.happened(s, "text", now)
			case '+':
				lines = n.review([]wire.Problem{{Kind: s.kind, About: s.about, Text: "text"}}, now)
			case '-':
				lines = n.review(nil, now)
			}
			for _, l := range lines {
				got = append(got, fmt.Sprintf("%d:%s", seconds, word(l)))
				if l.subject != s || l.text != "text" || l.since.After(now) {
					t.Errorf("%s: %+v", x.name, l)
				}
			}
		}
		if want := strings.Fields(x.want); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", x.name, got, want)
		}
	}
}

func word(l said) string {
	switch {
	case l.over && l.left > 0:
		return fmt.Sprint("over", l.left)
	case l.over:
		return "over"
	case l.left > 0:
		return fmt.Sprint("again", l.left)
	}
	return "first"
}

// Nothing is kept of what is long over.
func TestNoticesAreForgotten(t *testing.T) {
	n, now := make(notices), time.Unix(1000, 0)
	for i := range 100 {
		n.happened(subject{wire.RecordsLost, fmt.Sprint("g", i)}, "text", now)
	}
	if lines := n.review(nil, now.Add(time.Second)); len(lines) != 100 {
		t.Errorf("%d of 100 are over", len(lines))
	}
	n.review(nil, now.Add(2*sayAgainAfter))
	if len(n) > 0 {
		t.Errorf("%d are kept", len(n))
	}
}

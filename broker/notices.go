package broker

import (
	"maps"
	"slices"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// sayAgainAfter is how long a notice is silent after a line, whatever happens.
const sayAgainAfter = time.Minute

// subject is what a notice is about: a kind of problem of an MDT, a group, or the whole.
type subject struct {
	kind  wire.ProblemKind
	about string
}

// said is one line for the log.
type said struct {
	subject
	text  string
	since time.Time
	left  int  // how often it happened since the last line, without a line of its own
	over  bool // it is no longer so
}

// notices decides what of all that goes wrong is said. The first time that something is so
// is said at once; what happens again, at most once a minute, with how often that was; and
// once that it is over. What comes and goes faster than that is a line a minute as well.
// The loop owns it; time is an input.
type notices map[subject]*notice

// notice is what is known of a subject: while it is so, and for a minute after its last line.
type notice struct {
	text   string
	since  time.Time // when this began
	last   time.Time // when a line was said last
	left   int       // happenings without a line
	isOver bool
	told   bool // that it began: then it is told that it is over
}

// happened takes down that something went wrong, once.
func (n notices) happened(s subject, text string, now time.Time) (lines []said) {
	x := n[s]
	if x == nil || x.isOver {
		return n.begin(s, text, now, 1)
	}
	x.text = text
	x.left++
	return x.sayAgain(s, now)
}

// review takes down what is so now, and what is so no more.
func (n notices) review(list []wire.Problem, now time.Time) (lines []said) {
	is := make(map[subject]bool, len(list))
	for _, p := range list {
		s := subject{p.Kind, p.About}
		is[s] = true
		if x := n[s]; x == nil || x.isOver {
			lines = append(lines, n.begin(s, p.Text, now, 0)...)
		} else {
			lines = append(lines, x.sayAgain(s, now)...)
		}
	}
	for _, s := range slices.SortedFunc(maps.Keys(n), compareSubjects) {
		x := n[s]
		switch {
		case is[s]:
		case !x.isOver:
			x.isOver = true
			if x.told {
				lines = append(lines, said{s, x.text, x.since, x.left, true})
				x.left = 0
			}
		case now.Sub(x.last) >= sayAgainAfter:
			delete(n, s)
		}
	}
	return lines
}

// begin says that something is so, unless it was said less than a minute ago; how often
// that happened is one of those without a line then.
func (n notices) begin(s subject, text string, now time.Time, times int) []said {
	x := n[s]
	if x == nil {
		n[s] = &notice{text: text, since: now, last: now, told: true}
		return []said{{subject: s, text: text, since: now}}
	}
	x.text, x.since, x.isOver, x.told = text, now, false, false
	x.left += max(times, 1)
	return x.sayAgain(s, now)
}

// sayAgain says what happened without a line, when it is time.
func (x *notice) sayAgain(s subject, now time.Time) []said {
	if x.left == 0 || now.Sub(x.last) < sayAgainAfter {
		return nil
	}
	line := said{s, x.text, x.since, x.left, false}
	x.last, x.left, x.told = now, 0, true
	return []said{line}
}

func compareSubjects(a, b subject) int {
	switch {
	case a.about != b.about && a.about < b.about, a.about == b.about && a.kind < b.kind:
		return -1
	case a == b:
		return 0
	}
	return 1
}

package chart

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// frame is a function as it was called by those below it.
//
// The values of callees together are never above the frame's own.
type frame struct {
	name    string // of the function, with its package's path; for few that of nothing
	value   int64
	callees []*frame
	few     int // so many small frames beside each other, drawn as one; 0 for a function
}

// everything is the name of the frame below all others.
const everything = "all"

// framesOf returns the frames of a profile, below one that stands for all of it, and what
// their values are: nanoseconds of CPU time where the profile has them.
func framesOf(p *profile.Profile) (root *frame, unit string) {
	at := max(len(p.SampleType)-1, 0)
	for i, t := range p.SampleType {
		if t.Type == "cpu" {
			at = i
		}
	}
	if len(p.SampleType) > 0 {
		unit = p.SampleType[at].Unit
	}
	root = &frame{name: everything}
	for _, s := range p.Sample {
		f := root
		f.value += s.Value[at]
		for _, l := range slices.Backward(s.Location) { // the caller stands behind the callee
			for _, line := range slices.Backward(l.Line) {
				f = f.callee(nameOf(line))
				f.value += s.Value[at]
			}
			if len(l.Line) == 0 {
				f = f.callee(fmt.Sprintf("%#x", l.Address))
				f.value += s.Value[at]
			}
		}
	}
	return root, unit
}

func nameOf(line profile.Line) string {
	if line.Function == nil || line.Function.Name == "" {
		return "?"
	}
	return line.Function.Name
}

// callee returns the frame of a function that f calls.
func (f *frame) callee(name string) *frame {
	for _, c := range f.callees {
		if c.name == name {
			return c
		}
	}
	c := &frame{name: name}
	f.callees = append(f.callees, c)
	return c
}

// fold puts frames below least into one for those beside each other, and orders the others by
// their values. It returns how many frames are above each other then.
func (f *frame) fold(least int64) (depth int) {
	few := new(frame)
	f.callees = slices.DeleteFunc(f.callees, func(c *frame) bool {
		small := c.value < least
		if small {
			few.few++
			few.value += c.value
		}
		return small
	})
	slices.SortFunc(f.callees, func(a, b *frame) int {
		return cmp.Or(cmp.Compare(b.value, a.value), strings.Compare(a.name, b.name))
	})
	if few.value > 0 && few.value >= least {
		f.callees = append(f.callees, few)
	}
	for _, c := range f.callees {
		depth = max(depth, c.fold(least))
	}
	return depth + 1
}

// short is the function's name without the path of its package.
func (f *frame) short() string {
	if f.few > 0 {
		return fmt.Sprintf("%d smaller", f.few)
	}
	head := f.name
	if i := strings.IndexAny(head, "(["); i >= 0 { // what stands there may have a path too
		head = head[:i]
	}
	return f.name[strings.LastIndexByte(head, '/')+1:]
}

// ourModule is the path that the names of our own functions begin with.
const ourModule = "github.com/lcapd/lcapd/"

// kinds are the kinds of functions, with the class that colours them and what it says.
var kinds = []struct {
	class, says string
	prefixes    []string
}{
	{"own", "lcapd", []string{ourModule, "main."}},
	{"sys", "system calls", []string{"syscall.", "internal/runtime/syscall", "internal/syscall/", "golang.org/x/sys/"}},
	{"go", "Go runtime", []string{"runtime.", "runtime/", "internal/runtime/"}},
	{"std", "Go's library", nil},
	{"mod", "other modules", nil},
}

// class is that of the function's kind.
func (f *frame) class() string {
	if f.few > 0 || f.name == everything {
		return "few"
	}
	for _, k := range kinds {
		if slices.ContainsFunc(k.prefixes, func(p string) bool { return strings.HasPrefix(f.name, p) }) {
			return k.class
		}
	}
	if first, _, path := strings.Cut(f.name, "/"); path && strings.Contains(first, ".") && !strings.ContainsAny(first, "([") {
		return "mod"
	}
	return "std"
}

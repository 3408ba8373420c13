package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lcapd/lcapd/broker/core"
)

// What the windows of modules hold counts against the memory limit, and only time or more records
// make it less. Windows that may fill the memory would leave the reading nothing but a batch at a
// time, each of them read anew for each group: so they are refused beforehand.

// WindowUse is what the windows of a group's modules may hold.
type WindowUse struct {
	Group string
	Bytes int64 // in each MDT
	MDTs  int
}

func (u WindowUse) total() int64 { return u.Bytes * int64(u.MDTs) }

// ErrWindows: the windows of modules may hold more than half of the memory.
var ErrWindows = errors.New("windows of modules do not fit")

// FitWindows refuses windows that may hold more than half of a memory together. It is an
// [ErrWindows].
func FitWindows(memory int64, uses ...WindowUse) error {
	sum := int64(0)
	for _, u := range uses {
		sum += u.total()
	}
	if sum <= memory/2 {
		return nil
	}
	uses = slices.DeleteFunc(slices.Clone(uses), func(u WindowUse) bool { return u.total() == 0 })
	slices.SortStableFunc(uses, func(a, b WindowUse) int { return cmp.Compare(b.total(), a.total()) })
	var each []string
	for i, u := range uses {
		if i == 3 && len(uses) > 4 {
			each = append(each, fmt.Sprintf("%d more", len(uses)-i))
			break
		}
		each = append(each, fmt.Sprintf("%s %s in each of %d MDTs", u.Group, mib(u.Bytes), u.MDTs))
	}
	return fmt.Errorf("%w: they may hold %s together, half of memory (%s) is allowed: %s; lower bytes or records of these windows, or raise memory to %dMiB",
		ErrWindows, mib(sum), mib(memory), strings.Join(each, ", "), (2*sum+1<<20-1)>>20)
}

func mib(n int64) string { return fmt.Sprintf("%.6gMiB", float64(n)/(1<<20)) }

// measureWindows notes what the windows of groups may hold that are there from the start.
func (l *loop) measureWindows(list []core.GroupState) {
	for _, g := range list {
		bytes := int64(0)
		if plan, err := l.b.opts.Plan(chainOf(g), g.Config.Distribution); err == nil { // else it does not run
			bytes = plan.Windows()
		}
		l.windows[g.Config.Name] = l.windowUse(g, bytes)
	}
}

// windowUse is what windows of a group may hold that take some bytes in each MDT.
func (l *loop) windowUse(g core.GroupState, bytes int64) WindowUse {
	u := WindowUse{Group: g.Config.Name, Bytes: bytes, MDTs: len(l.mdts)}
	if g.MDTs != nil {
		u.MDTs = len(g.MDTs)
	}
	return u
}

// mayHold refuses windows of a group that do not fit beside those of the others. Whoever takes
// no more than before is not refused.
func (l *loop) mayHold(u WindowUse) error {
	if u.total() <= l.windows[u.Group].total() {
		return nil
	}
	uses := []WindowUse{u}
	for name, other := range l.windows {
		if name != u.Group {
			uses = append(uses, other)
		}
	}
	slices.SortFunc(uses, func(a, b WindowUse) int { return cmp.Compare(a.Group, b.Group) })
	if err := FitWindows(l.b.opts.Memory, uses...); err != nil {
		return fmt.Errorf("group %s: %w: %w", u.Group, ErrChain, err)
	}
	return nil
}

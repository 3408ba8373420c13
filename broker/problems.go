package broker

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

const (
	// reviewEvery is how often the loop looks whether something has gone wrong, besides
	// when it hears so.
	reviewEvery = time.Second
	// recently is how long something that happened, and is not so any more, is shown.
	recently = time.Hour
	// membersComeBack is how long members may need that come back to lcapd, or start with it. Until
	// then the status says that they are not there, and the log does not.
	membersComeBack = 3 * time.Second
	// slowAfter is after how long a write to the state counts as slow, and a reading as
	// behind that has not seen the end of its MDT.
	slowAfter = 10 * time.Second
)

// watch is what the loop knows of what goes wrong, besides what the core tells.
type watch struct {
	notices notices
	begun   map[subject]time.Time // since when something is so that does not tell by itself
	recent  map[subject]happening
	looked  time.Time // when that was last
}

// happening is something that went wrong once.
type happening struct {
	at           time.Time
	text, remedy string
}

func newWatch() watch {
	return watch{notices: make(notices), begun: make(map[subject]time.Time), recent: make(map[subject]happening)}
}

// risks collects problems: one of a kind for each subject.
type risks struct {
	*loop
	now    time.Time
	heldBy map[groups.MDT]string // the group that holds the clear back
	list   []wire.Problem
}

// add adds a problem. With the zero time it is so since it was first seen.
func (r *risks) add(kind wire.ProblemKind, about string, since time.Time, remedy, format string, args ...any) {
	if !slices.ContainsFunc(r.list, func(p wire.Problem) bool { return p.Kind == kind && p.About == about }) {
		r.list = append(r.list, wire.Problem{Kind: kind, About: about, Since: since, Remedy: remedy, Text: fmt.Sprintf(format, args...)})
	}
}

// problems lists what endangers a promise, with a remedy for each.
func (l *loop) problems(snap core.Snapshot, s wire.Status, now time.Time) []wire.Problem {
	r := &risks{loop: l, now: now, heldBy: make(map[groups.MDT]string), list: []wire.Problem{}}
	r.ofTheWhole(snap)
	for i, m := range snap.MDTs {
		r.heldBy[m.MDT] = m.HeldBy
		r.ofReading(s.MDTs[i].MDT, m)
		r.ofClearing(s.MDTs[i].MDT, m)
		r.ofEverybody(s.MDTs[i].MDT, m)
	}
	for i, g := range snap.Groups {
		r.ofGroup(g, s.Groups[i])
		r.ofMembers(g)
		r.ofLimits(g)
		r.ofChains(g)
	}
	for key, x := range l.watch.recent {
		if now.Sub(x.at) >= recently {
			delete(l.watch.recent, key)
			continue
		}
		r.add(key.kind, key.about, x.at, x.remedy, "%s", x.text)
	}
	slices.SortStableFunc(r.list, func(a, b wire.Problem) int {
		return cmp.Or(cmp.Compare(a.About, b.About), cmp.Compare(a.Kind, b.Kind))
	})
	l.watch.begin(r.list, now)
	return r.list
}

// begin fills in since when problems are there that do not tell.
func (w *watch) begin(list []wire.Problem, now time.Time) {
	begun := make(map[subject]time.Time)
	for i := range list {
		p := &list[i]
		s := subject{p.Kind, p.About}
		if p.Since.IsZero() {
			if p.Since = w.begun[s]; p.Since.IsZero() {
				p.Since = now
			}
			begun[s] = p.Since
		}
	}
	w.begun = begun
}

func (r *risks) ofTheWhole(snap core.Snapshot) {
	const retried = "lcapd tries again by itself"
	switch err := snap.UnwrittenCause; {
	case snap.Unwritten.IsZero():
		if since := snap.Writing; !since.IsZero() && r.now.Sub(since) >= slowAfter {
			r.add(wire.StateSlow, "state", since, "give the state directory a faster disk, or find out who keeps it busy", "a write to the state takes long, and nothing is cleared meanwhile")
		}
	case isFull(err):
		r.add(wire.DiskFull, "state", snap.Unwritten, "make room on the disk of the state directory; "+retried, "there is no room to write the state, so nothing is cleared: %v", err)
	default:
		r.add(wire.StateUnwritable, "state", snap.Unwritten, "repair the disk of the state directory, or make it writable; "+retried, "the state cannot be written, so nothing is cleared: %v", err)
	}
	if len(snap.Groups) == 0 && !r.b.opts.Limits.ClearWithoutGroups {
		r.add(wire.NoGroups, "groups", time.Time{}, "create a group: lcapcli groups create NAME", "there is no group, so nothing is cleared and the changelogs grow")
	}
	if snap.Starved > 0 {
		r.add(wire.MemoryFull, "memory", time.Time{}, "have members acknowledge faster, or raise memory in the configuration", "%d readings wait for memory: they go at the pace of the foremost group", snap.Starved)
	}
	if snap.Pinned > snap.PinLimit/2 {
		r.add(wire.WritersPinning, "memory", time.Time{}, "find the members that do not read what they are sent: lcapcli members", "peers have not read %d bytes that they were sent; beyond %d they are cut", snap.Pinned, snap.PinLimit)
	}
}

// readKind says what keeps an MDT from being read.
func readKind(err error) (kind wire.ProblemKind, remedy string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.DeviceMissing, "see that the file system is mounted here, with a changelog user registered on the MDT"
	case errors.Is(err, fs.ErrPermission):
		return wire.DevicePermission, "let lcapd open the device: run it as root, or give its user the right"
	}
	return wire.MDTUnreachable, "see whether the MDT is up and this client connected: lfs check mds; lcapd tries again by itself"
}

func (r *risks) ofReading(name string, m core.MDTSnapshot) {
	w := r.mdts[m.MDT]
	switch {
	case m.Stopped:
		r.add(wire.MDTStopped, name, m.Failing, "read the log, mend the cause, then: lcapcli mdts restart "+name, "reading was stopped: %s", m.Error)
	case !m.Failing.IsZero():
		kind, remedy := readKind(m.ReadCause)
		r.add(kind, name, m.Failing, remedy, "cannot be read: %s", m.Error)
	case !w.behind.IsZero() && r.now.Sub(w.behind) >= slowAfter:
		r.add(wire.ReadingBehind, name, w.behind, "nothing while it catches up; else see 'memory', and whether the network or the MDT is slow", "the MDT has more than was read")
	}
	if n := len(m.CatchUps); n > 0 {
		c := m.CatchUps[0]
		r.add(wire.CatchUpRunning, name, time.Time{}, "nothing while it catches up; members that acknowledge faster shorten it", "groups that are behind are served by %d readings of their own, the first at %d of %d", n, c.At, c.Until)
	}
}

// clearKind says what keeps an MDT from being cleared.
func clearKind(err error) (kind wire.ProblemKind, remedy string) {
	const look = "lctl get_param mdd.*.changelog_users on the MDS"
	switch {
	case errors.Is(err, syscall.ENOENT):
		return wire.UserDeregistered, "see " + look + "; if the user is gone, register a new one and begin anew with it: what was not read is lost"
	case errors.Is(err, syscall.EINVAL):
		return wire.ClearRefused, "see " + look + " whether somebody else clears as this user; lcapd clears again when there is more to clear"
	}
	return wire.ClearFailing, "see whether the MDT is up and this client connected: lfs check mds; lcapd tries again by itself"
}

func (r *risks) ofClearing(name string, m core.MDTSnapshot) {
	if !m.Uncleared.IsZero() {
		kind, remedy := clearKind(m.ClearCause)
		r.add(kind, name, m.Uncleared, remedy, "cannot be cleared: %s", m.ClearError)
	}
	if w := r.mdts[m.MDT]; !w.gone.IsZero() {
		kind, remedy := clearKind(syscall.ENOENT)
		r.add(kind, name, w.gone, remedy, "the MDT does not know the changelog user %s", w.User)
	}
	if m.Holes > 0 {
		r.add(wire.HolePending, name, m.HoleSince, "nothing: lcapd looks again in some seconds; if it lasts, see whether the MDT can be read", "%d ranges of indexes without records hold the clear back at %d until they were looked at again", m.Holes, m.HoleFrom)
	}
	if m.Late {
		r.add(wire.LateRecords, name, time.Time{}, "have members acknowledge what they have", "records appeared after later ones, and are not acknowledged by all groups")
	}
}

func (r *risks) ofGroup(g core.GroupSnapshot, s wire.GroupStatus) {
	switch {
	case g.Paused:
		r.add(wire.GroupPaused, g.Name, time.Time{}, "lcapcli groups resume "+g.Name, "the group is paused and holds the clear back")
	case len(g.Members) == 0 && s.Lag > 0:
		r.add(wire.GroupWithout, g.Name, time.Time{}, "start its members, or: lcapcli groups delete "+g.Name, "the group has no members and holds back %d indexes", s.Lag)
	}
	for _, t := range g.Tracks {
		if len(t.Poisoned) > 0 {
			p := t.Poisoned[0]
			r.add(wire.RecordsPoisoned, g.Name, time.Time{}, "see lcapcli groups show "+g.Name+", then: groups resume, or groups skip", "records %d to %d of %s were delivered too often and wait", p.From+1, p.To, r.mdts[t.MDT].Name)
		}
	}
	for i, t := range s.Tracks {
		id := g.Tracks[i].MDT
		serves := func(m groups.MemberState) bool { return m.Serves == nil || slices.Contains(m.Serves, id) }
		if len(g.Members) > 0 && t.Lag > 0 && !slices.ContainsFunc(g.Members, serves) {
			r.add(wire.MDTUnserved, g.Name, time.Time{}, "start a member that serves "+t.MDT, "none of its members serves %s, of which %d indexes wait", t.MDT, t.Lag)
		}
	}
}

func (r *risks) ofMembers(g core.GroupSnapshot) {
	for _, m := range g.Members {
		if m.Leases > 0 && m.Stuck >= r.b.opts.StuckAfter {
			r.add(wire.MemberStuck, g.Name, r.now.Add(-m.Stuck), "see what the member does, or end it: what it has goes to others (ack_timeout does so by itself)",
				"member %s has acknowledged nothing of its %d leases", m.Name, m.Leases)
		}
	}
	for _, m := range g.Marks {
		name := r.mdts[m.MDT].Name
		holds := r.heldBy[m.MDT] == g.Name
		if holds && len(g.Members) > 0 && !m.IdleSince.IsZero() && r.now.Sub(m.IdleSince) >= r.b.opts.Groups.Lease {
			r.add(wire.GroupHoldsClear, g.Name, m.IdleSince, "see who waits for whom: lcapcli groups show "+g.Name, "the clear of %s waits for it at %d, and it acknowledges nothing", name, m.Mark)
		}
	}
}

func (r *risks) ofLimits(g core.GroupSnapshot) {
	for _, m := range g.Marks {
		name := r.mdts[m.MDT].Name
		if m.Abandoned != "" && !m.Owes() {
			r.add(wire.GroupAbandoned, g.Name, m.IdleSince, "start its members, or: lcapcli groups delete "+g.Name, "the group counts as abandoned in %s: %s", name, m.Abandoned)
		}
		if m.Owes() {
			x := m.Missed[len(m.Missed)-1]
			r.add(wire.GroupExpired, g.Name, x.At, "start its members, who are told, or: lcapcli groups delete "+g.Name,
				"the group was abandoned and gave up (%d,%d] of %s; no member has heard of it yet", x.From, x.To, name)
		}
	}
}

func (r *risks) ofChains(g core.GroupSnapshot) {
	for _, m := range g.Marks {
		if m.Chain == nil {
			continue
		}
		name := r.mdts[m.MDT].Name
		if !m.Chain.Failing.IsZero() {
			r.add(wire.ChainFailing, g.Name, m.Chain.Failing, "mend the cause; lcapd tries again by itself, or at once with: lcapcli mdts restart "+name,
				"its filter or modules fail in %s, so nothing of it is handed out: %s", name, m.Chain.Error)
		}
		if s := r.stages[m.Chain.ID]; s != nil {
			for _, x := range s.stats {
				if x.Health != nil {
					r.add(wire.ModuleDisabled, g.Name, time.Time{}, "mend the module, then start lcapd anew, or have the group get it again: lcapcli groups set "+g.Name, "the module %s lets every record of %s pass: %v", x.Name, name, x.Health)
				}
			}
		}
	}
}

// ofEverybody tells of modules for everybody that do not do their work; those that end the
// reading have it stopped.
func (r *risks) ofEverybody(name string, m core.MDTSnapshot) {
	if r.everybody == nil {
		return
	}
	for _, x := range r.everybodyStats(m.MDT) {
		if x.Health != nil {
			r.add(wire.ModuleDisabled, name, time.Time{}, "mend the module, then start lcapd anew", "the module %s, which is for everybody, lets every record pass: %v", x.Name, x.Health)
		}
	}
}

// review looks what goes wrong, and says what is new: nothing is shown for long that the log has not.
func (l *loop) review(now time.Time) wire.Status {
	l.watch.looked = now
	s := l.status(now)
	for _, line := range l.watch.notices.review(lasting(s.Problems, now), now) {
		l.say(line)
	}
	return s
}

// happened notes something that went wrong once, and says so if it is time.
func (l *loop) happened(kind wire.ProblemKind, about, text string) {
	for _, line := range l.watch.notices.happened(subject{kind, about}, text, time.Now()) {
		l.say(line)
	}
}

// remember has something that went wrong shown for a while.
func (l *loop) remember(kind wire.ProblemKind, about, text, remedy string) {
	l.watch.recent[subject{kind, about}] = happening{time.Now(), text, remedy}
	l.happened(kind, about, text)
}

// say writes a line to the log. What comes and goes while all is well is for information.
func (l *loop) say(x said) {
	level := zerolog.WarnLevel
	switch x.kind {
	case wire.NewEpoch:
		return // that is said when it begins, each time
	case wire.RecordsLost, wire.GroupExpired, wire.MDTStopped:
		level = zerolog.ErrorLevel
	case wire.HolePending, wire.CatchUpRunning, wire.ReadingBehind, wire.MemoryFull, wire.LateRecords:
		level = zerolog.InfoLevel
	}
	text := x.text
	switch {
	case x.over && x.kind == wire.RecordsLost:
		return // they stay lost
	case x.over:
		level, text = zerolog.InfoLevel, "over: "+text
	}
	ev := l.b.opts.Log.WithLevel(level).Str("problem", string(x.kind)).Str("about", x.about).Time("since", x.since)
	if x.left > 0 {
		ev = ev.Int("left_out", x.left)
	}
	ev.Msg(text)
}

// alarm takes in what the core says that an operator should know.
func (l *loop) alarm(o core.Alarm) {
	about, kind := "state", o.Kind
	if !o.General {
		about = l.mdts[o.MDT].Name
	}
	if o.Group != "" {
		about, o.Text = o.Group, about+": "+o.Text
	}
	switch o.Kind {
	case wire.MDTUnreachable:
		if kind, _ = readKind(o.Err); o.Stopped {
			kind = wire.MDTStopped
		}
	case wire.ClearFailing:
		kind, _ = clearKind(o.Err)
	case wire.StateUnwritable:
		if isFull(o.Err) {
			kind = wire.DiskFull
		}
	}
	l.happened(kind, about, o.Text)
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// noteLoss says what a group has lost, and has it shown for a while.
func (l *loop) noteLoss(o core.Lost, x Lost) {
	if o.Expired {
		l.happened(wire.GroupExpired, x.Group, fmt.Sprintf("the group was abandoned and gives up (%d,%d] of %s, epoch %d", x.From, x.To, x.MDT, x.Epoch))
		return
	}
	l.remember(wire.RecordsLost, x.Group, fmt.Sprintf("records in (%d,%d] of %s, epoch %d, are gone that the group had not acknowledged", x.From, x.To, x.MDT, x.Epoch),
		"see why the MDT dropped them: its changelog_max_idle_indexes and changelog_min_free_cat_entries, or a restore; members were told")
}

// lasting returns the problems that the log is to tell of.
func lasting(list []wire.Problem, now time.Time) []wire.Problem {
	return slices.DeleteFunc(slices.Clone(list), func(p wire.Problem) bool {
		return p.Kind == wire.GroupWithout && now.Sub(p.Since) < membersComeBack
	})
}

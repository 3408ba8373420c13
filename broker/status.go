package broker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/wire"
)

// Status returns what operators are shown. Version and Broker are left empty.
func (b *Broker) Status(ctx context.Context) (s wire.Status, err error) {
	err = b.call(ctx, func(l *loop) { s = l.review(time.Now()) })
	return s, err
}

func (l *loop) status(now time.Time) wire.Status {
	snap := l.core.Snapshot()
	s := wire.Status{
		Started: l.begun, Ready: true, Problems: []wire.Problem{},
		MDTs: []wire.MDTStatus{}, Groups: []wire.GroupStatus{}, Listeners: []wire.ListenerStatus{}, Modules: []wire.ModuleStatus{},
		Memory: wire.Memory{
			Limit: snap.Limit + l.b.opts.History + l.b.opts.Views, Batches: snap.Memory, Pinned: snap.Pinned,
			Granted: snap.Granted, Chained: snap.Chained, Listened: l.history.bytes, Views: l.views.bytes,
		},
		Views: l.b.viewCounts.total(),
	}
	for _, m := range snap.MDTs {
		s.MDTs = append(s.MDTs, l.mdtStatus(m))
	}
	s.Modules = append(s.Modules, l.everybodyStatus(snap)...)
	for _, g := range snap.Groups {
		s.Groups = append(s.Groups, l.groupStatus(g, snap.MDTs, now))
		s.Modules = append(s.Modules, l.moduleStatus(g, now)...)
	}
	s.ListenerGaps, s.ListenerFiltered = l.past.gaps, l.past.filtered
	for _, x := range l.listeners {
		one := x.status()
		s.Listeners = append(s.Listeners, one)
		s.ListenerGaps += one.Gaps
		s.ListenerFiltered += one.Filtered
	}
	slices.SortFunc(s.Listeners, func(a, b wire.ListenerStatus) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Remote, b.Remote))
	})
	s.Problems = l.problems(snap, s, now)
	s.Ready = !slices.ContainsFunc(snap.MDTs, func(m core.MDTSnapshot) bool { return m.Stopped })
	return s
}

func (l *loop) mdtStatus(m core.MDTSnapshot) wire.MDTStatus {
	w := l.mdts[m.MDT]
	s := wire.MDTStatus{
		MDT: w.Name, User: w.User, Epoch: uint32(m.Epoch), Read: m.Read, Cleared: m.Cleared, HeldBy: m.HeldBy,
		State: "reading", Error: cmp.Or(m.Error, m.ClearError), Since: m.Failing, Holes: m.Holes,
		Window:   wire.Window{From: m.Window.From, To: m.Window.To, Batches: m.Batches, Bytes: m.Bytes},
		CatchUps: []wire.CatchUpStatus{},
	}
	switch {
	case m.Stopped:
		s.State = "stopped"
	case !m.Failing.IsZero():
		s.State = "failing"
	}
	if s.Since.IsZero() {
		s.Since = m.Uncleared
	}
	for _, c := range m.CatchUps {
		s.CatchUps = append(s.CatchUps, wire.CatchUpStatus(c))
	}
	return s
}

func (l *loop) groupStatus(g core.GroupSnapshot, mdts []core.MDTSnapshot, now time.Time) wire.GroupStatus {
	s := wire.GroupStatus{
		Group: g.Name, Distribution: g.Distribution.String(), Start: g.Start.String(), Paused: g.Paused, Stored: g.OnDisk,
		Members: []wire.MemberStatus{}, Tracks: []wire.TrackStatus{},
		MaxBacklog: g.Limits.Backlog, MaxIdle: g.Limits.Idle, Expire: g.Limits.Expire,
		Filter: g.Filter, Modules: g.Modules, Consumers: g.Consumers,
	}
	names := make(map[groups.MemberID]string, len(g.Members))
	for _, m := range g.Members {
		names[m.ID] = m.Name
		s.InFlight += m.InFlight
		s.Members = append(s.Members, l.memberStatus(g.Name, m))
	}
	for _, t := range g.Tracks {
		x := l.trackStatus(t, names)
		for _, m := range g.Marks {
			if m.MDT == t.MDT {
				x.Durable, x.Lost, x.Missed = m.Mark, m.LostUpTo, missedOf(m.Missed)
			}
		}
		for _, m := range mdts {
			if m.MDT == t.MDT {
				x.Epoch, x.Read = uint32(m.Epoch), m.Read
				x.Lag = m.Read - min(m.Read, t.Mark)
			}
		}
		s.Lag += x.Lag
		s.Tracks = append(s.Tracks, x)
	}
	return s
}

func missedOf(list []core.Missed) []wire.Missed {
	missed := []wire.Missed{}
	for _, x := range list {
		missed = append(missed, wire.Missed{Epoch: uint32(x.Epoch), From: x.From, To: x.To, At: x.At, Told: x.Told})
	}
	return missed
}

func (l *loop) memberStatus(group string, m groups.MemberState) wire.MemberStatus {
	s := wire.MemberStatus{
		Group: group, Name: m.Name, MDTs: []string{}, Lanes: m.Lanes, Leases: m.Leases,
		InFlight: m.InFlight, Credit: m.Batches, Idle: m.Idle,
	}
	for _, id := range m.Serves {
		s.MDTs = append(s.MDTs, l.mdts[id].Name)
	}
	if p := l.peers[m.ID]; p != nil {
		s.Remote, s.Joined, s.Records, s.Bytes = p.remote, p.joined, uint64(p.records), uint64(p.bytes)
		s.Fields = wire.FormOf(p.fields).Names()
	}
	return s
}

func (l *loop) trackStatus(t groups.TrackState, names map[groups.MemberID]string) wire.TrackStatus {
	s := wire.TrackStatus{
		MDT: l.mdts[t.MDT].Name, Mark: t.Mark, Handed: t.Frontier, Late: t.Late,
		Waits: []wire.Wait{}, Poisoned: []wire.Range{}, Skips: append([]uint64{}, t.Skips...),
	}
	for _, x := range t.Streams {
		if x.Blocked == groups.Ready || x.Blocked == groups.Empty || x.Blocked == groups.Elsewhere {
			continue
		}
		s.Waits = append(s.Waits, wire.Wait{
			Owner: names[x.Owner], At: x.Cursor, Keys: x.Keys, Reason: x.Blocked.String(),
			For: names[x.WaitsFor.Member], Until: x.WaitsFor.Mark,
		})
	}
	if o := t.Oldest; o.ID != 0 {
		s.Oldest = &wire.LeaseStatus{
			Lease: uint64(o.ID), Member: names[o.Member], From: o.From, To: o.To, Acked: o.Acked,
			Delivery: o.Count, Age: o.Age, Idle: o.Idle,
		}
	}
	for _, r := range t.Poisoned {
		s.Poisoned = append(s.Poisoned, wire.Range{From: r.From, To: r.To})
	}
	return s
}

func (x *Listener) status() wire.ListenerStatus {
	o, n := x.options, x.tally.counts()
	return wire.ListenerStatus{
		Name: o.Name, Remote: o.Remote, Since: x.begun, MDTs: append([]string{}, o.MDTs...),
		Fields: wire.FormOf(x.sight.fields).Names(), Filter: o.Filter, Modules: o.Modules,
		Records: n.records, Bytes: n.bytes, Gaps: n.gaps, Missed: n.missed, Filtered: n.filtered,
	}
}

package broker

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/groups"
)

// store translates between the core, which numbers MDTs, and the state, which names
// them. The goroutine that writes to the disk owns it.
type store struct {
	to      *state.Store
	names   []string             // of MDTs, by number
	starts  map[string]uint64    // where each track started, by group and MDT
	created map[string]time.Time // of groups, by name
	mdts    map[string][]string  // that groups are for, by name, served or not
}

// loadState reads what was durable.
func loadState(o Options) (*store, core.State, error) {
	snapshot, err := o.Store.Load()
	if err != nil {
		return nil, core.State{}, err
	}
	s := &store{to: o.Store, starts: make(map[string]uint64), created: make(map[string]time.Time), mdts: make(map[string][]string)}
	numbers := make(map[string]groups.MDT)
	for i, m := range o.MDTs {
		s.names = append(s.names, m.Name)
		numbers[m.Name] = groups.MDT(i)
	}
	if err := s.know(snapshot.Identity, o.MDTs); err != nil {
		return nil, core.State{}, err
	}
	return s, s.translate(snapshot, numbers, o), nil
}

// ErrOtherUser: the state says that lcapd is another changelog user of an MDT. What it
// acknowledged as that one says nothing about this one.
var ErrOtherUser = errors.New("another changelog user")

// know stores who lcapd is on MDTs that are new, and refuses to be another one on those
// that are not.
func (s *store) know(id state.Identity, mdts []MDT) error {
	users := make(map[string]string)
	for _, u := range id.Upstream {
		users[u.MDT] = u.User
	}
	var added []state.Upstream
	for _, m := range mdts {
		switch user, known := users[m.Name]; {
		case !known:
			added = append(added, state.Upstream{MDT: m.Name, User: m.User})
		case user != m.User:
			return fmt.Errorf("%s: %w: the state says %s, the configuration %s", m.Name, ErrOtherUser, user, m.User)
		}
	}
	if len(added) == 0 {
		return nil
	}
	return s.to.Write(state.Update{Upstream: added})
}

func (s *store) translate(snapshot state.Snapshot, numbers map[string]groups.MDT, o Options) core.State {
	var st core.State
	for i, name := range s.names {
		st.MDTs = append(st.MDTs, core.MDTState{MDT: groups.MDT(i)})
		m := &st.MDTs[i]
		for _, x := range snapshot.MDTs {
			if x.Name == name {
				m.Epoch, m.Cleared, m.Read = core.Epoch(x.Epoch), x.Cleared, x.Read
			}
		}
		for _, x := range snapshot.Recent {
			if x.MDT == name && core.Epoch(x.Epoch) == m.Epoch {
				m.Recent = fromIDs(x.Records)
			}
		}
	}
	for _, g := range snapshot.Groups {
		s.created[g.Name], s.mdts[g.Name] = g.Created, g.MDTs
		chain := o.chainOf(g.Name, Chain{Filter: g.Filter, Modules: g.Chain, Consumers: g.Consumers})
		x := core.GroupState{Config: o.groupConfig(g.Name, g.Distribution), Start: startOf(g.Start), Limits: o.limitsOf(g.Name, core.Limits(g.Limits)), Filter: chain.Filter, Modules: chain.Modules, Consumers: chain.Consumers, Paused: g.Paused}
		for _, name := range g.MDTs {
			if id, served := numbers[name]; served {
				x.MDTs = append(x.MDTs, id)
			}
		}
		if len(g.MDTs) > 0 && x.MDTs == nil {
			x.MDTs = []groups.MDT{} // none of those that are served: not all of them
		}
		st.Groups = append(st.Groups, x)
	}
	for _, t := range snapshot.Tracks {
		id, served := numbers[t.MDT]
		if !served {
			continue
		}
		s.starts[trackName(t.Group, t.MDT)] = t.Start
		st.Marks = append(st.Marks, core.MarkState{Group: t.Group, MDT: id, Epoch: core.Epoch(t.Epoch), Mark: t.Mark, Ceiling: t.Ceiling, Since: t.Since, Missed: fromMissed(t.Missed)})
	}
	return st
}

func startOf(s state.Start) core.Start {
	if s == state.Earliest {
		return core.Earliest
	}
	return core.Latest
}

func trackName(group, mdt string) string { return group + "/" + mdt }

// writeOrder is what is to be written, and which of its MDTs are doubted. What these are known by is listed beside the
// loop, which does not look at records.
type writeOrder struct {
	core.Persist
	doubts map[groups.MDT]doubt
}

// persist has the state written.
func (l *loop) persist(o core.Persist) {
	order := writeOrder{Persist: o, doubts: make(map[groups.MDT]doubt)}
	for _, m := range o.Update.MDTs {
		if w := l.mdts[m.MDT]; w.unsure() && w.doubt.epoch == m.Epoch {
			d := *w.doubt
			d.known, d.heard = slices.Clone(d.known), slices.Clone(d.heard)
			order.doubts[m.MDT] = d
		}
	}
	l.disk <- order
}

// update returns what is to be written.
func (o writeOrder) update() core.Update {
	u := o.Update
	u.MDTs = slices.Clone(u.MDTs) // the core keeps its own
	for i, m := range u.MDTs {
		if d, doubted := o.doubts[m.MDT]; doubted {
			u.MDTs[i].Recent = d.remembered(m.Recent)
		}
	}
	return u
}

// write stores an update of the core.
func (s *store) write(u core.Update) error {
	out := state.Update{Deleted: u.Deleted}
	for _, name := range u.Deleted {
		delete(s.created, name)
		delete(s.mdts, name)
		for _, mdt := range s.names {
			delete(s.starts, trackName(name, mdt))
		}
	}
	for _, g := range u.Groups {
		out.Groups = append(out.Groups, s.group(g))
	}
	for _, id := range u.Removed {
		out.Removed = append(out.Removed, s.names[id])
	}
	for _, m := range u.MDTs {
		name := s.names[m.MDT]
		out.MDTs = append(out.MDTs, state.MDT{Name: name, Epoch: uint32(m.Epoch), Cleared: m.Cleared, Read: m.Read})
		out.Recent = append(out.Recent, state.Recent{MDT: name, Epoch: uint32(m.Epoch), Records: toIDs(m.Recent)})
	}
	out.Ended = u.Ended
	for _, m := range u.Marks {
		name := s.names[m.MDT]
		key := trackName(m.Group, name)
		if _, known := s.starts[key]; !known {
			s.starts[key] = m.Mark
		}
		t := state.Track{Group: m.Group, MDT: name, Epoch: uint32(m.Epoch), Mark: m.Mark, Ceiling: m.Ceiling, Start: s.starts[key], Since: m.Since, Missed: toMissed(m.Missed)}
		if m.Seek {
			out.Seeks = append(out.Seeks, t)
		} else {
			out.Tracks = append(out.Tracks, t)
		}
	}
	return s.to.Write(out)
}

func (s *store) group(g core.GroupState) state.Group {
	name := g.Config.Name
	if s.created[name].IsZero() {
		s.created[name] = time.Now()
		for _, id := range g.MDTs {
			s.mdts[name] = append(s.mdts[name], s.names[id])
		}
	}
	return state.Group{
		Name: name, Distribution: g.Config.Distribution, Start: state.Start(g.Start.String()),
		MDTs: s.mdts[name], Created: s.created[name], Paused: g.Paused, Limits: state.Limits(g.Limits),
		Filter: g.Filter, Chain: g.Modules, Consumers: g.Consumers,
	}
}

func fromMissed(missed []state.Missed) (list []core.Missed) {
	for _, x := range missed {
		list = append(list, core.Missed{Epoch: core.Epoch(x.Epoch), Range: core.Range{From: x.From, To: x.To}, At: x.At, Told: x.Told})
	}
	return list
}

func toMissed(missed []core.Missed) (list []state.Missed) {
	for _, x := range missed {
		list = append(list, state.Missed{Epoch: uint32(x.Epoch), From: x.From, To: x.To, At: x.At, Told: x.Told})
	}
	return list
}

func fromIDs(ids []state.RecordID) (list []core.RecordID) {
	for _, id := range ids {
		list = append(list, core.RecordID(id))
	}
	return list
}

func toIDs(ids []core.RecordID) (list []state.RecordID) {
	for _, id := range ids {
		list = append(list, state.RecordID(id))
	}
	return list
}

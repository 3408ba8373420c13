package broker

import (
	"fmt"
	"time"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/groups"
)

// store translates between the core, which numbers MDTs, and the state, which names
// them. The goroutine that writes to the disk owns it.
type store struct {
	to     *state.Store
	names  []string          // of MDTs, by number
	starts map[string]uint64 // where each track started, by group and MDT
}

// loadState reads what was durable.
func loadState(o Options) (*store, core.State, error) {
	snapshot, err := o.Store.Load()
	if err != nil {
		return nil, core.State{}, err
	}
	s := &store{to: o.Store, starts: make(map[string]uint64)}
	numbers := make(map[string]groups.MDT)
	for i, m := range o.MDTs {
		s.names = append(s.names, m.Name)
		numbers[m.Name] = groups.MDT(i)
	}
	return s, s.translate(snapshot, numbers, o.Groups), nil
}

func (s *store) translate(snapshot state.Snapshot, numbers map[string]groups.MDT, defaults groups.Config) core.State {
	mdts := make(map[string]state.MDT)
	for _, m := range snapshot.MDTs {
		mdts[m.Name] = m
	}
	var st core.State
	for i, name := range s.names {
		m := mdts[name]
		st.MDTs = append(st.MDTs, core.MDTState{MDT: groups.MDT(i), Epoch: core.Epoch(m.Epoch), Cleared: m.Cleared, Read: m.Read})
	}
	for _, g := range snapshot.Groups {
		cfg := defaults
		cfg.Name, cfg.Distribution = g.Name, g.Distribution
		st.Groups = append(st.Groups, core.GroupState{Config: cfg, Start: startOf(g.Start)})
	}
	for _, t := range snapshot.Tracks {
		id, served := numbers[t.MDT]
		if !served {
			continue
		}
		s.starts[trackName(t.Group, t.MDT)] = t.Start
		st.Marks = append(st.Marks, core.MarkState{Group: t.Group, MDT: id, Epoch: core.Epoch(t.Epoch), Mark: t.Mark, Ceiling: t.Ceiling})
	}
	return st
}

func startOf(s state.Start) core.Start {
	if s == state.Earliest {
		return core.Earliest
	}
	return core.Latest
}

func trackName(group, mdt string) string { return fmt.Sprintf("%s/%s", group, mdt) }

// write stores an update of the core.
func (s *store) write(u core.Update) error {
	out := state.Update{Deleted: u.Deleted}
	for _, g := range u.Groups {
		start := state.Latest
		if g.Start == core.Earliest {
			start = state.Earliest
		}
		out.Groups = append(out.Groups, state.Group{Name: g.Config.Name, Distribution: g.Config.Distribution, Start: start, Created: time.Now()})
	}
	for _, id := range u.Removed {
		out.Removed = append(out.Removed, s.names[id])
	}
	for _, m := range u.MDTs {
		out.MDTs = append(out.MDTs, state.MDT{Name: s.names[m.MDT], Epoch: uint32(m.Epoch), Cleared: m.Cleared, Read: m.Read})
	}
	for _, m := range u.Marks {
		name := s.names[m.MDT]
		key := trackName(m.Group, name)
		if _, known := s.starts[key]; !known {
			s.starts[key] = m.Mark
		}
		t := state.Track{Group: m.Group, MDT: name, Epoch: uint32(m.Epoch), Mark: m.Mark, Ceiling: m.Ceiling, Start: s.starts[key]}
		if m.Seek {
			out.Seeks = append(out.Seeks, t)
		} else {
			out.Tracks = append(out.Tracks, t)
		}
	}
	return s.to.Write(out)
}

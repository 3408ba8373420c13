package serve

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// operate does what an operator asks for.
func (x *session) operate(m *wire.Request) error {
	reply, err := x.carryOut(m)
	if err != nil {
		return x.answer(m.Req, err)
	}
	body, err := json.Marshal(reply)
	if err != nil {
		return x.fatal(&wire.Error{Code: wire.Internal, Text: err.Error(), Req: m.Req})
	}
	header, err := wire.AppendHeader(nil, &wire.Reply{Req: m.Req})
	if err != nil {
		return err
	}
	// Waiting bounds what an operator who does not read has kept for him to one reply.
	return x.conn.SendWait(x.ctx, transport.Message{Frames: [][]byte{header}, Payload: [][]byte{body}})
}

func (x *session) carryOut(m *wire.Request) (any, error) {
	switch m.Op {
	case wire.OpStatus, wire.OpMDTs, wire.OpGroups, wire.OpGroup, wire.OpMembers, wire.OpListeners, wire.OpModules:
		return x.look(m)
	}
	if err := x.allow(transport.RoleOperate, string(m.Op)); err != nil {
		return nil, err
	}
	if m.Op == wire.OpBackup {
		return x.backup()
	}
	if err := x.change(m); err != nil {
		return nil, err
	}
	x.o.Log.Info().Str("peer", x.conn.Remote()).Str("op", string(m.Op)).EmbedObject(asked{m}).Msg("an operator has changed something")
	return wire.Done{OK: true}, nil
}

// asked is what an operator's change asked for, in the log. Only what counts for its operation stands there: an index
// of 0 beside a seek to the latest would tell something else.
type asked struct{ *wire.Request }

func (m asked) MarshalZerologObject(e *zerolog.Event) {
	if m.Op != wire.OpRestart {
		e.Str("group", m.Group)
	}
	if m.MDT != "" {
		e.Str("mdt", m.MDT)
	}
	switch m.Op {
	case wire.OpCreate:
		m.logCreate(e)
	case wire.OpSet:
		e.Str("filter", m.Filter).Str("modules", m.Modules).Str("consumers", m.Consumers)
	case wire.OpLimit:
		m.logLimits(e)
	case wire.OpDelete:
		e.Bool("force", m.Force)
	case wire.OpPause:
		e.Bool("paused", m.Paused)
	case wire.OpSkip:
		e.Uint64("index", m.Index)
	case wire.OpSeek:
		if m.Start != "" {
			e.Str("to", m.Start)
		} else {
			e.Uint64("index", m.Index)
		}
	}
}

func (m asked) logCreate(e *zerolog.Event) {
	for _, field := range [][2]string{{"distribution", m.Distribution}, {"start", m.Start}, {"filter", m.Filter}, {"modules", m.Modules}, {"consumers", m.Consumers}} {
		if field[1] != "" {
			e.Str(field[0], field[1])
		}
	}
	if m.MaxBacklog != 0 || m.MaxIdleMS != 0 {
		m.logLimits(e)
	}
}

func (m asked) logLimits(e *zerolog.Event) {
	e.Uint64("max_backlog", m.MaxBacklog).Stringer("max_idle", time.Duration(m.MaxIdleMS)*time.Millisecond).Bool("expire", m.Expire)
}

// backup copies the state.
func (x *session) backup() (wire.Backup, error) {
	file, err := x.o.Broker.Backup(x.ctx)
	if err != nil {
		return wire.Backup{}, err
	}
	b, err := wire.PackBackup(file)
	if err == nil {
		x.o.Log.Info().Str("peer", x.conn.Remote()).Int("bytes", len(file)).Msg("an operator has copied the state")
	}
	return b, err
}

// look answers who only looks.
func (x *session) look(m *wire.Request) (any, error) {
	s, err := x.o.Broker.Status(x.ctx)
	if err != nil {
		return nil, err
	}
	s.Version, s.Broker = x.o.Version, x.o.ID
	switch m.Op {
	case wire.OpMDTs:
		return s.MDTs, nil
	case wire.OpGroups:
		return s.Groups, nil
	case wire.OpListeners:
		return s.Listeners, nil
	case wire.OpStatus:
		return s, nil
	}
	if m.Op == wire.OpModules && m.Group == wire.Everybody {
		return modulesOf(s, m.Group), nil
	}
	i := slices.IndexFunc(s.Groups, func(g wire.GroupStatus) bool { return g.Group == m.Group })
	if i < 0 && m.Group != "" || i < 0 && m.Op == wire.OpGroup {
		return nil, fmt.Errorf("%w %q", core.ErrUnknownGroup, m.Group)
	}
	if m.Op == wire.OpGroup {
		return s.Groups[i], nil
	}
	if m.Op == wire.OpModules {
		return modulesOf(s, m.Group), nil
	}
	members := []wire.MemberStatus{}
	for _, g := range s.Groups {
		if m.Group == "" || g.Group == m.Group {
			members = append(members, g.Members...)
		}
	}
	return members, nil
}

// modulesOf returns the modules of a group; of all without one.
func modulesOf(s wire.Status, group string) []wire.ModuleStatus {
	return slices.DeleteFunc(s.Modules, func(x wire.ModuleStatus) bool { return group != "" && x.Group != group })
}

// change does what changes something.
func (x *session) change(m *wire.Request) error {
	b := x.o.Broker
	switch m.Op {
	case wire.OpCreate:
		spec, err := specOf(m)
		if err != nil {
			return err
		}
		return b.CreateGroup(x.ctx, spec)
	case wire.OpSet:
		return b.SetChain(x.ctx, m.Group, chainOf(m))
	case wire.OpDelete:
		return b.DeleteGroup(x.ctx, m.Group, m.Force)
	case wire.OpPause:
		return b.PauseGroup(x.ctx, m.Group, m.Paused)
	case wire.OpSkip:
		return b.Skip(x.ctx, m.Group, m.MDT, m.Index)
	case wire.OpLimit:
		limits, err := limitsOf(m)
		if err != nil {
			return err
		}
		return b.LimitGroup(x.ctx, m.Group, limits)
	case wire.OpRestart:
		return b.Restart(x.ctx, m.MDT)
	case wire.OpSeek:
		if m.Start == "" {
			return b.Seek(x.ctx, m.Group, m.MDT, m.Index)
		}
		start, err := startOf(m.Start)
		if err != nil {
			return err
		}
		return b.SeekTo(x.ctx, m.Group, m.MDT, start)
	}
	return &wire.Error{Code: wire.Refused, Text: fmt.Sprintf("this lcapd does not know the operation %q", m.Op)}
}

func specOf(m *wire.Request) (g broker.GroupSpec, err error) {
	g.Name = m.Group
	if m.Group == "" {
		return g, &wire.Error{Code: wire.Refused, Text: "a group takes a name"}
	}
	g.Chain = chainOf(m)
	if err := checkGroup(m.Group); err != nil {
		return g, err
	}
	if g.Limits, err = limitsOf(m); err != nil {
		return g, err
	}
	if m.MDT != "" {
		g.MDTs = strings.Split(m.MDT, ",")
	}
	if m.Distribution != "" {
		if g.Distribution, err = distributionOf(m.Distribution); err != nil {
			return g, err
		}
	}
	if m.Start != "" {
		g.Start, err = startOf(m.Start)
	}
	return g, err
}

// chainOf returns what is to be done with records before the group is handed them.
func chainOf(m *wire.Request) broker.Chain {
	return broker.Chain{Filter: m.Filter, Modules: m.Modules, Consumers: m.Consumers}
}

// limitsOf returns when a group is to count as abandoned.
func limitsOf(m *wire.Request) (core.Limits, error) {
	const longest = 10 * 366 * 24 * time.Hour
	if m.MaxIdleMS > uint64(longest/time.Millisecond) {
		return core.Limits{}, &wire.Error{Code: wire.Refused, Text: fmt.Sprintf("%d milliseconds of idleness are more than ten years", m.MaxIdleMS)}
	}
	return core.Limits{Backlog: m.MaxBacklog, Idle: time.Duration(m.MaxIdleMS) * time.Millisecond, Expire: m.Expire}, nil
}

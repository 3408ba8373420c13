package serve

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// Every operation, with its answer as clients decode it.
func TestOperations(t *testing.T) {
	s := newSite(t, nil)
	s.append(0, 100)
	o := s.greet(transport.RoleOperate)
	done := func(m wire.Request) {
		t.Helper()
		if !ask[wire.Done](o, m).OK {
			t.Errorf("%+v is not done", m)
		}
	}
	group := func() wire.GroupStatus {
		t.Helper()
		return ask[wire.GroupStatus](o, wire.Request{Op: wire.OpGroup, Group: "g"})
	}
	done(wire.Request{Op: wire.OpCreate, Group: "g", Distribution: "fid", Start: "earliest", MDT: mdts[0]})
	if g := group(); g.Group != "g" || g.Distribution != "fid" || g.Start != "earliest" || !g.Stored || len(g.Tracks) != 1 || g.Tracks[0].MDT != mdts[0] {
		t.Errorf("%+v", g)
	}
	done(wire.Request{Op: wire.OpPause, Group: "g", Paused: true})
	if !group().Paused {
		t.Error("not paused")
	}
	member := s.join("g", "n", 1)
	listener, _ := s.listen()
	listener.goesOn()
	done(wire.Request{Op: wire.OpSkip, Group: "g", MDT: mdts[0], Index: 1})
	done(wire.Request{Op: wire.OpSeek, Group: "g", MDT: mdts[0], Index: 40})
	eventually(t, "the seek", func() bool { return group().Tracks[0].Mark == 40 })
	done(wire.Request{Op: wire.OpPause, Group: "g"})
	if b := hear[*wire.Batch](member); b.First <= 40 {
		t.Errorf("%+v", b)
	}
	for _, group := range []string{"", "g"} {
		if m := ask[[]wire.MemberStatus](o, wire.Request{Op: wire.OpMembers, Group: group}); len(m) != 1 || m[0].Name != "n" || m[0].Group != "g" || m[0].Leases != 1 || m[0].Remote == "" {
			t.Errorf("%+v", m)
		}
	}
	if l := ask[[]wire.ListenerStatus](o, wire.Request{Op: wire.OpListeners}); len(l) != 1 || l[0].Name != "cache" {
		t.Errorf("%+v", l)
	}
	if m := ask[[]wire.MDTStatus](o, wire.Request{Op: wire.OpMDTs}); len(m) != 2 || m[0].MDT != mdts[0] || m[0].Read != 100 || m[0].State != "reading" {
		t.Errorf("%+v", m)
	}
	if g := ask[[]wire.GroupStatus](o, wire.Request{Op: wire.OpGroups}); len(g) != 1 || len(g[0].Members) != 1 {
		t.Errorf("%+v", g)
	}
	if st := ask[wire.Status](o, wire.Request{Op: wire.OpStatus}); st.Version != "test" || st.Broker != "the-id" || !st.Ready || len(st.Groups) != 1 || len(st.MDTs) != 2 || st.Memory.Limit == 0 {
		t.Errorf("%+v", st)
	}
	if file, err := ask[wire.Backup](o, wire.Request{Op: wire.OpBackup}).File(); err != nil || len(file) == 0 {
		t.Errorf("a backup of %d bytes, %v", len(file), err)
	}
	done(wire.Request{Op: wire.OpSeek, Group: "g", Start: "latest"})
	eventually(t, "the seek", func() bool { return group().Tracks[0].Mark == 100 })
	member.refused(wire.LeaseLost)
	done(wire.Request{Op: wire.OpRestart, MDT: mdts[0]})
	done(wire.Request{Op: wire.OpDelete, Group: "g", Force: true})
	hear[*wire.Bye](member)
	member.closed()
	if g := ask[[]wire.GroupStatus](o, wire.Request{Op: wire.OpGroups}); len(g) != 0 {
		t.Errorf("%+v", g)
	}
}

// lines is a log whose lines are received.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// What an operator has changed stands in the log, and nothing that he did not ask for.
func TestChangesAreLogged(t *testing.T) {
	log := make(lines, 100) // more than this test causes
	s := newSite(t, func(s *settings) { s.serve.Log = zerolog.New(log) })
	o := s.greet(transport.RoleOperate)
	for _, c := range []struct {
		asked wire.Request
		want  map[string]any
	}{
		{wire.Request{Op: wire.OpCreate, Group: "g", Distribution: "fid", Start: "earliest", MDT: mdts[0], Force: true},
			map[string]any{"group": "g", "distribution": "fid", "start": "earliest", "mdt": mdts[0]}},
		{wire.Request{Op: wire.OpSeek, Group: "g", Start: "latest"}, map[string]any{"group": "g", "to": "latest"}},
		{wire.Request{Op: wire.OpSeek, Group: "g", MDT: mdts[0]}, map[string]any{"group": "g", "mdt": mdts[0], "index": 0.}},
		{wire.Request{Op: wire.OpLimit, Group: "g", MaxIdleMS: 60_000, Expire: true},
			map[string]any{"group": "g", "max_backlog": 0., "max_idle": "1m0s", "expire": true}},
		{wire.Request{Op: wire.OpSet, Group: "g", Filter: "uid >= 1000"},
			map[string]any{"group": "g", "filter": "uid >= 1000", "modules": "", "consumers": ""}},
		{wire.Request{Op: wire.OpPause, Group: "g", Paused: true}, map[string]any{"group": "g", "paused": true}},
		{wire.Request{Op: wire.OpPause, Group: "g"}, map[string]any{"group": "g", "paused": false}},
		{wire.Request{Op: wire.OpRestart, MDT: mdts[0]}, map[string]any{"mdt": mdts[0]}},
		{wire.Request{Op: wire.OpDelete, Group: "g"}, map[string]any{"group": "g", "force": false}},
	} {
		ask[wire.Done](o, c.asked)
		var got map[string]any
		line := <-log
		must(t, json.Unmarshal([]byte(line), &got))
		if got["op"] != string(c.asked.Op) || got["peer"] == "" {
			t.Errorf("%s does not say what was done, or who did it", line)
		}
		for _, always := range []string{"level", "message", "op", "peer"} {
			delete(got, always)
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s, want %v", line, c.want)
		}
	}
}

// The name that stands for all groups is that of none.
func TestNoGroupIsCalledEverybody(t *testing.T) {
	s := newSite(t, nil)
	o := s.greet(transport.RoleOperate)
	o.say(&wire.Request{Req: 1, Op: wire.OpCreate, Group: wire.Everybody})
	o.refused(wire.Refused)
	m := s.greet(transport.RoleConsume)
	m.say(&wire.Join{Req: 1, Group: wire.Everybody, Name: "n", Create: true})
	m.refused(wire.Refused)
}

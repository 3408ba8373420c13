package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// operateAt connects an operator with a server's help.
func operateAt(t testing.TB, s *server) (*Operator, *peer) {
	t.Helper()
	operator := later(func() (*Operator, error) { return Operate(context.Background(), s.addr) })
	p := s.accept()
	o, err := operator(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o, p
}

func TestOperatorAsks(t *testing.T) {
	s := startServer(t)
	o, p := operateAt(t, s)
	if o.Broker() != "b1" {
		t.Errorf("broker %q", o.Broker())
	}
	ctx := t.Context()
	for _, c := range []struct {
		do   func() error
		want wire.Request
	}{
		{func() error { _, err := o.Status(ctx); return err }, wire.Request{Op: wire.OpStatus}},
		{func() error { _, err := o.Group(ctx, "g"); return err }, wire.Request{Op: wire.OpGroup, Group: "g"}},
		{func() error {
			return o.Create(ctx, "g", GroupSpec{"mdt", "latest", []string{"a", "b"}, GroupChain{"uid == 0", "[coalesce]", "changes"}, GroupLimits{MaxBacklog: 5, MaxIdle: time.Second, Expire: true}})
		},
			wire.Request{Op: wire.OpCreate, Group: "g", Distribution: "mdt", Start: "latest", MDT: "a,b", MaxBacklog: 5, MaxIdleMS: 1000, Expire: true,
				Filter: "uid == 0", Modules: "[coalesce]", Consumers: "changes"}},
		{func() error { return o.Set(ctx, "g", GroupChain{Filter: "uid == 0"}) }, wire.Request{Op: wire.OpSet, Group: "g", Filter: "uid == 0"}},
		{func() error { return o.Limit(ctx, "g", GroupLimits{MaxIdle: time.Second}) }, wire.Request{Op: wire.OpLimit, Group: "g", MaxIdleMS: 1000}},
		{func() error { return o.Delete(ctx, "g", true) }, wire.Request{Op: wire.OpDelete, Group: "g", Force: true}},
		{func() error { return o.Seek(ctx, "g", "m", 7) }, wire.Request{Op: wire.OpSeek, Group: "g", MDT: "m", Index: 7}},
		{func() error { return o.SeekTo(ctx, "g", "", "latest") }, wire.Request{Op: wire.OpSeek, Group: "g", Start: "latest"}},
		{func() error { return o.Pause(ctx, "g", true) }, wire.Request{Op: wire.OpPause, Group: "g", Paused: true}},
		{func() error { return o.Skip(ctx, "g", "m", 7) }, wire.Request{Op: wire.OpSkip, Group: "g", MDT: "m", Index: 7}},
		{func() error { return o.Restart(ctx, "m") }, wire.Request{Op: wire.OpRestart, MDT: "m"}},
	} {
		done := later(func() (struct{}, error) { return struct{}{}, c.do() })
		r := *hear[*wire.Request](p)
		p.reply(r.Req, struct{}{})
		if r.Req = 0; r != c.want {
			t.Errorf("asked %+v, wanted %+v", r, c.want)
		}
		if _, err := done(t); err != nil {
			t.Errorf("%s: %v", c.want.Op, err)
		}
	}
	for _, c := range []struct {
		do func() (int, error)
		op wire.Op
	}{
		{func() (int, error) { l, err := o.MDTs(ctx); return len(l), err }, wire.OpMDTs},
		{func() (int, error) { l, err := o.Groups(ctx); return len(l), err }, wire.OpGroups},
		{func() (int, error) { l, err := o.Members(ctx, ""); return len(l), err }, wire.OpMembers},
		{func() (int, error) { l, err := o.Listeners(ctx); return len(l), err }, wire.OpListeners},
	} {
		done := later(c.do)
		r := hear[*wire.Request](p)
		p.reply(r.Req, []struct{}{{}, {}})
		if n, err := done(t); err != nil || n != 2 || r.Op != c.op {
			t.Errorf("%s: %d, %v", r.Op, n, err)
		}
	}
}

// Answers may come in any order.
func TestRequestsOverlap(t *testing.T) {
	s := startServer(t)
	o, p := operateAt(t, s)
	ask := func(group string) func(testing.TB) (wire.GroupStatus, error) {
		return later(func() (wire.GroupStatus, error) { return o.Group(context.Background(), group) })
	}
	a, b := ask("a"), ask("b")
	r1, r2 := hear[*wire.Request](p), hear[*wire.Request](p)
	p.reply(r2.Req, wire.GroupStatus{Group: r2.Group})
	p.reply(99, wire.GroupStatus{Group: "nobody asked"})
	p.reply(r1.Req, wire.GroupStatus{Group: r1.Group})
	for name, done := range map[string]func(testing.TB) (wire.GroupStatus, error){"a": a, "b": b} {
		if g, err := done(t); err != nil || g.Group != name {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
}

func TestOperatorErrors(t *testing.T) {
	s := startServer(t)
	o, p := operateAt(t, s)
	done := later(func() (struct{}, error) { return struct{}{}, o.Delete(context.Background(), "g", false) })
	p.say(&wire.Error{Code: wire.UnknownGroup, Text: "no g", Req: hear[*wire.Request](p).Req}, nil)
	if _, err := done(t); !errors.Is(err, ErrUnknownGroup) {
		t.Errorf("delete: %v", err)
	}
	if err := o.Delete(t.Context(), strings.Repeat("x", 300), false); !errors.Is(err, ErrRefused) {
		t.Errorf("a name that is too long: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := o.Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	hear[*wire.Request](p)
	nonsense := later(func() (wire.Status, error) { return o.Status(context.Background()) })
	p.reply(hear[*wire.Request](p).Req, "nonsense")
	if _, err := nonsense(t); !errors.Is(err, ErrProtocol) {
		t.Errorf("nonsense: %v", err)
	}
	waiting := later(func() (wire.Status, error) { return o.Status(context.Background()) })
	hear[*wire.Request](p)
	p.hangUp()
	if _, err := waiting(t); err == nil {
		t.Error("an answer from nobody")
	}
	if _, err := o.Status(t.Context()); err == nil {
		t.Error("an answer on a connection that has ended")
	}
	o.Close()
	if _, err := Operate(t.Context(), ipcAddr(t)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := Operate(t.Context(), "nonsense"); err == nil || errors.Is(err, ErrUnreachable) {
		t.Errorf("no address: %v", err)
	}
}

func TestOperatorCloses(t *testing.T) {
	s := startServer(t)
	o, _ := operateAt(t, s)
	o.Close()
	o.Close()
	if _, err := o.Status(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("status after close: %v", err)
	}
}

package serve

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// Options say what is served, and how.
type Options struct {
	Broker *broker.Broker
	// ID is that of the broker's state, Version that of the program.
	ID, Version string
	// Heartbeat is how often each side says that it is alive when it has nothing else
	// to say; 0 stands for 5 s.
	Heartbeat time.Duration
	// Hello is how long a peer may take to say hello; 0 stands for 10 s.
	Hello time.Duration
	// MaxFrame is the largest frame that is accepted, in bytes, for peers to know.
	MaxFrame int
	// Modules are those that listeners may name, as far as they are safe for them; nil stands for
	// [modules.Builtin].
	Modules []modules.Kind
	// Count, if not nil, is called with the code of each error that a peer is told, and
	// with "sent-away" for each member whose membership the broker ends. It must not
	// block.
	Count func(what string)
	Log   zerolog.Logger
}

// sentAway is what Count is called with besides codes.
const sentAway = "sent-away"

// Server serves connections. It has no state of its own: the broker has all.
type Server struct{ o Options }

// New returns a server.
func New(o Options) *Server {
	if o.Heartbeat == 0 {
		o.Heartbeat = 5 * time.Second
	}
	if o.Modules == nil {
		o.Modules = modules.Builtin()
	}
	if o.Hello == 0 {
		o.Hello = 10 * time.Second
	}
	return &Server{o}
}

// Serve implements [transport.Handler].
func (s *Server) Serve(ctx context.Context, c *transport.Conn) {
	x := &session{Server: s, conn: c, roles: roles(c)}
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	err := x.run()
	if ctx.Err() != nil {
		err = transport.ErrStopping
	}
	x.end(err)
	s.o.Log.Debug().Str("peer", c.Remote()).AnErr("reason", err).Msg("a connection ended")
}

// roles returns what the peer may do. On ipc only root and our own user operate.
func roles(c *transport.Conn) transport.Role {
	who, err := c.Credentials()
	switch {
	case errors.Is(err, transport.ErrNotIPC):
		return c.Allowed()
	case err == nil && (who.UID == 0 || int(who.UID) == os.Geteuid()):
		return c.Allowed()
	}
	return c.Allowed() &^ transport.RoleOperate
}

func (s *Server) count(what string) {
	if s.o.Count != nil {
		s.o.Count(what)
	}
}

// codeOf returns what a peer is told of an error.
func codeOf(err error) wire.Code {
	var spoken *wire.Error
	if errors.As(err, &spoken) {
		return spoken.Code
	}
	for _, x := range []struct {
		err  error
		code wire.Code
	}{
		{groups.ErrLeaseLost, wire.LeaseLost},
		{groups.ErrNameInUse, wire.NameInUse},
		{core.ErrUnknownGroup, wire.UnknownGroup},
		{core.ErrGroupExists, wire.GroupExists},
		{broker.ErrChain, wire.BadFilter},
		{core.ErrNotMember, wire.NotMember},
		{core.ErrAlreadyMember, wire.AlreadyMember},
		{core.ErrUnknownMDT, wire.UnknownMDT},
		{broker.ErrModules, wire.Internal},
		{broker.ErrStopped, wire.Stopping},
	} {
		if errors.Is(err, x.err) {
			return x.code
		}
	}
	return wire.Refused
}

// spoken returns an error as a message.
func spoken(err error, req, lease uint64) *wire.Error {
	text := err.Error()
	var e *wire.Error
	if errors.As(err, &e) {
		text = e.Text
	}
	return &wire.Error{Code: codeOf(err), Text: text, Req: req, Lease: lease}
}

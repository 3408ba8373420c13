package transport

import (
	"context"
	"fmt"
	"net"
	"time"
)

// Dial connects to a server as a DEALER, within the handshake timeout and the context. The caller must
// call [Conn.Finish] in the end.
//
// Errors: ErrBadAddress; ErrUnreachable when nobody answers; ErrHandshake when somebody does and no
// connection comes about, with a *PeerError in it if the server said why, and with ErrVersion if it does
// not speak ZMTP 3; the context's. A server that closes the connection at once has no room: that is an
// ErrHandshake with ErrPeerGone.
//
// Of Options MaxConns, MaxPerAddress, Inbound and IdleTimeout do not count: set the latter with
// [Conn.SetIdle]. Receive reads into the same buffers again and again; large ones are kept.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	o = o.withDefaults()
	a, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: o.HandshakeTimeout, KeepAliveConfig: keepAlive}
	if a.network == "tcp" {
		dialer.Control = setUserTimeout
	}
	raw, err := dialer.DialContext(ctx, a.network, a.where)
	if err != nil {
		return nil, dialError(ctx, ErrUnreachable, a, err)
	}
	return connect(ctx, raw, a, o)
}

// DialPipe connects to a server inside the process, as [Dial] does to others.
func DialPipe(ctx context.Context, p *Pipe, o Options) (*Conn, error) {
	a := address{"pipe", ""}
	raw, err := p.Dial(ctx)
	if err != nil {
		return nil, dialError(ctx, ErrUnreachable, a, err)
	}
	return connect(ctx, raw, a, o.withDefaults())
}

// connect makes the handshake on a connection.
func connect(ctx context.Context, raw net.Conn, a address, o Options) (*Conn, error) {
	raw.SetDeadline(time.Now().Add(o.HandshakeTimeout))
	interrupted := interrupt(ctx, raw)
	peer, err := dialHandshake(raw)
	interrupted()
	if err == nil {
		err = ctx.Err() // the deadline may be one that the context set
	}
	if err != nil {
		raw.Close()
		return nil, dialError(ctx, ErrHandshake, a, ioError(err, HandshakeTimeout))
	}
	raw.SetDeadline(time.Time{})
	return newConn(context.Background(), raw, peer, 0, o, nil), nil
}

// dialError says what failed, with the context's error if that is why.
func dialError(ctx context.Context, what error, a address, err error) error {
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return fmt.Errorf("%s: %w: %w", a, what, err)
}

package transport

import (
	"errors"
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// SocketType is a ZMTP socket type.
type SocketType string

// The types that peers of a server may have.
const (
	Dealer SocketType = "DEALER" // the native dialect
	Req    SocketType = "REQ"    // older C clients
	Sub    SocketType = "SUB"    // plain listeners
)

// The types on the server's side.
const (
	router SocketType = "ROUTER"
	xpub   SocketType = "XPUB"
)

// Role is a set of what a peer may do. The transport only says what the address allows.
type Role uint8

// The roles.
const (
	RoleListen  Role = 1 << iota // be an ephemeral listener
	RoleConsume                  // be a member of a group
	RoleOperate                  // ask and change what operators do
)

// RoleAll holds every role.
const RoleAll = RoleListen | RoleConsume | RoleOperate

// Has says whether all roles of other are in r.
func (r Role) Has(other Role) bool { return r&other == other }

// String returns the names of the roles, separated by commas.
func (r Role) String() string {
	var names []string
	for i, name := range []string{"listen", "consume", "operate"} {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Credentials are the process at the other end of an ipc connection, when it connected.
type Credentials struct {
	PID      int32
	UID, GID uint32
}

// ErrNotIPC: nobody vouches for who the peer is; on ipc the kernel does.
var ErrNotIPC = errors.New("only ipc connections have credentials")

// credentials asks the kernel who is at the other end.
func credentials(raw net.Conn) (Credentials, error) {
	conn, ok := raw.(*net.UnixConn)
	if !ok {
		return Credentials{}, ErrNotIPC
	}
	control, err := conn.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var cred *unix.Ucred
	err2 := control.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, err2); err != nil {
		return Credentials{}, err
	}
	return Credentials{cred.Pid, cred.Uid, cred.Gid}, nil
}

// userTimeout has the kernel give up a tcp connection when what was sent is not confirmed for so long.
const userTimeout = 30_000 // ms

// setUserTimeout sets it. Where it does not work keepalive and write timeout do their part.
func setUserTimeout(_, _ string, control syscall.RawConn) error {
	control.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout)
	})
	return nil
}

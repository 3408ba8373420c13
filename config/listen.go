package config

import (
	"net"
	"path/filepath"
	"strings"
)

// Listen is an address to serve peers at.
type Listen struct {
	Address Address
	// Allow is what peers may do there.
	Allow Roles
}

// Address is where to listen.
type Address struct {
	// Network is "tcp" or "ipc".
	Network string
	// Where is host:port for tcp, an absolute path for ipc. The host * stands for all
	// of this machine, the port 0 for one that the system chooses.
	Where string
}

// String returns the address as the file has it, such as tcp://127.0.0.1:8189.
func (a Address) String() string { return a.Network + "://" + a.Where }

// Roles is a set of what a peer may do.
type Roles uint8

// The roles.
const (
	// RoleListen: be an ephemeral listener, which holds nothing back.
	RoleListen Roles = 1 << iota
	// RoleConsume: be a member of a group.
	RoleConsume
	// RoleOperate: see and change what goes on.
	RoleOperate

	// RolesTCP and RolesIPC are what peers may do where nothing else is said.
	RolesTCP = RoleListen | RoleConsume
	RolesIPC = RolesTCP | RoleOperate
)

var roleNames = []string{"listen", "consume", "operate"}

// Has tells whether all of the roles in want are in the set.
func (r Roles) Has(want Roles) bool { return r&want == want }

// String returns the names in the set, separated by commas.
func (r Roles) String() string {
	var names []string
	for i, name := range roleNames {
		if r.Has(1 << i) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// listenSettings are the keys of the long form.
var listenSettings = []setting[Listen]{
	{key: "addr", required: true, doc: addressAllowed, field: of(func(l *Listen) *Address { return &l.Address }, address)},
	{key: "allow", doc: "what peers may do there", field: of(func(l *Listen) *Roles { return &l.Allow }, roles)},
}

// listenItem takes an address in its short form, or a mapping in the long one.
func listenItem(s spot, v any) (l Listen, ok bool) {
	if text, short := v.(string); short {
		l.Address, ok = address(s, text)
	} else {
		l, ok = section(s, v, listenSettings, Listen{})
	}
	if ok && l.Allow == 0 {
		l.Allow = RolesTCP
		if l.Address.Network == "ipc" {
			l.Allow = RolesIPC
		}
	}
	return l, ok
}

const addressAllowed = "tcp://HOST:PORT or ipc:///ABSOLUTE/PATH"

// address takes tcp://host:port and ipc:///path.
func address(s spot, v any) (Address, bool) {
	text, _ := v.(string)
	network, where, _ := strings.Cut(text, "://")
	a := Address{network, where}
	switch {
	case network == "tcp" && isHostPort(where):
		if host, _, _ := net.SplitHostPort(where); host == "" {
			return a, s.refuse(v, addressAllowed+"; for all addresses of this machine the host is *")
		}
		return a, true
	case network == "ipc" && isPath(where):
		// The kernel's sockaddr_un has 108 bytes, one of them the NUL at the end.
		const longest = 107
		if len(where) > longest {
			return a, s.refuse(v, "a path of 107 bytes at most: sockets cannot have longer ones")
		}
		return a, true
	}
	return a, s.refuse(v, addressAllowed)
}

// isPath tells whether text is a path that does not depend on where we were started.
func isPath(text string) bool {
	return filepath.IsAbs(text) && !strings.ContainsRune(text, 0)
}

// roles takes a list of roles, one at least.
func roles(s spot, v any) (Roles, bool) {
	const allowed = "a list of one or more of listen, consume, operate"
	names, ok := listOf(oneOf(roleNames...), allowed)(s, v)
	if !ok {
		return 0, false
	}
	var set Roles
	for _, name := range names {
		for i := range roleNames {
			if roleNames[i] == name {
				set |= 1 << i
			}
		}
	}
	if set == 0 {
		return 0, s.refuse(v, allowed)
	}
	return set, true
}

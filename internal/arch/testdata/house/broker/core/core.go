// Package core is a pure room with a row of its own.
package core

import (
	"io"
	"net/netip"
	"os/exec"
)

// A Core has an address, and may read.
type Core struct {
	From io.Reader
	Addr netip.Addr
	Cmd  exec.Cmd
}

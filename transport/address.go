package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// An address is tcp://host:port or ipc:///path.
type address struct {
	network string // tcp or unix
	where   string // host:port or path
}

// parseAddress takes an address apart. The error is an ErrBadAddress.
func parseAddress(text string) (address, error) {
	scheme, where, _ := strings.Cut(text, "://")
	switch scheme {
	case "tcp":
		if _, port, err := net.SplitHostPort(where); err == nil && port != "" {
			return address{"tcp", where}, nil
		}
	case "ipc":
		if filepath.IsAbs(where) {
			return address{"unix", filepath.Clean(where)}, nil
		}
	}
	return address{}, fmt.Errorf("%w %q: tcp://host:port or ipc:///path is wanted", ErrBadAddress, text)
}

// String returns the address as it is written in the configuration.
func (a address) String() string {
	switch a.network {
	case "unix":
		return "ipc://" + a.where
	case "pipe":
		return "pipe"
	}
	return "tcp://" + a.where
}

// keepAlive finds dead peers that are not sent anything within about half a minute.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// listen opens a listener. Its Close removes what it made.
func (a address) listen() (net.Listener, error) {
	var l net.Listener
	var err error
	if a.network == "tcp" {
		config := net.ListenConfig{KeepAliveConfig: keepAlive, Control: setUserTimeout}
		l, err = config.Listen(context.Background(), "tcp", a.where)
	} else {
		l, err = a.listenIPC()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		err = ErrAddressInUse
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return l, nil
}

// listenIPC makes a socket file of mode 0660. It is made in a private directory and then renamed: so
// nobody can connect before the mode is set, and a stale file is replaced without a gap.
func (a address) listenIPC() (net.Listener, error) {
	if err := a.checkStale(); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(filepath.Dir(a.where), ".l")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	if longest := len(syscall.RawSockaddrUnix{}.Path) - 1; max(len(made), len(a.where)) > longest {
		return nil, fmt.Errorf("%w: the path may have %d bytes at most", ErrBadAddress, longest-len(made)+len(filepath.Dir(a.where)))
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would remove the name that is gone
	err = os.Chmod(made, 0o660)
	if err == nil {
		err = os.Rename(made, a.where)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(a.where)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return &ipcListener{l, a.where, info}, nil
}

// checkStale says whether the path may be taken: nothing is there, or a socket that nobody answers on.
func (a address) checkStale() error {
	info, err := os.Lstat(a.where)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%w: a file that is not a socket is there", ErrAddressInUse)
	}
	conn, err := net.DialTimeout("unix", a.where, time.Second)
	if err == nil {
		conn.Close()
		return ErrAddressInUse
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrAddressInUse, err) // somebody is there, too busy to answer perhaps
}

// ipcListener removes its socket file when it is closed.
type ipcListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// Close closes the listener and removes its file, unless another one is there by now.
func (l *ipcListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(l.made, now) {
		os.Remove(l.path)
	}
	return l.UnixListener.Close()
}

package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// Who stood still beyond a deadline, and finds that the peer has spoken meanwhile, hears it.
func TestDeadlineThatWasSlept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	stop, end := context.WithCancel(context.Background())
	p := &patient{raw: raw, stop: stop}
	b := make([]byte, 5)
	for _, x := range []struct {
		name  string
		ago   time.Duration // when the deadline was
		sent  string        // meanwhile
		heard bool
	}{
		{"awake, and nothing came", 0, "", false},
		{"slept, and nothing came", time.Hour, "", false},
		{"slept, and the peer spoke", time.Hour, "hello", true},
	} {
		if _, err := io.WriteString(peer, x.sent); err != nil {
			t.Fatal(err)
		}
		if err := p.await(time.Now().Add(-x.ago)); err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadFull(p, b)
		if heard := err == nil && string(b[:n]) == x.sent; heard != x.heard || !heard && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %q, %v", x.name, b[:n], err)
		}
	}
	end()
	if err := p.await(time.Now().Add(-time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("at the server's end: %v", err)
	}
	if n, err := p.Read(b); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("a read at the server's end: %d, %v", n, err)
	}
}

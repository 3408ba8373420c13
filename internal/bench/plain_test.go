package bench

import (
	"context"
	"io"
	"net"
	"testing"
)

// Why: what ended one measuring came late, and ended the next one with a timeout.
func TestReceiverMeasuresAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, endless{})
		_ = conn.Close()
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{conn: conn, buf: make([]byte, 4096), head: true}
	for i := range 5000 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := r.work(ctx, new(tally)); err != nil {
			t.Errorf("the measuring %d: %v", i, err)
			break
		}
	}
	_ = conn.Close()
	<-sending
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

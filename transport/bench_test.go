package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

// header is about the size of a batch's.
var header = make([]byte, 110)

// BenchmarkBatches sends batches from a server to one client over tcp loopback: through this package;
// with zmq4's own Conn on the receiving side; and over a plain connection with a length word, writev and
// a buffer that is used again, which is the least that the work can cost.
func BenchmarkBatches(b *testing.B) {
	for _, size := range []int{16 << 10, 64 << 10, 128 << 10, 1 << 20} {
		payload := [][]byte{make([]byte, size)}
		name := fmt.Sprintf("%dKiB", size>>10)
		b.Run("ours/"+name, func(b *testing.B) {
			c := dial(b, pump(b, payload))
			loop(b, size, func() error { _, err := c.Receive(); return err })
		})
		b.Run("zmq4/"+name, func(b *testing.B) {
			raw := rawDial(b, pump(b, payload))
			c, err := zmq4.Open(raw, null.Security(), zmq4.Dealer, nil, false, nil)
			if err != nil {
				b.Fatal(err)
			}
			loop(b, size, func() error { _, err := c.RecvMsg(); return err })
		})
		b.Run("plain/"+name, func(b *testing.B) {
			r := bufio.NewReaderSize(plainPump(b, payload[0]), readAhead)
			buf := make([]byte, size+len(header))
			loop(b, size, func() error {
				var head [8]byte
				if _, err := io.ReadFull(r, head[:]); err != nil {
					return err
				}
				_, err := io.ReadFull(r, buf[:binary.BigEndian.Uint64(head[:])])
				return err
			})
		})
	}
}

// loop measures receiving.
func loop(b *testing.B, size int, receive func() error) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if err := receive(); err != nil {
			b.Fatal(err)
		}
	}
}

// pump serves peers with batches, as fast as they take them, a few on their way.
func pump(b *testing.B, payload [][]byte) string {
	s := serve(b, Options{}, func(ctx context.Context, c *Conn) {
		room := make(chan struct{}, 4)
		m := Message{Frames: [][]byte{header}, Payload: payload, Sent: func() { <-room }}
		for {
			select {
			case room <- struct{}{}:
			case <-c.Done():
				return
			case <-ctx.Done():
				return
			}
			if c.Send(m) != nil {
				return
			}
		}
	})
	return s.tcp
}

// plainPump returns a connection from which batches come.
func plainPump(b *testing.B, payload []byte) net.Conn {
	far, near := plainPair(b)
	done := make(chan struct{})
	b.Cleanup(func() { near.Close(); <-done })
	go func() {
		defer close(done)
		head := binary.BigEndian.AppendUint64(nil, uint64(len(header)+len(payload)))
		for {
			bufs := net.Buffers{head, header, payload}
			if _, err := bufs.WriteTo(far); err != nil {
				return
			}
		}
	}()
	return near
}

// plainPair returns both ends of a tcp connection.
func plainPair(b *testing.B) (far, near net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { near.Close(); far.Close() })
	return far, near
}

// BenchmarkPingPong sends 200 bytes to and fro.
func BenchmarkPingPong(b *testing.B) {
	body := make([]byte, 200)
	b.Run("ours", func(b *testing.B) {
		s := serve(b, Options{}, func(_ context.Context, c *Conn) {
			for {
				frames, err := c.Receive()
				if err != nil {
					return
				}
				c.Keep()
				c.Send(Message{Frames: frames})
			}
		})
		c := dial(b, s.tcp)
		for b.Loop() {
			roundTrip(b, c, body)
		}
	})
	b.Run("plain", func(b *testing.B) {
		far, near := plainPair(b)
		go io.Copy(far, struct{ io.Reader }{far})
		buf := make([]byte, len(body))
		for b.Loop() {
			near.Write(body)
			if _, err := io.ReadFull(near, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

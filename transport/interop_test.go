package transport

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// python is Debian's: another one that comes first in PATH has no zmq.
const python = "/usr/bin/python3"

// Why: the peers that do not use our library use libzmq.
func TestLibzmq(t *testing.T) {
	if out, err := exec.Command(python, "-c", "import zmq").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3-zmq is wanted in CI: %v\n%s", err, out)
		}
		t.Skipf("install python3-zmq to run this: %v", err)
	}
	s := serve(t, Options{}, func(ctx context.Context, c *Conn) {
		if c.SocketType() == Sub {
			publish(t, c)
			return
		}
		echo(ctx, c)
	})
	for _, kind := range []string{"dealer", "req", "sub", "large"} {
		for _, addr := range []string{s.tcp, s.ipc} {
			t.Run(kind+" "+addr[:3], func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
				defer cancel()
				if out, err := exec.CommandContext(ctx, python, "testdata/libzmq.py", kind, addr).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

// publish serves a SUB: subscriptions come as messages, 1 and the topic, or 0 and the topic.
func publish(t *testing.T, c *Conn) {
	for _, want := range []string{"\x01mdt0", "\x00mdt0", "\x01end"} {
		frames, err := c.Receive()
		if err != nil || len(frames) != 1 || string(frames[0]) != want {
			t.Errorf("%q, %v", frames, err)
			return
		}
		if want != "\x01mdt0" {
			continue
		}
		for n := range 1000 {
			if err := c.SendWait(t.Context(), Message{Frames: [][]byte{[]byte("mdt0"), []byte(strconv.Itoa(n))}}); err != nil {
				t.Error(err)
			}
		}
	}
	c.Send(Message{Frames: [][]byte{[]byte("end"), {}}})
	c.Receive() // until it leaves
}

package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/llog"
)

// BenchmarkIdleLatency measures how long a record takes that comes alone: from its
// append to a changelog until a member has it, through an lcapd process, and beside it,
// in the same run, a round trip of a record's size over a Unix socket.
func BenchmarkIdleLatency(b *testing.B) {
	dir := b.TempDir()
	log, m := startForLatency(b, dir)
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	fields := changelog.Fields{Type: changelog.TypeClose, Format: changelog.Format{Flags: changelog.FlagVersion}, Time: changelog.TimeOf(time.Now())}
	record, err := fields.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	echo := startEcho(b, dir)
	var latencies, trips []time.Duration
	answer := make([]byte, len(record))
	for b.Loop() {
		began := time.Now()
		if _, err := a.AppendNew(b.Context(), record); err != nil {
			b.Fatal(err)
		}
		batch, err := m.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		latencies = append(latencies, time.Since(began))
		if err := m.Ack(batch); err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		if _, err := echo.Write(record); err != nil {
			b.Fatal(err)
		}
		if _, err := echo.Read(answer); err != nil {
			b.Fatal(err)
		}
		trips = append(trips, time.Since(began))
	}
	slices.Sort(latencies)
	slices.Sort(trips)
	at := func(list []time.Duration, part float64) float64 {
		return float64(list[int(float64(len(list)-1)*part)].Nanoseconds()) / 1e3
	}
	b.ReportMetric(at(latencies, 0.5), "µs-p50")
	b.ReportMetric(at(latencies, 0.99), "µs-p99")
	b.ReportMetric(at(trips, 0.5), "µs-socket-p50")
	b.ReportMetric(at(latencies, 0.5)/at(trips, 0.5), "p50/socket")
}

// startForLatency starts lcapd over an empty changelog, and joins a group.
func startForLatency(b *testing.B, dir string) (*llog.Log, *client.Member) {
	log, err := llog.Create(dir+"/log", "local-MDT0000")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := log.Register(b.Context(), "lcapd", 0); err != nil {
		b.Fatal(err)
	}
	addr := "ipc://" + dir + "/lcapd.sock"
	conf := fmt.Sprintf("listen: [{addr: %q, allow: [consume]}]\nhttp: ''\nstate: %s/state\nlog: {level: warn}\ngroups: [{name: g}]\n"+
		"upstream: [{mdt: local-MDT0000, driver: llog, path: %s/log, user: cl1}]\n", addr, dir, dir)
	if err := os.WriteFile(dir+"/lcapd.yaml", []byte(conf), 0o644); err != nil {
		b.Fatal(err)
	}
	bin := filepath.Join(dir, "lcapd")
	for _, args := range [][]string{{"go", "build", "-o", bin, "../cmd/lcapd"}, {bin, "init", "-c", dir + "/lcapd.yaml"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	lcapd := exec.Command(bin, "-c", dir+"/lcapd.yaml")
	if err := lcapd.Start(); err != nil {
		b.Fatal(err)
	}
	m, err := client.Join(context.Background(), []string{addr}, "g", client.Patient())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		m.Close()
		_ = lcapd.Process.Kill()
		_ = lcapd.Wait()
	})
	return log, m
}

// startEcho returns a Unix socket to which somebody writes back what he reads.
func startEcho(b *testing.B, dir string) net.Conn {
	l, err := net.Listen("unix", dir+"/echo.sock")
	if err != nil {
		b.Fatal(err)
	}
	echo := exec.Command("python3", "-c", "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nwhile d:=s.recv(4096): s.sendall(d)", dir+"/echo.sock")
	if err := echo.Start(); err != nil {
		b.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.Close()
		l.Close()
		_ = echo.Wait()
	})
	return conn
}

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/wire"
)

// daemon is an lcapd that was started for one run, with a state of its own.
type daemon struct {
	cmd  *exec.Cmd
	addr string
	http string
	said *strings.Builder // its log, as far as it was read
	log  chan struct{}    // closed when the log has ended
}

// readyPatience is how long an lcapd may take to be ready.
const readyPatience = time.Minute

// startDaemon starts an lcapd in a folder with a configuration, and waits until it is ready.
func startDaemon(ctx context.Context, program, dir, config string) (*daemon, error) {
	file := filepath.Join(dir, "lcapd.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, program, "init", "-c", file).CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: --lcapd names the lcapd program; 'make build' makes one", err)
		}
		return nil, fmt.Errorf("%s init: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	d := &daemon{cmd: exec.CommandContext(ctx, program, "-c", file), log: make(chan struct{}), said: new(strings.Builder)}
	log, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start lcapd: %w", err)
	}
	ready := make(chan readyLine, 1)
	go d.follow(log, ready)
	select {
	case r := <-ready:
		d.addr, d.http = r.Addresses[0], r.HTTP
		return d, nil
	case <-d.log:
	case <-time.After(readyPatience):
	case <-ctx.Done():
	}
	_ = d.cmd.Process.Kill()
	<-d.log
	return nil, errors.Join(fmt.Errorf("%s was not ready when it ended; it said: %q", program, strings.TrimSpace(d.said.String())), d.cmd.Wait())
}

// readyLine is the line of the log that says that lcapd is ready.
type readyLine struct {
	Message   string   `json:"message"`
	Addresses []string `json:"addresses"`
	HTTP      string   `json:"http"`
}

// follow reads the log to its end.
func (d *daemon) follow(log io.Reader, ready chan<- readyLine) {
	defer close(d.log)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var r readyLine
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Message == "lcapd is ready" && len(r.Addresses) > 0 {
			ready <- r
			continue
		}
		if d.said.Len() < 4<<10 {
			d.said.WriteString(lines.Text() + "\n")
		}
	}
}

// end ends lcapd. What it has to say after a signal is of no interest: nothing of it is kept.
func (d *daemon) end() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // at once
	timer := time.AfterFunc(endPatience, func() { _ = d.cmd.Process.Kill() })
	defer timer.Stop()
	<-d.log
	_ = d.cmd.Wait() // a second signal is no orderly end
	return nil
}

// get asks lcapd over HTTP.
func (d *daemon) get(ctx context.Context, path string, use func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.http+path, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", req.URL, answer.Status)
	}
	return use(answer.Body)
}

// status asks what operators are shown.
func (d *daemon) status(ctx context.Context) (s wire.Status, err error) {
	err = d.get(ctx, "/status", func(r io.Reader) error { return json.NewDecoder(r).Decode(&s) })
	return s, err
}

// metrics asks for what Prometheus is told, by name and labels.
func (d *daemon) metrics(ctx context.Context) (map[string]float64, error) {
	values := map[string]float64{}
	err := d.get(ctx, "/metrics", func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), " ")
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				values[name] = v
			}
		}
		return lines.Err()
	})
	return values, err
}

// live collects garbage, and returns what is in use after it, in bytes.
func (d *daemon) live(ctx context.Context) (float64, error) {
	discard := func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	if err := d.get(ctx, "/debug/pprof/heap?gc=1", discard); err != nil {
		return 0, err
	}
	m, err := d.metrics(ctx)
	return m["go_gc_heap_live_bytes"], err
}

// save writes a profile into a file.
func (d *daemon) save(ctx context.Context, path, file string) error {
	return d.get(ctx, path, func(r io.Reader) error {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	})
}

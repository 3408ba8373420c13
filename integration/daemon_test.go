package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is after how long something that must happen counts as not happening. No test
// relies on it to pass.
const patience = time.Minute

// daemonHome is a folder with an lcapd, a configuration and what belongs to it.
type daemonHome struct {
	t        *testing.T
	bin, dir string
	lines    []string  // of the configuration, by top-level key
	through  []string  // a command that starts lcapd, such as strace; none as a rule
	space    *netSpace // where lcapd is; nil for where the test is
}

// newHome makes a folder with a good configuration: one workload, one group, addresses
// that nobody else has.
func newHome(t *testing.T, bin string) *daemonHome {
	t.Helper()
	h := &daemonHome{t: t, bin: bin, dir: t.TempDir()}
	h.set("listen", fmt.Sprintf(`[{addr: "ipc://%s/sock"}, "tcp://127.0.0.1:0"]`, h.dir))
	h.set("http", "127.0.0.1:0")
	h.set("state", h.dir+"/state")
	h.set("memory", "64MiB")
	h.set("log", "{format: json}")
	h.set("upstream", "[{mdt: home-MDT0000, driver: workload, rate: 2000}]")
	h.set("groups", "[{name: g}]")
	return h
}

// set sets a key of the configuration; an empty value removes it.
func (h *daemonHome) set(key, value string) {
	h.t.Helper()
	var lines []string
	for _, line := range h.lines {
		if !strings.HasPrefix(line, key+":") {
			lines = append(lines, line)
		}
	}
	if value != "" {
		lines = append(lines, key+": "+value)
	}
	h.lines = lines
	writeFile(h.t, h.file(), strings.Join(lines, "\n")+"\n")
}

func (h *daemonHome) file() string { return filepath.Join(h.dir, "lcapd.yaml") }

// said is what a program did: its exit code and what it wrote.
type said struct {
	code           int
	stdout, stderr string
}

// lcapd runs lcapd to its end.
func (h *daemonHome) lcapd(args ...string) said {
	h.t.Helper()
	return runProgram(h.t, filepath.Join(h.bin, "lcapd"), args...)
}

func runProgram(t *testing.T, program string, args ...string) said {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return said{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// init makes the state.
func (h *daemonHome) init() {
	h.t.Helper()
	if s := h.lcapd("init", "-c", h.file()); s.code != 0 {
		h.t.Fatalf("lcapd init: %+v", s)
	}
}

// running is an lcapd that runs, until the test ends.
type running struct {
	t         *testing.T
	cmd       *exec.Cmd
	log       chan map[string]any // each line of its log
	text      chan string         // all that it wrote, when it has ended
	seen      []map[string]any
	addresses []string
	http      string
	space     *netSpace
}

// start starts lcapd and waits until it is ready.
func (h *daemonHome) start() *running {
	h.t.Helper()
	r := h.launch()
	ready := r.logged("lcapd is ready")
	for _, a := range ready["addresses"].([]any) {
		r.addresses = append(r.addresses, a.(string))
	}
	r.http, _ = ready["http"].(string)
	return r
}

// launch starts lcapd.
func (h *daemonHome) launch() *running {
	h.t.Helper()
	line := append(slices.Clone(h.through), filepath.Join(h.bin, "lcapd"), "-c", h.file())
	r := &running{t: h.t, cmd: exec.Command(line[0], line[1:]...), log: make(chan map[string]any, 10_000), text: make(chan string, 1), space: h.space}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.space.do(r.cmd.Start); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		defer close(r.log)
		var all bytes.Buffer
		lines := bufio.NewScanner(io.TeeReader(stderr, &all))
		for lines.Scan() {
			var m map[string]any
			if json.Unmarshal(lines.Bytes(), &m) == nil {
				r.log <- m
			}
		}
		r.text <- all.String()
	}()
	h.t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill()
			r.wait()
		}
	})
	return r
}

// logged waits for a message in the log.
func (r *running) logged(message string) map[string]any {
	r.t.Helper()
	late := time.After(patience)
	for {
		select {
		case m, ok := <-r.log:
			if !ok {
				r.t.Fatalf("lcapd has ended without saying %q: %s", message, <-r.text)
			}
			r.seen = append(r.seen, m)
			if m["message"] == message {
				return m
			}
		case <-late:
			r.t.Fatalf("lcapd does not say %q; it said %v", message, r.seen)
		}
	}
}

// signal sends a signal.
func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// wait waits for the end and returns what was written, and the state.
func (r *running) wait() (string, *os.ProcessState) {
	r.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = r.cmd.Process.Signal(syscall.SIGQUIT) })
	defer timer.Stop()
	for range r.log { // what is not asked for any more
	}
	text := <-r.text
	_ = r.cmd.Wait() // the state says it
	return text, r.cmd.ProcessState
}

// terminate ends lcapd in an orderly way, which must go well.
func (r *running) terminate() string {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	text, state := r.wait()
	if state.ExitCode() != 0 {
		r.t.Errorf("SIGTERM: %v\n%s", state, text)
	}
	return text
}

// get fetches a page of its HTTP address.
func (r *running) get(path string) (int, string) {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: r.space.dial}, Timeout: patience}
	answer, err := client.Get("http://" + r.http + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// metrics returns all metrics by name and labels.
func (r *running) metrics() map[string]float64 {
	r.t.Helper()
	_, text := r.get("/metrics")
	m := make(map[string]float64)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var v float64
		if _, err := fmt.Sscan(value, &v); err == nil && name != "#" {
			m[name] = v
		}
	}
	return m
}

// files returns how many files the process has open.
func (r *running) files() int {
	r.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

// memory returns how much anonymous memory the process has, in bytes.
func (r *running) memory() int64 {
	r.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	r.t.Fatal("no RssAnon")
	return 0
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !isSo(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// buildDaemon builds lcapd, lcapcli and the member with a ledger.
func buildDaemon(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "../cmd/...", "./member")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is another process of the benchmark, as the one sees it that has started it.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
	addr    string
	ready   time.Time // when it was
}

// startPeer starts this program again as a peer, and waits until it is ready.
func startPeer(ctx context.Context, spec peerSpec) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, PeerCommand)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.answers = json.NewDecoder(bufio.NewReader(out))
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a %s: %w", spec.Role, err)
	}
	ready, err := tally{}, json.NewEncoder(c.in).Encode(spec)
	if err == nil {
		ready, err = c.answer()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a %s: %w", spec.Role, err), c.end())
	}
	c.addr, c.ready = ready.Addr, ready.At
	return c, nil
}

func (c *child) answer() (t tally, err error) {
	if err := c.answers.Decode(&t); err != nil {
		return t, fmt.Errorf("it has ended: %w", err)
	}
	if t.Err != nil {
		return t, t.Err
	}
	return t, nil
}

// mark asks for the tally. The answer must be taken.
func (c *child) mark() error {
	_, err := io.WriteString(c.in, "mark\n")
	return err
}

// end ends the process.
func (c *child) end() error {
	c.in.Close()
	return endProcess(c.cmd)
}

// endPatience is how long a process may take to end.
const endPatience = 20 * time.Second

// endProcess waits for the end of a process that was told to end, and kills it when it takes too long.
func endProcess(cmd *exec.Cmd) error {
	timer := time.AfterFunc(endPatience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait()
}

// usage is what a process has used since it began.
type usage struct {
	cpu    time.Duration // in user and system mode
	peak   int64         // bytes resident at most
	reads  int64         // calls of read(2) and its like
	writes int64
}

// usageOf reads it from /proc: all threads, exact to the scheduler.
func usageOf(pid int) (u usage, err error) {
	dir := fmt.Sprintf("/proc/%d", pid)
	tasks, err := os.ReadDir(dir + "/task")
	if err != nil {
		return u, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(dir + "/task/" + task.Name() + "/schedstat")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // a thread that has just ended
		}
		if err != nil {
			return u, err
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			return u, fmt.Errorf("%s/schedstat: %w", dir, err)
		}
		u.cpu += time.Duration(n)
	}
	status, err := numbersIn(dir + "/status")
	if err != nil {
		return u, err
	}
	u.peak = status["VmHWM"] << 10
	if calls, err := numbersIn(dir + "/io"); err == nil { // some kernels have none
		u.reads, u.writes = calls["syscr"], calls["syscw"]
	}
	return u, nil
}

// numbersIn reads a file of lines "name: number ...".
func numbersIn(file string) (map[string]int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	numbers := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); len(fields) > 0 {
			if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				numbers[name] = n
			}
		}
	}
	return numbers, nil
}

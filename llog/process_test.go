package llog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// roleVar says, in the environment, what a process is to do that a test started.
const roleVar = "LLOG_TEST_ROLE"

// roles are what other processes do. They say lines on out and get lines from in,
// and end with it.
var roles = map[string]func(l *llog.Log, in *bufio.Scanner, out io.Writer) error{
	"follower":  beFollower,
	"appender":  beAppender,
	"clearer":   beClearer,
	"registrar": beRegistrar,
	"locker":    beLocker,
}

// TestAsOtherProcess is those processes. In an ordinary run it does nothing.
func TestAsOtherProcess(t *testing.T) {
	role, dir, _ := strings.Cut(os.Getenv(roleVar), " ")
	if role == "" {
		return
	}
	l, err := llog.Open(dir)
	if err == nil {
		err = roles[role](l, bufio.NewScanner(os.Stdin), os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role, "failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is another process with a role.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, role string, l *llog.Log) *process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAsOtherProcess$")
	cmd.Env = append(childEnv(), roleVar+"="+role+" "+l.Dir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	p := &process{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	return p
}

// say sends a line to the process, hear gets one.
func (p *process) say(args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.in, args...)
	check(p.t, err)
}

func (p *process) hear() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("the other process is gone: %v", p.out.Err())
	}
	return p.out.Text()
}

// kill ends the process as nothing else does, and waits until it is gone.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// beFollower says the index of each record that it reads, and answers what it is
// told at once.
func beFollower(l *llog.Log, in *bufio.Scanner, out io.Writer) error {
	r, err := l.NewReader(0, nil)
	if err != nil {
		return err
	}
	if err := r.Wait(context.Background()); err != nil { // makes ready
		return err
	}
	fmt.Fprintln(out, "ready")
	failed := make(chan error)
	go func() { failed <- tellIndexes(r, out) }()
	go func() {
		for in.Scan() {
			fmt.Fprintln(out, in.Text())
		}
		failed <- nil
	}()
	return <-failed
}

func tellIndexes(r *llog.Reader, out io.Writer) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if err == io.EOF {
			err = r.Wait(context.Background())
		}
		if err != nil {
			return err
		}
		var lines []byte
		for rest := buf[:n]; len(rest) > 0; {
			var record changelog.Record
			if record, rest, err = changelog.Next(rest); err != nil {
				return err
			}
			lines = fmt.Appendln(lines, record.Index())
		}
		if _, err := out.Write(lines); err != nil {
			return err
		}
	}
}

// beAppender appends all it can until it is told to stop, and says the last index.
func beAppender(l *llog.Log, in *bufio.Scanner, out io.Writer) error {
	a, err := l.NewAppender(llog.AppendOptions{Sync: llog.SyncNever, SegmentSize: 4 << 10})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready", os.Getpid())
	stop := make(chan struct{})
	go func() {
		in.Scan()
		close(stop)
	}()
	for last := uint64(0); ; {
		select {
		case <-stop:
			fmt.Fprintln(out, last)
			return a.Close()
		default:
		}
		got, err := a.Append(context.Background(), recs(last+1, last+3))
		if err != nil {
			return err
		}
		last = got.Last
		time.Sleep(100 * time.Microsecond)
	}
}

// beClearer clears, for the user of each line, up to the index of the line.
func beClearer(l *llog.Log, in *bufio.Scanner, out io.Writer) error {
	for in.Scan() {
		var id llog.UserID
		var index uint64
		if _, err := fmt.Sscan(in.Text(), &id, &index); err != nil {
			return err
		}
		if err := l.Clear(context.Background(), id, index); err != nil {
			return err
		}
		fmt.Fprintln(out, "cleared")
	}
	return in.Err()
}

// beRegistrar registers as many users as a line says, and says id and cursor of each.
func beRegistrar(l *llog.Log, in *bufio.Scanner, out io.Writer) error {
	for in.Scan() {
		n := 0
		if _, err := fmt.Sscan(in.Text(), &n); err != nil {
			return err
		}
		for range n {
			u, err := l.Register(context.Background(), "", 0)
			if err != nil {
				return err
			}
			fmt.Fprintln(out, uint32(u.ID), u.Cleared)
		}
	}
	return in.Err()
}

// beLocker holds the lock of the state until its end.
func beLocker(l *llog.Log, in *bufio.Scanner, out io.Writer) error {
	lock, err := llog.LockState(l.Dir())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	for in.Scan() {
	}
	return lock.Close()
}

// A follower in another process wakes at once. How long a record takes is reported
// beside a round trip through pipes to the same process.
func TestFollowerInAnotherProcess(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	p := start(t, "follower", l)
	checkEqual(t, "first word", p.hear(), "ready")
	a := newAppender(t, l, llog.AppendOptions{Sync: llog.SyncNever})
	const rounds = 300
	var wakes, pipes []time.Duration
	for i := uint64(1); i <= rounds; i++ {
		begin := time.Now()
		appendRange(t, a, i, i)
		checkEqual(t, "index", p.hear(), fmt.Sprint(i))
		wakes = append(wakes, time.Since(begin))
		begin = time.Now()
		p.say("echo")
		checkEqual(t, "echo", p.hear(), "echo")
		pipes = append(pipes, time.Since(begin))
	}
	slices.Sort(wakes)
	slices.Sort(pipes)
	ratio := float64(wakes[rounds/2]) / float64(pipes[rounds/2])
	t.Logf("from append to the answer of a follower in another process: median %v, 99th percentile %v; a pipe there and back: %v, %v; ratio of the medians %.1f",
		wakes[rounds/2], wakes[rounds*99/100], pipes[rounds/2], pipes[rounds*99/100], ratio)
	if ratio > 100 && wakes[rounds/2] > 20*time.Millisecond {
		t.Error("that is no wake-up, that is a poll")
	}
}

// Registering and clearing from other processes while one appends: whoever is
// registered finds every record behind its cursor, until it cleared it.
func TestUsersOfOtherProcesses(t *testing.T) {
	l := memoryLog(t)
	first := register(t, l, "")
	appender, registrar, clearer, follower := start(t, "appender", l), start(t, "registrar", l), start(t, "clearer", l), start(t, "follower", l)
	appender.hear()
	follower.hear()
	go func() { // nobody else listens to it
		for follower.out.Scan() {
		}
	}()
	cleared := uint64(0)
	for range 40 {
		eventually(t, "something new", func() bool { return current(t, l) > cleared })
		registrar.say(1)
		var id uint32
		var cursor uint64
		_, err := fmt.Sscan(registrar.hear(), &id, &cursor)
		check(t, err)
		cleared = current(t, l)
		clearer.say(uint32(first), cleared)
		checkEqual(t, "answer", clearer.hear(), "cleared")
		got := readTo(t, l, cleared)
		if len(got) == 0 && cleared > cursor || len(got) > 0 && got[0] != cursor+1 || !slices.Equal(got, upTo(cursor+1, cursor+uint64(len(got)))) {
			t.Fatalf("cl%d begins behind %d; %d records are there: %v", id, cursor, len(got), got[:min(3, len(got))])
		}
		check(t, l.Deregister(context.Background(), llog.UserID(id)))
	}
	appender.say("stop")
	checkEqual(t, "last index", appender.hear(), fmt.Sprint(current(t, l)))
	clearTo(t, l, first, current(t, l))
	checkLog(t, l, nil)
	checkEqual(t, "segments", len(segments(t, l)), 1)
}

// readTo returns the indexes of the records up to the given one, at least.
func readTo(t *testing.T, l *llog.Log, last uint64) []uint64 {
	t.Helper()
	r, err := l.NewReader(0, nil)
	check(t, err)
	var got []uint64
	buf := make([]byte, llog.MinRead)
	for r.Next() <= last {
		n, err := r.Read(buf)
		if err == io.EOF {
			break
		}
		check(t, err)
		got = append(got, indexes(t, buf[:n])...)
	}
	check(t, r.Close())
	return got
}

func TestRegisterFromManyProcesses(t *testing.T) {
	const processes, each = 4, 25
	l := memoryLog(t)
	var all []*process
	for range processes {
		p := start(t, "registrar", l)
		p.say(each)
		all = append(all, p)
	}
	seen := map[uint32]bool{}
	for _, p := range all {
		for range each {
			var id uint32
			_, err := fmt.Sscan(p.hear(), &id)
			check(t, err)
			if id == 0 || id > processes*each || seen[id] {
				t.Errorf("id %d was given out wrongly", id)
			}
			seen[id] = true
		}
	}
}

// The locks of a process that dies are free, and while it lives its number is told.
func TestDeadHolders(t *testing.T) {
	l := newLog(t)
	register(t, l, "")
	appender := start(t, "appender", l)
	var pid int
	_, err := fmt.Sscanf(appender.hear(), "ready %d", &pid)
	check(t, err)
	_, err = l.NewAppender(llog.AppendOptions{})
	checkIs(t, err, llog.ErrBusy)
	checkSays(t, err, fmt.Sprintf("process %d;", pid))
	eventually(t, "some records", func() bool { return current(t, l) > 100 })
	appender.kill()
	a := newAppender(t, l, llog.AppendOptions{})
	last := current(t, l)
	appendRange(t, a, last+1, last+1)
	checkRange(t, readFrom(t, l, 0), 1, last+1)

	locker := start(t, "locker", l)
	locker.hear()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	checkIs(t, l.Clear(ctx, 1, 1), context.DeadlineExceeded)
	done := make(chan error)
	go func() { done <- l.Clear(within(t), 1, 2) }()
	select {
	case err := <-done:
		t.Fatalf("cleared beside the holder of the lock: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	locker.kill()
	check(t, <-done)
}

// A lock that was given back is free at once, although other goroutines start
// processes all the time: until their exec those share its file.
func TestLocksAndNewProcesses(t *testing.T) {
	l := memoryLog(t)
	register(t, l, "")
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = exec.Command("/bin/true").Run()
			}
		}
	}()
	for range 2000 {
		a, err := l.NewAppender(llog.AppendOptions{})
		if errors.Is(err, llog.ErrBusy) {
			t.Error(err)
			break
		}
		check(t, err)
		check(t, a.Close())
	}
	close(stop)
	<-stopped
}

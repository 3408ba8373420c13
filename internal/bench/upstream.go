package bench

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lcapd/lcapd/llog"
)

// backlog is changelogs on disk, one for each MDT, that are filled once. Each run reads
// them as another user, and what one user has cleared is kept for the others.
type backlog struct {
	dirs  []string
	users [][]llog.UserID // by MDT and run
	// records is how many all of them have.
	records int
}

// upstream makes the sources of a run, and returns their lines of the configuration.
func (x *run) upstream(ctx context.Context, st *stage, rate, records int) (lines []string, err error) {
	if x.Upstream == "memory" {
		for i := range x.MDTs {
			lines = append(lines, fmt.Sprintf("  - {mdt: %s, driver: memory, path: %s/records, rate: %d, records: %d}", mdtName(i), x.dir, rate, records))
		}
		return lines, nil
	}
	logs := x.logs[x.Name]
	if logs == nil {
		x.progress("fill the changelogs of %s: %d records", x.Name, cmp.Or(x.Behind, x.Backlog))
		if logs, err = x.fill(ctx); err != nil {
			return nil, err
		}
		x.logs[x.Name] = logs
	}
	for i, dir := range logs.dirs {
		user := logs.users[i][x.n]
		if x.Upstream == "llog" {
			lines = append(lines, fmt.Sprintf("  - {mdt: %s, driver: llog, path: %s, user: %s}", mdtName(i), dir, user))
			continue
		}
		if err := x.serveDevice(ctx, st, dir, i); err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("  - {mdt: %s, driver: device, user: %s, lustre: \"2.15\"}", mdtName(i), user))
	}
	return lines, nil
}

func mdtName(i int) string { return fmt.Sprintf("bench-MDT%04x", i) }

// fill makes the changelogs.
func (x *run) fill(ctx context.Context) (*backlog, error) {
	records, err := os.ReadFile(filepath.Join(x.dir, "records"))
	if err != nil {
		return nil, err
	}
	var b backlog
	for i := range x.MDTs {
		dir := filepath.Join(x.Dir, fmt.Sprintf("%s-%d", x.Name, i))
		log, err := llog.Create(dir, mdtName(i))
		if err != nil {
			return nil, err
		}
		var users []llog.UserID
		for range x.Repeat {
			u, err := log.Register(ctx, "", 0)
			if err != nil {
				return nil, err
			}
			users = append(users, u.ID)
		}
		appended, err := appendTo(ctx, log, records, cmp.Or(x.Behind, x.Backlog)/x.MDTs)
		if err != nil {
			return nil, err
		}
		b.records += appended
		b.dirs, b.users = append(b.dirs, dir), append(b.users, users)
	}
	return &b, nil
}

// appendTo appends records again and again, until there are so many or a few more, and returns
// how many.
func appendTo(ctx context.Context, log *llog.Log, records []byte, count int) (done int, err error) {
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	chunks := chunksOf(records, 1)
	for i := 0; done < count; i++ {
		appended, err := a.AppendNew(ctx, chunks[i%len(chunks)])
		if err != nil {
			return done, err
		}
		done += appended.Records
	}
	return done, nil
}

// devicePatience is how long an emulated device may take to be there.
const devicePatience = 10 * time.Second

// serveDevice shows a changelog as the device of an MDT, by lcapcli llog serve.
func (x *run) serveDevice(ctx context.Context, st *stage, dir string, mdt int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	mount := filepath.Join(x.dir, "dev")
	if mdt > 0 {
		return errors.New("only one MDT can be read from an emulated device: each has a folder of its own, and lcapd has one for all")
	}
	if err := os.Mkdir(mount, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "llog", "serve", "--version", "2.15", dir, mount)
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	st.closes = append(st.closes, func() error {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		_ = endProcess(cmd)                  // how is of no interest
		return nil
	})
	line := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(log)
		for first := true; lines.Scan(); first = false {
			if first {
				line <- lines.Text()
			}
		}
		close(line)
	}()
	timer := time.NewTimer(devicePatience)
	defer timer.Stop()
	select {
	case said := <-line:
		if _, err := os.Stat(filepath.Join(mount, "changelog-"+mdtName(mdt))); err != nil {
			return fmt.Errorf("the emulated device is not there (%w): %s", err, said)
		}
		return nil
	case <-timer.C:
		return errors.New("the emulated device is not there after " + devicePatience.String())
	}
}

package watch

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	histories   = flag.Int("watch.histories", 60, "random histories of TestHistories")
	historyOps  = flag.Int("watch.ops", 400, "operations in each")
	historySeed = flag.Uint64("watch.seed", 0, "seed of the first; 0 takes one from the clock")
)

// player does what ordinary programs do, at random, in a tree and beside it. What fails
// fails: the file system says what is possible.
type player struct {
	rng  *rand.Rand
	home string // holds tree, out and perhaps a mount
	ops  int
}

var playNames = []string{"a", "b", "c", "d", "e", "f", "g", "h", "\xff\xfe", "new\nline", strings.Repeat("n", 255), "x.tmp"}

// dirIn returns a directory at random: below top by so many steps at most.
func (p *player) dirIn(top string) string {
	at := filepath.Join(p.home, top)
	for range p.rng.IntN(5) {
		entries, err := os.ReadDir(at)
		if err != nil || len(entries) == 0 {
			return at
		}
		e := entries[p.rng.IntN(len(entries))]
		if e.IsDir() && e.Name() != "state" {
			at = filepath.Join(at, e.Name())
		}
	}
	return at
}

// place returns a path at random, in the tree as a rule.
func (p *player) place() string {
	top := "tree"
	if p.rng.IntN(6) == 0 {
		top = "out"
	}
	return filepath.Join(p.dirIn(top), playNames[p.rng.IntN(len(playNames))])
}

// there returns the path of something that is there, or of nothing.
func (p *player) there() string {
	top := "tree"
	if p.rng.IntN(6) == 0 {
		top = "out"
	}
	at := p.dirIn(top)
	entries, _ := os.ReadDir(at)
	if len(entries) == 0 {
		return filepath.Join(at, "a")
	}
	name := entries[p.rng.IntN(len(entries))].Name()
	if name == "state" {
		name = "a"
	}
	return filepath.Join(at, name)
}

func (p *player) play() {
	p.ops++
	switch p.rng.IntN(22) {
	case 0, 1, 2, 3:
		write(p.place(), p.rng.IntN(100))
	case 4, 5, 6:
		_ = os.Mkdir(p.place(), 0o755)
	case 7:
		_ = os.Symlink("nowhere", p.place())
	case 8:
		_ = unix.Mkfifo(p.place(), 0o600)
	case 9, 10:
		_ = os.Link(p.there(), p.place())
	case 11, 12, 13:
		_ = os.Rename(p.there(), p.place())
	case 14, 15:
		_ = os.Remove(p.there())
	case 16:
		_ = os.Chmod(p.there(), 0o700|os.FileMode(p.rng.IntN(64)))
	case 17:
		at := p.there()
		_ = unix.Setxattr(at, "user.test", []byte("1"), 0)
		_ = os.Truncate(at, int64(p.rng.IntN(50)))
	case 18:
		p.burst()
	case 19:
		_ = unix.Renameat2(unix.AT_FDCWD, p.there(), unix.AT_FDCWD, p.there(), unix.RENAME_EXCHANGE)
	case 20:
		p.deep()
	case 21:
		if p.rng.IntN(4) == 0 {
			_ = os.RemoveAll(p.there())
		}
	}
}

// burst moves something to and fro faster than anybody reads.
func (p *player) burst() {
	a, b := p.there(), p.place()
	for range 1 + p.rng.IntN(12) {
		if os.Rename(a, b) != nil {
			return
		}
		a, b = b, a
	}
}

// deep makes directories in each other.
func (p *player) deep() {
	at := p.place()
	for i := range 2 + p.rng.IntN(12) {
		if os.Mkdir(at, 0o755) != nil {
			return
		}
		at = filepath.Join(at, "deep"+strconv.Itoa(i))
	}
	write(at, 0)
}

// write writes a file; a fifo without a reader it leaves alone.
func write(at string, size int) {
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return
	}
	_, _ = f.Write(make([]byte, size))
	_ = f.Close()
}

// historyKinds are the circumstances that histories happen in.
var historyKinds = []struct {
	name     string
	queue    int  // the length of the kernel's queue, 0 for the usual one
	kills    int  // how often the watch is killed and started again
	inTree   bool // its state is in the tree
	excludes []string
}{
	{name: "plain"},
	{name: "overflow", queue: 30},
	{name: "killed", kills: 4},
	{name: "killed with overflows", kills: 3, queue: 50},
	{name: "excludes", excludes: []string{"*.tmp", "a/b", "c/*/d"}, inTree: true},
	{name: "killed, with excludes", kills: 3, excludes: []string{"*.tmp", "e"}, inTree: true},
}

// Whatever happens, and to whom, in the end the records tell what is there, and on the
// way none of them speaks of what those before did not tell of.
func TestHistories(t *testing.T) {
	seed := *historySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	systems := []string{"tmpfs", "ext4", "xfs"}
	for si, system := range systems {
		t.Run(system, func(t *testing.T) {
			dir := mounted(t, system)
			for i := si; i < *histories; i += len(systems) {
				kind := historyKinds[i/len(systems)%len(historyKinds)]
				t.Run(fmt.Sprint(kind.name, " ", i), func(t *testing.T) {
					home := filepath.Join(dir, strconv.Itoa(i))
					check(t, os.MkdirAll(filepath.Join(home, "out"), 0o755))
					h := history{bench: newBench(t, home), player: &player{rng: rand.New(rand.NewPCG(seed, uint64(i))), home: home}}
					t.Logf("as far as the kernel plays along, again with -watch.seed %d -run '%s'", seed, t.Name())
					h.options.Exclude = kind.excludes
					if kind.inTree {
						h.options.State = h.bench.path("state")
					}
					if kind.queue > 0 {
						limitQueue(t, kind.queue)
					}
					h.run(kind.kills)
				})
			}
		})
	}
}

// limitQueue makes the queues short that are made until the test ends.
func limitQueue(t *testing.T, events int) {
	was, err := os.ReadFile(queueLimit)
	check(t, err)
	check(t, os.WriteFile(queueLimit, []byte(strconv.Itoa(events)), 0o644))
	t.Cleanup(func() { check(t, os.WriteFile(queueLimit, was, 0o644)) })
}

type history struct {
	*bench
	*player
}

func (h *history) run(kills int) {
	for range *historyOps / 4 { // what is there before
		h.play()
	}
	if kills == 0 {
		w, stop := h.start()
		for range *historyOps {
			h.play()
			if h.rng.IntN(30) == 0 {
				time.Sleep(time.Duration(h.rng.IntN(5)) * time.Millisecond)
			}
		}
		h.agree()
		sums, err := w.Stats(h.Context())
		check(h, err)
		h.Logf("%d records, %+v", h.next-1, sums)
		stop()
		h.agree()
		return
	}
	for range kills {
		c := h.startChild()
		for range *historyOps / kills {
			h.play()
			if h.rng.IntN(4) == 0 {
				time.Sleep(time.Duration(h.rng.IntN(4)) * time.Millisecond)
			}
		}
		c.kill()
		for range h.rng.IntN(30) {
			h.play()
		}
		h.read()
	}
	h.startChild()
	h.agree()
	h.Logf("%d records", h.next-1)
}

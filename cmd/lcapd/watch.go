package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/watch"
)

// watchOptions are what lcapd --watch is told.
type watchOptions struct {
	trees, exclude, listen []string
	state                  string
	existing               bool
}

// addTo adds the flags to a command.
func (o *watchOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.trees, "watch", nil, "watch a directory tree instead of Lustre, without a configuration; may be repeated; root")
	f.StringArrayVar(&o.exclude, "exclude", nil, "with --watch: leave out names such as *.tmp or, with a slash, paths in the tree; may be repeated")
	f.StringVar(&o.state, "state", "", "with --watch: the state directory (default: one below "+watchStates+" for these trees)")
	f.StringArrayVar(&o.listen, "listen", nil, "with --watch: an address to serve at; may be repeated (default: those of the configuration)")
	f.BoolVar(&o.existing, "existing", false, "with --watch: what is there at the first start gets records too")
}

// check refuses flags that do not go together.
func (o *watchOptions) check(file string) error {
	others := len(o.exclude) > 0 || o.state != "" || len(o.listen) > 0 || o.existing
	switch {
	case len(o.trees) > 0 && file != "":
		return usageError{errors.New("--watch and -c do not go together; in a configuration it is the driver watch")}
	case len(o.trees) == 0 && others:
		return usageError{errors.New("--exclude, --state, --listen and --existing go with --watch")}
	}
	return nil
}

// watchStates is where lcapd --watch keeps its states by default.
const watchStates = "/var/lib/lcapd"

// runWatch makes the state of an installation that watches, if there is none, and runs
// it until ctx ends.
func runWatch(ctx context.Context, o watchOptions, stderr io.Writer) error {
	for i, tree := range o.trees {
		if err := watch.Check(tree); err != nil {
			return usageError{err}
		}
		tree, err := filepath.Abs(tree)
		if err != nil {
			return err
		}
		if slices.Contains(o.trees[:i], tree) {
			return usageError{fmt.Errorf("--watch %s is there twice", tree)}
		}
		o.trees[i] = tree
	}
	text, err := o.config()
	if err != nil {
		return err
	}
	cfg, err := parseFlags(text)
	if err != nil {
		return err
	}
	if err := makeState(cfg); err != nil {
		return err
	}
	log, err := newLogger(cfg, stderr)
	if err != nil {
		return err
	}
	limitMemory(cfg.Memory)
	d, err := build(ctx, "", cfg, log)
	if err != nil {
		return err
	}
	sayWatching(stderr, d)
	return d.run(ctx)
}

// config is the configuration of an installation that watches.
func (o *watchOptions) config() ([]byte, error) {
	dir := o.state
	if dir == "" {
		sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(o.trees)), "\n")))
		dir = filepath.Join(watchStates, fmt.Sprintf("watch-%x", sum[:4]))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "state: %q\nhttp: ''\ncreate_groups: true\n", filepath.Join(dir, "state"))
	addresses := o.listen
	if len(addresses) == 0 {
		for _, l := range config.Default().Listen {
			addresses = append(addresses, l.Address.String())
			if l.Address.Network == "ipc" {
				if err := os.MkdirAll(filepath.Dir(l.Address.Where), 0o755); err != nil {
					return nil, err
				}
			}
		}
	}
	b.WriteString("listen:\n")
	for _, a := range addresses {
		fmt.Fprintf(&b, "  - %q\n", a)
	}
	b.WriteString("upstream:\n")
	for i, tree := range o.trees {
		fmt.Fprintf(&b, "  - {mdt: %s, driver: watch, path: %q, existing: %t, exclude: [", mdtOf(o.trees, i), tree, o.existing)
		for _, p := range o.exclude {
			fmt.Fprintf(&b, "%q, ", p)
		}
		b.WriteString("]}\n")
	}
	return []byte(b.String()), nil
}

// mdtOf names the changelog of a tree by its last directory; those of the same name are
// counted.
func mdtOf(trees []string, i int) string {
	name := fsName(trees[i])
	count := 0
	for _, before := range trees[:i] {
		if fsName(before) == name {
			count++
		}
	}
	return fmt.Sprintf("%s-MDT%04x", name, count)
}

func fsName(tree string) string {
	const most = 64
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z') {
			return r
		}
		return '_'
	}, filepath.Base(tree))
	if name == "_" {
		return "root"
	}
	if strings.HasPrefix(name, "-") {
		name = "_" + name[1:]
	}
	return name[:min(len(name), most)]
}

// makeState makes the state of an installation, unless it is there.
func makeState(cfg *config.Config) error {
	if err := os.MkdirAll(filepath.Dir(cfg.State), 0o755); err != nil {
		return err
	}
	err := state.Init(cfg.State, identityOf(cfg))
	if err != nil && !errors.Is(err, state.ErrExists) {
		return stateError(cfg.State, err)
	}
	return nil
}

// sayWatching says what is watched, and how to see it.
func sayWatching(stderr io.Writer, d *daemon) {
	for _, w := range d.watches {
		fmt.Fprintf(stderr, "lcapd watches %s as %s\n", w.path, w.mdt)
	}
	server := ""
	if addr := d.server.Addrs()[0]; addr != config.Default().Listen[0].Address.String() {
		server = " -s " + addr
	}
	fmt.Fprintf(stderr, "state: %s\nsee changes:  lcapcli%s listen\njoin a group: lcapcli%s consume --group NAME --create\n", d.cfg.State, server, server)
}

// watched is a tree that is watched, and its changelog.
type watched struct {
	mdt, path string
	*watch.Watch
}

// watch begins to watch a tree.
func (d *daemon) watch(ctx context.Context, u config.Upstream) (upstream.Source, error) {
	w, err := watch.Open(ctx, watch.Options{
		Path: u.Path, MDT: u.MDT, State: d.cfg.State, Exclude: u.Exclude, Existing: u.Existing, UnlimitedQueue: u.UnlimitedQueue, Log: d.log,
	}, d.bell)
	if errors.Is(err, watch.ErrCannotWatch) || errors.Is(err, watch.ErrState) {
		return nil, usageError{err}
	}
	if err != nil {
		return nil, err
	}
	d.watches = append(d.watches, watched{u.MDT, u.Path, w})
	return w.Source(), nil
}

// The metrics of watched trees.
var (
	descWatchDirs      = desc("watch_directories", "Directories in a watched tree.", "mdt")
	descWatchEvents    = desc("watch_events_total", "Changes read from the kernel.", "mdt")
	descWatchRecords   = desc("watch_records_total", "Records made of a watched tree.", "mdt")
	descWatchOverflows = desc("watch_overflows_total", "How often the kernel dropped changes.", "mdt")
	descWatchRescans   = desc("watch_rescans_total", "How often the whole tree was read.", "mdt")
	descWatchStalls    = desc("watch_stalls_total", "How often changes had to wait for 10 s.", "mdt")
	descWatchFailures  = desc("watch_failures_total", "How often recording had to begin again after an error.", "mdt")
)

// collectWatches tells the metrics of watched trees. One that is busy is left out.
func (d *daemon) collectWatches(gauge func(*prometheus.Desc, float64, ...string), count func(*prometheus.Desc, uint64, ...string)) {
	const patience = time.Second
	for _, w := range d.watches {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		s, err := w.Stats(ctx)
		cancel()
		if err != nil {
			continue
		}
		gauge(descWatchDirs, float64(s.Directories), w.mdt)
		count(descWatchEvents, s.Events, w.mdt)
		count(descWatchRecords, s.Records, w.mdt)
		count(descWatchOverflows, uint64(s.Overflows), w.mdt)
		count(descWatchRescans, uint64(s.Rescans), w.mdt)
		count(descWatchStalls, uint64(s.Stalls), w.mdt)
		count(descWatchFailures, uint64(s.Failures), w.mdt)
	}
}

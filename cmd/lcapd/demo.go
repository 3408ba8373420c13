package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/client"
)

// demoOptions are what the demo is told.
type demoOptions struct {
	listen string
	mdts   int
	rate   int
	length time.Duration
}

// newDemo shows all of lcapd on one machine.
func newDemo() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See lcapd work: made-up MDTs, two groups and a listener; no root, no Lustre, no file",
		Example: `  lcapd demo                    until ^C
  lcapd demo --for 10s          for ten seconds
  lcapcli listen --count 5      meanwhile, in another terminal`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.mdts < 1 || o.mdts > 64 || o.rate < 1 {
				return usageError{errors.New("--mdts is 1 to 64, --rate at least 1")}
			}
			return runDemo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&o.listen, "listen", "tcp://127.0.0.1:8189", "address for lcapcli and others; port 0 for any")
	cmd.Flags().IntVar(&o.mdts, "mdts", 4, "how many MDTs")
	cmd.Flags().IntVar(&o.rate, "rate", 1000, "records per second and MDT")
	cmd.Flags().DurationVar(&o.length, "for", 0, "end after so long; 0 for never")
	return cmd
}

// demoGroups are the groups, with how many members each has.
var demoGroups = []struct {
	name, distribution string
	members            int
}{
	{"policy", "fid", 3}, // keeps the order of each file
	{"audit", "mdt", 2},  // keeps the order of each MDT
}

// runDemo makes an installation in a temporary directory, runs it, and removes it.
func runDemo(ctx context.Context, o demoOptions, out, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "lcapd-demo-")
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, os.RemoveAll(dir)) }()
	cfg, err := parseFlags(demoConfig(dir, o))
	if err != nil {
		return err
	}
	if err := state.Init(cfg.State, identityOf(cfg)); err != nil {
		return err
	}
	log, err := newLogger(cfg, stderr)
	if err != nil {
		return err
	}
	limitMemory(cfg.Memory)
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	d, err := build(ctx, "", cfg, log)
	if err != nil {
		return err
	}
	return playDemo(ctx, d, newScreen(out))
}

// demoConfig is the configuration of the demo.
func demoConfig(dir string, o demoOptions) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "listen:\n  - {addr: %q, allow: [listen, consume, operate]}\n", o.listen)
	fmt.Fprintf(&b, "  - {addr: %q, allow: [listen, consume, operate]}\n", "ipc://"+filepath.Join(dir, "lcapd.sock"))
	fmt.Fprintf(&b, "http: ''\nstate: %s\nmemory: 128MiB\ncreate_groups: true\nlog: {level: warn}\nshutdown: 3s\nupstream:\n", filepath.Join(dir, "state"))
	for i := range o.mdts {
		fmt.Fprintf(&b, "  - {mdt: demo-MDT%04x, driver: workload, rate: %d, seed: %d}\n", i, o.rate, i)
	}
	b.WriteString("groups:\n")
	for _, g := range demoGroups {
		fmt.Fprintf(&b, "  - {name: %s, distribution: %s}\n", g.name, g.distribution)
	}
	return []byte(b.String())
}

// playDemo runs the daemon, its members and its listener, and draws what happens.
func playDemo(ctx context.Context, d *daemon, s *screen) error {
	playing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var players sync.WaitGroup
	ended := make(chan error, 1)
	running, end := context.WithCancel(ctx)
	defer end()
	players.Go(func() { ended <- d.run(running) })
	addr := d.server.Addrs()[0]
	for _, g := range demoGroups {
		for i := range g.members {
			players.Go(func() { consume(playing, addr, g.name, fmt.Sprint("member-", i+1)) })
		}
	}
	players.Go(func() { listen(playing, addr) })
	s.open(addr)
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if status, err := d.status(running); err == nil {
				s.draw(status)
			}
		case err := <-ended:
			stop()
			players.Wait()
			s.close()
			return err
		}
	}
}

// consume is a member that acknowledges what it gets.
func consume(ctx context.Context, addr, group, name string) {
	m, err := client.Join(ctx, []string{addr}, group, client.Name(name))
	if err != nil {
		return // the demo ends
	}
	defer m.Close()
	for {
		b, err := m.Next(ctx)
		if err != nil {
			return
		}
		_ = m.Ack(b) // a lease that is lost comes again
	}
}

// listen is a listener that only looks.
func listen(ctx context.Context, addr string) {
	l, err := client.Listen(ctx, []string{addr}, client.Name("cache"))
	if err != nil {
		return // the demo ends
	}
	defer l.Close()
	for {
		b, _, err := l.Next(ctx)
		if err != nil {
			return
		}
		if b != nil {
			b.Release()
		}
	}
}

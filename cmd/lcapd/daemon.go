package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/lcapd/lcapd/broker"
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/config"
)

// runDaemon runs lcapd with a configuration file until ctx ends.
func runDaemon(ctx context.Context, file string, stderr io.Writer) error {
	// From the start to the end: by default a hang-up would end us.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	log, err := newLogger(cfg, stderr)
	if err != nil {
		return err
	}
	limitMemory(cfg.Memory)
	d, err := build(ctx, file, cfg, log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var reloading sync.WaitGroup
	reloading.Go(func() { d.reloadOnHangup(ctx, file, hangups) })
	defer reloading.Wait()
	defer stop()
	return d.run(ctx)
}

// run serves until ctx ends, and then ends in the order in which nothing is lost: no
// more hand-out; what members have is acknowledged, or they took too long; connections
// end; marks are written, and what they allow is cleared.
//
// Who owns what: each part owns itself; run starts them and waits for them.
func (d *daemon) run(ctx context.Context) error {
	// The parts outlive ctx: they end one after the other.
	parts, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	served, endServing := context.WithCancel(parts)
	var started, serving sync.WaitGroup
	brokerEnded := make(chan error, 1)
	started.Go(func() {
		err := d.broker.Run(parts)
		brokerEnded <- err
		if err != nil {
			end(err)
		}
	})
	for _, w := range d.workloads {
		started.Go(func() { d.produce(parts, w) })
	}
	for _, r := range d.repeats {
		started.Go(func() { d.show(parts, r) })
	}
	for _, w := range d.watches {
		started.Go(func() {
			if err := w.Run(parts); err != nil {
				d.log.Error().Str("mdt", w.mdt).Err(err).Msg("the watch has not ended well; at the next start the tree is compared")
			}
		})
	}
	err := d.makeGroups(ctx)
	switch {
	case err == nil:
		serving.Go(func() { d.server.Run(served, d.serve) })
		d.serveHTTP(served, &serving)
		d.sayReady()
		select {
		case <-ctx.Done():
			d.drain(parts)
		case <-parts.Done():
		}
	case ctx.Err() != nil:
		err = nil // told to stop before it was ready
	}
	endServing()
	serving.Wait()
	end(nil)
	started.Wait()
	err = firstOf(<-brokerEnded, err, d.close()) // when the broker has failed the rest follows from that
	d.log.Info().AnErr("error", err).Msg("lcapd has stopped")
	return err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// makeGroups makes the groups of the configuration that are not there yet.
func (d *daemon) makeGroups(ctx context.Context) error {
	for _, g := range d.cfg.Groups {
		err := d.broker.CreateGroup(ctx, specOf(g))
		if err != nil && !errors.Is(err, core.ErrGroupExists) {
			return err
		}
	}
	return nil
}

func (d *daemon) sayReady() {
	var mdts, groups []string
	for _, u := range d.cfg.Upstream {
		mdts = append(mdts, u.MDT)
	}
	for _, g := range d.cfg.Groups {
		groups = append(groups, g.Name)
	}
	http := ""
	if d.http != nil {
		http = d.http.Addr().String()
	}
	d.log.Info().Str("version", version).Strs("addresses", d.server.Addrs()).Str("http", http).
		Strs("mdts", mdts).Strs("groups", groups).Str("state", d.cfg.State).Msg("lcapd is ready")
}

// drain gives members the time to acknowledge what they have.
func (d *daemon) drain(ctx context.Context) {
	d.log.Info().Stringer("patience", d.cfg.Shutdown).Msg("lcapd ends: nothing more is handed out")
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Shutdown)
	defer cancel()
	if err := d.broker.Drain(ctx); err != nil && !errors.Is(err, broker.ErrStopped) {
		d.log.Warn().Err(err).Msg("members have not acknowledged all they have; it will be delivered again")
	}
}

// produce runs a workload.
func (d *daemon) produce(ctx context.Context, w workload) {
	made, err := w.producer.Produce(ctx, w.to, w.pace)
	if err != nil && ctx.Err() == nil {
		d.log.Error().Str("mdt", w.mdt).Err(err).Msg("the workload has failed")
		return
	}
	d.log.Debug().Str("mdt", w.mdt).Uint64("records", made).Msg("the workload has ended")
}

// reloadOnHangup reads the configuration again at each SIGHUP, takes over what can
// change while lcapd runs, and says what cannot.
func (d *daemon) reloadOnHangup(ctx context.Context, file string, hangups <-chan os.Signal) {
	running := d.cfg
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			running = d.reload(ctx, file, running)
		}
	}
}

func (d *daemon) reload(ctx context.Context, file string, running *config.Config) *config.Config {
	wanted, err := config.Load(file)
	if err != nil {
		d.log.Error().Msg("the configuration is not taken over: " + strings.ReplaceAll(err.Error(), "\n", "; "))
		return running
	}
	changes := config.Diff(running, wanted)
	next := running.WithLive(wanted)
	if slices.Contains(changes.Live, "log.level") {
		if level, err := zerolog.ParseLevel(next.LogLevel); err == nil {
			zerolog.SetGlobalLevel(level)
		}
	}
	if err := d.broker.AllowCreation(ctx, next.CreateGroups); err != nil {
		return running // it has stopped
	}
	d.log.Info().Strs("changed", changes.Live).Msg("the configuration was read again")
	if len(changes.Fixed) > 0 {
		d.log.Warn().Strs("keys", changes.Fixed).Msg("these keys have changed and take effect when lcapd is started again")
	}
	return next
}

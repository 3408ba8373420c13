package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/llog"
)

const serveHelp = `Show a local changelog as the changelog device of a Lustre client.

MOUNTPOINT, an empty directory, then holds two files until the command is
interrupted: changelog-<MDT>, which behaves as the device of the same name in
/dev, and changelog_users-<MDT>, which shows what mdd.*.changelog_users does on an
MDS. What is appended to DIR shows up in the device; what is cleared through the
device is gone from DIR. Only root can mount, and only who mounts can look.

Programs that read changelog devices, lcapd among them (device_dir: MOUNTPOINT),
can so be run without Lustre. --version chooses whose rules the device follows: they
differ in how records are prefetched and followed, in NIDs, filters and errors.

With --control the command takes orders on standard input, a JSON object each, and
answers each with a line on standard output; it ends with its input:

  {"do":"fail-reads","n":2,"errno":"EIO"}     also fail-opens, fail-clears,
                                              lose-clears: done, yet answered so
  {"do":"evict","errno":"ESHUTDOWN"}          every open file fails
  {"do":"hide","indexes":[7,8]}               seen late, or not; until reveal
  {"do":"stall","for":"3s"}                   the MDT is silent; until resume
  {"do":"swap","dir":"/tmp/other"}            another changelog of the same MDT
  {"do":"unmount"}                            the device is gone; until mount
  {"do":"short-reads","on":true}              reads end at random records
  {"do":"status"}                             open files, calls, last index read`

type serveOptions struct {
	version string
	idle    llog.IdleLimits
	control bool
	emulated.Options
}

func newLlogServe() *cobra.Command {
	o := serveOptions{idle: llog.DefaultIdleLimits}
	cmd := &cobra.Command{
		Use:     "serve DIR MOUNTPOINT",
		Short:   "Show a changelog as a Lustre changelog device",
		Long:    serveHelp,
		Example: "  lcapcli llog serve /tmp/log /mnt/mdt\n  head -c 4096 /mnt/mdt/changelog-local-MDT0000 | lcapcli decode -",
		Args:    arguments(2, 2, "DIR and MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(cmd); err != nil {
				return err
			}
			return o.run(cmd, args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.version, "version", emulated.NewestVersion.String(), "release of Lustre to behave as, from 2.10 on")
	f.DurationVar(&o.FollowInterval, "follow-interval", emulated.DefaultFollowInterval, "how often a reader in follow mode sees new records")
	f.DurationVar(&o.OpenLatency, "open-latency", emulated.DefaultOpenLatency, "time from open to the first look at the changelog, up to 2.14")
	f.BoolVar(&o.ShortReads, "short-reads", false, "end reads at random records")
	f.Uint64Var(&o.Seed, "seed", 1, "what --short-reads is drawn from")
	f.BoolVar(&o.Dirty, "dirty", false, "leave stale bytes in records where servers do")
	f.StringVar(&o.Clears, "clears", "", "append every clear command, with its answer, to this file")
	f.BoolVar(&o.control, "control", false, "take orders on standard input")
	f.DurationVar(&o.idle.MaxIdle, "max-idle-time", o.idle.MaxIdle, "remove users who have not cleared for longer (any of these three turns it on)")
	f.Uint64Var(&o.idle.MaxIndexes, "max-idle-indexes", o.idle.MaxIndexes, "remove users who are behind by more")
	f.DurationVar(&o.idle.Interval, "min-gc-interval", o.idle.Interval, "look for such users at most so often")
	return cmd
}

func (o *serveOptions) parse(cmd *cobra.Command) (err error) {
	if o.Version, err = emulated.ParseVersion(o.version); err != nil {
		return badUsage(cmd, "--version: %w", err)
	}
	if o.FollowInterval <= 0 {
		return badUsage(cmd, "--follow-interval %s is not above 0", o.FollowInterval)
	}
	if o.OpenLatency == 0 {
		o.OpenLatency = -1 // no time at all
	}
	for _, limit := range []string{"max-idle-time", "max-idle-indexes", "min-gc-interval"} {
		if cmd.Flags().Changed(limit) {
			o.Idle = &o.idle
		}
	}
	return nil
}

func (o *serveOptions) run(cmd *cobra.Command, dir, mountPoint string) (err error) {
	if o.Log, err = llog.Open(dir); err != nil {
		return err
	}
	o.MountPoint = mountPoint
	o.Logger = zerolog.New(zerolog.ConsoleWriter{Out: cmd.ErrOrStderr(), TimeFormat: time.TimeOnly})
	server, err := emulated.Mount(o.Options)
	if err != nil {
		return err
	}
	cmd.PrintErrf("serving %s as %s, until an interrupt; its users: %s\n", dir, server.DevicePath(), server.UsersPath())
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	if o.control {
		go func() {
			stop(server.Control(ctx, json.NewDecoder(cmd.InOrStdin()), json.NewEncoder(cmd.OutOrStdout())))
		}()
	}
	if err := server.Run(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); cmd.Context().Err() == nil && !errors.Is(cause, io.EOF) {
		return fmt.Errorf("--control: cannot read an order: %w; an order is a JSON object such as {\"do\":\"status\"}", cause)
	}
	return nil
}

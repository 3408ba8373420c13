package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/watch"
)

// newCheck looks at a configuration without running anything.
func newCheck(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check -c FILE",
		Short: "Say all that is wrong with a configuration, and with what it names",
		Long: `Say all that is wrong with a configuration, and with what it names: the state, the
addresses, the MDTs. Nothing is changed or cleared. A line is 'ok' or what would keep
lcapd from running; then the exit code is 2.

While lcapd runs its state is in use, which is such a line too; the addresses are not
tried then, and all other lines hold.`,
		Example: "  lcapd check -c /etc/lcapd.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(*file)
			if err != nil {
				return err
			}
			failed := 0
			say := func(what string, err error, seen ...string) {
				if err != nil {
					failed++
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", what, oneLine(err))
					return
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", what, strings.Join(append([]string{"ok"}, seen...), ", "))
			}
			say(*file, nil)
			inUse := false
			stored, differ := checkState(cfg)
			for _, err := range differ {
				inUse = inUse || errors.Is(err, state.ErrLocked)
				say("state", err)
			}
			if len(differ) == 0 {
				say("state", nil, leftBehind(cfg, stored.Identity)...)
			}
			if !inUse { // else it is that lcapd that has them
				for _, e := range endpoints(cfg) {
					say("listen", checkListen(e, *file))
				}
				say("http", checkHTTP(cfg))
			}
			for _, err := range checkChains(cfg, stored.Groups) {
				say(*file, err)
			}
			if len(cfg.Upstream) == 0 {
				say("upstream", errNoUpstream)
			}
			for _, u := range cfg.Upstream {
				what := fmt.Sprintf("%s (%s)", u.MDT, u.Driver)
				if u.Driver == config.DriverDevice {
					seen, err := checkDevice(cmd.Context(), cfg, u)
					say(what, err, seen)
					continue
				}
				say(what, checkUpstream(u))
			}
			if failed > 0 {
				return usageError{fmt.Errorf("%d of these would keep lcapd from running", failed)}
			}
			return nil
		},
	}
}

// checkState returns the state, and all that would keep lcapd from starting with it.
func checkState(cfg *config.Config) (state.Snapshot, []error) {
	snapshot, err := state.Look(cfg.State)
	if err != nil {
		return snapshot, []error{err}
	}
	return snapshot, agree(cfg, snapshot)
}

// checkListen looks whether an address can be served.
func checkListen(e transport.Endpoint, file string) error {
	s, err := transport.Listen(transport.Options{}, e)
	if err != nil {
		return listenError(err, file)
	}
	s.Close()
	return nil
}

func checkHTTP(cfg *config.Config) error {
	l, err := listenHTTP(cfg)
	if l != nil {
		err = l.Close()
	}
	return err
}

// checkUpstream looks whether the MDT can be read as the user.
func checkUpstream(u config.Upstream) error {
	switch u.Driver {
	case config.DriverWorkload:
		return nil
	case config.DriverMemory:
		r, err := openRepeated(u)
		if err != nil {
			return err
		}
		return r.from.Close()
	case config.DriverWatch:
		return watch.Check(u.Path)
	case config.DriverLLog:
		bell, err := llog.NewBell()
		if err != nil {
			return err
		}
		_, err = upstream.OpenLLog(u.Path, u.MDT, u.User, bell)
		return errors.Join(err, bell.Close())
	}
	return fmt.Errorf("the driver %s is not in this version of lcapd", u.Driver)
}

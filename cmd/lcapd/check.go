package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

// newCheck looks at a configuration without running anything.
func newCheck(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check -c FILE",
		Short: "Say all that is wrong with a configuration, and with what it names",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(*file)
			if err != nil {
				return err
			}
			failed := 0
			say := func(what string, err error) {
				if err != nil {
					failed++
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %v\n", what, err)
					return
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", what)
			}
			say(*file, nil)
			say("state "+cfg.State, checkState(cfg))
			if len(cfg.Upstream) == 0 {
				say("upstream", errors.New("no MDT is configured"))
			}
			for _, u := range cfg.Upstream {
				say(fmt.Sprintf("%s (%s)", u.MDT, u.Driver), checkUpstream(u))
			}
			if failed > 0 {
				return usageError{fmt.Errorf("%d of these would keep lcapd from running", failed)}
			}
			return nil
		},
	}
}

// checkState looks whether lcapd would start with the state.
func checkState(cfg *config.Config) error {
	s, err := state.Open(cfg.State)
	if err != nil {
		return err
	}
	snapshot, err := s.Load()
	return errors.Join(err, agree(cfg, snapshot), s.Close())
}

// checkUpstream looks whether the MDT can be read as the user.
func checkUpstream(u config.Upstream) error {
	switch u.Driver {
	case config.DriverWorkload:
		return nil
	case config.DriverLLog:
		bell, err := llog.NewBell()
		if err != nil {
			return err
		}
		_, err = upstream.OpenLLog(u.Path, u.MDT, u.User, bell)
		return errors.Join(err, bell.Close())
	}
	return fmt.Errorf("the driver %s is not in this version: use llog or workload", u.Driver)
}

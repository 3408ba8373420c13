package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/broker/state"
	"github.com/lcapd/lcapd/config"
)

// newInit makes the state directory, once in an installation's life.
func newInit(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "init -c FILE",
		Short: "Make the state directory of a new installation",
		Long: `Make the state directory that the configuration names, once in an installation's life.
It remembers the MDTs and changelog users, and what each group has acknowledged: keep it.
A state that is there is left as it is. lcapd does not make one by itself: a directory that
is not mounted, say, would be taken for a new installation.`,
		Example: "  lcapd init -c /etc/lcapd.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(*file)
			if err != nil {
				return err
			}
			if err := state.Init(cfg.State, identityOf(cfg)); err != nil {
				return stateError(cfg.State, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is made; run: lcapd -c %s\n", cfg.State, *file)
			return nil
		},
	}
}

// identityOf is what an installation is, by its configuration.
func identityOf(cfg *config.Config) state.Identity {
	var id state.Identity
	var systems []string
	for _, u := range cfg.Upstream {
		id.Upstream = append(id.Upstream, state.Upstream{MDT: u.MDT, User: userOf(u)})
		system, _, _ := strings.Cut(u.MDT, "-")
		systems = append(systems, system)
	}
	slices.Sort(systems)
	id.FileSystem = strings.Join(slices.Compact(systems), ",")
	return id
}

// userOf is the changelog user that lcapd is on an MDT. What it makes itself has one.
func userOf(u config.Upstream) string {
	if u.User == "" {
		return "cl1"
	}
	return u.User
}

// stateError says what to do about a state directory that does not serve.
func stateError(dir string, err error) error {
	for _, known := range []error{state.ErrNotInitialised, state.ErrExists, state.ErrForeign, state.ErrDamaged, state.ErrVersion, state.ErrLocked} {
		if errors.Is(err, known) {
			return usageError{err}
		}
	}
	for _, wrong := range []error{fs.ErrNotExist, fs.ErrPermission, syscall.ENOTDIR} {
		if errors.Is(err, wrong) {
			return usageError{fmt.Errorf("state %s: %w; check the key 'state' of the configuration, and who may write there", dir, err)}
		}
	}
	return fmt.Errorf("state %s: %w", dir, err)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/client"
)

const backupHelp = `Copy the state of a running lcapd into a file: which groups there are, and how far
each of them has come. The copy is of one moment, and whole. FILE is replaced in
one step, so that there is always a whole one; only its owner may read it. It must
not lie in a state directory, where it could take the place of what an lcapd runs on.

'lcapd restore -c CONFIGURATION FILE' puts it back. While lcapd is stopped, a copy
of state.db in its state directory is as good.`

func newBackup() *cobra.Command {
	return &cobra.Command{
		Use:     "backup FILE",
		Short:   "Copy the state of a running lcapd into a file",
		Long:    backupHelp,
		GroupID: "server",
		Example: "  lcapcli backup /backup/lcapd.db",
		Args:    arguments(1, 1, "one FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd, func(ctx context.Context, o *client.Operator) error {
				state, err := o.Backup(ctx)
				if err != nil {
					return err
				}
				if err := replaceFile(args[0], state); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s holds the state of lcapd %s, %d bytes\n", args[0], printable(o.Broker()), len(state))
				return nil
			})
		},
	}
}

// replaceFile makes a file, or puts it in the place of another one, durably and in one step.
func replaceFile(path string, content []byte) (err error) {
	folder := filepath.Dir(path)
	if err := mayReplace(path, folder); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, filepath.Base(path)+".*") // which only the owner may read
	if err != nil {
		return err
	}
	defer func() {
		if gone := os.Remove(f.Name()); err == nil && !errors.Is(gone, fs.ErrNotExist) {
			err = gone
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// stateLock is the file that marks the state directory of an lcapd.
const stateLock = "state.lock"

// mayReplace refuses a path in a folder that cannot take a backup.
func mayReplace(path, folder string) error {
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("%s: %w; make the folder, or name another one", path, err)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; name another one", path)
	}
	if _, err := os.Lstat(filepath.Join(folder, stateLock)); err == nil {
		return fmt.Errorf("%s lies in the state directory of an lcapd, which must not be written to; name another folder", path)
	}
	return nil
}

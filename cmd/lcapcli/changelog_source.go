package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/device"
)

// deviceDir is where the devices of MDTs that are named without a path are.
const deviceDir = "/dev"

// mdtName is the name of an MDT, as opposed to a path.
var mdtName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*-MDT[0-9a-f]{4}$`)

// changelogSource is the changelog that a command names: a local one, or a device.
type changelogSource struct {
	mdt    string
	log    *llog.Log      // nil for a device
	device *device.Source // nil for a local changelog
}

// openChangelog finds the changelog that a user means by the name of an MDT, the path of
// a device or a directory. user, such as cl1, is who clears it; empty for nobody.
func openChangelog(where, user string) (c changelogSource, err error) {
	dir, mdt, isDevice := asDevice(where)
	if !isDevice {
		if c.log, err = llog.Open(where); err == nil {
			c.mdt = c.log.MDT()
		}
		return c, err
	}
	c.mdt = mdt
	c.device, err = device.New(device.Options{Dir: dir, MDT: mdt, User: user})
	return c, err
}

// asDevice tells whether a device is meant, and which.
func asDevice(where string) (dir, mdt string, is bool) {
	if info, err := os.Stat(where); err == nil && info.IsDir() {
		return "", "", false
	}
	if mdtName.MatchString(where) {
		return deviceDir, where, true
	}
	dir, name := filepath.Split(where)
	mdt, is = strings.CutPrefix(name, device.Prefix)
	return dir, mdt, is
}

// open opens the changelog at an index.
func (c changelogSource) open(ctx context.Context, start uint64) (upstream.Reader, error) {
	if c.log != nil {
		return c.log.NewReader(start, nil)
	}
	return c.device.Open(ctx, start)
}

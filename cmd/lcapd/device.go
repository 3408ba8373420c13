package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/upstream/device"
)

// deviceSource returns the source of a changelog device. It need not be there yet.
func deviceSource(cfg *config.Config, u config.Upstream) (*device.Source, error) {
	var version device.Version
	if u.Lustre != "" {
		var err error
		if version, err = device.ParseVersion(u.Lustre); err != nil {
			return nil, err
		}
	}
	return device.New(device.Options{Dir: cfg.DeviceDir, DirKey: "device_dir", MDT: u.MDT, User: u.User, Version: version, Users: u.ChangelogUsers})
}

// checkPatience is how long an MDS may take to show a record.
const checkPatience = 10 * time.Second

// checkDevice looks whether a changelog device can be read, and whether the user is known
// if that can be told. It returns what it saw. It clears nothing.
func checkDevice(ctx context.Context, cfg *config.Config, u config.Upstream) (string, error) {
	s, err := deviceSource(cfg, u)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkPatience, fmt.Errorf("%s: the MDS has not answered for %s", s.Path(), checkPatience))
	defer cancel()
	seen, err := firstRecord(ctx, s)
	if err != nil {
		return "", err
	}
	if u.Lustre == "" {
		if _, err := device.RunningVersion(); err != nil {
			seen += fmt.Sprintf("; %v: name it (lustre: \"2.15\"), or long NIDs may be shortened", err)
		}
	}
	if u.ChangelogUsers == "" {
		return seen + fmt.Sprintf("; whether %s is registered can be told on the MDS only: lctl get_param mdd.%s.changelog_users", u.User, u.MDT), nil
	}
	user, err := s.CheckUser()
	if err != nil {
		return "", err
	}
	return seen + fmt.Sprintf("; %s has cleared up to %d", u.User, user.Cleared), nil
}

// firstRecord says which record a device shows first.
func firstRecord(ctx context.Context, s *device.Source) (_ string, err error) {
	r, err := s.Open(ctx, 1)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		switch {
		case errors.Is(err, io.EOF):
			return "it shows no record", nil
		case err != nil:
			return "", err
		case n > 0:
			first, _, err := changelog.Next(buf[:n])
			if err != nil {
				return "", fmt.Errorf("%s shows no changelog records: %w", s.Path(), err)
			}
			return fmt.Sprintf("its first record is %d", first.Index()), nil
		}
		if err := r.Wait(ctx); err != nil {
			return "", err
		}
	}
}

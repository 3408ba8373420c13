package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lcapd/lcapd/internal/chart"
)

// profileFile is where the CPU profile of lcapd or of the first member goes, with an ending.
func (x *run) profileFile(of, ending string) string {
	return filepath.Join(x.Profile, fmt.Sprintf("%s-%d-%s.%s", x.Name, x.n, of, ending))
}

// profile saves a CPU profile of lcapd.
func (x *run) profile(ctx context.Context, st *stage, long time.Duration) error {
	if x.Profile == "" || st.daemon == nil {
		return nil
	}
	return st.daemon.save(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(int(long.Seconds()), 1)), x.profileFile("lcapd", "pprof"))
}

// drawProfiles draws each profile of the run that is there as a flame graph beside it.
func (x *run) drawProfiles() (err error) {
	if x.Profile == "" {
		return nil
	}
	for _, of := range []string{"lcapd", "member"} {
		e := drawProfile(x.profileFile(of, "pprof"), x.profileFile(of, "svg"), "CPU time of "+of+": "+x.describe())
		if !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func drawProfile(from, to, title string) (err error) {
	profile, err := os.Open(from)
	if err != nil {
		return err
	}
	defer profile.Close()
	picture, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, picture.Close()) }()
	if err := chart.WriteFlame(picture, profile, title); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

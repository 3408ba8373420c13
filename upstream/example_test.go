package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"path/filepath"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

// A made-up MDT, and a consumer who ends up with the same name space.
func Example() {
	parent, err := os.MkdirTemp("", "upstream")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	ctx := context.Background()
	l, err := llog.Create(filepath.Join(parent, "log"), "demo-MDT0000")
	if err != nil {
		log.Fatal(err)
	}
	user, err := l.Register(ctx, "", 0)
	if err != nil {
		log.Fatal(err)
	}

	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1})
	if err := produce(ctx, l, w); err != nil {
		log.Fatal(err)
	}
	replica, err := follow(ctx, upstream.NewLLog(l, user.ID, nil), 1000)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same tree:", maps.Equal(replica.Tree(), w.Tree()))
	// Output:
	// made 1000 records
	// the same tree: true
}

// produce appends 1,000 records.
func produce(ctx context.Context, l *llog.Log, w *upstream.Workload) error {
	a, err := l.NewAppender(llog.AppendOptions{})
	if err != nil {
		return err
	}
	defer a.Close()
	made, err := w.Produce(ctx, a, upstream.Pace{Records: 1000})
	fmt.Println("made", made, "records")
	return err
}

// follow applies the records up to the last one, and clears them.
func follow(ctx context.Context, s upstream.Source, last uint64) (*upstream.Replica, error) {
	r, err := s.Open(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	replica := upstream.NewReplica()
	buf := make([]byte, 64<<10)
	for at := uint64(0); at < last; {
		n, err := r.Read(buf)
		if errors.Is(err, io.EOF) { // there is none at present
			err = r.Wait(ctx)
		}
		if err != nil {
			return nil, err
		}
		for scan := changelog.NewScanner(buf[:n]); scan.Scan(); {
			if err := replica.Apply(scan.Record()); err != nil {
				return nil, err
			}
			at = scan.Record().Index()
		}
	}
	return replica, s.Clear(ctx, last)
}

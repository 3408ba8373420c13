package llog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// From an empty directory to a cleared log: what producer and consumer do, here
// one after the other, as a rule in processes of their own.
func Example() {
	parent, err := os.MkdirTemp("", "llog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	ctx := context.Background()

	// Once: make the log, and register who is to read it.
	dir := filepath.Join(parent, "changelog")
	l, err := llog.Create(dir, "local-MDT0000")
	if err != nil {
		log.Fatal(err)
	}
	user, err := l.Register(ctx, "audit", changelog.MaskOf(changelog.TypeCreat, changelog.TypeUnlnk))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("registered", user)

	if err := produce(ctx, dir); err != nil {
		log.Fatal(err)
	}
	if err := consume(ctx, dir, user); err != nil {
		log.Fatal(err)
	}
	info, err := l.Info()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("left:", info.Records, "records; the last index was", info.Current)
	// Output:
	// registered cl1-audit
	// stored 1 to 2, left out 1
	// 1 CREAT report.txt
	// 2 UNLNK report.txt
	// left: 0 records; the last index was 2
}

// produce appends three records, of which nobody wants one.
func produce(ctx context.Context, dir string) error {
	l, err := llog.Open(dir)
	if err != nil {
		return err
	}
	a, err := l.NewAppender(llog.AppendOptions{})
	if err != nil {
		return err
	}
	if torn := a.TornTail(); torn != nil {
		fmt.Println("the last append was interrupted behind index", torn.After)
	}
	var packed []byte
	for _, kind := range []changelog.Type{changelog.TypeCreat, changelog.TypeOpen, changelog.TypeUnlnk} {
		f := changelog.Fields{Type: kind, Name: "report.txt", Target: changelog.FID{Seq: 0x200000401, Oid: 1}}
		if packed, err = f.Append(packed); err != nil {
			return err
		}
	}
	done, err := a.AppendNew(ctx, packed)
	fmt.Printf("stored %d to %d, left out %d\n", done.First, done.Last, done.Masked)
	return errors.Join(err, a.Close())
}

// consume reads what the user has not cleared, to the end, and clears it.
func consume(ctx context.Context, dir string, user llog.User) error {
	l, err := llog.Open(dir)
	if err != nil {
		return err
	}
	r, err := l.NewReader(user.Cleared+1, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if err == io.EOF {
			return nil // a follower would r.Wait(ctx) and go on
		}
		if err != nil {
			return err
		}
		s := changelog.NewScanner(buf[:n])
		for s.Scan() {
			fmt.Println(s.Record().Index(), s.Record().Type(), string(s.Record().Name()))
		}
		if err := l.Clear(ctx, user.ID, s.Last); err != nil {
			return err
		}
	}
}

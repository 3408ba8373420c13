package llog

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
)

// An appender that is faster than the reader's looks: where the reader saw no
// frame there is one when it looks for the reason. That is no damage.
func TestAppenderFasterThanTheReader(t *testing.T) {
	for name, sync := range map[string]SyncPolicy{"vouched for": SyncEach, "not vouched for": SyncNever} {
		t.Run(name, func(t *testing.T) {
			l, err := Create(filepath.Join(t.TempDir(), "log"), "m")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Register(context.Background(), "", 0); err != nil {
				t.Fatal(err)
			}
			a, err := l.NewAppender(AppendOptions{Sync: sync})
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.NewReader(0, nil)
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, MinRead)
			for i := range 3 {
				if _, err := a.AppendNew(context.Background(), fuzzRecord(0)); err != nil {
					t.Fatal(err)
				}
				if i > 0 { // as if Read had looked before the append
					if err := r.moveOn(); err != nil {
						t.Fatal(err)
					}
				}
				if n, err := r.Read(buf); n != len(fuzzRecord(0)) || err != nil {
					t.Fatalf("read %d, %v", n, err)
				}
				if n, err := r.Read(buf); n != 0 || err != io.EOF {
					t.Fatalf("at the end: %d, %v", n, err)
				}
			}
			if err := errors.Join(a.Close(), r.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A request that nobody takes waits as long as its caller wants to.
func TestAppendEndsWithItsContext(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &Appender{requests: make(chan *request), done: make(chan struct{})} // nobody runs it
	go cancel(why)
	for _, add := range []func(context.Context, []byte) (Appended, error){a.Append, a.AppendNew} {
		if got, err := add(ctx, fuzzRecord(1)); !errors.Is(err, why) || got.Records != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if err := a.Sync(ctx); !errors.Is(err, why) {
		t.Error(err)
	}
}

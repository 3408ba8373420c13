package sourcetest_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/upstream/sourcetest"
)

// faulty is a source with a mistake.
type faulty struct {
	*upstream.Memory
	fault  string
	opened int
}

// faults are mistakes, with the test that finds each first.
var faults = map[string]string{
	"start one later":   "Order",
	"cut a record":      "Order",
	"lose a record":     "Order",
	"busy wait":         "WaitsWithoutPolling",
	"clear nothing":     "ClearAdvances",
	"clear too much":    "ClearAdvances",
	"clear zero":        "ClearRefused",
	"another errno":     "ClearRefused",
	"clear another":     "ClearIf",
	"leave a goroutine": "Cancel",
	"close once":        "CloseTwice",
	"one reader":        "ManyReaders",
}

func (f *faulty) ClearIf(ctx context.Context, index uint64, isSame func() error) error {
	if f.fault == "clear another" {
		isSame = func() error { return nil }
	}
	return f.Memory.ClearIf(ctx, index, isSame)
}

func (f *faulty) Clear(ctx context.Context, index uint64) error {
	switch {
	case f.fault == "clear nothing", f.fault == "clear zero" && index == 0:
		return nil
	case f.fault == "clear too much":
		index++
	}
	err := f.Memory.Clear(ctx, index)
	if err != nil && f.fault == "another errno" {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (f *faulty) Open(ctx context.Context, start uint64) (upstream.Reader, error) {
	f.opened++
	switch f.fault {
	case "start one later":
		start = max(start, 1) + 1
	case "leave a goroutine":
		go func() { select {} }()
	}
	r, err := f.Memory.Open(ctx, start)
	return &faultyReader{Reader: r, fault: f.fault, late: f.opened > 2}, err
}

type faultyReader struct {
	upstream.Reader
	fault  string
	late   bool // not one of the first readers of its source
	closed bool
}

func (r *faultyReader) Read(dst []byte) (int, error) {
	n, err := r.Reader.Read(dst)
	if n == 0 {
		return n, err
	}
	_, rest, e := changelog.Next(dst[:n])
	switch {
	case e != nil:
		return n, e
	case r.fault == "cut a record":
		n--
	case r.fault == "lose a record" && len(rest) > 0, r.fault == "one reader" && r.late && len(rest) > 0:
		n = copy(dst, rest)
	}
	return n, err
}

func (r *faultyReader) Wait(ctx context.Context) error {
	if r.fault == "busy wait" && ctx.Err() == nil {
		return nil
	}
	return r.Reader.Wait(ctx)
}

func (r *faultyReader) Close() error {
	if r.fault == "close once" && r.closed {
		return upstream.ErrClosed
	}
	r.closed = true
	return r.Reader.Close()
}

const faultVariable = "SOURCETEST_FAULT"

// TestFaulty is what TestFindsFaults runs in another process.
func TestFaulty(t *testing.T) {
	fault, there := os.LookupEnv(faultVariable)
	if !there {
		return // it is not this process that has to fail
	}
	if fault != "" {
		sourcetest.SetPatience(time.Second)
	}
	sourcetest.Run(t, func(t testing.TB) sourcetest.Harness {
		m := upstream.NewMemory()
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		return sourcetest.Harness{
			Source: &faulty{Memory: m, fault: fault},
			Append: func(t testing.TB, records []byte) {
				if err := m.Append(context.Background(), records); err != nil {
					t.Error(err)
				}
			},
			KeepsCleared: true,
			Reopens:      10,
		}
	})
}

// The suite finds mistakes, and nothing else.
func TestFindsFaults(t *testing.T) {
	run := func(fault, test string) error {
		cmd := exec.Command(os.Args[0], "-test.run", "TestFaulty/^"+test+"$", "-test.timeout", "2m")
		cmd.Env = append(os.Environ(), faultVariable+"="+fault)
		out, err := cmd.CombinedOutput()
		if fault == "" && err != nil || strings.Contains(string(out), "no tests to run") || strings.Contains(string(out), "panic: test timed out") {
			t.Errorf("%s\n%s", fault, out)
		}
		return err
	}
	if err := run("", ".*"); err != nil {
		t.Errorf("without a fault: %v", err)
	}
	for fault, test := range faults {
		if err := run(fault, test); err == nil {
			t.Errorf("%s: %s does not find it", fault, test)
		}
	}
}

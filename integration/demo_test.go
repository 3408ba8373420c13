package integration

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestDemo runs what `make demo` runs, ends it as ^C does, and looks at its last words: all that was
// read was acknowledged by both groups and shown to the listener, and nothing is left behind.
func TestDemo(t *testing.T) {
	bin, tmp := buildPrograms(t), t.TempDir()
	demo := exec.Command(bin+"/lcapd", "demo", "--listen", "tcp://127.0.0.1:0", "--rate", "500")
	demo.Env = append(os.Environ(), "TMPDIR="+tmp)
	var out, errs bytes.Buffer
	demo.Stdout, demo.Stderr = &out, &errs
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second) // it shows how it is every two seconds
	if err := demo.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := demo.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	last := regexp.MustCompile(`ended: (\d+) records read, \d+ cleared; group policy: (\d+) acknowledged by 3 members; group audit: (\d+) acknowledged by 2 members; listener cache: (\d+) records, 0 gaps\n$`)
	m := last.FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("it printed\n%s%s", out.String(), errs.String())
	}
	read, err := strconv.Atoi(m[1])
	if err != nil || read == 0 {
		t.Errorf("%q records were read", m[1])
	}
	for i, who := range []string{"policy", "audit", "the listener"} {
		// The line is a moment of a running system: who is behind is so by moments.
		if n, err := strconv.Atoi(m[i+2]); err != nil || n < read/2 || n > read {
			t.Errorf("%s had %s of %d records", who, m[i+2], read)
		}
	}
	if errs.Len() > 0 {
		t.Errorf("on stderr: %s", errs.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

package emulatedtest_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

func TestMain(m *testing.M) { emulatedtest.Main(m) }

const patience = 60 * time.Second

// hostVar makes TestHost a process that has an MDT, and waits to be killed.
const hostVar = "EMULATEDTEST_HOST"

func TestHost(t *testing.T) {
	if os.Getenv(hostVar) == "" {
		return // it is not the process that TestDeathLeavesNothing kills
	}
	mdt := emulatedtest.Start(t, emulatedtest.Options{})
	fmt.Println("path", mdt.Path())
	select {}
}

// Neither process nor mount outlives the process of the test, whatever kills it.
func TestDeathLeavesNothing(t *testing.T) {
	emulatedtest.Start(t, emulatedtest.Options{}).Stop() // skips where there is none
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHost$", "-test.v")
	cmd.Env = append(os.Environ(), hostVar+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	path := ""
	for lines := bufio.NewScanner(out); path == "" && lines.Scan(); {
		_, path, _ = strings.Cut(lines.Text(), "path ")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	server := strings.Join(strings.Split(path, "/")[:3], "/")
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(server + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") { // gone, or nobody has asked for its status
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the server still runs: %s", stat)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), "lustre-changelog") {
		t.Errorf("%v, mounts:\n%s", err, mounts)
	}
}

// Several MDTs share a directory, and leave nothing in it.
func TestSharedDirectory(t *testing.T) {
	dir := t.TempDir()
	var mdts []*emulatedtest.MDT
	for i := range 3 {
		mdts = append(mdts, emulatedtest.Start(t, emulatedtest.Options{DeviceDir: dir, MDT: fmt.Sprintf("fs-MDT%04d", i)}))
	}
	for i, mdt := range mdts {
		mdt.Register("", 0)
		if got := mdt.Emit(changelog.Fields{Type: changelog.TypeCreat, Name: "a"}); got.First != 1 || got.Records != 1 {
			t.Errorf("%+v", got)
		}
		path := filepath.Join(mdt.Dir(), "changelog-"+mdt.Name())
		if mdt.Dir() != dir || mdt.Name() != fmt.Sprintf("fs-MDT%04d", i) {
			t.Error(path)
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) != changelog.HeaderSize+1 {
			t.Errorf("%q, %v", data, err)
		}
		if status := mdt.Status(); status.Opens != 1 || status.Delivered != 1 {
			t.Errorf("%+v", status)
		}
		mdt.Stop()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Error("left behind:", err)
		}
	}
}

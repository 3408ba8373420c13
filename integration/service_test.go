package integration

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/config"
)

// unitKeys reads the keys of a systemd unit. None of those that are asked for comes twice.
func unitKeys(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	keys := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, found := strings.Cut(lines.Text(), "="); found && !strings.HasPrefix(key, "#") {
			keys[key] = value
		}
	}
	return keys
}

// TestService holds the unit of systemd against the defaults of the configuration that it is for, and does with
// lcapd what systemd would do.
func TestService(t *testing.T) {
	unit, defaults := unitKeys(t, "../examples/lcapd.service"), config.Default()
	if unit["StateDirectory"] != filepath.Base(defaults.State) || filepath.Dir(defaults.State) != "/var/lib" {
		t.Errorf("StateDirectory=%s is not for %s", unit["StateDirectory"], defaults.State)
	}
	socket := "ipc:///run/" + unit["RuntimeDirectory"] + "/"
	served := false
	for _, l := range defaults.Listen {
		served = served || strings.HasPrefix(l.Address.String(), socket)
	}
	if !served {
		t.Errorf("RuntimeDirectory=%s is for none of %v", unit["RuntimeDirectory"], defaults.Listen)
	}
	number := func(key, suffix string) int64 {
		n, err := strconv.ParseInt(strings.TrimSuffix(unit[key], suffix), 10, 64)
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		return n
	}
	if stop := time.Duration(number("TimeoutStopSec", "")) * time.Second; stop <= defaults.Shutdown {
		t.Errorf("systemd waits for %v, and lcapd takes up to %v", stop, defaults.Shutdown)
	}
	if files := number("LimitNOFILE", ""); files < 2*int64(defaults.Limits.Connections) {
		t.Errorf("%d descriptors for %d connections", files, defaults.Limits.Connections)
	}
	if memory := number("MemoryMax", "M") << 20; memory < defaults.Memory+defaults.Memory/4 {
		t.Errorf("%d bytes for a memory of %d", memory, defaults.Memory)
	}

	h := newHome(t, buildDaemon(t))
	line := strings.ReplaceAll(unit["ExecStart"], "/etc/lcapd.yaml", h.file())
	args, isOurs := strings.CutPrefix(line, "/usr/bin/lcapd ")
	if want := "-c " + h.file(); !isOurs || args != want || unit["ExecReload"] != "/bin/kill -HUP $MAINPID" {
		t.Fatalf("systemd starts %q, the test lcapd %s", line, want)
	}
	if s := h.lcapd("-c", h.file()); strconv.Itoa(s.code) != unit["RestartPreventExitStatus"] {
		t.Errorf("without a state: %+v", s)
	}
	h.mkdir("state") // as StateDirectory does
	h.init()
	lcapd := h.start()
	h.set("log", "{level: debug}")
	lcapd.signal(syscall.SIGHUP)
	lcapd.logged("the configuration was read again")
	lcapd.terminate()
}

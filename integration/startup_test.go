package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/emulated"
	"github.com/lcapd/lcapd/emulated/emulatedtest"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
	"github.com/lcapd/lcapd/wire"
)

// wantRefusal wants the exit code 2, nothing on stdout, and on stderr one line with all
// the words.
func wantRefusal(t *testing.T, s said, words ...string) {
	t.Helper()
	if s.code != 2 || s.stdout != "" || strings.Count(s.stderr, "\n") != 1 {
		t.Errorf("exit code %d, stdout %q, stderr %q", s.code, s.stdout, s.stderr)
	}
	for _, w := range words {
		if !strings.Contains(s.stderr, w) {
			t.Errorf("%q does not say %q", s.stderr, w)
		}
	}
}

// TestStartIsRefused starts lcapd with everything that can be wrong, and reads what it
// says: one line that names the thing and the remedy, and exit code 2.
func TestStartIsRefused(t *testing.T) {
	bin := buildDaemon(t)
	cases := []struct {
		name  string
		spoil func(h *daemonHome) // a good home with a state
		words []string            // that must be said, DIR is the home
	}{
		{"no file", func(h *daemonHome) { remove(h, "lcapd.yaml") }, []string{"lcapd.yaml", "no such file", "lcapd config >"}},
		{"a folder", func(h *daemonHome) { remove(h, "lcapd.yaml"); h.mkdir("lcapd.yaml") }, []string{"lcapd.yaml", "is a directory"}},
		{"no upstream", func(h *daemonHome) { h.set("upstream", "") }, []string{"upstream", "lcapd config"}},
		{"unknown driver", func(h *daemonHome) { h.set("upstream", "[{mdt: home-MDT0000, driver: magnetic}]") }, []string{"lcapd.yaml:", "upstream[0].driver", "magnetic", "device, llog, memory, watch or workload"}},
		{"no state", func(h *daemonHome) { remove(h, "state") }, []string{"DIR/state", "lcapd init -c"}},
		{"an empty state directory", func(h *daemonHome) { remove(h, "state"); h.mkdir("state") }, []string{"DIR/state", "lcapd init -c"}},
		{"a foreign state directory", func(h *daemonHome) { remove(h, "state"); h.mkdir("state"); h.write("state/photo.jpg", "x") }, []string{"DIR/state", "not an lcapd state"}},
		{"a state that is a file", func(h *daemonHome) { remove(h, "state"); h.write("state", "x") }, []string{"DIR/state"}},
		{"a damaged state", func(h *daemonHome) { h.write("state/state.db", strings.Repeat("rust", 10_000)) }, []string{"DIR/state"}},
		{"a state cut short", func(h *daemonHome) { h.cut("state/state.db") }, []string{"DIR/state"}},
		{"ipc without a directory", func(h *daemonHome) { h.set("listen", "[ipc://"+h.dir+"/none/sock]") }, []string{"ipc://DIR/none/sock", "no such file or directory", "make the directory"}},
		{"ipc where a file is", func(h *daemonHome) { h.write("sock", "x") }, []string{"ipc://DIR/sock", "address in use", "not a socket"}},
		{"an address that is not ours", func(h *daemonHome) { h.set("listen", "[tcp://192.0.2.1:8189]") }, []string{"tcp://192.0.2.1:8189", "listen"}},
		{"no llog", func(h *daemonHome) {
			h.set("upstream", "[{mdt: home-MDT0000, driver: llog, path: "+h.dir+"/none, user: cl1}]")
		}, []string{"home-MDT0000", "DIR/none", "lcapcli llog create"}},
		{"the llog of another MDT", func(h *daemonHome) { h.llog("other-MDT0001"); h.useLLog("cl1") }, []string{"home-MDT0000", "DIR/llog", "other-MDT0001"}},
		{"an unknown user", func(h *daemonHome) { h.llog("home-MDT0000"); h.useLLog("cl7"); h.initAgain() }, []string{"home-MDT0000", "cl7", "lcapcli llog register DIR/llog"}},
		{"a user that is none", func(h *daemonHome) { h.llog("home-MDT0000"); h.useLLog("root") }, []string{"lcapd.yaml:", "upstream[0].user", "root", "cl1"}},
		{"windows larger than half of the memory", func(h *daemonHome) {
			h.set("groups", "[{name: few, distribution: mdt}, {name: g, distribution: mdt, consumers: state, modules: [{cancel: {bytes: 30MiB, records: 1000000}}, {coalesce: {bytes: 3MiB}}]}]")
		}, []string{"DIR/lcapd.yaml: memory: ", "33MiB together", "64MiB", "groups[1] (g) 33MiB in each of 1 MDTs", "lower bytes or records", "raise memory to 66MiB"}},
		{"the state of another file system", func(h *daemonHome) { h.set("upstream", "[{mdt: far-MDT0000, driver: workload, rate: 1}]") }, []string{"state of the file system home", "home-MDT0000", "none of its MDTs", "another one"}},
		{"another user than before", func(h *daemonHome) { h.llog("home-MDT0000"); h.useLLog("cl2") }, []string{"home-MDT0000", "cl1", "cl2", "state", "change the configuration"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHome(t, bin)
			h.init()
			c.spoil(h)
			for i, w := range c.words {
				c.words[i] = strings.ReplaceAll(w, "DIR", h.dir)
			}
			wantRefusal(t, h.lcapd("-c", h.file()), c.words...)
			if s := h.lcapd("check", "-c", h.file()); s.code != 2 {
				t.Errorf("check finds nothing: %+v", s)
			}
		})
	}
}

// TestAnMDTIsLeftOut takes an MDT out of the configuration: its changelog grows from then on, as lcapd is
// registered there.
func TestAnMDTIsLeftOut(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	h.set("upstream", "[{mdt: home-MDT0000, driver: workload, rate: 1}, {mdt: home-MDT0001, driver: workload, rate: 1}]")
	h.init()
	if text := h.start().terminate(); strings.Contains(text, "upstream any more") {
		t.Errorf("nothing is left out: %s", text)
	}
	h.set("upstream", "[{mdt: home-MDT0000, driver: workload, rate: 1}]")
	said := "home-MDT0001 is not under upstream any more, and lcapd was changelog user cl1 there"
	if s := h.lcapd("check", "-c", h.file()); s.code != 0 || !strings.Contains(s.stdout, "state: ok, "+said) {
		t.Errorf("%+v", s)
	}
	if text := h.start().terminate(); !strings.Contains(text, said) || strings.Contains(text, "paused") {
		t.Errorf("lcapd says %s", text)
	}
}

// TestUsage calls lcapd in wrong ways, and in right ones.
func TestUsage(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	wantRefusal(t, h.lcapd(), "-c FILE", "lcapd demo")
	wantRefusal(t, h.lcapd("init"), "-c FILE")
	wantRefusal(t, h.lcapd("check"), "-c FILE")
	wantRefusal(t, h.lcapd("-c"), "-c")
	wantRefusal(t, h.lcapd("--nonsense"), "--nonsense", "--help")
	wantRefusal(t, h.lcapd("nonsense"), "nonsense", "--help")
	wantRefusal(t, h.lcapd("demo", "--listen", "here"), "--listen here", "tcp://HOST:PORT")
	wantRefusal(t, h.lcapd("demo", "--rate", "99999999999"), "--rate 99999999999", "whole number")
	wantRefusal(t, h.lcapd("demo", "--listen", "ipc://"+h.dir+"/none/sock"), h.dir+"/none/sock", "make the directory", "--listen")
	if s := h.lcapd("--version"); s.code != 0 || !strings.HasPrefix(s.stdout, "lcapd ") || s.stderr != "" || strings.Count(s.stdout, "\n") != 1 {
		t.Errorf("%+v", s)
	}
	for _, state := range []string{"lcapd.yaml", "none/state"} {
		h.set("state", h.dir+"/"+state)
		wantRefusal(t, h.lcapd("init", "-c", h.file()), h.dir+"/"+state, "check the key 'state'")
	}
	h.set("state", h.dir+"/state")
	h.init()
	wantRefusal(t, h.lcapd("init", "-c", h.file()), "there is a state already", h.dir+"/state")
	if s := h.lcapd("check", "-c", h.file()); s.code != 0 || s.stderr != "" || strings.Count(s.stdout, ": ok\n") != strings.Count(s.stdout, "\n") {
		t.Errorf("%+v", s)
	}
	if s := h.lcapd("config"); s.code != 0 {
		t.Errorf("%+v", s)
	}
}

// TestThreeMistakes wants all mistakes of a file at once.
func TestThreeMistakes(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	h.set("memory", "much")
	h.set("listen", "[udp://*:8189]")
	h.set("grups", "[{name: a}]")
	for _, args := range [][]string{{"-c"}, {"check", "-c"}, {"init", "-c"}} {
		s := h.lcapd(append(args, h.file())...)
		if s.code != 2 || s.stdout != "" || strings.Count(s.stderr, "\n") != 3 {
			t.Errorf("%v: %+v", args, s)
		}
		for _, words := range [][]string{{"memory", "much", "64MiB"}, {"listen[0]", "udp://*:8189", "tcp://"}, {"grups", "groups"}} {
			found := false
			for line := range strings.Lines(s.stderr) {
				all := strings.HasPrefix(line, h.file()+":")
				for _, w := range words {
					all = all && strings.Contains(line, w)
				}
				found = found || all
			}
			if !found {
				t.Errorf("%v: no line with %v in\n%s", args, words, s.stderr)
			}
		}
	}
}

// TestCheckSaysAll wants all that is wrong around a file at once.
func TestCheckSaysAll(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	h.llog("home-MDT0000")
	h.useLLog("cl1")
	h.init()
	h.start().terminate() // the group is stored
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	h.set("http", busy.Addr().String())
	h.set("listen", fmt.Sprintf(`[{addr: "ipc://%s/none/sock"}]`, h.dir))
	h.set("upstream", "[{mdt: home-MDT0000, driver: llog, path: "+h.dir+"/llog, user: cl2}, {mdt: far-MDT0000, driver: llog, path: "+h.dir+"/none, user: cl1}]")
	h.set("groups", "[{name: g, distribution: fid}]")
	s := h.lcapd("check", "-c", h.file())
	if s.code != 2 || strings.Count(s.stderr, "\n") != 1 || !strings.Contains(s.stderr, "6 of these") {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{
		h.file() + ": ok\n", "cl2", "fid from earliest", "none/sock", "http " + busy.Addr().String(), "register one", h.dir + "/none",
	} {
		if !strings.Contains(s.stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, s.stdout)
		}
	}
}

// TestStoredGroups starts lcapd with a group that is another one than was stored.
func TestStoredGroups(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	h.init()
	h.start().terminate()
	for _, c := range []struct{ group, says string }{
		{"{name: g, distribution: fid}", "fid from earliest for all MDTs"},
		{"{name: g, start: latest}", "round-robin from latest for all MDTs"},
		{"{name: g, mdts: [home-MDT0000]}", "round-robin from earliest for home-MDT0000"},
	} {
		h.set("groups", "["+c.group+"]")
		wantRefusal(t, h.lcapd("-c", h.file()), "group g", "round-robin from earliest for all MDTs", c.says, "start lcapd, and then: lcapcli groups delete g")
	}
	h.set("groups", "[{name: g}, {name: another}]") // one that is new
	h.start().terminate()
}

// TestStoredWindows has a group made whose windows fit, and then starts lcapd with less memory.
func TestStoredWindows(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	h.set("memory", "128MiB")
	h.init()
	r := h.start()
	create := func(name string) said {
		return runProgram(t, filepath.Join(h.bin, "lcapcli"), "-s", "ipc://"+h.dir+"/sock", "groups", "create", name, "--distribution", "mdt", "--consumers", "state", "--modules", "[{coalesce: {bytes: 40MiB, records: 1000000}}]")
	}
	if s := create("ours"); s.code != 0 {
		t.Fatalf("%+v", s)
	}
	if s := create("too-much"); s.code == 0 || !strings.Contains(s.stderr, "80MiB together") || !strings.Contains(s.stderr, "raise memory to 160MiB") {
		t.Errorf("%+v", s)
	}
	r.terminate()
	h.set("memory", "64MiB")
	words := []string{h.file() + ": memory: ", "the stored group ours 40MiB", "raise memory to 80MiB"}
	wantRefusal(t, h.lcapd("-c", h.file()), words...)
	s := h.lcapd("check", "-c", h.file())
	for _, w := range words {
		if !strings.Contains(s.stdout, w) || s.code != 2 {
			t.Errorf("check does not say %q: %+v", w, s)
		}
	}
	h.set("memory", "80MiB")
	h.start().terminate()
}

// TestBusy starts a second lcapd, and lcapd where others are.
func TestBusy(t *testing.T) {
	bin := buildDaemon(t)
	h := newHome(t, bin)
	h.init()
	r := h.start()
	locked := h.lcapd("-c", h.file())
	wantRefusal(t, locked, h.dir+"/state", "in use by process", fmt.Sprint(r.cmd.Process.Pid))
	wantRefusal(t, h.lcapd("init", "-c", h.file()), h.dir+"/state")
	if s := h.lcapd("check", "-c", h.file()); s.code != 2 || !strings.Contains(s.stdout, "in use by process") {
		t.Errorf("%+v", s)
	}
	other := newHome(t, bin)
	other.init()
	other.set("listen", fmt.Sprintf("[%q]", r.addresses[0]))
	wantRefusal(t, other.lcapd("-c", other.file()), r.addresses[0], "address in use", "another lcapd")
	other.set("listen", fmt.Sprintf("[%q]", r.addresses[1]))
	wantRefusal(t, other.lcapd("-c", other.file()), r.addresses[1], "address in use", "another lcapd")
	other.set("listen", "[tcp://127.0.0.1:0]")
	other.set("http", r.http)
	wantRefusal(t, other.lcapd("-c", other.file()), "http "+r.http, "address in use", "http in the configuration")
	if code, text := r.get("/healthz"); code != 200 { // the first one is unharmed
		t.Errorf("%d %s", code, text)
	}
	// A killed one leaves its socket and its lock: neither is in the way.
	_ = r.cmd.Process.Kill()
	r.wait()
	if _, err := os.Lstat(h.dir + "/sock"); err != nil {
		t.Fatalf("there is no stale socket: %v", err)
	}
	h.start().terminate()
	if _, err := os.Lstat(h.dir + "/sock"); err == nil {
		t.Error("the socket is left behind")
	}
}

// TestSignals sends signals: one SIGTERM ends in good order, a second one at once.
func TestSignals(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	log := h.llog("home-MDT0000")
	h.useLLog("cl1")
	h.set("shutdown", "10m")
	h.init()
	t.Run("clears what is due", func(t *testing.T) {
		h.t = t
		fill(t, log, 1000)
		r := h.start()
		conn := (&hostile{tcp: r.addresses[0]}).dial(t, true)
		send(t, conn, say(t, &wire.Join{Group: "g", Name: "x", Session: "x"}))
		hear(t, conn)
		send(t, conn, say(t, &wire.Credit{Batches: 100, Bytes: 1 << 30}))
		last, lease := uint64(0), uint64(0)
		for last < 1000 {
			b := hear(t, conn).(*wire.Batch)
			if last, lease = b.Last, b.Lease; last < 1000 {
				send(t, conn, say(t, &wire.Ack{Lease: lease, UpTo: last}))
			}
		}
		r.signal(syscall.SIGTERM)
		r.logged("lcapd ends: nothing more is handed out")
		r.signal(syscall.SIGHUP) // as a terminal that is closed sends: it must not hurt
		send(t, conn, say(t, &wire.Ack{Lease: lease, UpTo: last}))
		if bye, ok := hear(t, conn).(*wire.Bye); !ok || bye.Code != wire.Stopping {
			t.Errorf("%+v", bye)
		}
		text, state := r.wait()
		if state.ExitCode() != 0 {
			t.Errorf("%v\n%s", state, text)
		}
		if info, err := log.Info(); err != nil || info.Users[0].Cleared != 1000 {
			t.Errorf("%+v, %v", info, err)
		}
	})
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run("second "+second.String(), func(t *testing.T) {
			h.t = t
			fill(t, log, 10)
			r := h.start()
			conn := (&hostile{tcp: r.addresses[0]}).dial(t, true)
			send(t, conn, say(t, &wire.Join{Group: "g", Name: "x", Session: "x"}))
			hear(t, conn)
			send(t, conn, say(t, &wire.Credit{Batches: 100, Bytes: 1 << 30}))
			hear(t, conn) // and does not acknowledge
			r.signal(syscall.SIGTERM)
			r.logged("lcapd ends: nothing more is handed out")
			r.signal(second)
			if _, state := r.wait(); state.Sys().(syscall.WaitStatus).Signal() != second {
				t.Errorf("%v", state)
			}
		})
	}
}

// TestReload changes the configuration of an lcapd that runs.
func TestReload(t *testing.T) {
	h := newHome(t, buildDaemon(t))
	h.init()
	r := h.start()
	join := say(t, &wire.Join{Group: "new", Name: "x", Create: true})
	conn := (&hostile{tcp: r.addresses[0]}).dial(t, true)
	send(t, conn, join)
	if e, ok := hear(t, conn).(*wire.Error); !ok || e.Code != wire.UnknownGroup {
		t.Errorf("%+v", e)
	}
	h.set("create_groups", "true")
	h.set("log", "{format: json, level: debug}")
	h.set("lease", "1m")
	h.set("memory", "65MiB")
	r.signal(syscall.SIGHUP)
	if m := r.logged("the configuration was read again"); fmt.Sprint(m["changed"]) != "[create_groups log.level]" {
		t.Errorf("%v", m)
	}
	if m := r.logged("these keys have changed and take effect when lcapd is started again"); fmt.Sprint(m["keys"]) != "[memory lease]" {
		t.Errorf("%v", m)
	}
	send(t, conn, join)
	if j, ok := hear(t, conn).(*wire.Joined); !ok {
		t.Errorf("%+v", j)
	}
	send(t, conn, say(t, &wire.Leave{}))
	r.logged("a connection ended") // which is for debugging
	writeFile(t, h.file(), "memory: [\n")
	r.signal(syscall.SIGHUP)
	eventually(t, "word of the broken file", func() bool {
		m := <-r.log
		text, _ := m["message"].(string)
		return m["level"] == "error" && strings.HasPrefix(text, "the configuration is not taken over: "+h.file()) && !strings.Contains(text, "\n")
	})
	if code, _ := r.get("/healthz"); code != 200 {
		t.Error("it is not well")
	}
	r.terminate()
}

// remove removes a file or folder of the home.
func remove(h *daemonHome, name string) {
	h.t.Helper()
	if err := os.RemoveAll(filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *daemonHome) mkdir(name string) {
	h.t.Helper()
	if err := os.Mkdir(filepath.Join(h.dir, name), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func (h *daemonHome) write(name, content string) {
	h.t.Helper()
	writeFile(h.t, filepath.Join(h.dir, name), content)
}

// cut cuts a file in half.
func (h *daemonHome) cut(name string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// llog makes a changelog with one user, cl1.
func (h *daemonHome) llog(mdt string) *llog.Log {
	h.t.Helper()
	log, err := llog.Create(filepath.Join(h.dir, "llog"), mdt)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := log.Register(h.t.Context(), "lcapd", 0); err != nil {
		h.t.Fatal(err)
	}
	return log
}

// useLLog has home-MDT0000 read from that changelog.
func (h *daemonHome) useLLog(user string) {
	h.set("upstream", fmt.Sprintf("[{mdt: home-MDT0000, driver: llog, path: %s/llog, user: %s}]", h.dir, user))
}

func (h *daemonHome) initAgain() {
	remove(h, "state")
	h.init()
}

// fill appends records to a changelog.
func fill(t *testing.T, log *llog.Log, n uint64) {
	t.Helper()
	a, err := log.NewAppender(llog.AppendOptions{Sync: llog.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	w := upstream.NewWorkload(upstream.WorkloadOptions{Seed: uint64(time.Now().UnixNano())})
	if _, err := w.Produce(t.Context(), a, upstream.Pace{Records: n}); err != nil {
		t.Fatal(err)
	}
}

// A file system may be mounted after lcapd was started: it says what is missing, and goes on
// when it is there.
func TestStartsBeforeTheMount(t *testing.T) {
	bin := buildPrograms(t)
	h := newHome(t, bin)
	h.mkdir("dev")
	h.set("device_dir", h.dir+"/dev")
	h.set("upstream", `[{mdt: home-MDT0000, driver: device, user: cl1, lustre: "2.15"}]`)
	h.init()
	missing := "no such device; mount the file system on this node, or change device_dir"
	if s := h.lcapd("check", "-c", h.file()); s.code != 2 || !strings.Contains(s.stdout, "home-MDT0000 (device): open "+h.dir+"/dev/changelog-home-MDT0000: "+missing) {
		t.Errorf("lcapd check: %+v", s)
	}
	r := h.start()
	mdt := emulatedtest.Start(t, emulatedtest.Options{MDT: "home-MDT0000", DeviceDir: h.dir + "/dev", Version: emulated.Version215})
	mdt.Register("", 0)
	mdt.AppendNew(upstream.NewWorkload(upstream.WorkloadOptions{Seed: 1}).Append(nil, time.Now()))
	got := runProgram(t, filepath.Join(bin, "lcapcli"), "-s", r.addresses[0], "consume", "--group", "g", "--count", "1")
	if got.code != 0 || got.stdout == "" {
		t.Errorf("lcapcli consume: %+v", got)
	}
	if text := r.terminate(); !strings.Contains(text, missing) {
		t.Errorf("lcapd did not say what was missing: %s", text)
	}
}

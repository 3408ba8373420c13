package bench

import (
	"errors"
	"io/fs"
	"maps"
	"os/exec"
	"testing"
)

func TestSyscallCounts(t *testing.T) {
	for _, tt := range []struct {
		name string
		read func(string) map[string]float64
		text string
		want map[string]float64
	}{
		{"perf", perfCounts, `# started on Sun Nov 22 13:30:11 2026

3000,,raw_syscalls:sys_enter,909995,100.00,,
1000,,syscalls:sys_enter_writev,909995,100.00,,
0,,syscalls:sys_enter_read,909995,100.00,,
<not counted>,,syscalls:sys_enter_futex,0,0.00,,
`, map[string]float64{"other": 2000, "writev": 1000, "read": 0}},
		{"strace", straceCounts, `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 71.79    0.345678          17     20000           writev
 28.21    0.135824           8     15000      7000 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.481502          12     35000      7000 total
`, map[string]float64{"writev": 20000, "read": 15000}},
		{"strace that saw none", straceCounts, "", map[string]float64{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.read(tt.text); !maps.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if _, err := perBatch(map[string]float64{}, 10); !errors.As(err, new(uncounted)) {
		t.Errorf("no call was counted, but %v", err)
	}
	calls, err := perBatch(map[string]float64{"writev": 20000, "read": 15000, "getpid": 1}, 10000)
	if got := (&Syscalls{By: "strace", PerBatch: calls}).text(); err != nil || got != "system calls of lcapd for a batch, by strace beside the run: 3.50: writev 2.00, read 1.50" {
		t.Errorf("%v, %q", err, got)
	}
}

// What keeps a tool from counting is said in its own words, in one line.
func TestWhyNotCounted(t *testing.T) {
	for _, tt := range []struct {
		err  error
		said string
		want uncounted
	}{
		{&exec.Error{Name: "strace", Err: exec.ErrNotFound}, "", "it is not installed"},
		{errors.New("exit status 1"), "strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted\nmore\n", "strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted"},
		{fs.ErrPermission, "", "permission denied"},
	} {
		if got := whyNot(tt.err, tt.said); got != tt.want {
			t.Errorf("%v with %q is %q, want %q", tt.err, tt.said, got, tt.want)
		}
	}
}

package emulated

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// A command that is legal says the same when it is written anew.
func FuzzParseClear(f *testing.F) {
	for _, s := range []string{"clear:cl1:55", "clear:cl1:55\x00", "clear:cl4294967295:18446744073709551615", "clear:cl:5", "clear:cl1:"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, command []byte) {
		user, index, ok := parseClear(command)
		if !ok {
			return
		}
		if len(command) > longestCommand {
			t.Fatalf("%d bytes were taken", len(command))
		}
		u, i, ok := parseClear(fmt.Appendf(nil, "clear:%s:%d", user, index))
		if !ok || u != user || i != index || !strings.HasPrefix(string(command), "clear:cl") {
			t.Fatalf("%q: %s and %d, then %s and %d", command, user, index, u, i)
		}
	})
}

func TestErrnoNames(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ESHUTDOWN, syscall.EINPROGRESS, syscall.ENODEV, syscall.EACCES} {
		if got, err := parseErrno(errnoName(errno)); got != errno || err != nil {
			t.Errorf("%v: %v, %v", errno, got, err)
		}
	}
	for _, name := range []string{"", "eio", "5", "EWHAT"} {
		if errno, err := parseErrno(name); err == nil {
			t.Errorf("%q: %v", name, errno)
		}
	}
}

package main

import (
	"fmt"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/config"
)

// besides is what lcapd may need beside the memory that its limit counts, such as for
// goroutines and leases, in bytes.
const besides = 32 << 20

// limitMemory has the garbage collector work harder before lcapd is over its limit. A lower
// limit in GOMEMLIMIT stays.
func limitMemory(limit int64) {
	debug.SetMemoryLimit(min(limit+besides, debug.SetMemoryLimit(-1)))
}

// warnOfLimits says at the start what the system will not give, though the configuration
// asks for it: it would show only under load.
func warnOfLimits(cfg *config.Config, system fs.FS, log zerolog.Logger) {
	if least, where := memoryLimit(system); cfg.Memory+besides > least {
		log.Warn().Int64("memory", cfg.Memory).Int64("besides", besides).Int64("limit", least).Str("of", where).
			Msg("the system may kill lcapd before it has used the memory of its configuration: lower memory there, or raise that limit (MemoryMax= of the unit)")
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return // then nothing is known
	}
	const own, perMDT = 64, 8
	if want := uint64(cfg.Limits.Connections + own + perMDT*len(cfg.Upstream)); want > files.Cur {
		log.Warn().Int("connections", cfg.Limits.Connections).Uint64("descriptors", want).Uint64("limit", files.Cur).
			Msg("there are not enough descriptors for the connections of the configuration: raise that limit (LimitNOFILE= of the unit), or lower limits.connections")
	}
}

// memoryLimit returns the least that the system lets a process of this cgroup have, in
// bytes, and where it says so. What cannot be read does not limit.
func memoryLimit(system fs.FS) (least int64, where string) {
	least = math.MaxInt64
	consider := func(n int64, file string) {
		if n < least {
			least, where = n, "/"+file
		}
	}
	if text, err := fs.ReadFile(system, "proc/meminfo"); err == nil {
		var kib int64
		if n, _ := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); n == 1 {
			consider(kib<<10, "proc/meminfo")
		}
	}
	text, err := fs.ReadFile(system, "proc/self/cgroup")
	if err != nil {
		return least, where
	}
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, dir, _ := strings.Cut(rest, ":")
		for _, file := range limitFiles(controllers, dir) {
			text, err := fs.ReadFile(system, file)
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil { // else "max"
				consider(n, file)
			}
		}
	}
	return least, where
}

// limitFiles are the files with the memory limits of a cgroup and those above it. A
// container may see its own cgroup as the root.
func limitFiles(controllers, dir string) (files []string) {
	root, name := "sys/fs/cgroup", "memory.max"
	switch controllers {
	case "": // version 2
	case "memory":
		root, name = root+"/memory", "memory.limit_in_bytes"
	default:
		return nil
	}
	for ; ; dir = path.Dir(dir) {
		files = append(files, path.Join(root, dir, name))
		if dir == "/" || dir == "." {
			return files
		}
	}
}

package main

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	files := func(pairs ...string) fstest.MapFS {
		m := fstest.MapFS{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		}
		return m
	}
	const v2 = "0::/system.slice/lcapd.service\n"
	for _, tt := range []struct {
		name   string
		system fstest.MapFS
		least  int64
		where  string
	}{
		{"nothing is known", files(), math.MaxInt64, ""},
		{"the machine", files("proc/meminfo", "MemTotal:       16 kB\nMemFree: 1 kB\n"), 16 << 10, "/proc/meminfo"},
		{"no limit", files("proc/self/cgroup", v2, "sys/fs/cgroup/system.slice/lcapd.service/memory.max", "max\n"), math.MaxInt64, ""},
		{"the unit", files("proc/self/cgroup", v2, "sys/fs/cgroup/system.slice/lcapd.service/memory.max", "4096\n", "sys/fs/cgroup/system.slice/memory.max", "9999\n"),
			4096, "/sys/fs/cgroup/system.slice/lcapd.service/memory.max"},
		{"the slice", files("proc/self/cgroup", v2, "sys/fs/cgroup/system.slice/lcapd.service/memory.max", "max\n", "sys/fs/cgroup/system.slice/memory.max", "4096\n"),
			4096, "/sys/fs/cgroup/system.slice/memory.max"},
		{"a container", files("proc/self/cgroup", v2, "sys/fs/cgroup/memory.max", "4096\n"), 4096, "/sys/fs/cgroup/memory.max"},
		{"version 1", files("proc/self/cgroup", "9:name=systemd:/\n4:cpu,cpuacct:/x\n3:memory:/a/b\n0::/\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"),
			4096, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if least, where := memoryLimit(tt.system); least != tt.least || where != tt.where {
				t.Errorf("%d of %q, want %d of %q", least, where, tt.least, tt.where)
			}
		})
	}
}

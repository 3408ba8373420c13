package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lcapd/lcapd/wire"
)

// now is the present of the golden tables.
var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// sample is a server with a bit of everything, and with names as long as they get and indexes as large as they should.
func sample() wire.Status {
	long := strings.Repeat("policy-engine-", 18)
	members := []wire.MemberStatus{
		{Group: "robinhood", Name: "rbh1-4711", Remote: "192.168.100.200:54321", Joined: now.Add(-time.Hour), MDTs: []string{}, Leases: 12,
			InFlight: 63 << 20, Credit: 3, Records: 123456789012, Idle: 350 * time.Millisecond},
		{Group: "robinhood", Name: long, Remote: "ipc pid=4194304 uid=4294967295", MDTs: []string{"lustre-MDT0000", "lustre-MDT0001"},
			Leases: 1, InFlight: 900, Idle: 31 * time.Second},
	}
	return wire.Status{Version: "1.2.3", Broker: "6f1cb2", Started: now.Add(-76 * time.Hour), Ready: true,
		Memory: wire.Memory{Limit: 1 << 30, Batches: 700 << 20, Pinned: 3 << 20, Listened: 128 << 20},
		Problems: []wire.Problem{{Kind: wire.MDTUnreachable, About: "lustre-MDT0001", Text: "read: no such device", Since: now.Add(-90 * time.Second),
			Remedy: "mount the file system"}},
		MDTs: []wire.MDTStatus{
			{MDT: "lustre-MDT0000", User: "cl1", Epoch: 1, Read: 4000000001615, Cleared: 4000000001000, HeldBy: "robinhood",
				State: "reading", Holes: 2, Window: wire.Window{Bytes: 400 << 20}, CatchUps: []wire.CatchUpStatus{{At: 3999999999000, Until: 4000000000000, Users: 1}}},
			{MDT: "lustre-MDT0001", User: "cl12345-" + strings.Repeat("x", 100), Read: 10, State: "failing", HeldBy: long,
				Error: "no such\tdevice\x1b[31m", Since: now.Add(-90 * time.Second)},
		},
		Groups: []wire.GroupStatus{
			{Group: "robinhood", Distribution: "fid", Start: "earliest", Stored: true, Lag: 615, InFlight: 63<<20 + 900, Members: members,
				MaxBacklog: 1_000_000, MaxIdle: 720 * time.Hour, Expire: true,
				Tracks: []wire.TrackStatus{
					{MDT: "lustre-MDT0000", Epoch: 1, Mark: 4000000001000, Durable: 4000000000990, Read: 4000000001615,
						Lag: 615, Handed: 4000000001500, Late: 1, Lost: 17, Missed: []wire.Missed{{Epoch: 1, From: 17, To: 990, At: now.Add(-time.Hour)}},
						Waits: []wire.Wait{{Owner: "rbh1-4711", At: 4000000001400, Keys: 3, Reason: "no credit"},
							{At: 4000000001450, Reason: "barrier", For: long, Until: 4000000001401}},
						Oldest: &wire.LeaseStatus{Lease: 4711, Member: "rbh1-4711", From: 4000000001000, To: 4000000001300,
							Acked: 4000000001000, Delivery: 2, Age: 95 * time.Second, Idle: 3 * time.Second},
						Skips: []uint64{5, 6}},
					{MDT: "lustre-MDT0001", Read: 10, Mark: 10, Durable: 10, Handed: 10},
				}},
			{Group: "paused", Distribution: "mdt", Start: "latest", Stored: true, Paused: true},
			{Group: "new", Distribution: "round-robin", Start: "latest"},
			{Group: "poisoned", Distribution: "mdt", Stored: true, Tracks: []wire.TrackStatus{{MDT: "lustre-MDT0000", Poisoned: []wire.Range{{From: 6, To: 7}}}}},
		},
		Listeners: []wire.ListenerStatus{{Name: "ganesha", Remote: "10.0.0.7:40000", Since: now.Add(-25 * time.Hour), Records: 5_000_000,
			Bytes: 600 << 20, Gaps: 1, Missed: 300, Fields: "all"},
			{Name: "unlinks", Remote: "10.0.0.8:40001", Since: now.Add(-time.Minute), Fields: "rename,jobid", Records: 17, Bytes: 2000, Filtered: 4_000_000_000,
				Filter: "type == \"UNLNK\" and name contains \"\x1b[31m\"", Modules: `[{"rate":{"records":100}}]`}},
	}
}

// The tables are checked in: UPDATE_SCRIPTS=1 writes them again.
func TestTables(t *testing.T) {
	s := sample()
	for name, print := range map[string]func(*bytes.Buffer) error{
		"status":    func(b *bytes.Buffer) error { return printStatus(b, s, now) },
		"mdts":      func(b *bytes.Buffer) error { return printMDTs(b, s.MDTs, now) },
		"groups":    func(b *bytes.Buffer) error { return printGroups(b, s.Groups, now) },
		"group":     func(b *bytes.Buffer) error { return printGroup(b, s.Groups[0], now) },
		"poisoned":  func(b *bytes.Buffer) error { return printGroup(b, s.Groups[3], now) },
		"members":   func(b *bytes.Buffer) error { return printMembers(b, s.Groups[0].Members, now) },
		"listeners": func(b *bytes.Buffer) error { return printListeners(b, s.Listeners, now) },
		"nothing":   func(b *bytes.Buffer) error { return printStatus(b, wire.Status{Started: now}, now) },
		"yaml":      func(b *bytes.Buffer) error { return writeYAML(b, s) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := print(&out); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "tables", name+".txt")
			if os.Getenv("UPDATE_SCRIPTS") != "" {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
			}
			for line := range strings.Lines(out.String()) {
				isText := strings.Contains(line, ": ") // sentences and YAML may be longer
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > tableWidth && !isText {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

func TestHumanNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 30: "1.0 GiB",
		1<<63 - 1: "8.0 EiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s in place of %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0s", 999: "0s", 1500 * time.Microsecond: "2ms", 1234 * time.Millisecond: "1.2s",
		61 * time.Second: "1m01s", 3700 * time.Second: "1h01m", 50 * time.Hour: "2d02h"} {
		if got := timeText(d); got != want {
			t.Errorf("%d: %s in place of %s", d, got, want)
		}
	}
}

func TestNoTerminalCodes(t *testing.T) {
	if got := oneLine("a\nb\x1b[31m\xff"); got != "a; b?[31m?" {
		t.Errorf("%q", got)
	}
}

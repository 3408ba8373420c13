package config

import (
	"math"
	"slices"
	"time"
)

// settings are the keys of the file, in the order of the annotated one. What is live
// takes effect at a reload (SIGHUP): it guards the door or speaks to the log, and
// nothing that is under way was promised otherwise. Everything else is promised to
// peers, to the disk or to Lustre, and needs a new start.
var settings = []setting[Config]{
	{key: "listen", text: "[tcp://127.0.0.1:8189, ipc:///run/lcapd/lcapd.sock]", field: ofList(func(c *Config) *[]Listen { return &c.Listen }, listOf(listenItem, "a list of addresses")), doc: `
Where peers connect. An address may say what peers may do there:
  - {addr: "tcp://*:8189", allow: [listen, consume]}
The roles are listen (ephemeral listeners), consume (members of groups) and operate
(lcapcli). Without allow, ipc allows all of them, to root and the daemon's own user;
tcp allows listen and consume.`},
	{key: "http", text: "127.0.0.1:9189", field: of(func(c *Config) *string { return &c.HTTP }, hostPort), doc: `
Metrics, health and status over HTTP: /metrics, /healthz, /readyz and /status, which is
what 'lcapcli -o json status' prints. Empty for none.`},
	{key: "profile", text: "false", field: of(func(c *Config) *bool { return &c.Profile }, boolean), doc: `
Whether the http address serves Go's profiles too, at /debug/pprof/. Who reaches it can
then slow lcapd down, and sees some of its memory.`},
	{key: "state", text: "/var/lib/lcapd", field: of(func(c *Config) *string { return &c.State }, path), doc: `
The directory of durable marks and groups. It must be kept: 'lcapd init' makes it.`},
	{key: "memory", text: "1GiB", field: of(func(c *Config) *int64 { return &c.Memory }, size(MinMemory, math.MaxInt64, false)), doc: `
How many bytes of records may be kept in memory, 64MiB at least. Consumers that lag
further behind are served from Lustre again. The windows of modules may hold half of it,
all groups and MDTs together: see docs/modules.md.`},
	{key: "batch", text: "auto", field: of(func(c *Config) *int64 { return &c.Batch }, autoSize(MinBatch, MaxBatch)), doc: `
The most bytes of records that a member or listener gets at once, 16KiB to 4MiB; auto is
512KiB, and down to 128KiB with many MDTs and little memory. Smaller batches spread a
burst over more members, larger ones cost less CPU: see docs/performance.md.`},
	{key: "create_groups", live: true, text: "false", field: of(func(c *Config) *bool { return &c.CreateGroups }, boolean), doc: `
Whether joining a group that does not exist creates it. A group holds back the clear
until it has acknowledged, so a mistyped name fills the MDT.`},
	{key: "clear_without_groups", text: "false", field: of(func(c *Config) *bool { return &c.ClearWithoutGroups }, boolean), doc: `
Whether to clear what was read while there is no group: for sites with listeners only.`},
	{key: "unknown_extra", text: "stop", field: of(func(c *Config) *UnknownExtra { return &c.UnknownExtra }, oneOf(StopAtUnknown, AssumeEmpty)), doc: `
At records with extra flags that only a newer Lustre knows: stop reading that MDT, or
assume-empty, that is, that they add no bytes to the record.`},
	{key: "device_dir", text: "/dev", field: of(func(c *Config) *string { return &c.DeviceDir }, path), doc: `
Where the changelog devices are, for the driver device.`},
	{key: "log.level", live: true, text: "info", field: of(func(c *Config) *string { return &c.LogLevel }, oneOf("trace", "debug", "info", "warn", "error")), doc: `
trace, debug, info, warn or error.`},
	{key: "log.format", text: "console", field: of(func(c *Config) *string { return &c.LogFormat }, oneOf("console", "json")), doc: `
console or json.`},
	{key: "upstream", example: `
- {mdt: lustre-MDT0000, driver: device, user: cl1}
- {mdt: local-MDT0000, driver: llog, path: /var/lib/lcapd/local, user: cl1}
- {mdt: home-MDT0000, driver: watch, path: /home}
- {mdt: test-MDT0000, driver: workload, rate: 1000, seed: 1, records: 0}`, field: fieldOf(func(c *Config) *[]Upstream { return &c.Upstream }, listOf(upstreamItem, "a list of MDTs"), sameUpstream), doc: `
The MDTs to read.`},
	{key: "one_mdt", text: "false", field: of(func(c *Config) *bool { return &c.OneMDT }, boolean), doc: `
Whether each file system here has one MDT and does not get another. Only then the
module cancel drops directories that lived shortly: see docs/modules.md.`},
	{key: "ingest.filter", text: `""`, field: of(func(c *Config) *string { return &c.Everybody.Filter }, expression), doc: `
An expression that records must match to be given to anybody, groups and listeners: see
docs/modules.md. The others count as acknowledged, and are gone for good.`},
	{key: "ingest.modules", text: "[]", field: of(func(c *Config) *string { return &c.Everybody.Modules }, modules), doc: `
A list of modules behind it, such as [{project: {fields: [rename, jobid]}}]. Only those
that decide about each record by itself: filter, project, wasm.`},
	{key: "ingest.consumers", text: "every-record", field: of(func(c *Config) *Consumers { return &c.Everybody.Consumers }, oneOf(NeedEveryRecord, NeedChanges, NeedState)), doc: `
The most that any group or listener needs: every-record, changes or state. The module
wasm asks for it.`},
	{key: "groups", example: `
- {name: robinhood, distribution: mdt, start: earliest}
- {name: audit, mdts: [lustre-MDT0000], in_flight: 16MiB, ack_timeout: 5m, max_deliveries: 10}
- {name: reports, max_backlog: 50000000, max_idle: 720h, abandoned: expire}
- {name: policies, distribution: mdt, consumers: state, filter: "uid >= 1000", modules: [cancel, {coalesce: {age: 2s}}]}`, field: fieldOf(func(c *Config) *[]Group { return &c.Groups }, listOf(groupItem, "a list of groups"), sameGroups), doc: `
Groups that exist from the start. Others are made by 'lcapcli groups create'.`},
	{key: "limits.connections", text: "4096", field: of(func(c *Config) *int { return &c.Limits.Connections }, integer[int](1, 1_000_000)), doc: `
How many peers may be connected at once.`},
	{key: "limits.per_address", text: "256", field: of(func(c *Config) *int { return &c.Limits.PerAddress }, integer[int](1, 1_000_000)), doc: `
How many of them from one address.`},
	{key: "limits.frame", text: "4MiB", field: of(func(c *Config) *int64 { return &c.Limits.Frame }, size(256<<10, 64<<20, false)), doc: `
The largest message that is taken from a peer.`},
	{key: "limits.in_flight", text: "64MiB", field: of(func(c *Config) *int64 { return &c.Limits.InFlight }, size(minInFlight, math.MaxInt64, true)), doc: `
How many bytes a group may have handed out and not acknowledged; 0 for no limit.`},
	{key: "lease", text: "30s", field: of(func(c *Config) *time.Duration { return &c.Lease }, duration(time.Second, maxLease, false)), doc: `
A member that gives no sign of life for so long loses what it was handed.`},
	{key: "heartbeat", text: "5s", field: of(func(c *Config) *time.Duration { return &c.Heartbeat }, duration(100*time.Millisecond, maxLease/2, false)), doc: `
How often peers give a sign of life: at most half of lease.`},
	{key: "shutdown", text: "10s", field: of(func(c *Config) *time.Duration { return &c.Shutdown }, duration(0, 10*time.Minute, false)), doc: `
How long an ending daemon waits for its peers.`},
}

// sections are the mappings whose keys stand in settings with a dot.
var sections = []string{"log", "ingest", "limits"}

// sameGroups tells whether two lists say the same of the same groups.
func sameGroups(a, b []Group) bool {
	return slices.EqualFunc(a, b, func(a, b Group) bool {
		mdts := slices.Equal(a.MDTs, b.MDTs)
		return mdts && a.Name == b.Name && a.Distribution == b.Distribution && a.Start == b.Start &&
			a.InFlight == b.InFlight && a.AckTimeout == b.AckTimeout && a.MaxDeliveries == b.MaxDeliveries &&
			a.MaxBacklog == b.MaxBacklog && a.MaxIdle == b.MaxIdle && a.Abandoned == b.Abandoned &&
			a.Filter == b.Filter && a.Modules == b.Modules && a.Consumers == b.Consumers
	})
}

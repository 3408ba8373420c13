package config

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Upstream is one MDT to read.
type Upstream struct {
	// MDT is its name, such as lustre-MDT0000.
	MDT string
	// Driver says what is read.
	Driver Driver
	// User is the changelog user, such as cl1, of a device or llog.
	User string
	// Path is the directory of the changelog for llog, the tree to watch for watch, the file
	// of packed records for memory.
	Path string
	// ChangelogUsers is a file changelog_users of the MDT of a device, if one can be seen;
	// else empty.
	ChangelogUsers string
	// Lustre is the version of the client that shows a device, such as 2.15; empty for
	// what the kernel says.
	Lustre string
	// Rate is how many records a second a workload or memory makes, 0 for as many as it can;
	// Records after how many it ends, 0 for never; Seed tells one workload from
	// another: the same seed makes the same records.
	Rate, Records int
	Seed          uint64
	// Exclude are the patterns of what watch leaves out, Existing says that what is there
	// when the tree is watched for the first time gets records, UnlimitedQueue that the
	// kernel may keep any number of changes for us.
	Exclude                  []string
	Existing, UnlimitedQueue bool
}

// sameUpstream tells whether two lists say the same of the same MDTs.
func sameUpstream(a, b []Upstream) bool {
	return slices.EqualFunc(a, b, func(a, b Upstream) bool { return reflect.DeepEqual(a, b) })
}

// Driver is a kind of upstream.
type Driver string

// The drivers.
const (
	DriverDevice   Driver = "device"   // the changelog device of a Lustre client
	DriverLLog     Driver = "llog"     // a changelog on local disk
	DriverMemory   Driver = "memory"   // records in memory, again and again: for benchmarks
	DriverWatch    Driver = "watch"    // changes of a local directory tree
	DriverWorkload Driver = "workload" // made up
)

var drivers = []Driver{DriverDevice, DriverLLog, DriverMemory, DriverWatch, DriverWorkload}

// driverKeys says which keys a driver must have and which it may have, besides mdt
// and driver.
var driverKeys = map[Driver]struct{ must, may []string }{
	DriverDevice:   {must: []string{"user"}, may: []string{"changelog_users", "lustre"}},
	DriverLLog:     {must: []string{"user", "path"}},
	DriverMemory:   {must: []string{"path"}, may: []string{"rate", "records"}},
	DriverWatch:    {must: []string{"path"}, may: []string{"exclude", "existing", "unlimited_queue"}},
	DriverWorkload: {may: []string{"rate", "seed", "records"}},
}

// maxRate is more than any machine makes, in records a second.
const maxRate = 1_000_000_000

var upstreamSettings = []setting[Upstream]{
	{key: "mdt", required: true, doc: "its name, as Lustre writes it", field: of(func(u *Upstream) *string { return &u.MDT }, mdt)},
	{key: "driver", required: true, doc: "device, llog, watch, workload or, for benchmarks, memory, which repeats a file of packed records", field: of(func(u *Upstream) *Driver { return &u.Driver }, oneOf(drivers...))},
	{key: "user", doc: "the changelog user of a device or llog, as registering printed it", field: of(func(u *Upstream) *string { return &u.User }, user)},
	{key: "path", doc: "the directory of the llog, the tree to watch, or the file that memory repeats", field: of(func(u *Upstream) *string { return &u.Path }, path)},
	{key: "changelog_users", doc: "device: a file changelog_users of the MDT, if one can be seen; a clear looks there first", field: of(func(u *Upstream) *string { return &u.ChangelogUsers }, path)},
	{key: "lustre", doc: "device: the version of the client, such as \"2.15\"; what /sys/fs/lustre/version says if left out", field: of(func(u *Upstream) *string { return &u.Lustre }, lustreVersion)},
	{key: "rate", doc: "workload, memory: records a second; 0 for as many as it can", field: of(func(u *Upstream) *int { return &u.Rate }, integer[int](0, maxRate))},
	{key: "seed", doc: "workload: the same seed makes the same records", field: of(func(u *Upstream) *uint64 { return &u.Seed }, integer[uint64](0, math.MaxInt64))},
	{key: "records", doc: "workload, memory: ends after so many; 0 for never", field: of(func(u *Upstream) *int { return &u.Records }, integer[int](0, math.MaxInt64))},
	{key: "exclude", doc: "watch: leaves out names such as *.tmp or, with a slash, paths in the tree", field: ofList(func(u *Upstream) *[]string { return &u.Exclude }, listOf(pattern, "a list of patterns"))},
	{key: "existing", doc: "watch: what is there at the first start gets records too; default false", field: of(func(u *Upstream) *bool { return &u.Existing }, boolean)},
	{key: "unlimited_queue", doc: "watch: the kernel drops no change, whatever memory that takes; default false", field: of(func(u *Upstream) *bool { return &u.UnlimitedQueue }, boolean)},
}

var (
	mdtName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}-MDT[0-9a-f]{4}$`)
	userName = regexp.MustCompile(`^cl[1-9][0-9]{0,8}(-[A-Za-z][A-Za-z0-9_-]{0,14})?$`)

	mdt  = matching(mdtName.MatchString, "FSNAME-MDTxxxx, with four lower-case hexadecimal digits, such as lustre-MDT0000")
	user = matching(userName.MatchString, "a changelog user such as cl1 or cl2-audit")
	path = matching(isPath, "an absolute path")

	pattern = matching(isPattern, "a pattern such as *.tmp, or cache/* for what lies in one directory")

	version       = regexp.MustCompile(`^[1-9][0-9]{0,3}\.[0-9]{1,3}(\.[0-9]{1,3})?$`)
	lustreVersion = matching(version.MatchString, "a version of Lustre in quotes, such as \"2.15\"")
)

// isPattern tells whether text is a pattern of names or paths.
func isPattern(text string) bool {
	_, err := filepath.Match(text, "")
	return err == nil && strings.Trim(text, "/") != ""
}

// upstreamItem takes one MDT.
func upstreamItem(s spot, v any) (Upstream, bool) {
	u, ok := section(s, v, upstreamSettings, Upstream{})
	if u.Driver == "" {
		return u, ok
	}
	keys, _ := asMap(v)
	return u, checkDriver(s, u.Driver, keys) && ok
}

// checkDriver reports what a driver lacks, and what it has no use for.
func checkDriver(s spot, d Driver, has map[string]any) bool {
	rule, ok := driverKeys[d], true
	for _, set := range upstreamSettings[2:] {
		v, there := has[set.key]
		must := slices.Contains(rule.must, set.key)
		switch {
		case must && !there:
			ok = s.child(set.key).missing(fmt.Sprintf("the driver %s needs it: %s", d, set.doc))
		case there && !must && !slices.Contains(rule.may, set.key):
			ok = s.child(set.key).report(shown(v), fmt.Sprintf("leave it out: the driver %s has no use for it", d))
		}
	}
	return ok
}

package main

import (
	"github.com/lcapd/lcapd/changelog"
)

// The rule of a cache on a shared file system: never serve what someone else changed
// before you were told. It takes four things, and each has its place in this file.
//
//  1. Listen before you fill. What is looked up before the listener is in may be changed by
//     somebody whose record went by while nobody listened. From Connected on every record of
//     a change is shown to us or told as a gap. (lcapd leaves out records that are older
//     than the connection, with 2 s to spare: servers' clocks must agree to that.) So a look-up that
//     begins after it either sees a change or is followed by its record. Until then, and
//     whenever a broker is away, requests go through and nothing is kept (isTrusted).
//
//  2. Drop on what you are told, by FID: the object; for names the entry of the directory,
//     and the directory itself, whose times and links change too (keysOf).
//
//  3. A look-up under way is dropped as well. It may have read before the change and
//     answer after the record: kept, it would be wrong for ever. So who
//     drops a key also forgets its look-up (drop), and the answer of a look-up that was
//     forgotten is not kept (filled). Those who waited before the record get it, as
//     nobody told us anything when they asked; those who ask later get a look-up of their own.
//
//  4. Flush at a gap: nobody knows which records are in it. The client tells the gap before
//     the next record of its MDT; a lost connection is one that is not known yet.
//
// What remains is the time from a change until its record is here: some
// milliseconds as a rule and, when a broker vanishes without a word, some heartbeats until
// the client says Disconnected. Who cannot live with that needs locks, not records.
//
// Records of our own changes need not drop anything: whoever changes something through us has
// gone through here, and we have the result. We know them by their job id, which
// must then be ours alone (on Lustre: jobid_name with the host name in it).

// key is what can be asked: the attributes of an object or, with a name, what the name leads
// to in the directory.
type key struct {
	fid  changelog.FID
	name string
}

// value is the answer.
type value struct {
	missing bool
	size    int64         // of attributes, as an example of them
	fid     changelog.FID // of a name
}

// fill is a look-up under way, and who waits for it.
type fill struct {
	key     key
	waiting []chan<- value
}

// stats are what happened.
type stats struct {
	Records  int `json:"records"`  // told
	Own      int `json:"own"`      // of them by ourselves
	Dropped  int `json:"dropped"`  // entries that a record made invalid
	Races    int `json:"races"`    // look-ups that a record overtook
	Gaps     int `json:"gaps"`     // told
	Flushes  int `json:"flushes"`  // all entries dropped: gaps and connections that ended
	Hits     int `json:"hits"`     // requests served from the cache
	Misses   int `json:"misses"`   // that needed a look-up
	Bypassed int `json:"bypassed"` // of them while nobody would have told us of changes
	Evicted  int `json:"evicted"`  // entries that went for others
}

// cache is what is held. Its owner is the loop in main.go.
type cache struct {
	limit   int
	entries map[key]value
	fills   map[key]*fill // whose answers may be kept
	away    map[string]bool
	stats   stats
}

// newCache returns an empty cache that hears of changes from brokers, who are all away at first.
func newCache(limit int, brokers []string) *cache {
	c := &cache{limit: limit, entries: map[key]value{}, fills: map[key]*fill{}, away: map[string]bool{}}
	for _, addr := range brokers {
		c.away[addr] = true
	}
	return c
}

// isTrusted tells whether we are told of every change from now on.
func (c *cache) isTrusted() bool { return len(c.away) == 0 }

// ask wants the value of a key for somebody. If it returns a fill, that is to be looked up
// now, and the answer given to filled.
func (c *cache) ask(k key, to chan<- value) *fill {
	if v, ok := c.entries[k]; ok {
		c.stats.Hits++
		to <- v
		return nil
	}
	c.stats.Misses++
	if f, ok := c.fills[k]; ok { // nothing was told since it began
		f.waiting = append(f.waiting, to)
		return nil
	}
	f := &fill{k, []chan<- value{to}}
	if c.isTrusted() {
		c.fills[k] = f
	} else {
		c.stats.Bypassed++
	}
	return f
}

// filled takes the answer of a look-up.
func (c *cache) filled(f *fill, v value) {
	if c.fills[f.key] == f {
		delete(c.fills, f.key)
		c.makeRoom()
		c.entries[f.key] = v
	}
	for _, to := range f.waiting {
		to <- v
	}
}

// makeRoom evicts an entry, any, when the cache is full.
func (c *cache) makeRoom() {
	if len(c.entries) < c.limit {
		return
	}
	for k := range c.entries {
		delete(c.entries, k)
		c.stats.Evicted++
		return
	}
}

// drop is told that a key has changed.
func (c *cache) drop(k key) {
	if _, ok := c.entries[k]; ok {
		delete(c.entries, k)
		c.stats.Dropped++
	}
	if _, ok := c.fills[k]; ok {
		delete(c.fills, k)
		c.stats.Races++
	}
}

// flush drops everything.
func (c *cache) flush() {
	c.stats.Flushes++
	clear(c.entries)
	clear(c.fills)
}

// connected is told that a broker will tell us from now on.
func (c *cache) connected(addr string) { delete(c.away, addr) }

// disconnected is told that a broker does not, and since when nobody knows.
func (c *cache) disconnected(addr string) {
	c.away[addr] = true
	c.flush()
}

// keysOf returns what a record says has changed. Of other types than these the parent
// is not to be trusted (ABI 10.7), and they change one object.
func keysOf(r changelog.Record) []key {
	here := []key{{r.Target(), ""}, {r.Parent(), string(r.Name())}, {r.Parent(), ""}}
	switch r.Type() {
	case changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeSlink, changelog.TypeMknod,
		changelog.TypeHlink, changelog.TypeUnlnk, changelog.TypeRmdir:
		return here
	case changelog.TypeRenme, changelog.TypeRnmto, changelog.TypeMigrt:
		source, _ := r.Source()
		parent, _ := r.SourceParent()
		name, _ := r.SourceName()
		return append(here, key{source, ""}, key{parent, string(name)}, key{parent, ""})
	case changelog.TypeMark, changelog.TypeOpen, changelog.TypeNopen, changelog.TypeGxatr:
		return nil // nothing has changed
	}
	return here[:1]
}

// isOwn tells whether a record is of a change that the job made.
func isOwn(r changelog.Record, job string) bool {
	by, ok := r.JobID()
	return ok && job != "" && string(by) == job
}

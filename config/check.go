package config

import (
	"fmt"
	"slices"
	"strings"
)

// checker finds what values that are good by themselves make wrong together.
type checker struct {
	*Config
	tree     *tree
	good     map[string]bool
	problems *[]Problem
}

// check reports mistakes between keys, as far as the keys are good by themselves.
func check(c *Config, t *tree, good map[string]bool, problems *[]Problem) {
	k := checker{c, t, good, problems}
	k.times()
	k.limits()
	k.batch()
	k.deviceDir()
	k.addresses()
	k.names()
	k.groupMDTs()
	k.oneMDT()
}

// at returns where a key stands, and whether all of the keys are good.
func (k checker) at(keys ...string) (spot, bool) {
	bad := slices.ContainsFunc(keys, func(key string) bool { return !k.good[key] })
	return k.tree.spot(k.problems, keys[0]), !bad
}

// times: one lost heartbeat must not cost a member its lease.
func (k checker) times() {
	if s, ok := k.at("heartbeat", "lease"); ok && 2*k.Heartbeat > k.Lease {
		s.refuse(timeText(k.Heartbeat), fmt.Sprintf("half of lease (%s) at most", timeText(k.Lease)))
	}
}

func (k checker) limits() {
	if s, ok := k.at("limits.per_address", "limits.connections"); ok && k.Limits.PerAddress > k.Limits.Connections {
		s.refuse(k.Limits.PerAddress, fmt.Sprintf("limits.connections (%d) at most", k.Limits.Connections))
	}
}

// pagesOfReader is how many batches the readers of an MDT hold for themselves, one that
// follows it and one that catches up.
const pagesOfReader = 6

// batch: what readers hold must be small beside what they read, and what was read must
// be deliverable. The least that auto stands for is always allowed.
func (k checker) batch() {
	const always = 128 << 10
	if k.Batch <= always {
		return
	}
	if s, ok := k.at("batch", "ingest.modules"); ok && k.Everybody.Modules != "" && k.Batch > MaxChangedBatch {
		s.refuse(sizeText(k.Batch), fmt.Sprintf("%s at most beside ingest.modules, which may make records larger", sizeText(MaxChangedBatch)))
	}
	s, ok := k.at("batch", "memory", "upstream")
	n := int64(max(len(k.Upstream), 1))
	if most := k.Memory / 4 / pagesOfReader / n; ok && k.Batch > most {
		most = max(most&^1023, always)
		mdts := "one MDT"
		if n > 1 {
			mdts = fmt.Sprintf("%d MDTs", n)
		}
		s.refuse(sizeText(k.Batch), fmt.Sprintf("%s at most with %s and a memory of %s, or more memory", sizeText(most), mdts, sizeText(k.Memory)))
	}
}

// deviceDir: who moves the devices expects one to be read.
func (k checker) deviceDir() {
	s, ok := k.at("device_dir", "upstream")
	isDevice := func(u Upstream) bool { return u.Driver == DriverDevice }
	if ok && k.DeviceDir != Default().DeviceDir && !slices.ContainsFunc(k.Upstream, isDevice) {
		s.report(k.DeviceDir, "leave it out: no upstream has the driver device")
	}
}

func (k checker) addresses() {
	s, ok := k.at("listen")
	if !ok {
		return
	}
	if len(k.Listen) == 0 {
		s.refuse(nil, "at least one address, "+addressAllowed)
	}
	unique(s, "", "an address", k.Listen, func(l Listen) string {
		if l.Address.Network == "tcp" && strings.HasSuffix(l.Address.Where, ":0") {
			return "" // a port of its own
		}
		return l.Address.String()
	})
	isHTTP := func(l Listen) bool { return l.Address == Address{"tcp", k.HTTP} }
	if http, ok := k.at("http"); ok && !strings.HasSuffix(k.HTTP, ":0") && slices.ContainsFunc(k.Listen, isHTTP) {
		http.refuse(k.HTTP, "an address that listen does not have")
	}
}

func (k checker) names() {
	if s, ok := k.at("upstream"); ok {
		unique(s, "mdt", "an MDT", k.Upstream, func(u Upstream) string { return u.MDT })
	}
	if s, ok := k.at("groups"); ok {
		unique(s, "name", "a group", k.Groups, func(g Group) string { return g.Name })
	}
}

// unique reports the items whose name an earlier one has; key is where in the item
// the name stands. An empty name is none.
func unique[T any](s spot, key, what string, items []T, name func(T) string) {
	first := map[string]int{}
	for i, item := range items {
		n := name(item)
		before, again := first[n]
		switch {
		case n == "":
		case !again:
			first[n] = i
		case key == "":
			s.item(i).refuse(n, fmt.Sprintf("%s only once: it is %s too", what, s.item(before).key))
		default:
			s.item(i).child(key).refuse(n, fmt.Sprintf("%s only once: it is %s too", what, s.item(before).child(key).key))
		}
	}
}

// oneMDT: what is read shows whether it is so, as far as it is read.
func (k checker) oneMDT() {
	s, ok := k.at("one_mdt", "upstream")
	if !ok || !k.OneMDT {
		return
	}
	of := map[string]string{}
	for _, u := range k.Upstream {
		fs, _, _ := strings.Cut(u.MDT, "-MDT")
		if other, again := of[fs]; again {
			s.refuse(true, fmt.Sprintf("false: %s has %s and %s", fs, other, u.MDT))
			return
		}
		of[fs] = u.MDT
	}
}

// groupMDTs: a group waits for ever for an MDT that nobody reads.
func (k checker) groupMDTs() {
	s, ok := k.at("groups", "upstream")
	if !ok || len(k.Upstream) == 0 {
		return
	}
	var known []string
	for _, u := range k.Upstream {
		known = append(known, u.MDT)
	}
	known = slices.Compact(known)
	for i, g := range k.Groups {
		for j, name := range g.MDTs {
			if !slices.Contains(known, name) {
				s.item(i).child("mdts").item(j).refuse(name, "an MDT of upstream: "+strings.Join(known, ", "))
			}
		}
	}
}

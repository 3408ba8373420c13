// Package groups holds the rules of consumer groups: who gets which records of
// which MDT, in which order, what is acknowledged, and what comes again.
//
// The rules, and the meaning of every word, are in docs/ordering-and-acks.md:
// read it first. The package is pure: no goroutine, no clock, no I/O. Time is an
// argument, and everything that happens is a method call on a [Group].
//
// A [Group] owns its members, and for each MDT a [Track]. A track consists of
// streams, the places from which records are handed out: for the distributions
// mdt and fid each [Stream] is a lane, a set of keys with one owner and one
// cursor; for round-robin it is one of the two ends of a pool, new records and
// returned ones. The broker drives a stream in four steps:
//
//  1. [Stream.Need] tells from where the stream could hand out now, or what it
//     waits for.
//  2. The broker finds the batch that covers that place.
//  3. [Stream.Take] hands out what it may of it, as a [Delivery], or says why not.
//     After [Ready] it may be able to go on: ask it again.
//  4. When the records are cut out of the batch, [Group.Measured] tells what they weigh.
//
// A stream that waits is not to be asked again until the group lists it in
// [Group.Woken]: nothing is scanned, so the cost of a step does not grow with the
// number of groups, MDTs or members. So the broker looks at Woken after each call,
// until it returns nothing. Two things the group cannot know: that there is a batch
// for a stream that was [Ready], and that the ceiling on disk is higher, which
// [Track.CeilingRaised] tells it.
//
// [Group.Snapshot] shows operators who waits for whom.
package groups

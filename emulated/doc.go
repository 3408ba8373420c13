// Package emulated shows a local changelog (package llog) as the changelog device of a
// Lustre client: a file changelog-<MDT>, served through /dev/fuse, that behaves as the
// real one does. Programs that read devices can be run and tested without Lustre, with
// the faults that a file system of a hundred petabytes shows them once a year.
//
// It owns what an MDT and a client's kernel do around the log: open files with a cursor,
// a queue and a filter each; the prefetcher that fills the queue; reads, polls, ioctls;
// the clear command; the differences between releases. The log itself, its users and the
// purge are package llog's, the kernel protocol is package fuse's. "ABI n" in comments is
// section n of docs/lustre-changelog-abi.md.
//
// One goroutine, [Server.Run], owns all state. Others read requests off /dev/fuse and
// carry out clears, which wait for the disk, and hand their results over.
//
// # Where it differs from the real device
//
// A file of FUSE is not a character device, so:
//
//   - It is a regular file.
//   - lseek(2) is not passed on. It shows as the offset of the next read, so a bad one
//     fails there and not in lseek, SEEK_END succeeds, and a seek to the very position in
//     bytes that the kernel has counted up to is none.
//   - A poll before the first read starts the prefetcher at the oldest record, whatever
//     was sought; the read drops what lies below.
//   - Any signal ends a clear that hangs. On Lustre only one that kills does.
//
// And by choice: the prefetcher reads ahead at once and not in a thread of its own, so
// that what a poll or read finds does not depend on luck.
package emulated

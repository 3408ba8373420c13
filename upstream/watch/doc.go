// Package watch makes a changelog of what happens in a directory tree on a local file
// system of Linux: a producer for the log of an MDT, fed by fanotify.
//
//	kernel.go     the kernel's interface: the queue of changes, file handles
//	decode.go     the bytes of the queue become events
//	reader.go     takes them out of the queue, whatever everybody else is doing
//	fid.go        handles become FIDs, and FIDs handles again
//	tree.go       the directories in memory; known.go: the tree as the records tell it
//	store.go      what is known, on disk; layer.go: what of it has changed since
//	records.go    the records; actor.go: who did it
//	events.go     what an event is taken for
//	reconcile.go  a name leads elsewhere than is known
//	scan.go       a directory is read; settle.go: what was touched is compared
//	session.go    all of it, from a start to a failure; watch.go: from start to end
//
// # How
//
// What is known of the tree is what its records tell, and nothing else: each record is
// applied to it before it is appended, so who reads the log can follow every one of
// them. On disk it stands at one record, and the log keeps the records behind that for
// it, as for any changelog user. After a crash the records are applied again. Events are
// only hints where to look: fanotify merges them, loses their order and may drop them.
//
// # What it promises
//
//   - In the end the records tell which names are in the tree, and which of them are the
//     same file, whatever happened, also while nobody watched, and whenever the process
//     was killed. What happened on the way is told as well as the kernel tells it.
//   - Each record can follow on those before it: what is removed was there, what is made
//     was not, and a directory that goes is empty.
//   - A change whose content cannot be told, as one while nobody watched, is told as MTIME
//     or SATTR of the file.
//   - That the kernel dropped changes is logged and counted, and the tree is read again.
//   - Nothing in lcapd's own directory is reported.
//
// docs/watch.md says it for those who run it.
package watch

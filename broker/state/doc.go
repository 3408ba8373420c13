// Package state keeps what must survive a crash of lcapd: who it is, how far each
// MDT was read and cleared, which groups there are, and how far each of them has
// come (docs/ordering-and-acks.md).
//
// A state directory holds
//
//	state.db      everything, a bolt file (go.etcd.io/bbolt)
//	state.lock    locked while somebody uses the directory; names its process
//	state.db.tmp  what a crash left of a new state.db; of no use
//	state.db.v1   the file as it was before an upgrade from schema 1
//	state.db.old  the file that a restore replaced
//
// and may hold more that is none of this package's business.
//
// # What bolt does, and what it does not
//
// bolt makes a batch of changes one durable transaction. It trusts the file that it
// opens, however: it has no checksums but for two pages, and a page that is not what
// it should be ends the process. It also goes on after a failed sync as if nothing
// had happened. Hence:
//
//   - every value carries a checksum of itself and its key, and one value, the seal,
//     sums up all others: whatever is changed, lost, or left over from an older
//     version of the file is found (content.go);
//   - before bolt sees a file, its pages are checked here (pages.go);
//   - everything is kept in memory as well, and what bolt cannot be trusted to go on
//     with is written anew, beside the old file, and put in its place (store.go).
package state

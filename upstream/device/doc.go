// Package device reads the changelog of an MDT where Lustre shows it: at the character
// device /dev/changelog-FSNAME-MDTxxxx of a client. [Source] is such a device as one
// registered changelog user sees it.
//
// # What it promises
//
//   - Everything that package upstream promises of a source, from Lustre 2.10 on.
//   - Records come as the MDT stored them, NIDs in their long form where the client knows
//     that (Lustre 2.16). Nothing is cut, added or put in order.
//   - What an MDT does without saying so (an index that counts anew, records that appear
//     behind later ones, records that are gone) is not hidden: who reads compares.
//   - An error ends a reader, as it ends the descriptor (ABI 8.4); what came before it was
//     read. A new reader goes on. Each error names the device and, where there is one, the
//     remedy: see [Error].
//   - Never is index 0 cleared, which would clear everything, nor as a user who can be seen
//     to be another one now.
//
// # How a device is read
//
// A descriptor shows the changelog once, from an index to its end, or follows it: then it
// never tells that it is at the end (ABI 8.3). A reader needs both: who looks whether an
// MDT still has certain records must be told that they are not there, and who has read
// everything must be woken by what comes. So a reader begins with a descriptor that does
// not follow, and takes another one that does when that has ended. Up to Lustre 2.12 none
// does: then the reader looks again every [Options].Again.
//
// All descriptors are non-blocking and wait in the runtime's poller, so that any wait ends
// with its context.
package device

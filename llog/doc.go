// Package llog is a local, persistent changelog with the rules of a Lustre
// metadata server (MDT): users register, records are appended and numbered,
// anybody reads from an index, users acknowledge by clearing, and what every
// user has cleared is gone.
//
// It serves as the embedded upstream, as the simulated MDT of the tests, and as
// the spool of sources that cannot keep records themselves.
//
// # What it promises
//
//   - One appender at a time, any number of readers, and register, deregister
//     and clear from any process at any moment. No process waits for a reader.
//   - The death of any process, at any instant, leaves the log whole. An append
//     that was acknowledged under [SyncEach] also survives the machine's.
//   - Records at or below the smallest cursor of all users are gone for every
//     reader at once; their space is freed in whole segments behind.
//   - Indexes are never issued twice, not even after everything was cleared.
//   - A reader that waits in another process wakes at once; nothing polls.
//   - Damage is reported with file, offset and index, never skipped.
//
// It needs a local file system: flock, rename and inotify must work.
//
// # On disk
//
//	DIR/state              MDT name, users, cursors; replaced as a whole by rename
//	DIR/state.lock         flock: held while the state is read, changed and replaced
//	DIR/appender.lock      flock: held by the appender as long as it lives
//	DIR/<index>.seg        a segment: records from <index> on, 20 digits
//
// A segment is a header and frames, little-endian throughout:
//
//	  0  "LCAPLLOG" | version u32 | header size u32 | log id [16]
//	 32  first index u64 | that of the segment before, or 0, u64
//	 48  created, ns since 1970 u64 | crc32c of bytes 0-55 u32
//	 64  checkpoint: end u64 | records u64 | last index u64 | sealed u32 | crc32c u32
//	128  frame, frame, ...
//
//	frame: length u32 | crc32c u32 | index u64 | packed record | index u64 | length u32
//
// The checksum covers index and record, and starts from offset and length, so a
// frame is valid only where it was written. Length and index stand on both sides
// so that the log can be walked both ways. Up to the checkpoint's end the
// appender vouches for the bytes: damage before it is damage; an invalid frame
// behind it, with no valid one at the end of the file, is an append that did not
// finish, and readers take it for the end. Sealed means that the appender will
// never write to the segment again; only then does it make the next one. That one
// names the one before, so that a file that is missing is missed.
//
// # Where it differs from an MDT
//
//   - Append without any user is refused, where an MDT would keep nothing.
//   - A user without a mask wants every record; on an MDT it gets the default
//     mask. Producers here append what they mean to append.
//   - User ids are never reused. Clearing index 0, which an MDT takes for
//     "everything", has its own method, [Log.ClearAll].
package llog

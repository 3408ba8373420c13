// Package changelog is the Lustre changelog record: it reads, builds, checks,
// converts and prints records in the packed form in which Lustre delivers them.
//
// The package owns the format and nothing else. It is pure: no file, no
// network, no clock, no goroutine. Framing a buffer and reading the fields of a
// record allocate nothing and copy nothing.
//
// # The packed record
//
// Records follow each other without padding, alignment, length word or
// checksum. All integers are little-endian. The bits of the flags word, and
// those of the extra-flags word, say which blocks are there; their order never
// changes:
//
//	 0  namelen u16 | flags u16 | type u32
//	 8  index u64
//	16  prev u64
//	24  time u64 (seconds<<30 | nanoseconds)
//	32  target FID: sequence u64 | oid u32 | version u32
//	48  parent FID
//	64  [rename 32] [jobid 32] [extra flags 8 [uid, gid 16] [nid 24] [open 4] [xattr 256]]
//	    name area (namelen bytes; two names with a NUL between them when rename is there)
//
// # The types
//
//   - [Record] is a view over the bytes of one record, with an accessor for each
//     field. [Next], [Scanner] and [Reader] make views: the only way to get one
//     is through a check of its extent.
//   - [Fields] is a record taken apart: what a producer fills in and packs with
//     [Fields.Append].
//   - [Format] says which blocks a record has, or which a consumer wants.
//     [Record.AppendRepacked], [Record.AppendNormalized] and
//     [Record.AppendTrimmed] convert between formats.
//   - [FID], [NID], [Time], [Type] and [Mask] are the field's values, printed and
//     parsed as Lustre's own tools do.
//   - [Record.AppendLFS] prints the line of "lfs changelog", byte for byte;
//     [Record.AppendJSON] one JSON object.
//
// "ABI n" in comments stands for section n of docs/lustre-changelog-abi.md, the
// reference of the changelog interface.
package changelog

// Package upstream reads the streams of MDTs: a [Source] is one MDT's changelog, read
// from an index on and cleared as one registered user.
//
//   - [LLog] is a changelog on local disk.
//   - [Memory] holds records in memory, or repeats some for ever: for benchmarks and tests.
//   - [Workload] makes up what an MDT would record, and appends it to either. Its log on
//     disk is a [Spool].
//
// The conformance suite that every Source passes is package sourcetest.
//
// # What it promises
//
//   - Records come in the order of their indexes, whole and unchanged, each once to
//     each reader; none that exists is left out.
//   - A reader that waits is woken by the record that comes; nothing polls.
//   - Readers are independent of each other, hold nothing back, and have one owner each.
//   - An index that an MDT would refuse to clear is refused with its errno, EINVAL or
//     ENOENT, which errors.Is finds; then nothing has changed. Index 0, which an MDT
//     takes for everything, is always refused.
//   - What blocks ends with its context. What is started ends with a Close.
package upstream

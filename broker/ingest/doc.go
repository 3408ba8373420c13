// Package ingest is the stage before the broker's loop: it turns what a reader
// delivers into sealed, immutable batches.
//
// A [Sealer] is the part that computes: bytes in, batches out. [Run] is the part
// that reads and waits: the body of the goroutine that the loop starts for each
// reader, live or catching up. Nothing here is shared: a reader, its Sealer and its
// buffers belong to that one goroutine, and what leaves it never changes again.
//
// Framing is strict. Bytes that are no record end the reading with a [*Stop]; what
// comes behind them is not guessed at.
package ingest

// Package wasm runs modules that users write, as WebAssembly, inside a chain of package modules. A guest is given
// packed records and returns a verdict for each: keep, drop, or a changed record. docs/modules.md has the ABI; package
// guest beside this one is for guests in Go.
//
// A guest reaches nothing: no file, no network, no clock, no randomness; its memory and the time of each call are bounded. It
// never holds records: what it is asked about is with its host, so that whatever it does nothing is lost. A guest that traps,
// takes too long or returns something else than one verdict for each record is not called any more; its
// records, and all after them, pass, or stop the chain, as the configuration says ([Fault]).
//
// The guests run on wazero (Apache-2.0, pure Go, no dependency of its own but golang.org/x/sys), compiled to machine code where
// that is possible.
package wasm
